"""Kinds of members that the models of messages are made of: ids, texts, times, numbers.

Each is as strict as the JSON Schema that is published of it, no more and no less, and each has a bound.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from contract.faults import json_type
from contract.secrecy import PLAIN, SEALED
from contract.times import unix_ms

# ------------------------------------------------------------------------------------------------ texts


_KEY: Final = "^[A-Za-z0-9_-]{43}=?$"
_HEX: Final = "^[0-9a-f]{64}$"
_is_key: Final = re.compile(_KEY.removesuffix("$")).fullmatch


def _a_key(value: str) -> str:
    if _is_key(value):
        return value
    raise ValueError("expected 32 bytes in base64url")


_AT_THE_END: Final = r"(?!\n)"
"""In some languages ``$`` also stands before a line feed that ends the text."""
_IDENTIFIER: Final = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$"
_AMOUNT: Final = r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$"


Identifier = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=_IDENTIFIER,
        json_schema_extra={"pattern": _IDENTIFIER + _AT_THE_END},
        description="any characters but control characters and separators of lines",
    ),
    PLAIN,
]
is_identifier: Final = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,128}").fullmatch
"""Whether a text may be an `Identifier`."""
Name = Annotated[str, Field(max_length=200)]
"""Of what many others refer to and repeat."""
ShortText = Annotated[str, Field(max_length=500)]
LongText = Annotated[str, Field(max_length=4000)]
Key = Annotated[
    str,
    AfterValidator(_a_key),
    Field(json_schema_extra={"maxLength": 44, "pattern": _KEY}, description="32 bytes, base64url"),
    SEALED,
]
Hmac = Annotated[
    str,
    Field(pattern=_HEX, json_schema_extra={"maxLength": 64}, description="HMAC-SHA256, lowercase hex"),
    PLAIN,
]
Digest = Annotated[
    str, Field(pattern=_HEX, json_schema_extra={"maxLength": 64}, description="SHA-256, lowercase hex"), PLAIN
]
Amount = Annotated[
    str,
    Field(
        pattern=_AMOUNT,
        json_schema_extra={"maxLength": 18, "pattern": _AMOUNT + _AT_THE_END},
        description="decimal number",
    ),
    PLAIN,
]
Currency = Annotated[
    str, Field(pattern=r"^[A-Z]{3}$", json_schema_extra={"maxLength": 3}, description="ISO 4217"), PLAIN
]
Country = Annotated[
    str, Field(pattern=r"^[A-Z]{2}$", json_schema_extra={"maxLength": 2}, description="ISO 3166-1 alpha-2")
]

# ------------------------------------------------------------------------------------------------ times

_DAY_AND_TIME: Final = (
    "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)"
    r"(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$(?!\n)"
)
_YEARS: Final = r"^(?!1970-01-01.*\+(?!00:00)|2100-12-31.{9}[.0-9]*-(?!00:00))(19[7-9][0-9]|20[0-9]{2}|2100)"
"""Not on the first and the last day with an offset that may lead out of them."""
_is_time: Final = re.compile("^[0-9]{4}" + _DAY_AND_TIME).match
_is_in_these_years: Final = re.compile(_YEARS).match


@lru_cache(1000)
def _a_time(value: str) -> str:
    if _is_time(value):
        if not _is_in_these_years(value):
            raise ValueError("expected a time in the years 1970 to 2100")
        if unix_ms(value) is not None:
            return value
    raise ValueError("expected an RFC 3339 date and time with its offset, such as 2026-11-21T09:00:00Z")


Time = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra={"format": "date-time", "pattern": _YEARS + _DAY_AND_TIME},
        description="RFC 3339, in the years 1970 to 2100",
    ),
    AfterValidator(_a_time),
    PLAIN,
]

# ------------------------------------------------------------------------------------------------ numbers


Count = Annotated[int, Field(ge=0, le=10_000_000)]
Version = Annotated[int, Field(ge=0, le=2**53 - 1)]
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Age = Annotated[int, Field(ge=1, le=120)]
Number = Annotated[float, Field(ge=-1_000_000, le=1_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Metres = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

MAX_SEQUENCE: Final = 999_999_999_999
"""The highest sequence number that a message may name: one event a millisecond for thirty years."""
_SEQUENCE_TEXT: Final = r"^0{0,8}[0-9]{1,12}$"
_is_sequence_text: Final = re.compile(_SEQUENCE_TEXT.removesuffix("$")).fullmatch


def _a_sequence(value: Any) -> Any:
    if isinstance(value, str) and _is_sequence_text(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_SEQUENCE:
        raise ValueError(f"expected a sequence number: a whole number up to {MAX_SEQUENCE} or its decimal string")
    return value


Sequence = Annotated[
    int,
    BeforeValidator(
        _a_sequence,
        json_schema_input_type=Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]
        | Annotated[str, Field(max_length=20, pattern=_SEQUENCE_TEXT + _AT_THE_END)],
    ),
]

# ------------------------------------------------------------------------------------------------ any JSON

JSON_TEXT: Final = 4000
JSON_ITEMS: Final = 10_000
JSON_MEMBERS: Final = 1000
JSON_NAME: Final = 200
JSON_MARK: Final = "any"
"""Stands in a schema for `Json`, which refers to itself: `contract.schema` puts the reference there."""


def _bounded_json(value: Any) -> Any:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if len(text) > JSON_TEXT:
                raise ValueError(f"expected texts of at most {JSON_TEXT} characters in it")
            case list() as items:
                if len(items) > JSON_ITEMS:
                    raise ValueError(f"expected lists of at most {JSON_ITEMS} items in it")
                waiting += items
            case dict() as members:
                if len(members) > JSON_MEMBERS or any(len(name) > JSON_NAME for name in members):
                    raise ValueError(
                        f"expected objects of at most {JSON_MEMBERS} members in it, with names of at most {JSON_NAME} "
                        "characters"
                    )
                waiting += members.values()
    return value


Json = Annotated[Any, AfterValidator(_bounded_json), Field(json_schema_extra={JSON_MARK: True})]
"""Whatever the sender likes, within bounds; the unit keeps it as it is and looks into none of it."""

# ------------------------------------------------------------------------------------------------ settings

SETTING_TEXT: Final = 2000


def _a_setting(value: Any) -> Any:
    match value:
        case str() if len(value) > SETTING_TEXT:
            raise ValueError(f"expected a text of at most {SETTING_TEXT} characters")
        case str() | int() | float():  # a boolean is an int
            return value
    raise ValueError(f"expected a text, a number or true or false, got {json_type(value)}")


Setting = Annotated[
    Any,
    AfterValidator(_a_setting),
    Field(
        json_schema_extra={"anyOf": [{"type": ["number", "boolean"]}, {"type": "string", "maxLength": SETTING_TEXT}]}
    ),
]
