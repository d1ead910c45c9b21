"""What is wrong with a document, in words: where it is, and what was expected there.

Whoever validates with pydantic says its findings in these words, so that a fault of a message and a fault of the
settings read alike. The library itself is not loaded here: its findings are dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_FAULTS: Final = 50
"""No more are told of one message."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a document: where it is, and what was expected there."""

    path: str
    """Dotted, with indexes in brackets: ``parcels[3].stop_id``; empty for the document itself."""
    expected: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.path, self.expected)))


WORDS: Final[Mapping[str, str]] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "finite_number": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text like {pattern}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
"""What pydantic found → what was expected instead, with the members of the finding's context."""

_TYPES: Final = frozenset(
    {"string_type", "int_type", "int_from_float", "float_type", "bool_type", "list_type", "dict_type", "model_type"}
)
"""Findings about the kind of value: the kind that was found may be told."""


def path_of(location: Iterable[int | str]) -> str:
    """The path of a member, from pydantic's location: ``("stops", 1, "kind")`` is ``stops[1].kind``."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step[:60]}" if path else step[:60]
    return path[:200]


def expected(finding: ErrorDetails, words: Mapping[str, str] = WORDS) -> str:
    """What was expected, without what was found; a validator of our own has said it itself.

    :param words: `WORDS`, or these with some in the words of another kind of document
    """
    kind = finding["type"]
    context: Mapping[str, Any] = finding.get("ctx", {})
    if kind == "missing":
        return "it must be there"
    if kind == "literal_error":
        return "expected one of " + str(context["expected"]).replace("'", '"').replace(" or ", ", ")
    if kind == "value_error":
        return str(context["error"])
    return "expected " + (words[kind].format_map(context) if kind in words else finding["msg"])


def findings(details: Iterable[ErrorDetails]) -> list[Fault]:
    """Pydantic's findings about a message. Values are never repeated, because each may be a secret."""
    found = []
    for detail in details:
        got = f", got {json_type(detail['input'])}" if detail["type"] in _TYPES else ""
        found.append(Fault(path_of(detail["loc"]), expected(detail) + got))
    return found


def json_type(value: Any) -> str:
    """The JSON name of a value's type."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"
