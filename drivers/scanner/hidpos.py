"""Reports of a scanner in HID POS mode in, codes out: pure, bounded, and the standard's beeps.

A scanner of the usage page "Bar Code Scanner" (0x8C, HID Point of Sale Usage Tables 1.02) sends each code in one or
several reports, each with the symbology identifier. Its report descriptor tells where everything lies and whether it
takes "Sound Good Read Beep" and its like; `STANDARD` is the form that nearly all scanners send.
What does not become a code is dropped and counted, nothing raises.

>>> HidPosFramer().feed(bytes((2, 4)) + b"]C0TBA1".ljust(62, b"\\0"))
[Code(text='TBA1', identifier=']C0', symbology='Code 128', encoding='utf-8')]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from drivers.scanner.code import FRAMING, IDENTIFIER, Code, read
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Counters, Tone
from drivers.scanner.keyboard import DROPS_IN_A_ROW

BAR_CODE_SCANNER: Final = 0x8C
"""The usage page."""
CONTINUED_WITHIN_MS: Final = 500
"""A report that says that more follows is given up after this."""

# Usages, with their page in the upper half.
_BYTE_COUNT: Final = 0x01_003B
_SYMBOLOGY_IDENTIFIER_1: Final = 0x8C_00FB
_DECODED_DATA: Final = 0x8C_00FE
_DECODE_DATA_CONTINUED: Final = 0x8C_00FF
_SOUND_ERROR_BEEP: Final = 0x8C_0085
_SOUND_GOOD_READ_BEEP: Final = 0x8C_0086
_SOUND_NOT_ON_FILE_BEEP: Final = 0x8C_0087
_BEEPS: Final[dict[Tone, tuple[int, ...]]] = {
    "good": (_SOUND_GOOD_READ_BEEP,),
    "repeat": (_SOUND_NOT_ON_FILE_BEEP, _SOUND_ERROR_BEEP),
    "bad": (_SOUND_ERROR_BEEP,),
    "attention": (_SOUND_NOT_ON_FILE_BEEP, _SOUND_ERROR_BEEP),
}
"""For each tone the sounds that can stand for it, the best first."""
_NO_IDENTIFIER: Final = bytes(3)
_MAX_REPORT_BYTES: Final = 4096


class Reports(NamedTuple):
    """Where the members of a scanner's reports lie: bytes of a report as it is read, with its number."""

    number: int | None
    """Of the reports with codes, in their first byte; ``None``: any, or none has a number."""
    size: int
    length_at: int
    identifier_at: int | None
    data_at: int
    data_bytes: int
    more_at: int
    """The byte whose lowest bit says that more follows."""
    beeps: Mapping[Tone, bytes]
    """For each tone that the scanner can give, the report that makes it."""

    @classmethod
    def of(cls, descriptor: bytes) -> Reports | None:
        """What a HID report descriptor says; ``None`` when it is not of a bar code scanner.

        A scanner that does not describe its codes is taken to send them in the standard form.
        """
        if not any(usage >> 16 == BAR_CODE_SCANNER for _, _, usage, _, _ in _members(descriptor)):
            return None
        inputs: dict[int, _Member] = {}
        outputs: dict[int, _Member] = {}
        sizes: dict[tuple[str, int], int] = {}
        for member in _members(descriptor):
            {"input": inputs, "output": outputs}.get(member.way, {}).setdefault(member.usage, member)
            sizes[member.way, member.report] = (member.at + member.bits + 7) // 8
        beeps = {
            tone: _output(outputs[usage], sizes["output", outputs[usage].report])
            for tone, usages in _BEEPS.items()
            if (usage := next((usage for usage in usages if usage in outputs), 0))
            and sizes["output", outputs[usage].report] <= _MAX_REPORT_BYTES
        }
        data, length, more = (inputs.get(usage) for usage in (_DECODED_DATA, _BYTE_COUNT, _DECODE_DATA_CONTINUED))
        identifier = inputs.get(_SYMBOLOGY_IDENTIFIER_1)
        if (
            not (data and length and more)
            or sizes["input", data.report] > _MAX_REPORT_BYTES
            or any(each and (each.report != data.report or each.at % 8) for each in (data, length, more, identifier))
        ):
            return STANDARD._replace(beeps=beeps)
        return cls(
            number=data.report or None,
            size=sizes["input", data.report],
            length_at=length.at // 8,
            identifier_at=identifier and identifier.at // 8,
            data_at=data.at // 8,
            data_bytes=data.bits // 8,
            more_at=more.at // 8,
            beeps=beeps,
        )


