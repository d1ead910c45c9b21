"""How the carriers number their parcels: shape, check digit, and the other ways in which a number is written.

`recognise` answers for one number in normal form (upper case, nothing between the characters). A form either proves
its carrier by its shape alone (then a wrong check digit is a fault of the label), or others number their parcels in the
same shape, too: then its check has to prove it, and otherwise the form is unknown. One check digit behind bare digits
fits one number in ten of everybody else's, so that alone it proves nothing: the symbology has to speak for the form as
well. A shape that others share and that has no check digit is no form here.

The formats and the check digit rules are those that the carriers publish: the UPU's S10 standard, USPS Publication
199 (IMpb), the GS1 General Specifications (SSCC), ISO/IEC 7064 (DPD), and the label guides of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agent.labels.check_digits import (
    doubling_digit,
    gs1_digit,
    luhn_digit,
    modulo_7_digit,
    modulo_37_36_digit,
    weighted_11_digit,
)

Check = Callable[[str], str | None]
"""What is wrong with a number of the form, or ``None``."""
Proof = Literal["shape", "check", "digit"]
"""What proves a form: its shape alone, so that a wrong check digit is a fault of the label; its check where others have
the shape, too; or one check digit, which fits one number in ten by chance: then it must have been read in a symbology
of the form, and no other form's digit may fit as well."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way of numbering parcels."""

    kind: str
    name: str
    """For sentences: ``UPS 1Z``."""
    carrier: str | Callable[[str], str | None] | None
    pattern: re.Pattern[str]
    check: Check | None = None
    rewrite: Callable[[str], tuple[str, ...]] | None = None
    """Every way to write the same parcel's number, the one for people first."""
    proof: Proof = "shape"
    symbologies: str = ""
    """Code characters of the AIM identifiers that the carrier prints it in (``C`` of ``]C1``); empty: any."""


class Finding(NamedTuple):
    """What a number is."""

    kind: str | None
    carrier: str | None
    codes: tuple[str, ...]
    fault: str | None = None


def recognise(code: str, symbology: str | None = None) -> Finding | None:
    """What `code` (normal form, ASCII, not empty) is.

    `symbology`: the code character of its AIM identifier, where it is known. ``None`` when no form fits; a finding
    without a kind when forms fit and none is proven: then it has the names that they would give the number.
    """
    forms = _BY_LENGTH.get(len(code), ()) if code.isdigit() else _BY_INITIAL.get(code[0], ())
    fitting: list[Form] = []
    for form in forms:
        ruled_out = symbology is not None and form.symbologies and symbology not in form.symbologies
        if ruled_out or form.pattern.fullmatch(code) is None:
            continue
        wrong = None if form.check is None else form.check(code)
        if form.proof == "shape":
            return _finding(form, code, f"{form.name}: {wrong}" if wrong else None)
        if wrong is None:
            if form.proof == "check":
                return _finding(form, code)
            fitting.append(form)
    if not fitting:
        return None
    if len(fitting) == 1 and symbology is not None:
        return _finding(fitting[0], code)
    return Finding(None, None, tuple(dict.fromkeys(name for form in fitting for name in _finding(form, code).codes)))


def _finding(form: Form, code: str, fault: str | None = None) -> Finding:
    codes = (code,) if form.rewrite is None else form.rewrite(code)
    if fault is not None:
        codes = tuple(dict.fromkeys((code, *codes)))  # what was scanned is shown as it is
    return Finding(form.kind, form.carrier(code) if callable(form.carrier) else form.carrier, codes, fault)


def identcode_fault(code: str) -> str | None:
    """What is wrong with 12 digits as an Identcode of DHL Paket: weights 4 and 9 in turn, modulo 10."""
    body = code[:-1]
    return _differs(code[-1], str(-(4 * sum(map(int, body[::2])) + 9 * sum(map(int, body[1::2]))) % 10))


def _differs(found: str, expected: str) -> str | None:
    return None if found == expected else f"check digit {found}, expected {expected}"


def _last(digit: Callable[[str], str], start: int = 0, prefix: str = "") -> Check:
    """The last character is the check digit of `prefix` and what stands from `start` on."""
    return lambda code: _differs(code[-1], digit(prefix + code[start:-1]))


def _s10_fault(code: str) -> str | None:
    """UPU S10: weights 8 6 4 2 3 5 9 7, modulo 11."""
    rest = (
        11 - sum(int(digit) * weight for digit, weight in zip(code[2:10], (8, 6, 4, 2, 3, 5, 9, 7), strict=True)) % 11
    )
    expected = "0" if rest == 10 else "5" if rest == 11 else str(rest)
    return _differs(code[10], expected)


_IMPB_LENGTHS = (22, 26, 30)


