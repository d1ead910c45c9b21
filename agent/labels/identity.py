"""Scanned text to parcel identity: which number is this, whose is it, and under which names may a manifest know it?

>>> found = identify("]C100340434161094042557")
>>> found.text, found.identifier, found.kind, found.codes
('00340434161094042557', ']C1', 'sscc', ('00340434161094042557', '340434161094042557'))

Nothing here raises, whatever was scanned: what has no known form is an identity without `kind`, whose only code is
the text itself in normal form, and a label that contradicts itself (a wrong check digit, say) has a `fault`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from agent.delivery.fold.codes import normal
from agent.delivery.model.inputs import Scanned
from agent.labels import carriers

if TYPE_CHECKING:
    from biip.gs1_messages import GS1Message

    from drivers.readings import Scan

MIN_CHARACTERS: Final = 6
"""What a number of an unknown form has at least."""
MAX_CHARACTERS: Final = 512
"""More than any parcel's label holds; a longer text is cut, and said to be."""

_GS: Final = "\x1d"
_IDENTIFIER = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_GS1_IDENTIFIERS: Final = frozenset({"]C1", "]e0", "]d2", "]Q3", "]J1"})
_RETAIL_SYMBOLOGIES: Final = frozenset({"EAN-13", "EAN-8", "UPC-A", "UPC-E"})
_GTIN_LENGTHS: Final = frozenset({8, 12, 13, 14})
_NOT_PARCELS: Final = frozenset({"gtin", "gs1", "dhl_routing"})
"""Kinds of codes that name no parcel: a product, a place to route to, elements without a number."""
_LIKE_GS1 = re.compile(r"00\d{18}[0-9A-Z]|01\d{14}(?:1[0-7]|21|24|25|30|37|4[012])[0-9A-Z]|\(\d{2,4}\)|\[\d{2,4}\]")
_DIGITAL_LINK = re.compile(r"(https?://[^/?#]+)(/\S*0[01]/\d\S*)", re.IGNORECASE)
"""Scheme and host, which have no case (RFC 3986 §6.2.2.1), and the rest, which has."""
_PRINTED_SEPARATORS = re.compile(r"\[GS\]|<GS>|␝|[~|^# ]")
"""What scanners and keyboards send in place of the separator of GS1 elements."""
_SSCC_IN_FRONT = re.compile(r"00(\d{18})")
_CODABAR_FRAME = re.compile(r"[A-D]([0-9]{6,})[A-D]")
_FRAMED = re.compile(r"\*([^*]+)\*|[A-Z]([0-9A-Z]{8,})")
"""Start and stop of Code 39, or a letter by which some makers' scanners tell the symbology."""
_SHIPPING_MESSAGE: Final = "[)>"
"""How a message of ISO/IEC 15434 begins: the MaxiCode or PDF417 of a shipping label."""
_MESSAGE_SEPARATORS = re.compile("[\x04\x1c-\x1f]")
_SHORT_1Z = re.compile(r"1Z[0-9A-Z]{8}")
_KINDS_IN_MESSAGES: Final = frozenset({"ups_1z", "s10", "dhl_licence_plate"})


@dataclass(frozen=True, slots=True)
class Identity:
    """What a scanned text says about a parcel."""

    text: str
    """As read, without its symbology identifier."""
    codes: tuple[str, ...]
    """Every form under which a manifest may know it, in normal form, the best first; never empty."""
    identifier: str | None = None
    """AIM symbology identifier such as ``]C1``."""
    symbology: str | None = None
    carrier: str | None = None
    """``amazon``, ``ups``, ``usps``, ``fedex``, ``dhl`` …; ``None`` when the number does not tell."""
    kind: str | None = None
    """Form of the number: ``amazon_tba``, ``sscc``, ``s10``, ``gtin`` …; ``None`` when the form is unknown."""
    fault: str | None = None
    """What is wrong with the text; a manifest may still know the very text."""
    sscc: str | None = None
    """Serial shipping container code, 18 digits."""
    gtin: str | None = None
    """Global trade item number, 14 digits."""
    serial: str | None = None
    """Serial number of the trade item."""

    @property
    def tracking_number(self) -> str:
        """The number that people use."""
        return self.codes[0]

    @property
    def is_parcel(self) -> bool:
        """A sound number of a known form that names one parcel (a product's GTIN names a kind of product)."""
        return self.fault is None and self.kind is not None and self.kind not in _NOT_PARCELS


