"""What stands on a label beside the parcel's number: codes that say themselves that they are something else.

Postage marks, places to route to, products, links, cards, networks, payments and the set-up codes of scanners. A
manifest may still know such a text, or a number inside of it; without one it is never a parcel.

>>> kind_of("WIFI:T:WPA;S:depot;P:secret;;"), kind_of("TBA123456789012")
('network', None)
>>> numbers_in("https://track.example/parcel?id=TBA123456789012")
('TBA123456789012',)
"""

from __future__ import annotations

import re
from typing import Final

from agent.delivery.model.numbers import normal

_KINDS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        # UPU S25: the data identifier J, an issuer of three characters and its data, as Royal Mail's Mailmark; the
        # matrix code of Deutsche Post's stamps begins with its own name, and what follows is no text.
        ("postage", r"J[A-Z]{2} [0-9A-Z ]{12,}|DEA(?![0-9A-Z]+$).*"),
        # ANSI MH10.8.2 2L, as DHL Express has it; GS1 AI 420 and 421 where nothing says that it is GS1's.
        ("routing", r"2L[A-Z]{2}[0-9A-Z ]{2,10}\+.*|420\d{5}|420\d{5}-\d{4}|421\d{3}(?=[0-9]*[A-Z])[0-9A-Z]{3,9}"),
        # Amazon's numbers of articles, and those of German pharmacies.
        ("product", r"B0[0-9A-Z]{8}|X00[0-9A-Z]{7}|LPN[A-Z]{2}[0-9A-Z]{7,10}|PZN ?-? ?\d{7,8}|-\d{7,8}"),
        ("contact", r"(?i:BEGIN:VCARD|MECARD:|BIZCARD:|tel:|mailto:|sms(?:to)?:|mmsto?:|MATMSG:).*"),
        ("calendar", r"(?i:BEGIN:V(?:CALENDAR|EVENT)).*"),
        ("network", r"(?i:WIFI:).*"),
        ("payment", r"(?:BCD|SPC)\r?\n.*|SPD\*.*|ST0001\d\|.*|000201(?=.*[A-Za-z]).{30,}6304[0-9A-F]{4}"),
        ("document", r"@\r?\n.*|.{0,8}ANSI ?636\d{3}.*|[PIACV][A-Z<][A-Z<]{3}[A-Z0-9<]{20,}<[A-Z0-9<\s]*"),
        # Commands of scanners' makers, which a scanner in set-up mode takes and any other one reads as a text.
        ("scanner_setup", r"@[A-Z_]{3,}.*|%[%#].+|\^#.+\^|\$[A-Z],.*|\$\$.+|\$C[A-Z0-9]{4,6}|\{[A-Z0-9/?_-]+\}"),
        ("scanner_setup", r"[0-9A-Z]{3}[A-Z]{3}[0-9]{0,6}[.!]|(?:ENTER |EXIT )?(?:SETUP|CONFIG)[ _A-Z0-9=-]*|AT\+.*"),
        ("link", r"(?i:[a-z][a-z0-9+.-]*://|www\.)\S.*"),
        ("message", r"(?i:[a-z][a-z0-9+.-]{1,20}):.*|\[\)>.*"),
    )
)
"""The first that fits the whole text is taken. A scheme and a colon (RFC 3986), whichever, stand before no number."""

_PARTS: Final = re.compile(r"[^0-9A-Za-z-]+")
_SHORTEST: Final = 8
_MOST: Final = 8
"""Numbers of one text that are looked up."""


def kind_of(text: str) -> str | None:
    """What a text is that is no parcel's number; ``None`` when it does not say."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(text)), None)


def numbers_in(text: str) -> tuple[str, ...]:
    """The parts of a text that a manifest may know, in normal form: a link to a tracking page holds the number."""
    parts = (normal(part) for part in _PARTS.split(text))
    return tuple(dict.fromkeys(p for p in parts if len(p) >= _SHORTEST and any(map(str.isdigit, p))))[:_MOST]
