"""What is wrong with settings, in words: where, what was expected, what was found, and from where it came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from pydantic.fields import FieldInfo

from agent.settings.scanner import ScannerSettings
from agent.settings.section import MisplacedError
from agent.settings.unit import NAMES
from agent.settings.whole import Settings
from contract.faults import WORDS, Fault, expected, path_of
from drivers.limited_log import printable

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
_BEYOND: Final = frozenset({"greater_than_equal", "less_than_equal"})
MAX_SHOWN: Final = 80
SECRET_KEYS: Final = frozenset({"broker.url", "camera.source"})
"""Keys in which people write passwords."""


def fault_of(finding: ErrorDetails, origins: Mapping[Place, str]) -> Fault:
    """One of pydantic's findings in our words: what was expected, what was found, and what to do. The value is shown,
    unless it may hold a secret.

    :param origins: the environment variables that values came from
    """
    place, kind, value = finding["loc"], finding["type"], finding["input"]
    path = printable(path_of(place))
    origin = f" (from {origins[place]})" if place in origins else ""
    if kind == "extra_forbidden":
        return Fault(path or "settings", _unknown(place) + origin)
    field = _field(place)
    if kind == "missing":
        return Fault(path, f"expected a value, got none{origin}: set it")
    wanted = _range(field) if kind in _BEYOND else None
    wanted = wanted or expected(finding, _WORDS)
    misplaced = finding.get("ctx", {}).get("error")
    if isinstance(misplaced, MisplacedError):
        return Fault(f"{path}.{misplaced.key}" if path else misplaced.key, wanted + origin)
    found = json.dumps(value, default=str, ensure_ascii=False)
    if path in SECRET_KEYS and ("@" in found or "?" in found):
        found = "one with a secret in it"
    elif path.endswith("_file") and not found.startswith('"/'):
        found = "another text"  # a password or key that was written where its file's path belongs
    return Fault(path, f"{wanted}, got {printable(found, MAX_SHOWN)}{origin}: {_step(path, field)}")


def _field(place: Place) -> FieldInfo | None:
    """What the settings say of a key; ``None`` for what is no key."""
    keys = [step for step in place if isinstance(step, str)]
    if len(keys) < 2:
        return None
    section = ScannerSettings if keys[0] == "scanner" else Settings.model_fields[keys[0]].annotation
    fields: Mapping[str, FieldInfo] = getattr(section, "model_fields", {})
    return fields.get(keys[1])


def _range(field: FieldInfo | None) -> str | None:
    """Both ends of what a number may be, where it has both."""
    metadata = field.metadata if field else []
    ends = {name: getattr(each, name) for each in metadata for name in ("ge", "le") if hasattr(each, name)}
    return f"expected {ends['ge']:,} to {ends['le']:,}" if len(ends) == 2 else None


def _step(path: str, field: FieldInfo | None) -> str:
    if field is None or field.is_required() or path.removeprefix("unit.") in NAMES:
        return "correct it"
    default = field.get_default(call_default_factory=True)
    otherwise = "" if default in (None, ()) else f" for {json.dumps(default, default=str)}"
    return f"correct it, or leave it out{otherwise}"


def _unknown(place: Place) -> str:
    """What to say of a key or section that does not exist: the nearest one that does."""
    keys: Iterable[str] = Settings.model_fields
    thing = "section"
    if len(place) > 1:
        section = ScannerSettings if place[0] == "scanner" else Settings.model_fields[str(place[0])].annotation
        keys, thing = getattr(section, "model_fields", {}), "key"
    keys = list(keys)
    close = get_close_matches(str(place[-1]), keys, n=1)
    meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(keys)}"
    return f"unknown {thing}, {meant}"
