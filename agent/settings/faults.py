"""What is wrong with settings, in words: where, what was expected, what was found, and from where it came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from agent.settings.scanner import ScannerSettings
from agent.settings.whole import Settings
from contract.faults import WORDS, Fault, expected, path_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Where a value stands: ``("scanner", 0, "baud")``."""


class SettingsError(Exception):
    """The settings cannot be used; `faults` holds every reason, one a line in the message."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


_WORDS: Final[Mapping[str, str]] = {
    **WORDS,
    "string_type": "text in quotes",
    "string_too_short": "text",
    "path_type": "a path in quotes",
    "model_type": "a table of keys",
    "tuple_type": "a list of tables ([[scanner]])",
}
"""As the words of a message, where a settings file does not call it by another name."""


def fault_of(finding: ErrorDetails, origins: Mapping[Place, str]) -> Fault:
    """One of pydantic's findings in our words. The value is shown, unless it may hold a secret.

    :param origins: the environment variables that values came from
    """
    place, kind, value = finding["loc"], finding["type"], finding["input"]
    path = path_of(place)
    origin = f" (from {origins[place]})" if place in origins else ""
    if kind == "extra_forbidden":
        return Fault(path or "settings", _unknown(place) + origin)
    if kind == "missing":
        return Fault(path, "expected a value, got none" + origin)
    wanted = expected(finding, _WORDS)
    if isinstance(value, BaseModel | dict) and kind == "value_error":
        return Fault(path or "scanner", wanted + origin)
    found = json.dumps(value, default=str, ensure_ascii=False)
    secret = path in {"broker.url", "camera.source"} and ("@" in found or "?" in found)
    return Fault(path, f"{wanted}, got {'one with a secret in it' if secret else _shortened(found)}{origin}")


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