def _impb_fault(number: str) -> str | None:
    """USPS Publication 199: channel 91 to 95; on 92 a mailer of nine digits (it starts with 9), on 93 one of six."""
    channel, nine_digit_mailer = number[:2], number[5] == "9"
    if (channel == "92" and not nine_digit_mailer) or (channel == "93" and nine_digit_mailer):
        digits = "nine" if channel == "92" else "six"
        return f"{channel} asks for a mailer identifier of {digits} digits, found {number[5:11]}…"
    return _differs(number[-1], gs1_digit(number[:-1]))


def _usps_20_fault(number: str) -> str | None:
    """Printed without its application identifier 91, which the check digit may or may not cover."""
    body, found = number[:-1], number[-1]
    return None if found == gs1_digit("91" + body) else _differs(found, gs1_digit(body))


def _behind_the_zip(code: str) -> str | None:
    """The parcel's number in ``420`` + ZIP (5 or 9 digits) + number; ``None`` when nothing fits."""
    for zip_digits in (5, 9):
        number = code[3 + zip_digits :]
        if len(number) in _IMPB_LENGTHS and "91" <= number[:2] <= "95" and _impb_fault(number) is None:
            return number
        if len(number) == 20 and _usps_20_fault(number) is None:
            return number
    return None


def _usps_routed_fault(code: str) -> str | None:
    return None if _behind_the_zip(code) else "no number with a right check digit follows 420 and the ZIP code"


def _usps_routed_codes(code: str) -> tuple[str, ...]:
    number = _behind_the_zip(code)
    return (code,) if number is None else (number, code)


def _fedex_express_part(code: str) -> tuple[str, ...]:
    """The last 14 digits of a FedEx barcode of 34 are the number; Express prints the 12 behind two zeros."""
    number = code[-14:]
    return (number[2:], number, code) if number.startswith("00") else (number, code)


def _licence_plate_codes(code: str) -> tuple[str, ...]:
    """A licence plate of DHL is scanned with the data identifier J in front of JD, and printed with or without it."""
    if code.startswith("JJD"):
        return (code, code[1:])
    return (code, "J" + code) if code.startswith("JD") else (code,)


def _sscc_carrier(code: str) -> str | None:
    """An SSCC names who numbered the unit; these company prefixes are carriers that number parcels themselves."""
    return "dhl" if code[-17:-10] in {"4043383", "4043416"} else None


_POSTS = {
    "AT": "austrian_post",
    "AU": "australia_post",
    "BE": "bpost",
    "BR": "correios",
    "CA": "canada_post",
    "CH": "swiss_post",
    "CN": "china_post",
    "CZ": "ceska_posta",
    "DE": "deutsche_post",
    "DK": "postnord",
    "ES": "correos",
    "FI": "posti",
    "FR": "la_poste",
    "GB": "royal_mail",
    "HK": "hongkong_post",
    "IE": "an_post",
    "IN": "india_post",
    "IT": "poste_italiane",
    "JP": "japan_post",
    "KR": "korea_post",
    "LU": "post_luxembourg",
    "NL": "postnl",
    "NO": "posten",
    "NZ": "new_zealand_post",
    "PL": "poczta_polska",
    "PT": "ctt",
    "SE": "postnord",
    "SG": "singapore_post",
    "TR": "ptt",
    "US": "usps",
}
"""The posts whose parcels are met most often; the others are told by kind and country."""

_COUNTRY_LIST = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
_COUNTRIES = "|".join(_COUNTRY_LIST.split())
"""ISO 3166-1 alpha-2, and XK, which the UPU uses for Kosovo."""


def _form(
    kind: str,
    name: str,
    carrier: str | Callable[[str], str | None] | None,
    pattern: str,
    check: Check | None = None,
    rewrite: Callable[[str], tuple[str, ...]] | None = None,
    *,
    proof: Proof = "shape",
    symbologies: str = "",
) -> Form:
    return Form(kind, name, carrier, re.compile(pattern), check, rewrite, proof, symbologies)


_BARS = "AC"
"""Code 39 and Code 128, in which most numbers of digits stand."""


def _s10(first: str, proof: Proof) -> Form:
    """A number of the UPU's standard S10 with this first letter of its service indicator."""
    pattern = rf"{first}[A-Z]\d{{9}}(?:{_COUNTRIES})"
    return _form("s10", "UPU S10", lambda code: _POSTS.get(code[-2:]), pattern, _s10_fault, proof=proof)


def _sscc_18(pattern: str, proof: Proof) -> Form:
    """An SSCC without its application identifier."""
    return _form(
        "sscc",
        "SSCC",
        _sscc_carrier,
        pattern,
        _last(gs1_digit),
        lambda code: ("00" + code, code),
        proof=proof,
        symbologies=_BARS + "I" if proof == "digit" else "",
    )


