"""A JPEG as a camera gave it: its own bytes, looked at without decoding, and decoded once if anybody wants to see it.

Checking that a picture is whole takes microseconds, decoding it takes milliseconds: most pictures of a camera are only
kept for a while and never looked at.

>>> Jpeg.whole(b"not a picture") is None
True
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Final

Data = bytes | memoryview
"""Bytes that nobody changes any more."""

MAX_PIXELS: Final = 64_000_000
"""What OpenCV may decode: 192 MB, so that one picture cannot eat the memory of the board."""
QUALITY: Final = 80

_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
# SOF0 to SOF15 hold the size; DHT, JPG and DAC lie between them.
_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TAIL: Final = 4096
"""Cameras fill up their last block: the end of the picture is looked for in so many bytes, then in all."""
SELECT_TIMEOUT_S: Final = 5


class Jpeg:
    """One whole JPEG."""

    __slots__ = ("_image", "_lock", "_tried", "data", "height", "width")

    def __init__(self, data: Data, width: int, height: int, image: Any = None) -> None:
        self.data = data
        """Exactly the picture, from its first marker to its last."""
        self.width = width
        self.height = height
        self._image = image
        self._tried = image is not None
        self._lock = threading.Lock()

    @classmethod
    def whole(cls, data: Data, image: Any = None) -> Jpeg | None:
        """The picture in `data`, without what was filled up behind it; ``None`` when it is no JPEG or not all of one.

        `image` is the picture where it is decoded already.
        """
        view = memoryview(data).cast("B").toreadonly()
        if view[:2] != _START or (header := _header(view)) is None:
            return None
        width, height, scan = header
        tail = max(scan, len(view) - _TAIL)
        end = bytes(view[tail:]).rfind(_END)
        if end < 0:
            tail, end = scan, bytes(view[scan:]).rfind(_END)
        if end < 0 or not 0 < width * height <= MAX_PIXELS:
            return None
        end += tail + len(_END)
        # Without the room behind it, which would be kept for as long as the picture.
        data = bytes(view[:end]) if len(view) - end > _TAIL else view[:end]
        return cls(data, width, height, image)

    @property
    def image(self) -> Any:
        """The picture, (height, width, 3) 8-bit BGR, upright as its EXIF says; ``None`` when it cannot be decoded.

        Decoded in the thread that asks first, once.
        """
        with self._lock:
            if not self._tried:
                self._image, self._tried = decode(self.data), True
            return self._image


def opencv() -> Any:
    """OpenCV, loaded when it is needed first: 40 MB that a unit without a camera does not need."""
    # These are read when the library is loaded or used first.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SELECT_TIMEOUT_S))
    # A camera's address is where its pictures come from: no answer leads to another host.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp|max_redirects;0")
    # What it and FFmpeg would print is said by the part's state, without the password that a URL may hold.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    return cv2


def decode(content: Data) -> Any:
    """The picture in a file of any form, upright as its EXIF says, or ``None``."""
    cv2 = opencv()
    import numpy as np

    if not len(content):
        return None
    with contextlib.suppress(cv2.error):
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None


def encode(image: Any) -> Data | None:
    """A picture as JPEG."""
    cv2 = opencv()
    with contextlib.suppress(cv2.error):
        good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return memoryview(data).cast("B").toreadonly() if good else None
    return None


def size(data: Data) -> tuple[int, int]:
    """Width and height of a JPEG; zeros when it has no header."""
    header = _header(memoryview(data).cast("B"))
    return (0, 0) if header is None else header[:2]


def _header(view: memoryview) -> tuple[int, int, int] | None:
    """Width, height, and where the scan begins; ``None`` when the bytes break off before, or are something else."""
    at, width, height = 2, 0, 0
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker == 0xFF:  # markers may be preceded by any number of these
            at += 1
            continue
        length = int.from_bytes(view[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS and at + 9 <= len(view):
            height = int.from_bytes(view[at + 5 : at + 7], "big")
            width = int.from_bytes(view[at + 7 : at + 9], "big")
        at += 2 + length
        if marker == _START_OF_SCAN:
            return (width, height, at) if at <= len(view) else None
        if length < 2:
            return None
    return None
