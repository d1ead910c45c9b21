"""Scanned text to parcel identity: which number is this, whose is it, and under which names may a manifest know it?

>>> found = identify("]C100340434161094042557")
>>> found.text, found.identifier, found.kind, found.codes
('00340434161094042557', ']C1', 'sscc', ('00340434161094042557', '340434161094042557'))

Nothing here raises, whatever was scanned: what has no known form is an identity without `kind`, whose first code is
the text itself in normal form, and a label that contradicts itself (a wrong check digit, say) has a `fault`. What says
itself that it is no parcel's number (a product, a postage mark, a link) has a `kind` of `NOT_PARCELS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from agent.delivery.model.inputs import NOT_PARCELS, Scanned
from agent.delivery.model.numbers import normal
from agent.labels import carriers, other_codes
from agent.labels.check_digits import gs1_digit

if TYPE_CHECKING:
    from biip.gs1_messages import GS1Message

    from drivers.readings import Scan

MIN_CHARACTERS: Final = 6
"""What a number of an unknown form has at least."""
MAX_CHARACTERS: Final = 512
"""More than any parcel's label holds; a longer text is cut, and said to be."""

_GS: Final = "\x1d"
_FRAMING = re.compile(
    r"^[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff]+|[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff]+$"
)
_IDENTIFIER = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_GS1_IDENTIFIERS: Final = frozenset({"]C1", "]e0", "]d2", "]Q3", "]J1"})
_RETAIL_SYMBOLOGIES: Final = frozenset({"EAN-13", "EAN-8", "UPC-A", "UPC-E"})
_GTIN_LENGTHS: Final = frozenset({8, 12, 13, 14})
_SYMBOLOGY_CHARACTERS: Final = {
    "Code 128": "C",
    "Code 39": "A",
    "Code 93": "G",
    "Codabar": "F",
    "ITF": "I",
    **dict.fromkeys(_RETAIL_SYMBOLOGIES, "E"),
    "QR Code": "Q",
    "Data Matrix": "d",
    "PDF417": "L",
    "Aztec": "z",
    "MaxiCode": "U",
    "DataBar": "e",
}
"""Name of a symbology → the code character of its AIM identifiers."""
_LIKE_GS1 = re.compile(
    r"00\d{18}[0-9A-Z]|01\d{14}(?:$|(?:1[0-7]|21|24|25|30|37|4[012]|9\d)[0-9A-Z])|02\d{14}37\d|\(\d{2,4}\)|\[\d{2,4}\]"
)
_DIGITAL_LINK = re.compile(r"(https?://[^/?#]+)(/\S*0[01]/\d\S*)", re.IGNORECASE)
"""Scheme and host, which have no case (RFC 3986 §6.2.2.1), and the rest, which has."""
_ADDRESSED = re.compile(rf"{_DIGITAL_LINK.pattern}|[(\[]\d{{2,4}}[)\]]", re.IGNORECASE)
"""A Digital Link, or a message with brackets around its application identifiers."""
_PRINTED_SEPARATORS = re.compile(r"[\[<{(](?:[GRF]S|FNC1|EOT)[\]>})]|\^\]|\\x1[dD]|\\u001[dD]|␝|[~|^# ]")
"""What scanners and keyboards send in place of the separator of GS1 elements."""
_OF_FIXED_LENGTH = re.compile(
    r"(?P<ai>00)(?P<sscc>\d{18})|(?P<item>01)(?P<gtin>\d{14})|02\d{14}|1[1-7]\d{6}|20\d{2}|3[1-6]\d{8}|41\d{14}"
)
"""Elements that need no separator behind them (GS1 General Specifications 7.8.5)."""
_SSCC_WITHIN = re.compile(r"/00/(\d{18})(?!\d)|[(\[]00[)\]](\d{18})(?!\d)")
"""Of a Digital Link or a bracketed message, of which other parts cannot be read."""
_GTIN_WITHIN = re.compile(r"/01/(\d{8,14})(?!\d)|[(\[]01[)\]](\d{14})(?!\d)")
_AUSTRALIA_POST: Final = "99312650999998"
"""The one item number of all articles of Australia Post: the article's own number stands in AI 91."""
_CODABAR_FRAME = re.compile(r"[A-D]([0-9]{6,})[A-D]")
_FRAMES: Final = (
    re.compile(r"\*([^*]+)\*"),
    re.compile(r"[^0-9A-Z]*[A-Z]([0-9A-Z]{8,})"),
    re.compile(r"[^0-9A-Z]?[A-Z][0-9]([0-9A-Z]{8,})"),
    re.compile(r"([0-9A-Z]{8,})[A-Z]"),
    re.compile(r"[^0-9A-Z]*([0-9A-Z]{8,})[^0-9A-Z]*"),
)
"""Start and stop of Code 39; a letter in front or behind by which some makers' scanners tell the symbology; an
identifier of which a keyboard has made something else, or nothing, of the bracket; other signs around."""
_NO_PROOF_INSIDE: Final = frozenset({None, "amazon_international", "ontrac", "purolator_pin", "ups_waybill"})
"""Kinds of a few letters and digits: what is left of somebody else's number may look like one."""
_LETTER_AND_DIGITS = re.compile(r"[A-Z]\d{8,}")
_SHIPPING_MESSAGE: Final = "[)>"
"""How a message of ISO/IEC 15434 begins: the MaxiCode or PDF417 of a shipping label."""
_MESSAGE_SEPARATORS = re.compile("[\x04\x1c-\x1f]")
_BEHIND_DATA_IDENTIFIER = re.compile(r"\d{0,3}[A-Z]([0-9A-Z]{8,})")
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
        """A sound number of a known form that names one parcel (a product's number names a product)."""
        return self.fault is None and self.kind is not None and self.kind not in NOT_PARCELS


