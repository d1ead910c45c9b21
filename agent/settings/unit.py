"""Section `[unit]`: who this unit is, and where it keeps what must not be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict

from agent.settings.section import FilePath, Name, Section, valid_name

NAMES: Final = {"id": 'the name of this unit (id = "van-7")', "fleet": 'the fleet that it belongs to (fleet = "west")'}
"""What every settings file has to say: with the defaults, which are the demo's, it would take another unit's place."""


def _fleet(text: str) -> str:
    if "-" in text:
        raise ValueError('expected a name without "-" (the client id is "{fleet}-{unit}")')
    return valid_name(text)


class UnitSettings(Section):
    """Who this unit is and where it keeps what must not be lost."""

    model_config = ConfigDict(json_schema_extra={"required": list(NAMES)})

    id: Name = "u1"
    """The unit within its fleet; part of its topics, its client id and the source of its events."""
    fleet: Annotated[str, AfterValidator(_fleet)] = "demo"
    """The fleet it belongs to; without "-", so that the client id `{fleet}-{unit}` can be read back."""
    state_dir: FilePath = Path("/var/lib/kerbside")
    """The journal and the unit's own keys; one agent at a time."""
