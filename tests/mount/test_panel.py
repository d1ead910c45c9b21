"""What the mount's panel says reaches the core, the screen, the journal and the decision to shut down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.clock import Clock
from agent.delivery.model import inputs
from agent.delivery.model.state import Policy
from agent.journal.store import Journal
from agent.mount.panel import MountPanel
from agent.mount.power import PowerOff
from agent.mount.restarts import Restarts
from agent.unit import Unit
from drivers.readings import Condition, Panel, PartState

READY = PartState(Condition.READY)


class Taking(Unit):
    """The unit, and every input that it took."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal, "/demo/u1", Policy(), Clock().now)
        self.taken: list[inputs.Input] = []

    def take(self, what: inputs.Input, *, device: str | None = None) -> None:
        self.taken.append(what)
        super().take(what, device=device)


@contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    opened = Journal.open(folder, max_bytes=1 << 24, retain_days=30)
    try:
        yield opened
    finally:
        opened.close()


def reading(
    second: float = 1.0, *, ignition: bool = True, buttons: int = 0, cause: str = "power", up_s: float | None = None
) -> Panel:
    uptime_ms = round((second if up_s is None else up_s) * 1000)
    return Panel("mount", round(second * 1e9), ignition, 13_800, buttons, (0, 0, 1000), cause, uptime_ms)


def test_each_reading_comes_to_the_core_and_the_last_one_is_shown_while_the_mount_is_ready(tmp_path: Path) -> None:
    async def test() -> None:
        with journal(tmp_path) as opened:
            unit = Taking(opened)
            panel = MountPanel(unit, Restarts(tmp_path, "boot-1"), PowerOff(600, lambda: None))
            panel.take(reading())
            assert panel.shown() is None
            panel.part_changed(READY)
            panel.take(reading(2, buttons=1))
            assert unit.taken == [inputs.Panel(True, 0, 13_800, 1000), inputs.Panel(True, 1, 13_800, 2000)]
            assert panel.shown() == {"ignition": True, "supply_mv": 13_800, "buttons": 1, "reset_cause": "power"}
            panel.part_changed(PartState(Condition.ABSENT))
            assert panel.shown() is None

    asyncio.run(test())


def test_the_unit_is_asked_once_to_shut_down_when_the_ignition_has_been_off_for_long() -> None:
    asked: list[str] = []
    power = PowerOff(600, lambda: asked.append("stop"))
    for second in (1, 600, 601, 602):
        power.take(reading(second, ignition=False))
        assert power.reason == ("ignition" if second > 600 else None)
    assert asked == ["stop"]


def test_a_restart_is_worth_telling_once_also_over_a_restart_of_the_agent(tmp_path: Path) -> None:
    first = Restarts(tmp_path, "boot-1")
    assert first.take(reading(10, cause="watchdog", up_s=5))
    first.keep(reading(10, cause="watchdog", up_s=5))
    assert not first.take(reading(11, cause="watchdog", up_s=6))

    again = Restarts(tmp_path, "boot-1")
    assert not again.take(reading(30, cause="watchdog", up_s=25))
    assert again.take(reading(31, cause="watchdog", up_s=0.5))
    assert Restarts(tmp_path, "boot-1").take(reading(60, cause="watchdog", up_s=20))
    assert Restarts(tmp_path, "boot-2").take(reading(30, cause="watchdog", up_s=25))


def test_an_ordinary_start_of_the_mount_is_no_restart_but_a_later_one_is(tmp_path: Path) -> None:
    restarts = Restarts(tmp_path, "boot-1")
    assert not restarts.take(reading(10, up_s=5))
    assert restarts.take(reading(11, up_s=0.2))
    assert restarts.take(reading(12, cause="brownout", up_s=1.2))
