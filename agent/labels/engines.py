"""The two engines behind the reader, each as a function from a grey picture to symbols.

The libraries come in with the first picture: a unit without a camera never holds them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from agent.labels.symbols import SYMBOLOGIES, Stage, Symbol

if TYPE_CHECKING:
    from agent.labels.symbols import Picture

log = logging.getLogger(__name__)

_ZBAR_NAMES: Final = {
    "Code 128": "CODE128",
    "Code 39": "CODE39",
    "QR Code": "QRCODE",
    "EAN-13": "EAN13",
    "EAN-8": "EAN8",
    "UPC-A": "UPCA",
    "UPC-E": "UPCE",
}
"""ITF, Codabar and DataBar are left out: zbar takes parts of other codes for them."""

_ZBAR_OURS: Final = {theirs: ours for ours, theirs in _ZBAR_NAMES.items()}

_ZBAR_IDENTIFIERS: Final = {"Code 39": "]A0", "EAN-13": "]E0", "EAN-8": "]E4", "UPC-A": "]E0", "UPC-E": "]E0"}
"""zbar tells no identifier: whether a Code 128 or a QR Code is GS1 stays unknown."""

_ZBAR_CODE_39_MIN_CHARACTERS: Final = 5
"""Code 39 has no check character: short ones are found in anything striped."""


def zxing(
    grey: Picture, wanted: Collection[str], stage: Stage, *, thorough: bool = False, binarizer: str = "LocalAverage"
) -> Iterator[Symbol]:
    """What zxing-cpp reads; `thorough` also tries the picture turned, inverted and shrunk."""
    import numpy as np
    import zxingcpp

    found = zxingcpp.read_barcodes(
        np.ascontiguousarray(grey),
        formats=_formats(frozenset(wanted)),
        try_rotate=thorough,
        try_downscale=thorough,
        try_invert=thorough,
        text_mode=zxingcpp.TextMode.Plain,
        binarizer=getattr(zxingcpp.Binarizer, binarizer),
    )
    for barcode in found:
        at = barcode.position
        corners = tuple((point.x, point.y) for point in (at.top_left, at.top_right, at.bottom_right, at.bottom_left))
        symbology, text = str(barcode.symbology), barcode.text
        if symbology == "EAN/UPC":
            symbology, text = retail(str(barcode.format), text)
        if text and symbology in SYMBOLOGIES:
            yield Symbol(text, symbology, barcode.symbology_identifier or None, corners, stage)


def zbar(grey: Picture, wanted: Collection[str], stage: Stage) -> Iterator[Symbol]:
    """What zbar reads of the symbologies in which it is worth asking."""
    pyzbar = _pyzbar()
    names = [theirs for ours, theirs in _ZBAR_NAMES.items() if ours in wanted]
    if pyzbar is None or not names:
        return
    for barcode in pyzbar.decode(grey, symbols=[pyzbar.ZBarSymbol[name] for name in names]):
        symbology, text = _ZBAR_OURS[barcode.type], barcode.data.decode("utf-8", "replace")
        if barcode.type == "CODE39" and len(text) < _ZBAR_CODE_39_MIN_CHARACTERS:
            continue
        symbology, text = retail(symbology, text)
        box, points = barcode.rect, [(point.x, point.y) for point in barcode.polygon]
        right, bottom = box.left + box.width, box.top + box.height
        if len(points) != 4:
            points = [(box.left, box.top), (right, box.top), (right, bottom), (box.left, bottom)]
        if text:
            yield Symbol(text, symbology, _ZBAR_IDENTIFIERS.get(symbology), tuple(points), stage)


def retail(symbology: str, text: str) -> tuple[str, str]:
    """One name and one text for a retail code, whoever reads it.

    A UPC-A is an EAN-13 that begins with 0; a UPC-E is told in full, as its identifier ``]E0`` asks.
    """
    if symbology in {"EAN-13", "UPC-A"} and len(text) == 13 and text.startswith("0"):
        return "UPC-A", text[1:]
    if symbology == "UPC-E" and len(text) == 8:
        system, digits, last, check = text[0], text[1:6], text[6], text[7]
        if last in "012":
            body = f"{digits[:2]}{last}0000{digits[2:]}"
        elif last == "3":
            body = f"{digits[:3]}00000{digits[3:]}"
        elif last == "4":
            body = f"{digits[:4]}00000{digits[4:]}"
        else:
            body = f"{digits}0000{last}"
        return symbology, f"0{system}{body}{check}"
    return symbology, text


@functools.cache
def _formats(wanted: frozenset[str]) -> Any:
    import zxingcpp

    return [getattr(zxingcpp.BarcodeFormat, name) for ours in sorted(wanted) for name in SYMBOLOGIES[ours]]


@functools.cache
def opencv() -> Any:
    """OpenCV, kept to one thread and silent."""
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
            "labels that zxing-cpp cannot read are not tried a second time: the zbar library is missing (%s); "
            "install it with: apt-get install libzbar0",
            error,
        )
        return None
    return pyzbar
