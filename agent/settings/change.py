"""What the cloud sets goes above the settings file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agent.settings.bounds import out_of_bounds
from agent.settings.faults import SettingsError, fault_of
from agent.settings.whole import Settings
from contract.faults import Fault
from contract.vocabulary import CHANGEABLE_SECTIONS


def change(settings: Settings, changes: Mapping[str, Any], file: Settings | None = None) -> Settings:
    """The settings with some keys changed by the cloud: ``{"delivery.photo_retakes": 1}``.

    :param file: the settings as file and environment give them, which bound what may be set; by default `settings`
    :raises SettingsError: a key does not exist, may not be changed from afar, or its value is wrong or leads where the
        file does not allow
    """
    values = settings.model_dump(mode="json")
    faults = []
    for path, value in changes.items():
        section, _, key = path.partition(".")
        if section not in CHANGEABLE_SECTIONS or key not in values[section]:
            faults.append(Fault(path, f"expected a key of {', '.join(CHANGEABLE_SECTIONS)}"))
        else:
            values[section][key] = value
    try:
        changed = Settings.model_validate(values)
    except ValidationError as error:
        faults += [fault_of(finding, {}) for finding in error.errors(include_url=False)]
    else:
        faults += out_of_bounds(file or settings, changed, changes)
    if faults:  # which are answered and logged: what was sent may be a secret
        raise SettingsError(Fault(fault.path, fault.expected.partition(", got ")[0]) for fault in faults)
    return changed
