"""The settings file and the environment become settings, or every reason why they cannot be used."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agent.settings.faults import Place, SettingsError, fault_of
from agent.settings.unit import NAMES
from agent.settings.whole import Settings
from contract.faults import Fault
from drivers.limited_log import printable

DEFAULT_PATH: Final = Path("/etc/kerbside/agent.toml")
PREFIX: Final = "KERBSIDE_"
MAX_BYTES: Final = 1_048_576
_ADVICE: Final = {
    errno.ENOENT: "correct its path, or copy config/agent.example.toml there",
    errno.EISDIR: "name the file in it",
    errno.EACCES: "run this as the agent's user (sudo -u kerbside), or `chmod 640` and `chgrp kerbside` it",
}


def default_path() -> Path | None:
    """The settings file of an installed unit, where there is one."""
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def load(path: Path | None, environ: Mapping[str, str] = os.environ, *, named: bool = False) -> Settings:
    """The settings of a file (``None``: the defaults) with the overrides of the environment.

    A file has to say which unit it is for.

    :param named: whether that has to be said without a file, too: the defaults are those of the demo's unit
    :raises SettingsError: naming every fault that was found, not only the first
    """
    values = {} if path is None else _read(path)
    origins, faults = _override(values, environ)
    if named or path is not None:
        faults += _unnamed(values)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [fault_of(finding, origins) for finding in error.errors(include_url=False)]
    if faults:
        raise SettingsError(faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        advice = _ADVICE.get(getattr(error, "errno", None) or 0, "name a settings file that this user may read")
        reason = getattr(error, "strerror", None) or "no such path"
        raise SettingsError([Fault(name, f"cannot be read ({reason}): {advice}")]) from error
    if len(content) > MAX_BYTES:
        raise SettingsError([Fault(name, f"expected settings, got more than {MAX_BYTES} bytes: name another file")])
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wrong = f"expected UTF-8 text, got another byte (0x{content[error.start]:02X}) in line {line}: save it as UTF-8"
        raise SettingsError([Fault(name, wrong)]) from error
    except RecursionError as error:
        raise SettingsError([Fault(name, "expected TOML, got lists in each other without end: correct it")]) from error
    except ValueError as error:  # a number of more digits than Python reads is one that tomllib does not call its own
        raise SettingsError([Fault(name, f"expected TOML, {_in_words(str(error))}: correct that line")]) from error


def _in_words(error: str) -> str:
    """What tomllib says, without the Python in it: ``Cannot declare ('a', 'b') twice (at line 3, column 5)``."""
    error = re.sub(r"\(('[^()]*?'),?\)", lambda found: re.sub(r"'(?:, ')?", ".", found[1]).strip("."), error)
    error, _, place = error.removesuffix(")").partition(" (at ")
    if not place:
        return "got a number of too many digits"
    error = error.replace("\\\\", "\\").replace("'", '"')
    return printable(f"got at {place}: {error[:1].lower()}{error[1:]}")


def _unnamed(values: Mapping[str, Any]) -> list[Fault]:
    """A unit that does not say who it is would take the place of another."""
    unit = values.get("unit", {})
    if not isinstance(unit, Mapping):
        return []
    return [
        Fault(f"unit.{key}", f"expected {what}, got none: set it in [unit]; `kerbside demo` needs no settings")
        for key, what in NAMES.items()
        if key not in unit
    ]


def _override(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Place, str], list[Fault]]:
    """Put `KERBSIDE_SECTION__KEY` of the environment over the values of the file; where each of them came from."""
    origins: dict[Place, str] = {}
    faults: list[Fault] = []
    path: Place
    for variable in sorted(environ):
        section, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or not rest:
            continue
        if section == "scanner" and len(rest) == 2 and rest[0].isascii() and rest[0].isdigit():
            scanners = values.setdefault("scanner", [])
            index = int(rest[0])
            if not isinstance(scanners, list) or index > len(scanners):
                faults.append(Fault(f"scanner[{index}]", f"expected the scanners before it, too (from {variable})"))
                continue
            if index == len(scanners):
                scanners.append({})
            place, path = scanners[index], ("scanner", index, rest[1])
        elif section != "scanner" and len(rest) == 1:
            place, path = values.setdefault(section, {}), (section, rest[0])
        else:
            faults.append(Fault(variable, "expected KERBSIDE_SECTION__KEY or KERBSIDE_SCANNER__0__KEY"))
            continue
        if isinstance(place, dict):
            place[path[-1]] = environ[variable]
            origins[path] = variable
    return origins, faults
