"""Picture files: measured before they are unpacked, so that a small hostile file can not fill the memory.

`load` gives a picture that `reader.read` takes, or says in a `LabelError` why it can not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.labels import LabelError
from agent.labels.engines import opencv

if TYPE_CHECKING:
    from agent.labels.symbols import Picture

MAX_FILE_BYTES: Final = 64_000_000
MAX_PIXELS: Final = 40_000_000
"""Unpacked and in grey this takes 160 MB: what a board of 512 MB can bear."""
MIN_SIDE: Final = 8
MAX_SCANNED_PIXELS: Final = 400_000_000
"""A progressive JPEG draws its pixels once a scan: usually ten times, in a hostile file thousands of times."""


def load(path: Path) -> Picture:
    """The picture in a file, turned upright as its EXIF data says; raises `LabelError`."""
    try:
        if not path.is_file():
            raise LabelError(f"{path}: not a file" if path.exists() else f"{path}: there is no such file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise LabelError(f"{path}: {size} bytes, expected at most {MAX_FILE_BYTES}: make the picture smaller")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: can not be read: {error.strerror}") from error
    except ValueError as error:
        raise LabelError(f"{path!r}: not a file name") from error
    kind, dimensions = _measure(data)
    if kind is None:
        found = "an empty file" if not data else f"a file that begins with {data[:8].hex(' ')}"
        raise LabelError(f"{path}: {found}, expected a JPEG, PNG, WebP, GIF or BMP picture")
    if dimensions is None:
        raise LabelError(f"{path}: a damaged {kind} picture: its header gives no size; take the picture again")
    width, height = dimensions
    if width < MIN_SIDE or height < MIN_SIDE:
        raise LabelError(
            f"{path}: a {kind} picture of {width} x {height} pixels holds nothing to read, "
            f"expected at least {MIN_SIDE} on each side"
        )
    if width * height > MAX_PIXELS:
        raise LabelError(f"{path}: {width} x {height} pixels, expected at most {MAX_PIXELS}: make the picture smaller")
    scans = data.count(b"\xff\xda") if kind == "JPEG" else 1
    if scans * width * height > MAX_SCANNED_PIXELS:
        raise LabelError(
            f"{path}: a {kind} picture of {scans} scans with {width} x {height} pixels each, "
            f"expected at most {MAX_SCANNED_PIXELS} pixels in all: save it again without progressive display"
        )
    picture = _unpack(data, keep_alpha=kind == "PNG")
    if picture is None:
        raise LabelError(f"{path}: a {kind} picture that is cut off or damaged; copy it or take it again")
    return picture


def _unpack(data: bytes, *, keep_alpha: bool) -> Picture | None:
    import numpy as np

    cv2 = opencv()
    try:
        flags = cv2.IMREAD_UNCHANGED if keep_alpha else cv2.IMREAD_COLOR
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        return None
    if picture is None or 0 in picture.shape:
        return None
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 4:
        # Black codes on a transparent ground are common in labels from the web: the ground is paper.
        paper = 255 - picture[:, :, 3:]
        picture = np.maximum(picture[:, :, :3], paper)
    unpacked: Picture = picture
    return unpacked


def _measure(data: bytes) -> tuple[str | None, tuple[int, int] | None]:
    """Kind of picture and (width, height) from its header alone."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", (_number(data[16:20]), _number(data[20:24])) if data[12:16] == b"IHDR" and len(
            data
        ) >= 24 else None
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF", (_little(data[6:8]), _little(data[8:10])) if len(data) >= 10 else None
    if data.startswith(b"BM"):
        return "BMP", (_little(data[18:22]), abs(_little(data[22:26], signed=True))) if len(data) >= 26 else None
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP", _webp_dimensions(data)
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _jpeg_dimensions(data)
    return None, None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes, *, signed: bool = False) -> int:
    return int.from_bytes(data, "little", signed=signed)


def _webp_dimensions(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if len(data) < 30:
        return None
    if chunk == b"VP8 ":
        return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
    if chunk == b"VP8L":
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    return None


_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_MARKER = re.compile(rb"\xff+([^\xff\x00])", re.DOTALL)


def _jpeg_dimensions(data: bytes) -> tuple[int, int] | None:
    """The size in the first start-of-frame segment; the segments before it are stepped over."""
    at = 2
    while (marker := _MARKER.match(data, at)) is not None:
        code, at = marker[1][0], marker.end()
        if code in _START_OF_FRAME:
            frame = data[at : at + 7]
            return (_number(frame[5:7]), _number(frame[3:5])) if len(frame) == 7 else None
        if code == 0x01 or 0xD0 <= code <= 0xD9:
            continue
        length = _number(data[at : at + 2])
        if length < 2:
            return None
        at += length
    return None