def identify(text: str, identifier: str | None = None, symbology: str | None = None) -> Identity:
    """What `text` (with or without its symbology identifier in front) says about a parcel. Never raises."""
    too_long = len(text) > MAX_CHARACTERS
    if too_long:
        length, text = len(text), text[:MAX_CHARACTERS]
    if not text.isascii():
        # A lone surrogate cannot be written as UTF-8, and what cannot be written cannot become an event.
        text = text.encode("utf-8", "replace").decode()
    # Control characters and spaces around are a scanner's framing; GS in front is the FNC1 that opens a GS1 message.
    text = _FRAMING.sub("", text)
    while text.startswith("]"):  # some scanners send it twice
        if identifier is None and _IDENTIFIER.match(text):
            identifier, text = text[:3], text[3:]
        elif identifier is not None and text.startswith(identifier):
            text = text[len(identifier) :]
        else:
            break
    text = _FRAMING.sub("", text)
    code = normal(text)
    if code.startswith(("(00)", "[00]")):
        code = "00" + code[4:]
    if too_long:
        fault = f"{length} characters are too long for a parcel's label, expected at most {MAX_CHARACTERS}"
        kind = other_codes.kind_of(text)
        return Identity(text, (code or text,), identifier, symbology, kind=kind, fault=fault)
    if not code:
        return Identity(text, (text,), identifier, symbology, fault="the code is empty")

    read_as = (identifier or "")[1:2] or _SYMBOLOGY_CHARACTERS.get(symbology or "")
    plain = code.isascii() and code.isalnum()
    is_gs1 = identifier in _GS1_IDENTIFIERS or _GS in text
    if plain and code.isdigit():
        by_symbology = _digits_by_symbology(text, code, identifier, symbology, read_as)
        if by_symbology is not None:
            return by_symbology
    # On 420 and 91 to 96 the carriers of North America write their own numbers with GS1's symbology.
    own = code.startswith(("9", "420")) or (code.startswith("00") and len(code) == 20)
    found = None
    if plain or code.startswith("%"):
        if is_gs1 and not own:
            message = _gs1(text, identifier, symbology) or _proven_element(text, code, identifier, symbology)
            if message is not None:
                return message
        behind_zip = normal(text.partition(_GS)[2]) if code.startswith("420") and _GS in text else ""
        if behind_zip.isascii() and behind_zip:
            found = carriers.recognise(behind_zip, read_as)
            found = found and found._replace(codes=(*found.codes, code))
        found = found or carriers.recognise(code, read_as)
        if found is not None and found.fault is None and found.kind is not None:
            return _identity(text, code, found, identifier, symbology)
    elif text.startswith(_SHIPPING_MESSAGE):
        found = _in_message(text)
        if found is not None:
            return _identity(text, code, found, identifier, symbology)
        # Behind its data identifier (ANSI MH10.8.2), where it has one, a field is the number itself.
        numbers = [match[1] for field in _message_fields(text) if (match := _BEHIND_DATA_IDENTIFIER.fullmatch(field))]
        codes = _codes(code, *other_codes.numbers_in(text), *numbers[:16], text=text)
        return Identity(text, codes, identifier, symbology, kind="message")
    if (is_gs1 and (own or not plain)) or _LIKE_GS1.match(code) or _ADDRESSED.match(text):
        message = _gs1(text, identifier, symbology)
        if message is None and (is_gs1 or not plain):
            message = _proven_element(text, code, identifier, symbology)
        # A number that only looks like a GS1 message is one when its check digit says so, too.
        proven = message is not None and (is_gs1 or not plain or message.fault is None)
        if message is not None and proven and (found is None or message.kind not in {None, "gs1"}):
            return message
    if (kind := other_codes.kind_of(text)) is not None:
        codes = _codes(code, *other_codes.numbers_in(text), text=text)
        return Identity(text, codes, identifier, symbology, kind=kind)
    if plain and code.isdigit() and read_as is None and _is_article(code):
        return _gtin(text, code, identifier, symbology)
    if found is not None and found.fault is not None:
        return _identity(text, code, found, identifier, symbology)
    names = found.codes if found is not None else ()
    for framed in _unframed(code, read_as):
        inner = carriers.recognise(framed, read_as) if framed.isascii() else None
        if inner is not None and inner.fault is None and inner.kind not in _NO_PROOF_INSIDE:
            codes = _codes(*inner.codes, code, text=text)
            return Identity(text, codes, identifier, symbology, inner.carrier, inner.kind)
        names = (*names, framed)
    # Noise on a line looks like this; a manifest that knows so short a number still finds it.
    short = len(code) < MIN_CHARACTERS
    too_short = f"{len(code)} characters are too short for a parcel's label, expected at least {MIN_CHARACTERS}"
    codes = _codes(code, *names, text=text)
    return Identity(text, codes, identifier, symbology, fault=too_short if short else None)


