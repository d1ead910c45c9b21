"""What the loop keeps although it cannot be written at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent import unit as unit_module
from agent.delivery.model.inputs import Panel
from agent.delivery.model.state import Policy
from agent.journal.entries import EventEntry
from agent.journal.store import Journal
from agent.unit import Unit
from tests.uplink.support import FLEET, UNIT, now
from tests.uplink.test_failed_commit import FailsOnce
from tests.waiting import wait_until

PRESSED = Panel(ignition=True, buttons=1, supply_mv=12_600, uptime_ms=1_000)
RELEASED = Panel(ignition=True, buttons=0, supply_mv=12_600, uptime_ms=1_500)


@pytest.mark.parametrize("second", ["at once", "while the disk is away"])
def test_a_call_for_help_that_could_not_be_written_is_written_as_soon_as_it_can(
    second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_module, "RETRY_MESSAGE_S", 0.05)
    journal = Journal.open(tmp_path, max_bytes=1 << 28, retain_days=30, confirm="broker")

    async def run() -> None:
        unit = Unit(journal, f"/{FLEET}/{UNIT}", Policy(), now)
        monkeypatch.setattr(journal, "write", FailsOnce(journal).write)
        if second == "while the disk is away":
            unit.record("unit.started", {})  # this one fails, and the press comes before the journal is read again
            unit.distrust(unit_module.JournalError("the disk is away"))
        unit.take(PRESSED)
        unit.take(RELEASED)
        await asyncio.to_thread(wait_until, lambda: "driver.panic" in types(journal), "the call for help")
        await unit.settle()

    asyncio.run(run())
    assert types(journal).count("driver.panic") == 1
    journal.close()


def types(journal: Journal) -> list[str]:
    """What the log holds."""
    return [entry.type for entry in journal.replay(from_start=True).entries if isinstance(entry, EventEntry)]
