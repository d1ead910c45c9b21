"""The contract as JSON Schema (2020-12): `names()` of everything there is, `schema(name)` of one of them."""

from __future__ import annotations

from typing import Any, Final

from contract.models import MODELS
from contract.topics import full_type
from contract.upward import UPWARD

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def names() -> list[str]:
    """Everything that `schema` knows: the messages to a unit, then what a unit sends."""
    return [*MODELS, *UPWARD]


def schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of a message with its envelope, or of something that the unit sends.

    :raises KeyError: the name is not one of `names()`
    """
    if name in UPWARD:
        body = UPWARD[name].json_schema()
        return {"$schema": DIALECT, **body, "title": name}
    body = MODELS[name].json_schema()
    definitions = body.pop("$defs", {})
    return {
        "$schema": DIALECT,
        "title": name,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 128},
            "source": {"type": "string", "minLength": 1},
            "type": {"const": full_type(name)},
            "time": {"type": "string", "format": "date-time"},
            "data": body,
        },
        **({"$defs": definitions} if definitions else {}),
    }