_SSCC = _form("sscc", "SSCC", _sscc_carrier, r"00\d{18}", _last(gs1_digit, 2), lambda code: (code, code[2:]))
_USPS_ROUTED = _form(
    "usps_impb", "USPS IMpb", "usps", r"420\d{25,39}", _usps_routed_fault, _usps_routed_codes, proof="check"
)
_USPS_IMPB = _form("usps_impb", "USPS IMpb", "usps", r"9[1-5]\d+", _impb_fault)
_FEDEX_GSN = _form(
    "fedex_34", "FedEx Ground 96", "fedex", r"96\d{32}", _last(weighted_11_digit, 20), _fedex_express_part
)
_DPD_28 = _form(
    "dpd_28",
    "DPD",
    "dpd",
    r"%?\d{27}[0-9A-Z]",
    lambda code: _differs(code[-1], modulo_37_36_digit(code[-28:-1])),
    lambda code: (code[-21:-7], code[-28:]),
    proof="check",
)
_DPD_15 = _form(
    "dpd_15",
    "DPD",
    "dpd",
    r"[01]\d{13}[0-9A-Z]",
    _last(modulo_37_36_digit),
    lambda code: (code[:14], code),
    proof="check",
)
_DHL_EXPRESS = _form(
    "dhl_express", "DHL Express", "dhl", r"[1-9]\d{9,10}", _last(modulo_7_digit), proof="digit", symbologies=_BARS
)

_BY_LENGTH: dict[int, tuple[Form, ...]] = {
    10: (_DHL_EXPRESS,),
    11: (
        _form(
            "old_dominion",
            "Old Dominion",
            "old_dominion",
            r"(?:77[78]|072|780|80\d)\d{8}",
            _last(luhn_digit),
            proof="check",
        ),
        _DHL_EXPRESS,
    ),
    12: (
        _form(
            "purolator_12",
            "Purolator",
            "purolator",
            r"[23]\d{11}",
            _last(luhn_digit),
            proof="digit",
            symbologies=_BARS,
        ),
        _form(
            "fedex_12",
            "FedEx Express",
            "fedex",
            r"[1-9]\d{11}",
            _last(weighted_11_digit),
            proof="digit",
            symbologies=_BARS,
        ),
        # Yamato and Sagawa number alike, and print in Codabar: the form is theirs, the carrier is not told.
        _form("japan_12", "Yamato or Sagawa", None, r"\d{12}", _last(modulo_7_digit), proof="digit", symbologies="F"),
    ),
    15: (
        _DPD_15,
        _form("fedex_15", "FedEx Ground", "fedex", r"\d{15}", _last(gs1_digit), proof="digit", symbologies=_BARS),
    ),
    16: (
        _form(
            "canada_post", "Canada Post", "canada_post", r"\d{16}", _last(gs1_digit), proof="digit", symbologies=_BARS
        ),
    ),
    18: (
        _form(
            "fedex_18",
            "FedEx Ground SSCC",
            "fedex",
            r"0[0124]\d{16}",
            _last(gs1_digit),
            lambda code: (code, "00" + code),
            proof="check",
        ),
        _form("swiss_post_18", "Swiss Post", "swiss_post", r"9[89]\d{16}"),
        _form("bpost_18", "bpost", "bpost", r"3232\d{14}"),
        _sscc_18(r"\d(?:4043383|4043416)\d{10}", "check"),
        _sscc_18(r"\d{18}", "digit"),
    ),
    20: (
        _SSCC,
        _form(
            "fedex_20",
            "FedEx Ground Economy",
            "fedex",
            r"61\d{18}",
            _last(gs1_digit, 0, "92"),
            lambda code: (code, "92" + code),
            proof="check",
        ),
        _form(
            "usps_20",
            "USPS",
            "usps",
            r"(?:0[1-4]|13|2[1-3]|7[0-37]|8[12])\d{18}",  # the codes of its services
            _usps_20_fault,
            lambda code: (code, "91" + code),
            proof="check",
        ),
    ),
    22: (
        _form("fedex_22", "FedEx Ground 96", "fedex", r"96\d{20}", _last(gs1_digit, 7), lambda code: (code[7:], code)),
        _USPS_IMPB,
    ),
    24: (_form("bpost_24", "bpost", "bpost", r"32(?:32|99)\d{20}"),),
    26: (_USPS_IMPB,),
    28: (_USPS_ROUTED, _DPD_28),
    30: (_USPS_ROUTED, _form("usps_impb", "USPS IMpb", "usps", r"94\d{3}9\d{24}", _impb_fault)),
    32: (
        _form(
            "fedex_32",
            "FedEx ASTRA",
            "fedex",
            r"3\d{31}",
            lambda code: _differs(code[27], weighted_11_digit(code[16:27])),
            lambda code: (code[16:28], code),
            proof="check",
        ),
        _USPS_ROUTED,
    ),
    34: (
        _USPS_ROUTED,
        _FEDEX_GSN,
        _form(
            "fedex_34",
            "FedEx",
            "fedex",
            r"[0-8]\d{33}",
            _last(weighted_11_digit, 20),
            _fedex_express_part,
            proof="check",
        ),
    ),
    38: (_USPS_ROUTED,),
    42: (_USPS_ROUTED,),
}
"""Numbers of digits alone, by their length."""

