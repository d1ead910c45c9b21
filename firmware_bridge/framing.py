"""SMP's framing for consoles: messages as base64 lines with length and checksum, and the text between them.

Follows Zephyr's "SMP Transport Specification" (UART/serial and console). `frames` makes the lines of a message;
`Unframer` takes bytes as they come, gives back whole messages and lines of text, and drops and counts the rest. It
holds a bounded number of bytes, and nothing it is fed makes it raise.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterator
from typing import Final

START: Final = b"\x06\x09"
CONTINUE: Final = b"\x04\x14"
FRAME_BYTES: Final = 127
"""The longest line that every server takes, with marker and newline."""
OVERHEAD_BYTES: Final = 4
"""Length and checksum: they share the server's buffer with the message."""
LINE_BYTES: Final = 100_000
"""A line longer than the longest message can be (its length has 16 bits) will not become one."""
TEXT_CHARACTERS: Final = 1000
"""A line of text is cut there."""

_BODY_CHARACTERS: Final = (FRAME_BYTES - len(START) - 1) // 4 * 4
_LENGTH: Final = struct.Struct("!H")
_MARKER: Final = re.compile(b"(?:\x06\x09|\x04\x14)")
_CONTROL: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[^\t\x20-\x7e\xa0-\U0010ffff]")


def frames(message: bytes) -> list[bytes]:
    """The lines that carry a message, each with its newline."""
    checked = _LENGTH.pack(len(message) + 2) + message + _LENGTH.pack(binascii.crc_hqx(message, 0))
    body = binascii.b2a_base64(checked, newline=False)
    pieces = [body[at : at + _BODY_CHARACTERS] for at in range(0, len(body), _BODY_CHARACTERS)]
    return [(CONTINUE if number else START) + piece + b"\n" for number, piece in enumerate(pieces)]


class Unframer:
    """Takes the bytes of a line apart into messages and text."""

    def __init__(self) -> None:
        self.garbled = 0
        """Frames that were cut, out of place, no base64, of the wrong length or checksum; and endless lines."""
        self._line = bytearray()
        self._message: bytearray | None = None
        """What has come of a message, its length in front; ``None`` between messages."""
        self._rest = b""
        """Base64 characters of the last line that do not make a group of four."""
        self._endless = False

    def feed(self, data: bytes) -> Iterator[bytes | str]:
        """Messages as bytes, lines of text as str, in the order they came."""
        while data:
            piece, newline, data = data.partition(b"\n")
            if len(self._line) + len(piece) > LINE_BYTES:
                self._line.clear()
                self._endless = True
            if not self._endless:
                self._line += piece
            if not newline:
                return
            if self._endless:
                self._endless = False
                self.garbled += 1
                continue
            line = bytes(self._line)
            self._line.clear()
            yield from self._take(line)

    def _take(self, line: bytes) -> Iterator[bytes | str]:
        markers = list(_MARKER.finditer(line))
        text = line[: markers[0].start()] if markers else line
        words = _CONTROL.sub("", text[: 4 * TEXT_CHARACTERS].decode(errors="replace")).rstrip()
        if words:
            yield words[:TEXT_CHARACTERS]
        if not markers:
            return
        # Base64 has no markers in it: an earlier one belongs to a frame whose end was lost.
        self.garbled += len(markers) - 1
        marker = markers[-1]
        message = self._piece(marker.group(), line[marker.end() :].rstrip(b"\r"))
        if message is not None:
            yield message

    def _piece(self, marker: bytes, body: bytes) -> bytes | None:
        if marker == START:
            self.garbled += self._message is not None
            self._message = bytearray()
            self._rest = b""
        elif self._message is None:
            self.garbled += 1
            return None
        body = self._rest + body
        whole = len(body) // 4 * 4
        self._rest = body[whole:]
        try:
            self._message += binascii.a2b_base64(body[:whole], strict_mode=True)
        except binascii.Error:
            self._drop()
            return None
        if len(self._message) < _LENGTH.size:
            return None
        (expected,) = _LENGTH.unpack_from(self._message)
        received = len(self._message) - _LENGTH.size
        if received < expected:
            return None
        checked = bytes(self._message[_LENGTH.size :])
        # The checksum of data with its checksum behind it is zero.
        if received > expected or expected < _LENGTH.size or binascii.crc_hqx(checked, 0):
            self._drop()
            return None
        self._message = None
        return checked[: -_LENGTH.size]

    def _drop(self) -> None:
        self.garbled += 1
        self._message = None
