"""The contract as JSON Schema (2020-12): `names()` of everything there is, `schema(name)` of one of them."""

from __future__ import annotations

from typing import Any, Final

from contract.members import JSON_ITEMS, JSON_MARK, JSON_MEMBERS, JSON_NAME, JSON_TEXT
from contract.models import ENVELOPE, MODELS
from contract.strict_json import MAX_DEPTH
from contract.topics import full_type
from contract.upward import UPWARD
from contract.vocabulary import MAX_MESSAGE_BYTES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_JSON: Final[dict[str, Any]] = {"$ref": "#/$defs/Json"}
_JSON_DEFINITION: Final = {
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "maxLength": JSON_TEXT},
        {"type": "array", "maxItems": JSON_ITEMS, "items": _JSON},
        {
            "type": "object",
            "maxProperties": JSON_MEMBERS,
            "propertyNames": {"maxLength": JSON_NAME},
            "additionalProperties": _JSON,
        },
    ]
}
"""Whatever the sender likes, within bounds (`contract.members.Json`)."""


def names() -> list[str]:
    """Everything that `schema` knows: the messages to a unit, then what a unit sends."""
    return [*MODELS, *UPWARD]


def schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of a message with its envelope, or of something that the unit sends.

    :raises KeyError: the name is not one of `names()`
    """
    if name in UPWARD:
        return {"$schema": DIALECT, **UPWARD[name].json_schema(), "title": name}
    envelope = ENVELOPE.json_schema()
    body = _with_any_json(MODELS[name].json_schema())
    return {
        "$schema": DIALECT,
        "title": name,
        "description": (
            f"JSON in UTF-8, of at most {MAX_MESSAGE_BYTES} bytes, nested at most {MAX_DEPTH} levels, each member of "
            "an object once, with whole numbers that a 64-bit float keeps exactly"
        ),
        "type": "object",
        "required": [*envelope["required"], "data"],
        "properties": envelope["properties"] | {"type": {"const": full_type(name)}, "data": body},
        "$defs": body.pop("$defs", {}) | {"Json": _JSON_DEFINITION},
    }


def _with_any_json(node: Any) -> Any:
    """The schema with a reference in each place that is marked as free."""
    if isinstance(node, dict):
        free = _JSON if node.get(JSON_MARK) else {}
        return {name: _with_any_json(each) for name, each in node.items() if name != JSON_MARK} | free
    return [_with_any_json(each) for each in node] if isinstance(node, list) else node
