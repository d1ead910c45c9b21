"""One code as a scanner sent it, the symbology that its identifier names, and scans that mark repeats.

Every kind of scanner ends here, so that a `Scan` looks the same whichever protocol it came by. The symbology
identifiers are those of AIM (ISO/IEC 15424), the symbologies go by the names that the label reader uses.

>>> Code.of("]C100340434161094042557")
Code(text='00340434161094042557', identifier=']C1', symbology='Code 128')
>>> Code.of("TBA123456789012")
Code(text='TBA123456789012', identifier=None, symbology=None)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from drivers.readings import Scan

REPEAT_WITHIN_NS: Final = 1_500_000_000
CODES_REMEMBERED: Final = 64

IDENTIFIER: Final = re.compile(r"\][A-Za-z][0-9A-Za-z](?=.)", re.DOTALL)
"""An AIM symbology identifier in front of at least one character: flag, code character, modifier."""

# EOT, FS, GS, RS and US structure messages of ISO/IEC 15434 and GS1; HT, CR and LF occur in text that spans lines.
NOISE: Final = re.compile("[\x00-\x03\x05-\x08\x0b\x0c\x0e-\x1b\x7f-\x9f]")
"""A character that no label holds: what has one is no code."""

AIM: Final = {
    "A": "Code 39",
    "B": "Telepen",
    "C": "Code 128",
    "E": "EAN-13",
    "F": "Codabar",
    "G": "Code 93",
    "H": "Code 11",
    "I": "ITF",
    "J": "DotCode",
    "K": "Code 16K",
    "L": "PDF417",
    "M": "MSI",
    "O": "Codablock",
    "P": "Plessey",
    "Q": "QR Code",
    "R": "Industrial 2 of 5",
    "S": "Industrial 2 of 5",
    "T": "Code 49",
    "U": "MaxiCode",
    "d": "Data Matrix",
    "e": "DataBar",
    "g": "Grid Matrix",
    "h": "Han Xin",
    "z": "Aztec",
}
"""Code character → symbology; the others (``X``, ``Z`` …) name none that we know."""


def symbology_of(identifier: str | None, text: str = "") -> str | None:
    """The symbology that an AIM identifier names; `text` tells those apart that share ``]E0``."""
    if identifier is None or not IDENTIFIER.match(identifier + "."):
        return None
    if identifier == "]E4":
        return "EAN-8"
    # UPC is sent as 13 digits under this identifier, or as it is printed, as the scanner is set.
    if identifier == "]E0" and text.isdigit() and len(text) in _UPC:
        return _UPC[len(text)]
    return AIM.get(identifier[1])


_UPC: Final = {12: "UPC-A", 8: "UPC-E", 7: "UPC-E", 6: "UPC-E"}


class Code(NamedTuple):
    """One code as the scanner sent it."""

    text: str
    """Without its symbology identifier; GS (U+001D) stands for FNC1."""
    identifier: str | None
    """AIM symbology identifier such as ``]C1``, where the scanner sent one."""
    symbology: str | None = None

    @classmethod
    def of(cls, text: str) -> Code:
        """The code of a text that may have its symbology identifier in front."""
        if not (found := IDENTIFIER.match(text)):
            return cls(text, None)
        identifier, text = found.group(), text[found.end() :]
        return cls(text, identifier, symbology_of(identifier, text))


class Repeats:
    """Makes scans of codes and marks a code that comes again from the same device within 1.5 s: never swallows it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Code], int] = {}

    def scan(self, device: str, code: Code, now_ns: int) -> Scan:
        """The scan of a code whose last byte came at `now_ns`."""
        key = (device, code)
        before_ns = self._seen.pop(key, None)
        if len(self._seen) >= CODES_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now_ns
        repeat = before_ns is not None and now_ns - before_ns <= REPEAT_WITHIN_NS
        return Scan(device, code.text, now_ns, code.identifier, code.symbology, repeat)