def identify(text: str, identifier: str | None = None, symbology: str | None = None) -> Identity:
    """What `text` (with or without its symbology identifier in front) says about a parcel. Never raises."""
    too_long = len(text) > MAX_CHARACTERS
    if too_long:
        length, text = len(text), text[:MAX_CHARACTERS]
    if not text.isascii():
        # A lone surrogate cannot be written as UTF-8, and what cannot be written cannot become an event.
        text = text.encode("utf-8", "replace").decode()
    # STX, ETX and line ends are a scanner's framing; GS in front is the FNC1 that opens a GS1 message.
    text = text.strip("\x00\x02\x03\r\n\x1d")
    while text.startswith("]"):  # some scanners send it twice
        if identifier is None and _IDENTIFIER.match(text):
            identifier, text = text[:3], text[3:]
        elif identifier is not None and text.startswith(identifier):
            text = text[len(identifier) :]
        else:
            break
    text = text.lstrip(_GS)
    code = normal(text)
    if code.startswith(("(00)", "[00]")):
        code = "00" + code[4:]
    if too_long:
        fault = f"{length} characters are too long for a parcel's label, expected at most {MAX_CHARACTERS}"
        return Identity(text, (code or text,), identifier, symbology, fault=fault)
    if not code:
        return Identity(text, (text,), identifier, symbology, fault="the code is empty")

    plain = code.isascii() and code.isalnum()
    is_gs1 = identifier in _GS1_IDENTIFIERS or _GS in text
    if plain and code.isdigit():
        # The eight digits of a UPC-E are shortened: their check digit belongs to the twelve that they stand for.
        if _is_retail(identifier, symbology) and len(code) in _GTIN_LENGTHS and (symbology, len(code)) != ("UPC-E", 8):
            return _gtin(text, code, identifier, symbology)
        if _is_interleaved(identifier, symbology) and carriers.identcode_fault(code) is None:
            if len(code) == 12:
                return Identity(text, (code,), identifier, symbology, "dhl", "dhl_identcode")
            if len(code) == 14:
                return Identity(text, (code,), identifier, symbology, "dhl", "dhl_routing")
    # On 420 and 91 to 96 the carriers of North America write their own numbers with GS1's symbology.
    own = code.startswith(("9", "420")) or (code.startswith("00") and len(code) == 20)
    found = None
    if plain or code.startswith("%"):
        if is_gs1 and not own:
            message = _gs1(text, identifier, symbology) or _proven_front(text, code, identifier, symbology)
            if message is not None:
                return message
        behind_zip = normal(text.partition(_GS)[2]) if code.startswith("420") and _GS in text else ""
        if behind_zip.isascii() and behind_zip:
            found = carriers.recognise(behind_zip)
            found = found and found._replace(codes=(*found.codes, code))
        found = found or carriers.recognise(code)
        if found is not None and found.fault is None:
            return _identity(text, code, found, identifier, symbology)
    elif text.startswith(_SHIPPING_MESSAGE):
        found = _in_message(text)
        if found is not None:
            return _identity(text, code, found, identifier, symbology)
    if (is_gs1 and (own or not plain)) or _LIKE_GS1.match(code) or _DIGITAL_LINK.match(text):
        message = _gs1(text, identifier, symbology)
        if message is None and is_gs1:
            message = _proven_front(text, code, identifier, symbology)
        # A number that only looks like a GS1 message is one when its check digit says so, too.
        proven = message is not None and (is_gs1 or not plain or message.fault is None)
        if message is not None and proven and (found is None or message.kind != "gs1"):
            return message
    if found is not None:
        return _identity(text, code, found, identifier, symbology)
    if plain and code.isdigit() and len(code) == 13 and carriers.gs1_digit(code[:-1]) == code[-1]:
        return _gtin(text, code, identifier, symbology)
    if (framed := _unframed(code, identifier, symbology)) is not None:
        inner = carriers.recognise(framed) if framed.isascii() else None
        if inner is not None and inner.fault is None and inner.kind is not None:
            codes = _codes(*inner.codes, code, text=text)
            return Identity(text, codes, identifier, symbology, inner.carrier, inner.kind)
        return Identity(text, _codes(code, framed, text=text), identifier, symbology)
    # Noise on a line looks like this; a manifest that knows so short a number still finds it.
    short = len(code) < MIN_CHARACTERS
    too_short = f"{len(code)} characters are too short for a parcel's label, expected at least {MIN_CHARACTERS}"
    return Identity(text, _codes(code, text=text), identifier, symbology, fault=too_short if short else None)


