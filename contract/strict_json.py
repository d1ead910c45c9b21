"""JSON as every reader understands it alike: the one parser for what comes from outside.

Python's own parser takes more than others do: numbers that a 64-bit float cannot hold, halves of surrogate pairs,
``NaN``, a member that is there twice, other encodings, and any depth. What `parse` returns can be written again,
hashed and read by everybody.

A whole number beyond 2^53 is taken as the 64-bit float that it stands for, if it has exactly the digits with which
canonical JSON (RFC 8785) writes that float: an event with ``1e16`` in it is written as ``10000000000000000``.

>>> parse(b'{"weight_g": 900}')
{'weight_g': 900}
>>> parse(b'{"weight_g": NaN}')
Traceback (most recent call last):
contract.strict_json.StrictJsonError: expected JSON, which does not know NaN
>>> parse(b"[10000000000000000, 9007199254740991]")
[1e+16, 9007199254740991]
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from contract.canonical import canonical

SAFE_INTEGER: Final = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly (RFC 8259 §6)."""

MAX_DEPTH: Final = 64
"""Levels of nesting; the deepest message of the contract has seven."""

_WHOLE_FLOAT_DIGITS: Final = 21
"""Canonical JSON writes what has more digits with an exponent."""


MOST_SOUGHT: Final = 2 << 20
"""Bytes in which a member of a text that cannot be parsed is sought."""

_TEXT: Final = rb'"(?:[^"\\]++|\\.)*+"'
_TOKENS: Final = re.compile(_TEXT + rb"?|[{}\[\]]", re.DOTALL)
"""Texts (the last may have no end) and brackets."""
_VALUE: Final = re.compile(rb"\s*:\s*(" + _TEXT + rb")", re.DOTALL)


class StrictJsonError(ValueError):
    """These bytes are not JSON that every reader understands alike; the text says what was expected, and no value."""


def parse(payload: bytes) -> Any:
    """The value of one JSON text in UTF-8.

    :raises StrictJsonError: it is none, or not one that every reader understands alike
    """
    try:
        text = payload.decode()
        if text.startswith("\ufeff"):
            raise StrictJsonError("expected UTF-8 without a byte order mark")
        if "\0" in text[:4]:
            raise StrictJsonError("expected UTF-8, not UTF-16 or UTF-32")
        value = json.loads(
            text, parse_int=_integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate could never be written again
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"expected UTF-8, which byte {error.start} is not") from None
    except UnicodeEncodeError:
        raise StrictJsonError("expected text without lone surrogates") from None
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"expected JSON, not what stands at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def text_member(payload: bytes, name: str) -> str | None:
    """A text of the outermost object, also of one that `parse` does not take; ``None`` where it is not one text.

    At most `MOST_SOUGHT` bytes are looked at.
    """
    depth, wanted = 0, f'"{name}"'.encode()
    found: set[bytes] = set()
    for token in _TOKENS.finditer(payload, 0, MOST_SOUGHT):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token[0] == wanted and (value := _VALUE.match(payload, token.end(), MOST_SOUGHT)):
            found.add(value[1])
    try:
        (text,) = map(json.loads, found)
        str(text).encode()
    except ValueError:
        return None
    return str(text)


def _check_depth(value: Any) -> None:
    """What is nested deeper could be read here and then break a reader with a fuller stack."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        inner = []
        for node in level:
            for child in node.values() if type(node) is dict else node:
                kind = type(child)
                if kind is dict or kind is list:
                    inner.append(child)
        if not inner:
            return
        level = inner
    raise _too_deep()


def _too_deep() -> StrictJsonError:
    return StrictJsonError(f"expected at most {MAX_DEPTH} levels of nesting")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise StrictJsonError("expected each member of an object once")
    return value


def _integer(digits: str) -> int | float:
    if len(digits) < 16:
        return int(digits)
    if len(digits) <= _WHOLE_FLOAT_DIGITS + 1:
        value = int(digits)
        if -SAFE_INTEGER <= value <= SAFE_INTEGER:
            return value
        if canonical(float(value)) == digits.encode():
            return float(value)
    raise StrictJsonError(f"expected whole numbers between -{SAFE_INTEGER} and {SAFE_INTEGER}")


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise StrictJsonError("expected numbers that a 64-bit float can hold")
    return value


def _constant(name: str) -> NoReturn:
    raise StrictJsonError(f"expected JSON, which does not know {name}")
