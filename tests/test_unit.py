"""What the loop keeps although it cannot be written at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import unit as unit_module
from agent.delivery.model.inputs import Panel, Tick
from agent.delivery.model.state import Policy
from agent.journal.entries import Batch, EventEntry, JournalFull
from agent.journal.store import Done, Journal
from agent.unit import Unit
from tests.uplink.support import FLEET, UNIT, now
from tests.uplink.test_failed_commit import FailsOnce
from tests.waiting import wait_on_loop_until, wait_until

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


class Disk:
    """A journal's disk that takes nothing for a while, or hangs."""

    def __init__(self, journal: Journal) -> None:
        self._write = journal.write
        self.state = "fine"

    def write(self, batch: Batch, done: Done) -> None:
        if self.state == "full":
            threading.Thread(target=done, args=(JournalFull("the disk is full"),)).start()
        elif self.state == "fine":
            self._write(batch, done)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path, max_bytes=1 << 28, retain_days=30, confirm="broker")
    yield opened
    opened.close()


def test_it_keeps_nothing_from_the_first_write_that_fails_until_one_gets_to_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.keeping.PROBE_S", 0.05)
    monkeypatch.setattr("agent.keeping.AGAIN_S", 0.02)
    disk = Disk(journal)

    async def run() -> None:
        unit = Unit(journal, f"/{FLEET}/{UNIT}", Policy(), now)
        monkeypatch.setattr(journal, "write", disk.write)
        assert unit.is_keeping
        disk.state = "full"
        unit.take(PRESSED)
        await wait_on_loop_until(lambda: not unit.is_keeping, "the fault")
        for _ in range(5):
            await asyncio.sleep(0.06)
            unit.take(Tick())
            await unit.settle()
            assert not unit.is_keeping, "the journal can be read again, but nothing gets into it"
        disk.state = "fine"

        def keeps() -> bool:
            unit.take(Tick())
            return unit.is_keeping

        await wait_on_loop_until(keeps, "the disk to take something again")

    asyncio.run(run())


def test_a_disk_that_hangs_keeps_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.keeping.STUCK_S", 0.1)
    disk = Disk(journal)

    async def run() -> None:
        unit = Unit(journal, f"/{FLEET}/{UNIT}", Policy(), now)
        monkeypatch.setattr(journal, "write", disk.write)
        disk.state = "hangs"
        unit.record("unit.started", {})
        assert unit.is_keeping
        await wait_on_loop_until(lambda: not unit.is_keeping, "the fault")

    asyncio.run(run())


def types(journal: Journal) -> list[str]:
    """What the log holds."""
    return [entry.type for entry in journal.replay(from_start=True).entries if isinstance(entry, EventEntry)]