def _unframed(code: str, identifier: str | None, symbology: str | None) -> str | None:
    """What is left of a code of no known form when the characters around it that may be framing are taken off."""
    if (codabar := _CODABAR_FRAME.fullmatch(code)) and (symbology in {None, "Codabar"} or identifier == "]F0"):
        return codabar[1]
    framed = _FRAMED.fullmatch(code)
    return None if framed is None else framed[1] or framed[2]


def to_input(scan: Scan, entry: Literal["scan", "camera", "manual"] = "scan") -> Scanned:
    """A scanner's or the camera's reading, or what the driver typed, as an input of the core."""
    found = identify(scan.text, scan.identifier, scan.symbology)
    return Scanned(
        found.text,
        found.codes,
        scan.device,
        entry,
        found.carrier,
        found.kind,
        found.fault,
        found.identifier,
        found.symbology,
        scan.repeat,
        tuple(to_input(other, entry) for other in scan.others),
    )


def _is_retail(identifier: str | None, symbology: str | None) -> bool:
    return (identifier is not None and identifier.startswith("]E")) or symbology in _RETAIL_SYMBOLOGIES


def _is_interleaved(identifier: str | None, symbology: str | None) -> bool:
    return (identifier is not None and identifier.startswith("]I")) or symbology == "ITF"


def _in_message(text: str) -> carriers.Finding | None:
    """The parcel's number among the fields of an ISO/IEC 15434 message, where the number proves itself."""
    fields = [normal(field) for field in _MESSAGE_SEPARATORS.split(text)]
    for index, field in enumerate(fields):
        number, previous = field, fields[index - 1] if index else ""
        if field.startswith("FDE"):
            # FedEx names itself behind its number, to which Express adds a form code of four digits.
            number = previous[:12] if len(previous) == 16 else previous
        elif field == "UPSN" and _SHORT_1Z.fullmatch(previous) and index >= 2 and index + 1 < len(fields):
            # UPS spreads its number: class of service, serial number, its own name, the shipper's number.
            number = f"1Z{fields[index + 1]}{fields[index - 2][-2:]}{previous[2:]}"
        if number and number.isascii() and number.isalnum():
            found = carriers.recognise(number)
            if found is not None and found.fault is None:
                fedex = number is not field and found.carrier == "fedex"
                if fedex or found.kind in _KINDS_IN_MESSAGES:
                    return found
    return None


def _codes(*codes: str, text: str) -> tuple[str, ...]:
    """Each once, in order; the raw text last, for a manifest that was written with what a scanner read."""
    return tuple(dict.fromkeys((*codes, text)))


def _identity(text: str, code: str, found: carriers.Finding, identifier: str | None, symbology: str | None) -> Identity:
    codes = found.codes if text == code and code in found.codes else _codes(*found.codes, code, text=text)
    sscc = code[-18:] if found.kind == "sscc" else None
    return Identity(text, codes, identifier, symbology, found.carrier, found.kind, found.fault, sscc)


