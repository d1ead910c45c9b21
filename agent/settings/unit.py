"""Section `[unit]`: who this unit is, and where it keeps what must not be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from agent.settings.section import Name, Section, valid_name


def _fleet(text: str) -> str:
    if "-" in text:
        raise ValueError('expected a name without "-" (the client id is "{fleet}-{unit}")')
    return valid_name(text)


class UnitSettings(Section):
    """Who this unit is and where it keeps what must not be lost."""

    id: Name = "u1"
    """The unit within its fleet; part of its topics, its client id and the source of its events."""
    fleet: Annotated[str, AfterValidator(_fleet)] = "demo"
    """The fleet it belongs to; without "-", so that the client id `{fleet}-{unit}` can be read back."""
    state_dir: Path = Path("/var/lib/kerbside")
    """The journal and the unit's own keys; one agent at a time."""
