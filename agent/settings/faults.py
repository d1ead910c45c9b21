"""What is wrong with settings, in words: where, what was expected, what was found, and from where it came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from agent.settings.scanner import ScannerSettings
from agent.settings.whole import Settings

Place = tuple[str | int, ...]
"""Where a value stands: ``("scanner", 0, "baud")``."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    path: str
    """``scanner[0].baud``; the name of the file where the file itself cannot be read."""
    message: str
    """What was expected and what was found."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SettingsError(Exception):
    """The settings cannot be used; `faults` holds every reason, one a line in the message."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


_EXPECTED: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "text",
    "path_type": "a path in quotes",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "model_type": "a table of keys",
    "tuple_type": "a list of tables ([[scanner]])",
}


def fault_of(detail: ErrorDetails, values: Mapping[str, Any], origins: Mapping[Place, str]) -> Fault:
    """One of pydantic's findings in our words. The value is shown, unless it may hold a secret."""
    place, kind, value, context = detail["loc"], detail["type"], detail["input"], detail.get("ctx", {})
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    origin = f" (from {origins[place]})" if place in origins else ""
    if kind == "extra_forbidden":
        return Fault(path or "settings", _unknown(place) + origin)
    if kind == "missing":
        return Fault(path, "expected a value, got none" + origin)
    if kind == "value_error":
        expected = str(context["error"])
    elif kind == "literal_error":
        expected = "expected one of " + context["expected"].replace("'", '"').replace(" or ", ", ")
    else:
        expected = "expected " + _EXPECTED.get(kind, detail["msg"]).format_map(context)
    if isinstance(value, BaseModel | dict) and kind == "value_error":
        return Fault(path or "scanner", expected + origin)
    found = json.dumps(value, default=str, ensure_ascii=False)
    secret = path in {"broker.url", "camera.source"} and ("@" in found or "?" in found)
    return Fault(path, f"{expected}, got {'one with a secret in it' if secret else _shortened(found)}{origin}")


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


def _unknown(place: Place) -> str:
    """What to say of a key or section that does not exist: the nearest one that does."""
    keys: Iterable[str] = Settings.model_fields
    thing = "section"
    if len(place) > 1:
        section = ScannerSettings if place[0] == "scanner" else Settings.model_fields[str(place[0])].annotation
        keys, thing = getattr(section, "model_fields", {}), "key"
    close = get_close_matches(str(place[-1]), keys, n=1)
    meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(keys)}"
    return f"unknown {thing}, {meant}"
