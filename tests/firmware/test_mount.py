"""The mount's panel as a part of the agent, against a simulated microcontroller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from smp.error import MGMT_ERR

from drivers.readings import Condition, Panel
from firmware_bridge.mount import SIGNALS, Contacts, Mount
from firmware_bridge.simulated.mcu import Microcontroller
from firmware_bridge.simulated.simulator import Simulator
from tests.drivers.watched_part import Watched, watching
from tests.firmware.stranger import Stranger, answer_to, framed

WELL = {"ign": True, "mv": 13_800, "btn": 0, "acc": [0, 0, 1000], "rst": "por", "up": 1}
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        running.off_s = 0.2
        yield running


class Moody(Microcontroller):
    """Refuses each command of `busy` as often as is said there: it is busy."""

    def __init__(self, busy: dict[tuple[int, int], int]) -> None:
        super().__init__()
        self.busy = busy
        self.refused = 0

    def handle(self, op: int, version: int, group: int, command: int, data: bytes) -> dict[str, Any] | None:
        if self.busy.get((group, command), 0):
            self.busy[group, command] -= 1
            self.refused += 1
            return {"rc": MGMT_ERR.EBUSY}
        return super().handle(op, version, group, command, data)


def part(simulator: Simulator, **options: object) -> Mount:
    return Mount(simulator.port, rate_hz=20, **options)  # type: ignore[arg-type]


async def until_panel(watched: Watched, **members: object) -> Panel:
    """The next reading that is so."""
    start = len(watched.readings)

    def found() -> Panel | None:
        for reading in watched.readings[start:]:
            if all(getattr(reading, name) == value for name, value in members.items()):
                return reading  # type: ignore[no-any-return]
        return None

    await watched.until(lambda: found() is not None)
    panel = found()
    assert panel
    return panel


def test_the_panel_is_read_at_a_set_rate(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(Mount(simulator.port, rate_hz=10)) as watched:
            await watched.until_readings(1)
            began_ns, requests = time.monotonic_ns(), simulator.seen.requests
            await watched.until_readings(11)
            # Not faster than it was told, and with a kick each second.
            assert simulator.seen.requests - requests <= 12 * (time.monotonic_ns() - began_ns) / 1e9 + 3
            panel = watched.readings[-1]
            assert panel == replace(panel, device="mount", ignition=True, supply_mv=13_800, buttons=0)
            assert (panel.acceleration_mg, panel.reset_cause) == ((0, 0, 1000), "por")
            assert began_ns <= panel.monotonic_ns <= time.monotonic_ns()

    asyncio.run(drive())


def test_a_peak_of_acceleration_is_in_exactly_one_reading(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(part(simulator)) as watched:
            await watched.until_readings(2)
            simulator.mcu.panel.acceleration_mg = (-2500, 300, 4100)
            await until_panel(watched, acceleration_mg=(-2500, 300, 4100))
            await until_panel(watched, acceleration_mg=(0, 0, 1000))
        peaks = [panel for panel in watched.readings if panel.acceleration_mg[0]]
        assert len(peaks) == 1

    asyncio.run(drive())


def test_a_change_of_ignition_or_buttons_counts_once_it_has_lasted() -> None:
    contacts, at = Contacts(), 0
    seen: list[tuple[bool, int]] = []

    def look(after_ms: int, *, ignition: bool = True, buttons: int = 0) -> bool:
        nonlocal at
        at += after_ms * 1_000_000
        panel = Panel("mount", at, ignition, 13_800, buttons, (0, 0, 1000), "por", 1)
        changing = contacts.take(panel)
        settled = contacts.settled(panel)
        seen.append((settled.ignition, settled.buttons))
        return changing

    assert not look(0)
    assert look(200, ignition=False)  # a bounce
    assert not look(20)
    assert look(200, buttons=1)
    assert look(5, buttons=1)  # too soon to be sure
    assert not look(20, buttons=1)
    assert look(200, buttons=2)
    assert look(20, buttons=3)
    assert not look(20, buttons=3)
    assert seen == [(True, 0)] * 5 + [(True, 1)] * 3 + [(True, 3)]


def test_a_button_that_the_firmware_tells_of_is_seen_at_once(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(Mount(simulator.port, rate_hz=0.005)) as watched:  # readings are minutes apart
            await watched.until_readings(1)
            simulator.mcu.panel.buttons = 2
            simulator.say("button 2")
            await until_panel(watched, buttons=2)

    asyncio.run(drive())


def test_a_firmware_that_logs_each_request_is_not_asked_without_end(simulator: Simulator) -> None:
    class Chatty(Microcontroller):
        def handle(self, *arguments: Any) -> dict[str, Any] | None:
            chatty.say("<inf> smp: a request")
            return super().handle(*arguments)

    async def drive() -> None:
        async with watching(Mount(chatty.port, rate_hz=0.5)) as watched:
            await watched.until_readings(2)
            requests, began = chatty.seen.requests, time.monotonic()
            await asyncio.sleep(2)
            # Ten looks a second, a kick and the clock.
            assert chatty.seen.requests - requests <= 14 * (time.monotonic() - began)
            assert watched.state.condition is Condition.READY

    with Simulator(Chatty()) as chatty:
        asyncio.run(drive())


def test_a_tone_sounds_at_once_on_a_firmware_that_logs_much(simulator: Simulator) -> None:
    async def drive() -> None:
        mount = Mount(simulator.port, rate_hz=0.2)
        async with watching(mount) as watched:
            await watched.until_readings(1)
            for count in range(1, 6):
                simulator.say("<inf> panel: alive")
                mount.signal("good")
                await watched.until(lambda count=count: len(simulator.mcu.told) >= count)  # type: ignore[misc]

    asyncio.run(drive())


@pytest.mark.parametrize("tone", list(SIGNALS))
def test_each_tone_has_a_sound_and_a_light_of_its_own(simulator: Simulator, tone: str) -> None:
    async def drive() -> None:
        mount = part(simulator)
        mount.signal("good")  # nobody is there yet: nothing happens
        async with watching(mount) as watched:
            await watched.until_readings(1)
            mount.signal(tone)  # type: ignore[arg-type]
            await watched.until(lambda: bool(simulator.mcu.told))
            told = simulator.mcu.told[-1]
            assert (told.buzzer, told.lamp) == SIGNALS[tone]  # type: ignore[index]

    asyncio.run(drive())
    assert len(set(SIGNALS.values())) == len({each.buzzer for each in SIGNALS.values()}) == len(SIGNALS)


def test_the_lamp_goes_out_after_a_while(simulator: Simulator) -> None:
    async def drive() -> None:
        mount = part(simulator)
        async with watching(mount) as watched:
            await watched.until_readings(1)
            mount.signal("bad")
            await watched.until(lambda: len(simulator.mcu.told) == 2)
            assert (simulator.mcu.told[-1].buzzer, simulator.mcu.told[-1].lamp) == (None, 0)

    asyncio.run(drive())


def test_the_watchdog_is_kicked_while_the_loop_takes_readings_and_not_when_it_hangs(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.mount.ALIVE_S", 0.5)

    async def drive() -> None:
        async with watching(part(simulator)) as watched:
            await watched.until(lambda: simulator.mcu.kicks >= 2)
            time.sleep(1.5)  # the loop hangs
            kicks = simulator.mcu.kicks
            time.sleep(2)
            assert simulator.mcu.kicks == kicks
            await watched.until(lambda: simulator.mcu.kicks > kicks)

    asyncio.run(drive())


def test_the_clock_is_set_as_soon_as_there_is_a_time_to_be_trusted(simulator: Simulator) -> None:
    times = iter([None, None])
    local = NOON.astimezone(timezone(timedelta(hours=2)))

    async def drive() -> None:
        async with watching(part(simulator, now=lambda: next(times, local))) as watched:
            await watched.until(lambda: simulator.mcu.clock is not None)
            assert simulator.mcu.clock == "2026-11-21T12:00:00.000"
            await watched.until_readings(5)

    asyncio.run(drive())


def test_a_firmware_without_clock_watchdog_and_buzzer_is_still_read() -> None:
    lacks = frozenset({(0, 4), (65, 1), (65, 2)})
    with Simulator(Microcontroller(lacks=lacks)) as simulator:

        async def drive() -> None:
            mount = part(simulator, now=lambda: NOON)
            async with watching(mount) as watched:
                await watched.until_readings(2)
                mount.signal("good")
                await watched.until_readings(8)
                assert watched.state.condition is Condition.READY

        asyncio.run(drive())


def test_a_kick_that_was_refused_is_followed_by_others(caplog: pytest.LogCaptureFixture) -> None:
    mcu = Moody({(65, 2): 3})
    with Simulator(mcu) as simulator:

        async def drive() -> None:
            async with watching(part(simulator)) as watched:
                await watched.until(lambda: mcu.kicks >= 2)
                assert mcu.refused == 3
                assert watched.state.condition is Condition.READY

        asyncio.run(drive())
    assert len([record for record in caplog.records if "EBUSY" in record.getMessage()]) == 1


def test_buzzer_and_lamp_go_on_after_a_refusal() -> None:
    mcu = Moody({(65, 1): 1})
    with Simulator(mcu) as simulator:

        async def drive() -> None:
            mount = part(simulator)
            async with watching(mount) as watched:
                await watched.until_readings(1)
                mount.signal("good")
                await watched.until(lambda: mcu.refused == 1)
                mount.signal("bad")
                await watched.until(lambda: bool(mcu.told))
                assert (mcu.told[0].buzzer, mcu.told[0].lamp) == SIGNALS["bad"]
                mcu.busy[65, 1] = 2
                await watched.until(lambda: mcu.refused == 3 and mcu.told[-1].lamp == 0)  # the lamp goes out after all

        asyncio.run(drive())


def test_a_firmware_that_takes_its_time_is_read() -> None:
    class Slow(Microcontroller):
        def handle(self, *arguments: Any) -> dict[str, Any] | None:
            answer = super().handle(*arguments)
            self.busy_s = 0.6
            return answer

    with Simulator(Slow()) as simulator:

        async def drive() -> None:
            async with watching(part(simulator)) as watched:
                await watched.until_readings(4)
                assert watched.state.condition is Condition.READY

        asyncio.run(drive())


def test_a_firmware_without_a_panel_is_a_fault_that_says_what_is_missing() -> None:
    with Simulator(Microcontroller(lacks=frozenset({65}))) as simulator:

        async def drive() -> None:
            async with watching(part(simulator)) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert "SMP group 65" in state.reason
                assert simulator.port in state.reason

        asyncio.run(drive())


@pytest.mark.parametrize(
    "panel",
    [
        {},
        {"ign": 1},
        {**WELL, "mv": "high"},
        {**WELL, "mv": -5},
        {**WELL, "mv": True},
        {**WELL, "btn": -1},
        {**WELL, "acc": [0, 0, False]},
        {**WELL, "up": -1},
    ],
)
def test_a_panel_that_says_something_else_is_a_fault_that_says_what(panel: dict[str, object]) -> None:
    with Stranger(lambda request: [framed(answer_to(request, panel))]) as peer:

        async def drive() -> None:
            async with watching(Mount(peer.port)) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert "expected ign: bool, mv: uint" in state.reason

        asyncio.run(drive())


def test_a_mount_that_is_pulled_out_is_absent_and_comes_back(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(part(simulator)) as watched:
            await watched.until_readings(1)
            simulator.unplug()
            state = await watched.until_state(Condition.ABSENT)
            assert simulator.port in state.reason
            simulator.plug()
            await watched.until_state(Condition.READY)
            count = len(watched.readings)
            await watched.until_readings(count + 2)

    asyncio.run(drive())


def test_a_mount_that_says_nothing_is_stale_and_is_ready_when_it_speaks_again(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(part(simulator)) as watched:
            await watched.until_readings(1)
            simulator.mcu.stop()
            state = await watched.until_state(Condition.STALE)
            assert "does not answer" in state.reason
            simulator.mcu.start("brownout")
            await watched.until_state(Condition.READY)
            await until_panel(watched, reset_cause="brownout")

    asyncio.run(drive())


def test_a_mount_that_is_silent_from_the_begin_is_put_down_at_once(simulator: Simulator) -> None:
    simulator.mcu.stop()

    async def drive() -> None:
        async with watching(part(simulator)):
            await asyncio.sleep(0.3)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("mount", "smp "))]

    asyncio.run(drive())


def test_two_parts_do_not_share_one_mount(simulator: Simulator) -> None:
    async def drive() -> None:
        async with watching(part(simulator)) as first:
            await first.until_readings(1)
            async with watching(part(simulator, name="another")) as second:
                state = await second.until_state(Condition.FAULTY)
                assert "mount" in state.reason

    asyncio.run(drive())
