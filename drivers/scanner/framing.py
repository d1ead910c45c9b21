"""Bytes of a line scanner in, codes out: pure, bounded, and indifferent to how the bytes were chunked.

A line longer than the cap is dropped up to its end, a line that is no text is dropped, and a rest without a line end
is dropped or flushed when the line falls idle; each is counted, nothing raises. The AIM symbology identifier (`]C1`,
ISO/IEC 15424) is taken off the text and kept beside it.

>>> framer = LineFramer()
>>> framer.feed(b"]C100340434161094042557\\r\\nTBA1234")
[Code(text='00340434161094042557', identifier=']C1')]
>>> framer.feed(b"56789012\\r")
[Code(text='TBA123456789012', identifier=None)]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from drivers.scanner.code import NOISE

MAX_LINE_BYTES = 4096
"""More than any symbology holds (QR 4,296 digits at its very limit, labels far less)."""

_NAMES = {"cr": "\r", "lf": "\n", "crlf": "\r\n", "none": ""}
_ENDS: dict[str, re.Pattern[bytes]] = {
    "auto": re.compile(rb"[\r\n]"),
    "\r": re.compile(rb"\r"),
    "\n": re.compile(rb"\n"),
    "\r\n": re.compile(rb"\r\n"),
    "": re.compile(rb"(?!)"),
}
_IDENTIFIER = re.compile(r"\][A-Za-z][0-9A-Za-z](?=.)", re.DOTALL)


class Code(NamedTuple):
    """One code as the scanner sent it."""

    text: str
    identifier: str | None


@dataclass(slots=True)
class Counters:
    """What a framer has seen since it was made."""

    codes: int = 0
    too_long: int = 0
    unreadable: int = 0
    """Lines with control bytes or invalid UTF-8."""
    unterminated: int = 0
    """Rests that were dropped because no line end came."""

    @property
    def dropped(self) -> int:
        """Everything that did not become a code."""
        return self.too_long + self.unreadable + self.unterminated


class LineFramer:
    """Splits a byte stream at `terminator`: CR, LF or CRLF, by name (``cr``) or as it is (``\\r``).

    ``auto`` takes CR, LF and CRLF alike; ``none`` or an empty text leaves the end to `idle`.

    :raises ValueError: for any other terminator.
    """

    def __init__(self, terminator: str = "auto", *, max_bytes: int = MAX_LINE_BYTES) -> None:
        end = _NAMES.get(terminator, terminator)
        if end not in _ENDS:
            raise ValueError(f'terminator: expected "auto", "cr", "lf", "crlf" or "none", got {terminator!r}')
        self.counters = Counters()
        self._end = _ENDS[end]
        self._half_end = b"\r" if end == "\r\n" else b""
        self._max_bytes = max_bytes
        self._rest = b""
        self._skipping = False

    @property
    def pending(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._rest) or self._skipping

    def feed(self, data: bytes) -> list[Code]:
        """Codes that `data` completes, in order."""
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
            self._skipping = True
            rest = half_end
        self._rest = rest
        return codes

    def idle(self, *, flush: bool) -> Code | None:
        """The line has fallen silent: end what is pending, as a code if `flush`, else dropped and counted."""
        line, skipping = self._rest.strip(b"\r\n"), self._skipping
        self._rest, self._skipping = b"", False
        if skipping or not line:
            return None
        if flush:
            return self._decode(line)
        self.counters.unterminated += 1
        return None

    def _decode(self, line: bytes) -> Code | None:
        if len(line) > self._max_bytes:
            self.counters.too_long += 1
            return None
        # A scanner that ends lines with more than it is set to must not leave the other byte in the text.
        line = line.strip(b"\r\n")
        if not line:
            return None
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.counters.unreadable += 1
            return None
        if NOISE.search(text):
            self.counters.unreadable += 1
            return None
        self.counters.codes += 1
        if text[0] == "]" and (found := _IDENTIFIER.match(text)):
            return Code(text[3:], found.group())
        return Code(text, None)