def _digits_by_symbology(
    text: str, code: str, identifier: str | None, symbology: str | None, read_as: str | None
) -> Identity | None:
    """What digits are by the symbology that they stand in; ``None`` when it does not tell."""
    # The eight digits of a UPC-E are shortened: their check digit belongs to the twelve that they stand for.
    if read_as == "E" and len(code) in _GTIN_LENGTHS and (symbology, len(code)) != ("UPC-E", 8):
        return _gtin(text, code, identifier, symbology)
    if read_as == "E":
        return Identity(text, _codes(code, text=text), identifier, symbology, kind="gtin")
    if read_as == "I" and len(code) in {12, 14} and carriers.identcode_fault(code) is None:
        kind = "dhl_identcode" if len(code) == 12 else "dhl_routing"
        return Identity(text, (code,), identifier, symbology, "dhl", kind)
    if read_as == "I" and len(code) == 14 and gs1_digit(code[:-1]) == code[-1]:
        return _gtin(text, code, identifier, symbology)
    return None


def _is_article(code: str) -> bool:
    """Whether digits of which nobody says in which symbology they stood are an EAN-13, or a UPC-A in its first range:
    no carrier that we know has a form of these lengths."""
    shape = len(code) == 13 or (len(code) == 12 and code.startswith("0"))
    return shape and gs1_digit(code[:-1]) == code[-1]


def _unframed(code: str, read_as: str | None) -> Iterator[str]:
    """What is left of a code of no known form when the characters around it that may be framing are taken off: each
    way to do so, the likeliest first."""
    if (codabar := _CODABAR_FRAME.fullmatch(code)) and read_as in {None, "F"}:
        yield codabar[1]
    for frame in _FRAMES:
        if framed := frame.fullmatch(code):
            yield framed[1]


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


def _message_fields(text: str) -> list[str]:
    """The fields of an ISO/IEC 15434 message, its separators as they are or as scanners print them."""
    if _GS not in text:
        text = _PRINTED_SEPARATORS.sub(_GS, text)
    return [normal(field) for field in _MESSAGE_SEPARATORS.split(text)]


def _in_message(text: str) -> carriers.Finding | None:
    """The parcel's number among the fields of an ISO/IEC 15434 message, where the number proves itself."""
    fields = _message_fields(text)
    for index, field in enumerate(fields):
        number, previous = field, fields[index - 1] if index else ""
        if field.startswith("FDE"):
            # FedEx names itself behind its number, to which Express adds a form code of four digits.
            number = previous[:12] if len(previous) == 16 else previous
        elif field == "UPSN" and _SHORT_1Z.fullmatch(previous) and index >= 2 and index + 1 < len(fields):
            # UPS spreads its number: class of service, serial number, its own name, the shipper's number.
            number = f"1Z{fields[index + 1]}{fields[index - 2][-2:]}{previous[2:]}"
        if number and number.isascii() and number.isalnum():
            found = carriers.recognise(number, "C" if number is not field else None)
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
    if _LETTER_AND_DIGITS.fullmatch(code):
        codes = _codes(*codes, code[1:], text=text)  # some makers' scanners put a letter in front
    sscc = code[-18:] if found.kind == "sscc" else None
    return Identity(text, codes, identifier, symbology, found.carrier, found.kind, found.fault, sscc)


