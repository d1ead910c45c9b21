"""Picture files: measured before they are unpacked, so that a small hostile file fills neither the memory nor the day.

`load` gives a picture that `reader.read` takes, or says in a `LabelError` why it cannot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.labels import LabelError
from agent.labels.engines import opencv
from agent.labels.headers import essence, measure

if TYPE_CHECKING:
    from agent.labels.symbols import Picture

MAX_FILE_BYTES: Final = 64_000_000
MAX_PIXELS: Final = 40_000_000
"""Unpacked this takes 240 MB at its peak: what a board of 512 MB can bear. A picture with transparency or on a canvas
of its own may have half as many, one with transparency and 16 bits a channel a quarter."""
MIN_SIDE: Final = 8


def load(path: Path) -> Picture:
    """The picture in a file, turned upright as its EXIF data says.

    :raises LabelError: it cannot be read, or is no picture that a label can be looked for in
    """
    try:
        if not path.is_file():
            raise LabelError(f"{path}: not a file" if path.exists() else f"{path}: there is no such file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise LabelError(f"{path}: {size} bytes, expected at most {MAX_FILE_BYTES}: make the picture smaller")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LabelError(f"{path!r}: not a file name") from error
    header = measure(data)
    if header is None:
        found = "an empty file" if not data else f"a file that begins with {data[:8].hex(' ')}"
        raise LabelError(f"{path}: {found}, expected a JPEG, PNG, WebP, GIF or BMP picture")
    if header.size is None:
        raise LabelError(f"{path}: a damaged {header.kind} picture: its header gives no size; take the picture again")
    width, height = header.size
    if width < MIN_SIDE or height < MIN_SIDE:
        raise LabelError(
            f"{path}: a {header.kind} picture of {width} x {height} pixels holds nothing to read, "
            f"expected at least {MIN_SIDE} on each side"
        )
    most = MAX_PIXELS // header.weight
    if width * height > most:
        raise LabelError(f"{path}: {width} x {height} pixels, expected at most {most}: make the picture smaller")
    sound = essence(header, data)
    picture = None if sound is None else _unpack(sound, keep_alpha=header.kind == "PNG" and header.alpha)
    if picture is None:
        raise LabelError(f"{path}: a {header.kind} picture that is cut off or damaged; copy it or take it again")
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