_LETTERED: tuple[tuple[str, Form], ...] = (
    ("T", _form("amazon_tba", "Amazon TBA", "amazon", r"TBA\d{12}")),
    ("T", _form("amazon_tbc", "Amazon TBC", "amazon", r"TBC\d{12}")),
    ("T", _form("amazon_tbm", "Amazon TBM", "amazon", r"TBM\d{12}")),
    (
        "T",
        _form(
            "amazon_tba",
            "Amazon",
            "amazon",
            r"TB[ACM]\d[0-9A-Z]*",
            lambda code: f"12 digits are expected behind {code[:3]}, found {code[3:]}",
        ),
    ),
    ("1", _form("ups_1z", "UPS 1Z", "ups", r"1Z[0-9A-Z]{15}\d", _last(doubling_digit, 2))),
    (
        "1",
        _form(
            "ups_1z",
            "UPS 1Z",
            "ups",
            r"1Z[0-9A-Z]+",
            lambda code: f"16 characters are expected behind 1Z, the last a digit, found {len(code) - 2}",
        ),
    ),
    # Parcels, express, e-commerce, tracked, registered, insured and plain letters; other letters others use as well.
    ("CEHLRUV", _s10("[CEHLRUV]", "shape")),
    ("*", _s10("[A-Z]", "check")),
    ("HJKTV", _form("ups_waybill", "UPS waybill", "ups", r"[HJKTV]\d{10}", _last(doubling_digit, 1), proof="check")),
    ("ACF", _form("amazon_international", "Amazon", "amazon", r"[ACF]\d{10}")),
    ("J", _form("bpost_jj", "bpost", "bpost", r"JJBEA\d{22}")),
    ("J", _form("yodel", "Yodel", "yodel", r"JJ?D\d{16}")),
    (
        "J",
        _form(
            "dhl_licence_plate",
            "DHL",
            "dhl",
            r"JD\d{18}|J(?:JD|VGL)\d{9,20}",
            None,
            _licence_plate_codes,
        ),
    ),
    (
        "GLRU",
        _form(
            "dhl_ecommerce",
            "DHL eCommerce",
            "dhl",
            r"(?:GM|LX|RX|UV)(?!\d{9}[A-Z]{2}$)\d[0-9A-Z]{9,38}",
        ),
    ),
    ("3", _form("postnl_3s", "PostNL", "postnl", r"3S[A-Z]{4}\d{7,9}")),
    ("3", _form("dhl_3s", "DHL Parcel", "dhl", r"3S[A-Z]{3}\d{9}")),
    ("%0123456789", _DPD_28),
    ("0123456789", _DPD_15),
    ("%", _form("dpd_27", "DPD", "dpd", r"%[0-9A-Z]{7}\d{20}", None, lambda code: (code[8:22], code[1:]))),
    ("CDKLSUXZ", _form("canpar", "Canpar", "canpar", r"[CDKLSUXZ]\d{21}")),
    ("G", _form("gofo", "GOFO", "gofo", r"GFUS\d{14}")),
    ("L", _form("landmark", "Landmark Global", "landmark", r"LTN\d{8}N1")),
    ("L", _form("lasership_lx", "LaserShip", "lasership", r"L[AIEHNX][123]\d{7}")),
    (
        "1",
        _form(
            "lasership_1ls", "LaserShip", "lasership", r"1LS7[12]\d{10}|1LS7[12]\d{2}01[1-4]\d{6}1|1LSCX[0-9A-Z]{10}"
        ),
    ),
    ("C", _form("ontrac", "OnTrac", "ontrac", r"C\d{14}", _last(doubling_digit, 1, "4"), proof="check")),
    ("D", _form("ontrac", "OnTrac", "ontrac", r"D\d{14}", _last(doubling_digit, 1, "5"), proof="check")),
    ("*", _form("purolator_pin", "Purolator", "purolator", r"[A-Z]{3}\d{9}")),
    ("S", _form("speedee", "Spee-Dee", "speedee", r"SP\d{18}")),
    ("Y", _form("yunexpress", "YunExpress", "yunexpress", r"YT\d{16}")),
)
"""Numbers with letters: the first characters (``*`` is any letter) and the form; the first that fits is taken."""

_BY_INITIAL: dict[str, tuple[Form, ...]] = {
    initial: tuple(
        form for initials, form in _LETTERED if initial in initials or (initials == "*" and initial.isalpha())
    )
    for initial in "%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
}