STANDARD: Final = Reports(
    number=None, size=64, length_at=1, identifier_at=2, data_at=5, data_bytes=56, more_at=63, beeps={}
)


class HidPosFramer:
    """Reads the reports of one scanner. Times are of one monotonic clock, in nanoseconds."""

    def __init__(self, reports: Reports = STANDARD, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.counters = Counters()
        self.trouble: str | None = None
        """What is wrong with what arrives and what to do, as the end of a sentence; ``None`` from the next code on."""
        self._max_bytes = max_bytes
        self.restart(reports)

    def restart(self, reports: Reports) -> None:
        """The scanner was plugged in anew, and sends such reports."""
        self.trouble = None
        self.reports = reports
        self._identifier = b""
        self._data = b""
        self._begun = False
        self._skipping = False  # up to the last report of a code
        self._last_report_ns = 0
        self._lost = 0

    @property
    def due_ns(self) -> int | None:
        """When `wake` wants to be called: what follows a report is then given up."""
        waiting = self._begun or self._skipping
        return self._last_report_ns + CONTINUED_WITHIN_MS * 1_000_000 if waiting else None

    def feed(self, data: bytes, now_ns: int = 0) -> list[Code]:
        """Codes that the reports in `data` complete, in order; the kernel gives one report at a time."""
        size = self.reports.size
        reports = (data[at : at + size] for at in range(0, len(data), size))
        return [code for report in reports if (code := self._take(report, now_ns)) is not None]

    def wake(self, now_ns: int) -> list[Code]:
        """Gives up what is due: a part of a code is none."""
        if self.due_ns is not None and now_ns >= self.due_ns:
            if self._begun:
                self.counters.unterminated += 1
                self._lose()
            self._begun = self._skipping = False
        return []

    def _take(self, report: bytes, now_ns: int) -> Code | None:
        reports = self.reports
        if reports.number is not None and report[0] != reports.number:
            return None  # of its settings or its state
        self._last_report_ns = now_ns
        if len(report) != reports.size:
            self.counters.unreadable += 1
            self._skip(more=False)
            return None
        more = bool(report[reports.more_at] & 1)
        if self._skipping:
            self._skipping = more
            return None
        length, at = report[reports.length_at], reports.identifier_at
        identifier = _NO_IDENTIFIER if at is None else report[at : at + 3]
        if self._begun and identifier not in (self._identifier, _NO_IDENTIFIER):
            # The end of another code was lost; this report begins one.
            self._begun = False
            self.counters.unterminated += 1
            self._lose()
        first = not self._begun
        if length > reports.data_bytes or (first and (length == 0 or not _is_identifier(identifier))):
            self.counters.unreadable += 1
            self._skip(more=more)
            return None
        if first:
            self._begun, self._identifier, self._data = True, identifier, b""
        if len(self._data) + length > self._max_bytes:
            self.counters.too_long += 1
            self._skip(more=more)
            return None
        self._data += report[reports.data_at : reports.data_at + length]
        return None if more else self._end()

    def _skip(self, *, more: bool) -> None:
        """Drop the code that a report belongs to, up to its end."""
        self._begun, self._skipping = False, more
        self._lose()

    def _end(self) -> Code | None:
        self._begun = False
        if not self._data.strip(FRAMING):
            return None
        # A scanner may be set to put the identifier into the data as well.
        code = read(self._data, self._identifier.strip(b"\0").decode() or None, proven=True)
        if code is None:
            self.counters.unreadable += 1
            self._lose()
            return None
        self.trouble = None
        self._lost = 0
        return self.counters.took(code)

    def _lose(self) -> None:
        self.counters.lose()
        self._lost += 1
        if self._lost >= DROPS_IN_A_ROW:
            self.trouble = (
                "sends reports that hold no whole code: let it read the codes of its manual for factory settings and "
                "for USB HID POS, or for USB serial (CDC) and set its kind so"
            )


def _is_identifier(data: bytes) -> bool:
    return data == _NO_IDENTIFIER or IDENTIFIER.match(data.decode("latin-1") + ".") is not None


class _Member(NamedTuple):
    """A field of a report, by its usage."""

    way: str
    """``input``, ``output`` or ``feature``; nothing for a collection."""
    report: int
    """The report's number; 0: reports have none."""
    usage: int
    at: int
    """The first bit, counted with the byte of the number where there is one."""
    bits: int


def _output(member: _Member, size: int) -> bytes:
    """A report in which this member alone is set. Its first byte is the number, also where there is none."""
    report = bytearray(size if member.report else size + 1)
    report[0] = member.report
    at = member.at if member.report else member.at + 8
    report[at // 8] |= 1 << at % 8
    return bytes(report)


_MAIN, _GLOBAL, _LOCAL = 0, 1, 2
_WAYS: Final = {8: "input", 9: "output", 11: "feature"}
_COLLECTION: Final = 10
_USAGE_PAGE, _REPORT_SIZE, _REPORT_ID, _REPORT_COUNT, _PUSH, _POP = 0, 7, 8, 9, 10, 11
_USAGE, _USAGE_MINIMUM, _USAGE_MAXIMUM = 0, 1, 2
_LONG_ITEM: Final = 0xFE
_MAX_USAGES: Final = 256


def _members(descriptor: bytes) -> Iterator[_Member]:
    """The collections and fields of a report descriptor (Device Class Definition for HID 1.11, 6.2.2)."""
    state = {_USAGE_PAGE: 0, _REPORT_SIZE: 0, _REPORT_ID: 0, _REPORT_COUNT: 0}
    stack: list[dict[int, int]] = []
    usages: list[int] = []
    ends: dict[tuple[str, int], int] = {}
    for kind, tag, value, size in _items(descriptor):
        if kind == _GLOBAL and tag == _PUSH:
            stack.append(dict(state))
        elif kind == _GLOBAL and tag == _POP and stack:
            state = stack.pop()
        elif kind == _GLOBAL:
            state[tag] = value
        elif kind == _LOCAL and tag in (_USAGE, _USAGE_MINIMUM):
            usages.append(value if size == 4 else state[_USAGE_PAGE] << 16 | value)
        elif kind == _LOCAL and tag == _USAGE_MAXIMUM and usages:
            last = value & 0xFFFF
            first = usages[-1]
            usages += range(first + 1, min((first & ~0xFFFF | last) + 1, first + _MAX_USAGES))
        elif kind == _MAIN:
            report = state[_REPORT_ID]
            if tag == _COLLECTION and usages:
                yield _Member("", report, usages[0], 0, 0)
            if way := _WAYS.get(tag):
                bits, count = state[_REPORT_SIZE], state[_REPORT_COUNT]
                at = ends.get((way, report), 8 if report else 0)
                ends[way, report] = at + bits * count
                shown = usages[:count] or ([0] if count else [])
                for index, usage in enumerate(shown):
                    # The last usage stands for all elements that are left.
                    elements = count - index if index == len(shown) - 1 else 1
                    yield _Member(way, report, usage, at + index * bits, elements * bits)
            usages = []


def _items(descriptor: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, tag, value and size of each item."""
    at = 0
    while at < len(descriptor):
        prefix = descriptor[at]
        if prefix == _LONG_ITEM:
            at += 3 + (descriptor[at + 1] if at + 1 < len(descriptor) else 0)
            continue
        size = (0, 1, 2, 4)[prefix & 3]
        value = int.from_bytes(descriptor[at + 1 : at + 1 + size], "little")
        yield prefix >> 2 & 3, prefix >> 4, value, size
        at += 1 + size
