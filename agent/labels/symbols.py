"""A symbol as it is read from a picture, and the symbologies by the names we use for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]
    """Shape (height, width, 3), BGR, or (height, width), grey."""

Stage: TypeAlias = Literal["zxing", "zbar", "crop", "levels", "variant"]
Corners: TypeAlias = tuple[tuple[int, int], ...]

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

RETAIL: Final = frozenset({"EAN-13", "EAN-8", "UPC-A", "UPC-E"})
"""One check digit guards them, which one wrong read in ten passes."""

MATRIX: Final = frozenset({"QR Code", "Data Matrix", "PDF417", "Aztec", "MaxiCode"})
"""They correct their own errors, so that a text is either right or not there."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """One code in a picture."""

    text: str
    """Without its symbology identifier; GS (U+001D) stands for FNC1."""
    symbology: str
    """A key of `SYMBOLOGIES`."""
    identifier: str | None
    """AIM symbology identifier such as ``]C1``; ``None`` where the engine does not tell."""
    corners: Corners
    """Four points (x, y) in pixels: top left, top right, bottom right, bottom left as the code itself stands."""
    stage: Stage
    """What it took to read it, surest first: an engine on the picture as it is (``zxing``, ``zbar``), a straightened
    cut-out (``crop``), the grey levels across blurred bars (``levels``), the picture with other contrast or scale
    (``variant``)."""
