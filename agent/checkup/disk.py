"""Whether the state directory can be written, and has room for the journal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Final

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.settings import Settings

_LITTLE_SPACE: Final = 100_000_000


def examine(settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
    state_dir, needed = settings.unit.state_dir, settings.journal.max_bytes
    existing = next(folder for folder in (state_dir, *state_dir.absolute().parents) if folder.exists())
    if not existing.is_dir():
        yield Finding("disk", "fault", f"{existing} is not a folder", "correct unit.state_dir")
        return
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "disk",
            "fault",
            f"{existing} cannot be written by this user",
            "run doctor as the agent's user (sudo -u kerbside); is the file system mounted read-only?",
        )
        return
    free = shutil.disk_usage(existing).free
    used = sum(file.stat().st_size for file in state_dir.glob("*") if file.is_file()) if existing == state_dir else 0
    text = f"{free / 1e6:,.0f} MB free at {state_dir}, {used / 1e6:,.0f} MB used"
    if free < _LITTLE_SPACE:
        yield Finding("disk", "fault", text, f"make room: less than {_LITTLE_SPACE / 1e6:.0f} MB are left")
    elif free + used < needed:
        advice = f"journal.max_bytes allows {needed / 1e6:,.0f} MB: lower it or make room"
        yield Finding("disk", "warning", text, advice)
    else:
        yield Finding("disk", "ok", text)