def _gtin(text: str, code: str, identifier: str | None, symbology: str | None) -> Identity:
    expected = carriers.gs1_digit(code[:-1])
    fault = None if code[-1] == expected else f"GTIN: check digit {code[-1]}, expected {expected}"
    padded = code.zfill(14)
    shorter = code[1:] if len(code) == 13 and code.startswith("0") else code
    codes = _codes(code, padded, shorter, text=text)
    return Identity(text, codes, identifier, symbology, None, "gtin", fault, gtin=padded)


def _proven_front(text: str, code: str, identifier: str | None, symbology: str | None) -> Identity | None:
    """The SSCC at the start of a GS1 message whose other elements cannot be read; ``None`` when there is none."""
    front = _SSCC_IN_FRONT.match(code)
    if front is None or carriers.gs1_digit(front[1][:-1]) != front[1][-1]:
        return None
    found = carriers.recognise(front[0])
    codes = _codes(front[0], front[1], code, text=text)
    return Identity(text, codes, identifier, symbology, found and found.carrier, "sscc", None, front[1])


def _gs1(text: str, identifier: str | None, symbology: str | None) -> Identity | None:
    """The element strings of a GS1 message, a bracketed one or a Digital Link; ``None`` when it is none."""
    message = _gs1_message(text)
    if message is None and identifier in _GS1_IDENTIFIERS and (separated := _PRINTED_SEPARATORS.sub(_GS, text)) != text:
        message = _gs1_message(separated)
    if message is None:
        return None
    values = {element.ai.ai: element for element in message.element_strings}
    whole = normal(message.value)
    if (unit := values.get("00")) is not None:
        sscc = unit.value
        expected = carriers.gs1_digit(sscc[:-1])
        fault = None if sscc[-1] == expected else f"SSCC: check digit {sscc[-1]}, expected {expected}"
        found = carriers.recognise("00" + sscc)
        codes = _codes("00" + sscc, sscc, whole, normal(text), text=text)
        carrier = None if found is None else found.carrier
        return Identity(text, codes, identifier, symbology, carrier, "sscc", fault, sscc)
    if (item := values.get("01")) is not None:
        gtin = item.value
        expected = carriers.gs1_digit(gtin[:-1])
        fault = None if gtin[-1] == expected else f"GTIN: check digit {gtin[-1]}, expected {expected}"
        if (number := values.get("21")) is None:
            codes = _codes("01" + gtin, gtin, whole, normal(text), text=text)
            return Identity(text, codes, identifier, symbology, None, "gtin", fault, gtin=gtin)
        serial = number.value
        codes = _codes(f"01{gtin}21{normal(serial)}", gtin + normal(serial), whole, normal(text), text=text)
        return Identity(text, codes, identifier, symbology, None, "sgtin", fault, gtin=gtin, serial=serial)
    return Identity(text, _codes(whole, normal(text), text=text), identifier, symbology, None, "gs1")


def _gs1_message(text: str) -> GS1Message | None:
    # biip holds 22 MB of company prefixes: only a unit that meets such labels pays for it. An SSCC alone does not.
    from biip import BiipException, ParseConfig
    from biip.gs1_digital_link_uris import GS1DigitalLinkURI
    from biip.gs1_messages import GS1Message

    config = ParseConfig(gs1_element_strings_verify_date=False)
    text = text.strip()
    try:
        if link := _DIGITAL_LINK.fullmatch(text):
            text = link[1].lower() + link[2].rstrip("/")
            return GS1DigitalLinkURI.parse(text, config=config).as_gs1_message()
        if text.startswith("["):
            text = re.sub(r"\[(\d{2,4})\]", r"(\1)", text)
        if text.startswith("("):
            return GS1Message.parse_hri(text, config=config)
        return GS1Message.parse(text, config=config)
    except (BiipException, ValueError, ArithmeticError, LookupError):
        return None
