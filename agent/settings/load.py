"""The settings file and the environment become settings, or every reason why they cannot be used."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agent.settings.faults import Place, SettingsError, fault_of
from agent.settings.whole import Settings
from contract.faults import Fault

DEFAULT_PATH: Final = Path("/etc/kerbside/agent.toml")
PREFIX: Final = "KERBSIDE_"


def default_path() -> Path | None:
    """The settings file of an installed unit, where there is one."""
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a file (``None``: the defaults) with the overrides of the environment.

    :raises SettingsError: naming every fault that was found, not only the first
    """
    values = {} if path is None else _read(path)
    origins, faults = _override(values, environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [fault_of(finding, origins) for finding in error.errors(include_url=False)]
    if faults:
        raise SettingsError(faults)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Fault(str(path), f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([Fault(str(path), f"expected UTF-8 text, got another byte at {error.start}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Fault(str(path), f"expected TOML: {error}")]) from error


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