def _gtin(text: str, code: str, identifier: str | None, symbology: str | None) -> Identity:
    expected = gs1_digit(code[:-1])
    fault = None if code[-1] == expected else f"GTIN: check digit {code[-1]}, expected {expected}"
    padded = code.zfill(14)
    shorter = code[1:] if len(code) == 13 and code.startswith("0") else code
    codes = _codes(code, padded, shorter, text=text)
    return Identity(text, codes, identifier, symbology, None, "gtin", fault, gtin=padded)


def _proven_element(text: str, code: str, identifier: str | None, symbology: str | None) -> Identity | None:
    """The SSCC, else the GTIN, of a GS1 message whose other elements cannot be read, where its check digit proves it;
    ``None`` when there is none."""
    numbers = [*_fixed_elements(text)]
    numbers += [("00", match[1] or match[2]) for match in _SSCC_WITHIN.finditer(normal(text))]
    numbers += [("01", match[1] or match[2]) for match in _GTIN_WITHIN.finditer(normal(text))]
    for ai, number in sorted(numbers):
        if gs1_digit(number[:-1]) != number[-1]:
            continue
        if ai == "00":
            return _sscc(text, number, None, (code,), identifier, symbology)
        gtin = number.zfill(14)
        codes = _codes(code, "01" + gtin, gtin, text=text)
        return Identity(text, codes, identifier, symbology, None, "gtin", None, gtin=gtin)
    return None


def _fixed_elements(text: str) -> Iterator[tuple[str, str]]:
    """Application identifier and value of each SSCC and GTIN that stands where an element begins."""
    for part in _PRINTED_SEPARATORS.sub(_GS, text).split(_GS):
        at = 0
        while element := _OF_FIXED_LENGTH.match(part, at):
            if element["ai"] or element["item"]:
                yield element["ai"] or element["item"], element["sscc"] or element["gtin"]
            at = element.end()


def _sscc(
    text: str, sscc: str, fault: str | None, whole: tuple[str, ...], identifier: str | None, symbology: str | None
) -> Identity:
    found = carriers.recognise("00" + sscc)
    codes = _codes("00" + sscc, sscc, *whole, text=text)
    return Identity(text, codes, identifier, symbology, found and found.carrier, "sscc", fault, sscc)


def _gs1(text: str, identifier: str | None, symbology: str | None) -> Identity | None:
    """The element strings of a GS1 message, a bracketed one or a Digital Link; ``None`` when it is none."""
    message = _gs1_message(text)
    if message is None and identifier in _GS1_IDENTIFIERS and (separated := _PRINTED_SEPARATORS.sub(_GS, text)) != text:
        message = _gs1_message(separated)
    if message is None:
        return None
    values = {element.ai.ai: element.value for element in message.element_strings}
    whole = normal(message.value), normal(text)
    if (sscc := values.get("00")) is not None:
        expected = gs1_digit(sscc[:-1])
        fault = None if sscc[-1] == expected else f"SSCC: check digit {sscc[-1]}, expected {expected}"
        return _sscc(text, sscc, fault, whole, identifier, symbology)
    if (gtin := values.get("01")) is not None:
        if gtin == _AUSTRALIA_POST and (article := values.get("91")) is not None:
            codes = _codes(normal(article), *whole, text=text)
            return Identity(text, codes, identifier, symbology, "australia_post", "australia_post")
        expected = gs1_digit(gtin[:-1])
        fault = None if gtin[-1] == expected else f"GTIN: check digit {gtin[-1]}, expected {expected}"
        if (serial := values.get("21")) is None:
            codes = _codes("01" + gtin, gtin, *whole, text=text)
            return Identity(text, codes, identifier, symbology, None, "gtin", fault, gtin=gtin)
        codes = _codes(f"01{gtin}21{normal(serial)}", gtin + normal(serial), *whole, text=text)
        return Identity(text, codes, identifier, symbology, None, "sgtin", fault, gtin=gtin, serial=serial)
    # What a company writes for itself (AI 90 to 99) may be its number of the parcel: only a manifest knows.
    kind = None if all(ai.startswith("9") for ai in values) else "gs1"
    names = [normal(value) for value in values.values() if len(value) >= MIN_CHARACTERS]
    return Identity(text, _codes(*whole, *names, text=text), identifier, symbology, None, kind)


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
