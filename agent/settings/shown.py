"""The settings for whoever looks at them, and their JSON Schema."""

from __future__ import annotations

from typing import Any

from agent.redaction import redact
from agent.settings.whole import Settings


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, fit to be printed."""
    values: dict[str, Any] = redact(settings.model_dump(mode="json"))
    return values


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the settings file."""
    described = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described, "required": ["unit"]}
