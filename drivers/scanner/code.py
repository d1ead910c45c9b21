"""From what a scanner sent to a code: its text, its symbology identifier, and the symbology that this names.

Every protocol of scanners ends here, so that a code is the same whichever way it came: `read` is the one decoder. A
text is UTF-8, or else Windows-1252, the older default of scanners, and is then marked so. Control and framing
characters, and spaces, around a code are no part of it. The symbology identifiers are those of AIM (ISO/IEC 15424), the
symbologies go by the names that the label reader uses.

>>> read(b"\\x02]C100340434161094042557\\x03\\r\\n")
Code(text='00340434161094042557', identifier=']C1', symbology='Code 128', encoding='utf-8')
>>> read("Stra\xdfe 7".encode("latin-1"))
Code(text='Straße 7', identifier=None, symbology=None, encoding='windows-1252')
>>> read(b"TBA\\x00\\xff123")
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from unicodedata import category

from drivers.readings import Encoding, Scan

REPEAT_WITHIN_NS: Final = 1_500_000_000
CODES_REMEMBERED: Final = 64

IDENTIFIER: Final = re.compile(r"\][A-Za-z][0-9A-Za-z](?=.)", re.DOTALL)
"""An AIM symbology identifier in front of at least one character: flag, code character, modifier."""

# EOT, FS, GS, RS and US structure messages of ISO/IEC 15434 and GS1; HT, CR and LF occur in text that spans lines.
NOISE: Final = re.compile("[\x00-\x03\x05-\x08\x0b\x0c\x0e-\x1b\x7f-\x9f]")
"""A character that no label holds: what has one is no code."""
_AROUND: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Categories of characters that are no part of a code where they stand around it."""
_STRUCTURE: Final = "\x1c\x1d\x1e\x1f"
_MESSAGE: Final = "[)>"
"""How a message of ISO/IEC 15434 begins."""
FRAMING: Final = b"\0\x01\x02\x03\x04\t\r\n "
"""Bytes that are no code where there is nothing else: a scanner sends them apart from one."""
_EOT: Final = "\x04"
"""How it ends."""
_TOKEN: Final = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
"""Letters and digits, and what is beyond ASCII."""

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
    encoding: Encoding = "utf-8"

    @classmethod
    def of(
        cls,
        text: str,
        identifier: str | None = None,
        symbology: str | None = None,
        encoding: Encoding = "utf-8",
    ) -> Code:
        """The code of a text that may have its symbology identifier in front, once or twice.

        :param identifier: what the protocol says beside the text; one in the text of the same symbology is nearer
        """
        sent = None
        while found := IDENTIFIER.match(text):
            own = found.group()
            if own != sent if sent else identifier is not None and own[1] != identifier[1]:
                break
            sent, text = own, bare(text[found.end() :])
        identifier = sent or identifier
        return cls(text, identifier, symbology or symbology_of(identifier, text), encoding)


def read(
    sent: bytes | bytearray | str, identifier: str | None = None, symbology: str | None = None, *, proven: bool = False
) -> Code | None:
    """The code in what a scanner sent; ``None`` when there is none in it, or it did not arrive as it was sent.

    :param identifier: what its protocol says beside the text
    :param proven: the protocol has checked that this is what was sent
    """
    decoded = _decoded(sent.encode("utf-8", "replace") if isinstance(sent, str) else sent)
    if decoded is None:
        return None
    text, encoding = bare(decoded[0]), decoded[1]
    if not text or NOISE.search(text) or (encoding != "utf-8" and not proven and not _makes_sense(text)):
        return None
    return Code.of(text, identifier, symbology, encoding)


def bare(text: str) -> str:
    """A text without the control characters, format characters and spaces around it.

    The separators of ISO/IEC 15434 and GS1 are data, and so is the end of a message.
    """
    begin, end = 0, len(text)
    while begin < end and _is_around(text[begin]):
        begin += 1
    is_message = text.startswith(_MESSAGE, begin)
    while begin < end and _is_around(text[end - 1]) and not (is_message and text[end - 1] == _EOT):
        end -= 1
    return text[begin:end]


def is_printable(sent: bytes) -> bool:
    """Whether this might be what a person can read, in whatever encoding: a line at a wrong speed is not."""
    decoded = _decoded(sent)
    return decoded is not None and NOISE.search(bare(decoded[0])) is None and _is_mostly_ascii(decoded[0])


def _decoded(sent: bytes | bytearray) -> tuple[str, Encoding] | None:
    try:
        return sent.decode(), "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        return sent.decode("cp1252"), "windows-1252"
    except UnicodeDecodeError:
        return None


def _is_around(char: str) -> bool:
    return char not in _STRUCTURE and (char <= " " or (char >= "\x7f" and category(char) in _AROUND))


def _is_mostly_ascii(text: str) -> bool:
    return 2 * sum(map(str.isascii, text)) >= len(text)


def _makes_sense(text: str) -> bool:
    """Whether letters beyond ASCII, which any byte can be taken for, stand where a label has such letters.

    They do in words. In a number, and in lower case among capitals, they are what is left of another character.
    """
    if not _is_mostly_ascii(text):
        return False
    for token in _TOKEN.findall(text):
        if token.isascii() or any("a" <= char <= "z" for char in token):
            continue
        small = any(char.islower() and char != "ß" for char in token)
        if any("0" <= char <= "9" for char in token) or (small and any("A" <= char <= "Z" for char in token)):
            return False
    return True


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
        return Scan(device, code.text, now_ns, code.identifier, code.symbology, repeat, encoding=code.encoding)
