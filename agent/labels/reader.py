"""Symbols in pictures and camera frames: zxing-cpp first, then zbar where zxing-cpp found nothing.

`load` turns a file into a picture, or says why it can not: a file is measured before it is unpacked, so that a small
hostile file fills neither the memory nor the day. `read` never raises for a picture that `load` or a camera gave.
The libraries come in with the first picture: a unit without a camera never holds them.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from agent.labels import LabelError
from agent.labels.headers import essence, measure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]
    """Shape (height, width, 3), BGR."""

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 64_000_000
MAX_PIXELS: Final = 40_000_000
"""Unpacked this takes 240 MB at its peak: what a board of 512 MB can bear. A picture with transparency or on a canvas
of its own may have half as many, one with transparency and 16 bits a channel a quarter."""

SYMBOLOGIES: Final[dict[str, tuple[str, ...]]] = {
    "Code 128": ("Code128",),
    # Plain Code39 would also be reported as Code 32 and PZN, whose texts are not what a label says.
    "Code 39": ("Code39Std",),
    "Code 93": ("Code93",),
    "Codabar": ("Codabar",),
    "ITF": ("ITF",),
    "EAN-13": ("EAN13",),
    "EAN-8": ("EAN8",),
    "UPC-A": ("UPCA",),
    "UPC-E": ("UPCE",),
    "QR Code": ("QRCode", "MicroQRCode", "RMQRCode"),
    "Data Matrix": ("DataMatrix",),
    "PDF417": ("PDF417", "MicroPDF417"),
    "Aztec": ("Aztec",),
    "MaxiCode": ("MaxiCode",),
    "DataBar": ("DataBar",),
}
"""The names we use → the formats of zxing-cpp. GS1-128 is a Code 128 with the identifier ``]C1``."""

_ZBAR_SYMBOLOGIES: Final = {"Code 128": "CODE128", "Code 39": "CODE39", "QR Code": "QRCODE"}
"""Where zbar is believed alone: symbologies that check themselves. Its wrong reads are in ITF, Codabar and EAN."""

_ZBAR_CODE_39_MIN_CHARACTERS: Final = 5
"""Code 39 has no check character: short ones are found in anything striped."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """One code in a picture."""

    text: str
    """Without its symbology identifier; GS (U+001D) stands for FNC1."""
    symbology: str
    """A key of `SYMBOLOGIES`."""
    identifier: str | None
    """AIM symbology identifier such as ``]C1``; ``None`` where the engine does not tell."""
    corners: tuple[tuple[int, int], ...]
    """Four points (x, y) in pixels: top left, top right, bottom right, bottom left as the code itself stands."""
    stage: Literal["zxing", "zbar"]
    """Which engine read it."""


def read(
    picture: Picture, *, symbologies: Collection[str] | None = None, budget_ms: float | None = None
) -> list[Symbol]:
    """The symbols in a picture (BGR or grey, 8-bit), each once, from top to bottom.

    `symbologies`: names of `SYMBOLOGIES`, all when ``None``. `budget_ms`: zbar is not begun once this much time has
    gone by, for a camera whose next frame waits; ``None`` takes the time it needs.
    """
    wanted = SYMBOLOGIES.keys() if symbologies is None else symbologies
    if picture.ndim not in {2, 3} or 0 in picture.shape:
        return []
    began = time.monotonic()
    grey = _grey(picture)
    symbols = list(_zxing(grey, wanted))
    if not symbols and (budget_ms is None or (time.monotonic() - began) * 1000 < budget_ms):
        symbols = list(_zbar(grey, wanted))
    unique = {(symbol.symbology, symbol.text, symbol.corners): symbol for symbol in symbols}
    return sorted(unique.values(), key=lambda symbol: (symbol.corners[0][1], symbol.corners[0][0]))


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
    header = measure(data)
    if header is None:
        found = "an empty file" if not data else f"a file that begins with {data[:8].hex(' ')}"
        raise LabelError(f"{path}: {found}, expected a JPEG, PNG, WebP, GIF or BMP picture")
    if header.size is None:
        raise LabelError(f"{path}: a damaged {header.kind} picture: its header gives no size; take the picture again")
    width, height = header.size
    if width < 1 or height < 1:
        raise LabelError(f"{path}: a {header.kind} picture of {width} x {height} pixels holds nothing to read")
    most = MAX_PIXELS // header.weight
    if width * height > most:
        raise LabelError(f"{path}: {width} x {height} pixels, expected at most {most}: make the picture smaller")
    sound = essence(header, data)
    picture = None if sound is None else _unpack(sound, keep_alpha=header.kind == "PNG" and header.alpha)
    if picture is None:
        raise LabelError(f"{path}: a {header.kind} picture that is cut off or damaged; copy it or take it again")
    return picture


def _grey(picture: Picture) -> Picture:
    if picture.ndim == 2:
        return picture
    grey: Picture = _cv2().cvtColor(picture, _cv2().COLOR_BGR2GRAY)
    return grey


def _zxing(grey: Picture, wanted: Collection[str]) -> Iterator[Symbol]:
    import numpy as np
    import zxingcpp

    formats: Any = [getattr(zxingcpp.BarcodeFormat, name) for ours in wanted for name in SYMBOLOGIES[ours]]
    found = zxingcpp.read_barcodes(np.ascontiguousarray(grey), formats=formats, text_mode=zxingcpp.TextMode.Plain)
    for barcode in found:
        at = barcode.position
        corners = tuple((point.x, point.y) for point in (at.top_left, at.top_right, at.bottom_right, at.bottom_left))
        symbology, text = str(barcode.symbology), barcode.text
        if symbology == "EAN/UPC":
            symbology = str(barcode.format)
            if symbology in {"EAN-13", "UPC-A"} and len(text) == 13 and text.startswith("0"):
                symbology, text = "UPC-A", text[1:]
        if text and symbology in SYMBOLOGIES:
            yield Symbol(text, symbology, barcode.symbology_identifier or None, corners, "zxing")


def _zbar(grey: Picture, wanted: Collection[str]) -> Iterator[Symbol]:
    pyzbar = _pyzbar()
    names = {theirs: ours for ours, theirs in _ZBAR_SYMBOLOGIES.items() if ours in wanted}
    if pyzbar is None or not names:
        return
    for barcode in pyzbar.decode(grey, symbols=[pyzbar.ZBarSymbol[name] for name in names]):
        text = barcode.data.decode("utf-8", "replace")
        if barcode.type == "CODE39" and len(text) < _ZBAR_CODE_39_MIN_CHARACTERS:
            continue
        box, points = barcode.rect, [(point.x, point.y) for point in barcode.polygon]
        right, bottom = box.left + box.width, box.top + box.height
        if len(points) != 4:
            points = [(box.left, box.top), (right, box.top), (right, bottom), (box.left, bottom)]
        if text:
            yield Symbol(text, names[barcode.type], None, tuple(points), "zbar")


@functools.cache
def _cv2() -> Any:
    import cv2

    # The loop, the journal and the camera share two to four small cores: one picture may not take them all.
    cv2.setNumThreads(1)
    # What is wrong with a picture is told by `load`, not by lines of the library on stderr.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


@functools.cache
def _pyzbar() -> Any | None:
    """pyzbar, or ``None`` when the system's zbar library is missing, which is said once."""
    try:
        from pyzbar import pyzbar
    except ImportError as error:
        log.warning(
            "labels that zxing-cpp can not read are not tried a second time: the zbar library is missing (%s); "
            "install it with: apt-get install libzbar0",
            error,
        )
        return None
    return pyzbar


def _unpack(data: bytes, *, keep_alpha: bool) -> Picture | None:
    import numpy as np

    cv2 = _cv2()
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
