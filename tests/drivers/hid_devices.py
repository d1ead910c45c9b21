"""What HID devices send, as the kernel hands it over: the strokes of a keyboard, the reports of a HID POS scanner."""

from __future__ import annotations

from drivers.scanner.keyboard import EV_KEY, EV_SYN, EVENT, SYN_REPORT

SHIFT, CTRL, ALT, ALTGR, CAPS, SPACE, ENTER, TAB, KEYPAD_ENTER = 42, 29, 56, 100, 58, 57, 28, 15, 96
KEYPAD = dict(zip("0123456789", (82, 79, 80, 81, 75, 76, 77, 71, 72, 73), strict=True))


def event(kind: int, number: int, value: int) -> bytes:
    return EVENT.pack(1_700_000_000, 250_000, kind, number, value)


def press(*keys: int) -> bytes:
    return b"".join(event(4, 4, 458_756) + event(EV_KEY, key, 1) + event(EV_SYN, SYN_REPORT, 0) for key in keys)


def release(*keys: int) -> bytes:
    return b"".join(event(EV_KEY, key, 0) + event(EV_SYN, SYN_REPORT, 0) for key in keys)


def stroke(key: int, *modifiers: int) -> bytes:
    return press(*modifiers, key) + release(key, *modifiers)


def strokes(*keys: int) -> bytes:
    return b"".join(map(stroke, keys))


def by_number(digits: str, alt: int = ALT) -> bytes:
    return press(alt) + strokes(*(KEYPAD[digit] for digit in digits)) + release(alt)


def report(data: bytes, *, identifier: bytes = b"]C0", more: bool = False, number: int = 2, length: int = -1) -> bytes:
    head = bytes((number, len(data) if length < 0 else length)) + identifier
    return head + data.ljust(56, b"\0") + b"\0\0" + bytes((more,))


def reports(data: bytes, identifier: bytes = b"]C0") -> list[bytes]:
    parts = [data[at : at + 56] for at in range(0, len(data), 56)]
    return [report(part, identifier=identifier, more=index < len(parts) - 1) for index, part in enumerate(parts)]


def item(kind: int, tag: int, value: int) -> bytes:
    """A short item of a report descriptor."""
    size = 1 if value < 0x100 else 2 if value < 0x10000 else 4
    return bytes((tag << 4 | kind << 2 | {1: 1, 2: 2, 4: 3}[size],)) + value.to_bytes(size, "little")


def page(value: int) -> bytes:
    return item(1, 0, value)


def usage(value: int) -> bytes:
    return item(2, 0, value)


def size(bits: int, count: int) -> bytes:
    return item(1, 7, bits) + item(1, 9, count)


def collection(of: int, content: bytes, kind: int = 2) -> bytes:
    return usage(of) + item(0, 10, kind) + content + b"\xc0"


DATA, OUT, BUFFERED = 0x02, 0x86, 0x0102


def scanned_data(number: int | None = 2, data_bytes: int = 56, *, identifier: bool = True, padding: int = 2) -> bytes:
    """The fields of the reports with codes."""
    return collection(
        0x12,
        (item(1, 8, number) if number else b"")
        + item(1, 1, 0)
        + item(1, 2, 255)
        + (size(8, 1) + page(0x01) + usage(0x3B) + item(0, 8, DATA) + page(0x8C))
        + (size(8, 3) + usage(0xFB) + usage(0xFC) + usage(0xFD) + item(0, 8, DATA) if identifier else b"")
        + (size(8, data_bytes) + usage(0xFE) + item(0, 8, BUFFERED))
        + (size(8, padding) + item(0, 8, 0x03) if padding else b"")
        + (size(1, 8) + usage(0xFF) + item(0, 8, DATA)),
    )


def trigger(*usages: int, number: int | None = 4) -> bytes:
    """An output report of eight bits."""
    fields = b"".join(map(usage, usages))
    return collection(0x14, (item(1, 8, number) if number else b"") + size(1, 8) + fields + item(0, 9, OUT))


def descriptor(*content: bytes) -> bytes:
    return page(0x8C) + collection(0x02, b"".join(content), kind=1)
