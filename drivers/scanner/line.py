"""Scanners that send each code as a line: bytes in, codes out, however the bytes were chunked.

A line longer than the cap is dropped up to its end, a line that is no text is dropped, and a rest without an end is
dropped or taken as a code when the line falls silent, as set; each is counted. What is wrong with the settings is
learned from what was dropped, and what is then advised has been tried on it. Nothing is sent unless `signals` say what
may be.

>>> framer = LineFramer()
>>> framer.feed(b"]C100340434161094042557\\r\\nTBA1234")
[Code(text='00340434161094042557', identifier=']C1', symbology='Code 128', encoding='utf-8')]
>>> framer.feed(b"56789012\\r")
[Code(text='TBA123456789012', identifier=None, symbology=None, encoding='utf-8')]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from drivers.scanner import ssi
from drivers.scanner.code import FRAMING, Code, is_printable, read
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Counters, Tone

PARTIAL_AFTER_MS: Final = 500
"""A line that has been silent this long without its end will not get one."""
LINES_IN_A_ROW: Final = 2
"""So many lines of text lost with no code between mean a wrong end; one may be an accident."""
NOISE_IN_A_ROW: Final = 3
"""So many lines of noise with no code between mean a wrong speed, and no accident of a plug; twice as many where a
person could read them, but for a character or two."""
UNREAD_BYTES: Final = 600
"""What is kept of the bytes since the last code, to tell what they are: two packets of SSI."""

_STX, _ETX = b"\x02", b"\x03"
_IDENTIFIER: Final = re.compile(rb"\][A-Za-z][0-9A-Za-z]")
_CONTROLS: Final = bytes(range(0x21)) + b"\x7f"
_NAMES: Final = {"cr": "\r", "lf": "\n", "crlf": "\r\n", "etx": "\x03", "none": ""}
_ENDS: Final[dict[str, re.Pattern[bytes]]] = {
    "auto": re.compile(rb"[\r\n]"),
    "\r": re.compile(rb"\r"),
    "\n": re.compile(rb"\n"),
    "\r\n": re.compile(rb"\r\n"),
    "\x03": re.compile(_ETX),
    "": re.compile(rb"(?!)"),
}
_TRIED: Final = {
    "etx": "puts its codes between STX and ETX",
    "crlf": "ends its codes with CRLF, and another end is set",
    "cr": "ends its codes with CR, and another end is set",
    "lf": "ends its codes with LF, and another end is set",
}
"""Ends that may be set instead, and what is found where one would do."""


class LineFramer:
    """Splits a byte stream at `terminator`: CR, LF, CRLF or ETX, by name (``cr``) or as it is (``\\r``).

    ``auto`` takes CR, LF and CRLF alike; ``none`` or an empty text leaves the end to `idle_flush_ms` of silence.
    Without that, silence ends no code. Whatever the end, a code begins behind its STX, where there is one.
    `signals` are the bytes for each tone.

    :raises ValueError: for any other terminator.
    """

    request_to_send = True
    checked = False

    def __init__(
        self,
        terminator: str = "auto",
        idle_flush_ms: int = 0,
        signals: Mapping[Tone, bytes] | None = None,
        *,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        end = _NAMES.get(terminator, terminator)
        if end not in _ENDS:
            raise ValueError(f'terminator: expected "auto", "cr", "lf", "crlf", "etx" or "none", got {terminator!r}')
        self.counters = Counters()
        self.trouble: str | None = None
        self._end = _ENDS[end]
        self._half_end = b"\r" if end == "\r\n" else b""
        self._flush = idle_flush_ms > 0
        self._idle_ns = (idle_flush_ms or PARTIAL_AFTER_MS) * 1_000_000
        self._signals = signals or {}
        self._max_bytes = max_bytes
        self._outbox = b""
        self.restart()

    def restart(self) -> None:
        """As `Framer.restart`."""
        self.trouble = None
        self._rest = b""
        self._skipping = False
        self._last_byte_ns = 0
        self._unread = b""
        self._lost = 0
        self._noisy = 0.0
        self._outbox = b""

    @property
    def due_ns(self) -> int | None:
        """When a line that has begun and not ended is given up, or taken as it is."""
        return self._last_byte_ns + self._idle_ns if self._rest or self._skipping else None

    def feed(self, data: bytes, now_ns: int = 0) -> list[Code]:
        """As `Framer.feed`."""
        self._last_byte_ns = now_ns
        self._unread = (self._unread + data)[-UNREAD_BYTES:]
        codes: list[Code] = []
        *lines, rest = self._end.split(self._rest + data if self._rest else data)
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif line and (code := self._decode(line)) is not None:
                codes.append(code)
        half_end = self._half_end if self._half_end and rest.endswith(self._half_end) else b""
        if self._skipping:
            rest = half_end
        elif len(rest) - len(half_end) > self._max_bytes:
            self.counters.too_long += 1
            self._lose(rest)
            self._skipping = True
            rest = half_end
        self._rest = rest
        return codes

    def wake(self, now_ns: int) -> list[Code]:
        """As `Framer.wake`."""
        due_ns = self.due_ns
        if due_ns is None or now_ns < due_ns:
            return []
        rest, skipping = self._rest, self._skipping
        self._rest, self._skipping = b"", False
        if skipping or not rest.strip(FRAMING):
            return []
        if self._flush:
            code = self._decode(rest)
            return [code] if code else []
        if _read(rest) is None and not _would_do(rest):
            self.counters.unreadable += 1
        else:
            self.counters.unterminated += 1
        self._lose(rest)
        return []

    def signal(self, tone: Tone, now_ns: int = 0) -> None:
        """As `Framer.signal`."""
        self._outbox += self._signals.get(tone, b"")

    def to_send(self) -> bytes:
        """As `Framer.to_send`."""
        outbox, self._outbox = self._outbox, b""
        return outbox

    def _decode(self, line: bytes) -> Code | None:
        if len(line) > self._max_bytes:
            self.counters.too_long += 1
            self._lose(line)
            return None
        before, line = _split_at_stx(line)
        if before:
            # The end of the code before was lost, or noise came between.
            self.counters.unterminated += 1
            self.counters.lose()
        if not line.strip(FRAMING):
            return None
        code = read(line)
        if code is None:
            self.counters.unreadable += 1
            self._lose(line)
            return None
        self.trouble = None
        self._unread = b""
        self._lost, self._noisy = 0, 0.0
        return self.counters.took(code)

    def _lose(self, lost: bytes) -> None:
        """Learn from what was dropped what is wrong with the settings."""
        if not lost.strip(_CONTROLS):
            return  # no scanner has read that
        self.counters.lose()
        if ssi.holds_packet(self._unread):
            self.trouble = (
                'sends SSI packets: set kind = "ssi", or let it read the code of its manual for a standard serial host'
            )
        elif end := _would_do(lost):
            self._lost += 1
            if self._lost >= LINES_IN_A_ROW or len(lost) > self._max_bytes:
                self.trouble = f'{_TRIED[end]}: set terminator = "{end}"'
        elif _read(lost) is not None:
            self._lost += 1
            if self._lost >= LINES_IN_A_ROW or len(lost) > self._max_bytes:
                self.trouble = (
                    "sends text without the end that is set: give it a suffix by its manual and set terminator to it, "
                    'or set terminator = "none" and idle_flush_ms = 50'
                )
        else:
            self._noisy += 0.5 if is_printable(lost) else 1.0
            if self._noisy >= NOISE_IN_A_ROW:
                self.trouble = "sends what is no text: set baud as the scanner is set"


def _split_at_stx(line: bytes) -> tuple[bytes, bytes]:
    """What came before the STX of a code, and the code; an identifier in front of it belongs to it."""
    start = line.rstrip(FRAMING).rfind(_STX)
    if start < 0:
        return b"", line
    before, line = line[:start].strip(FRAMING), line[start + 1 :]
    return (b"", before + line) if _IDENTIFIER.fullmatch(before) else (before, line)


def _read(line: bytes) -> Code | None:
    return read(_split_at_stx(line)[1])


def _would_do(lost: bytes) -> str | None:
    """The end by which all that was lost would have been codes."""
    for end in _TRIED:
        *lines, rest = _ENDS[_NAMES[end]].split(lost)
        lines = [line for line in lines if line.strip(FRAMING)]
        if lines and not rest.strip(FRAMING) and all(map(_read, lines)):
            return end
    return None
