"""What a picture file says about itself before anything is unpacked: its kind, its size, and what unpacking will cost.

A few bytes can ask a picture library for gigabytes or for minutes. Nothing is handed to it before its header was
measured here and `essence` has taken out of it whatever can be made large without being part of the picture; both
take time and memory in proportion to the file alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["PNG", "JPEG", "GIF", "BMP", "WebP"]

_MAX_PARTS: Final = 100_000
"""Chunks of a PNG, segments of a JPEG: more than any camera or program writes into `MAX_FILE_BYTES`."""

_MAX_SCANS: Final = 64
"""A progressive JPEG has about ten; each may cost a pass over the whole picture, however few bytes it is."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of one picture file."""

    kind: Kind
    size: tuple[int, int] | None
    """Width and height in pixels; ``None`` where the header gives none."""
    alpha: bool = False
    deep: bool = False
    """16 bits a channel."""
    canvas: bool = False
    """Unpacked on a canvas of its own, beside the picture."""

    @property
    def weight(self) -> int:
        """How often a pixel's memory is needed, compared with a plain picture."""
        if self.alpha and self.deep:
            return 4
        return 2 if self.alpha or self.canvas else 1


def measure(data: bytes) -> Header | None:
    """The header of a picture file; ``None`` for a file of another kind."""
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Header("GIF", (_little(data[6:8]), _little(data[8:10])) if len(data) >= 10 else None, canvas=True)
    if data.startswith(b"BM"):
        return Header(
            "BMP", (_little(data[18:22]), abs(_little(data[22:26], signed=True))) if len(data) >= 26 else None
        )
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"\xff\xd8\xff"):
        return Header("JPEG", _jpeg_size(data))
    return None


def essence(header: Header, data: bytes) -> bytes | None:
    """The file without what is not the picture; ``None`` when it is cut off, or would unpack for ever."""
    if header.kind == "PNG":
        return _png_essence(header, data)
    if header.kind == "JPEG" and sum(code == _START_OF_SCAN for code, _ in _jpeg_segments(data)) > _MAX_SCANS:
        return None
    return data


_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_ESSENCE: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})


def _png(data: bytes) -> Header:
    if data[8:16] != b"\0\0\0\x0dIHDR" or len(data) < 29:
        return Header("PNG", None)
    # A palette or one colour may be transparent, too, which stands before the first data of the picture.
    alpha = bool(data[25] & 4) or data.find(b"tRNS", 0, data.find(b"IDAT")) >= 0
    return Header("PNG", (_number(data[16:20]), _number(data[20:24])), alpha=alpha, deep=data[24] == 16)


def _png_essence(header: Header, data: bytes) -> bytes | None:
    """Texts and colour profiles are packed and may be bombs, and animations take memory: they are left out."""
    view, at = memoryview(data), len(_PNG)
    kept, packed = [view[:at]], []
    for _ in range(_MAX_PARTS):
        name, end = data[at + 4 : at + 8], at + 12 + _number(data[at : at + 4])
        if end > len(data):
            return None
        if name in _PNG_ESSENCE:
            kept.append(view[at:end])
        if name == b"IDAT":
            packed.append(view[at + 8 : end - 4])
        at = end
        if name == b"IEND":
            break
    else:
        return None
    width, height = header.size or (0, 0)
    # Four channels, a filter byte a row, and twice that for interlaced rows and whatever else a program adds.
    most = 2 * height * (1 + 4 * width * (2 if header.deep else 1)) + 65_536
    return b"".join(kept) if _unpacks_within(most, packed) else None


def _unpacks_within(most: int, packed: list[memoryview]) -> bool:
    """Whether packed data ends before it has become larger than it may; what is damaged ends, too."""
    unpacker, unpacked, step = zlib.decompressobj(), 0, 65_536
    for chunk in packed:
        for at in range(0, len(chunk), step):
            rest: bytes | memoryview = chunk[at : at + step]
            while rest:
                try:
                    unpacked += len(unpacker.decompress(rest, step))
                except zlib.error:
                    return True
                if unpacked > most:
                    return False
                rest = unpacker.unconsumed_tail
    return True


def _webp(data: bytes) -> Header:
    chunk = data[12:16]
    if len(data) >= 30 and chunk == b"VP8 ":
        return Header("WebP", (_little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF))
    if len(data) >= 30 and chunk == b"VP8L":
        bits = _little(data[21:25])
        return Header("WebP", ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    if len(data) >= 30 and chunk == b"VP8X":
        return Header("WebP", (_little(data[24:27]) + 1, _little(data[27:30]) + 1), canvas=True)
    return Header("WebP", None)


_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN: Final = 0xDA
_END: Final = 0xD9
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
"""Markers with something behind them, and the end: neither stuffed bytes of a scan nor restarts in it."""


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for code, at in _jpeg_segments(data):
        if code in _START_OF_FRAME:
            frame = data[at + 2 : at + 7]
            return (_number(frame[3:5]), _number(frame[1:3])) if len(frame) == 5 else None
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(Code, where its length stands) of each segment; like the library, what lies between them is stepped over."""
    at = 2
    for _ in range(_MAX_PARTS):
        marker = _MARKER.search(data, at)
        if marker is None or marker[0][1] == _END:
            return
        at = marker.end()
        yield marker[0][1], at
        at += max(2, _number(data[at : at + 2]))


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes, *, signed: bool = False) -> int:
    return int.from_bytes(data, "little", signed=signed)
