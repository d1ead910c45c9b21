"""Parts that fail, vanish or lie, and the supervisor that keeps the rest going."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from watched_part import Watched, watching

from drivers.readings import Condition, DriverError, PartState
from drivers.supervisor import Supervisor
from tests.waiting import wait_on_loop_until

Behaviour = Callable[[int, Callable[[Any], None], Callable[[PartState], None]], Any]


class Scripted:
    """A part that does what the test says at its nth start."""

    def __init__(self, behaviour: Behaviour, name: str = "part") -> None:
        self.name = name
        self.starts: list[float] = []
        self._behaviour = behaviour

    async def run(self, out: Callable[[Any], None], report: Callable[[PartState], None]) -> None:
        self.starts.append(time.monotonic())
        await self._behaviour(len(self.starts), out, report)


async def works(start: int, out: Callable[[Any], None], report: Callable[[PartState], None]) -> None:
    report(PartState.now(Condition.READY))
    while True:
        out(start)
        await asyncio.sleep(0.01)


def test_a_part_that_fails_is_started_again_and_says_why_it_failed() -> None:
    async def fails_twice(start: int, out: Any, report: Any) -> None:
        report(PartState.now(Condition.OPENING))
        if start < 3:
            raise DriverError(f"the lamp is broken ({start}): change the bulb")
        await works(start, out, report)

    async def test() -> None:
        async with watching(Scripted(fails_twice)) as watched:
            await watched.until_state(Condition.READY)
        assert [(state.condition, state.reason) for state in watched.states] == [
            (Condition.FAULTY, "the lamp is broken (1): change the bulb"),
            (Condition.FAULTY, "the lamp is broken (2): change the bulb"),
            (Condition.READY, ""),
        ]
        assert watched.states[0].since_ns == watched.states[1].since_ns < watched.states[2].since_ns

    asyncio.run(test())


def test_what_is_not_there_is_absent_and_stays_so_while_it_is_looked_for() -> None:
    async def absent(start: int, _: Any, report: Any) -> None:
        report(PartState.now(Condition.OPENING))
        raise DriverError("no lamp is plugged in", Condition.ABSENT)

    async def test() -> None:
        part = Scripted(absent)
        async with watching(part) as watched:
            await watched.until(lambda: len(part.starts) >= 4)
        assert [state.condition for state in watched.states] == [Condition.ABSENT]

    asyncio.run(test())


def test_what_was_plugged_in_is_not_waited_for() -> None:
    async def waits(start: int, out: Any, report: Any) -> None:
        if start == 1:
            raise DriverError("no lamp is plugged in", Condition.ABSENT)
        if start == 2:
            raise DriverError("the lamp may not be switched on by this user")
        await works(start, out, report)

    async def test() -> None:
        part, states = Scripted(waits), Watched()
        supervisor = Supervisor(states.changed, first_delay_s=3600, max_delay_s=7200)
        supervisor.add(part, states.out)
        running = asyncio.create_task(supervisor.run())
        await states.until(lambda: len(states.states) == 1)
        supervisor.look_again()
        await states.until(lambda: len(states.states) == 2)
        supervisor.look_again()
        await states.until_state(Condition.READY)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(test())


def test_what_is_plugged_in_while_its_part_still_gives_up_the_old_one_is_not_missed() -> None:
    async def test() -> None:
        async def plugged_in_meanwhile(start: int, out: Any, report: Any) -> None:
            if start == 1:
                supervisor.look_again()
                raise DriverError("the lamp was unplugged", Condition.ABSENT)
            await works(start, out, report)

        states = Watched()
        supervisor = Supervisor(states.changed, first_delay_s=3600, max_delay_s=7200)
        supervisor.add(Scripted(plugged_in_meanwhile), states.out)
        running = asyncio.create_task(supervisor.run())
        await states.until_state(Condition.READY)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(test())


def test_since_when_a_part_is_away_does_not_move_while_it_is_tried_again() -> None:
    async def comes_and_goes(start: int, out: Any, report: Any) -> None:
        report(PartState.now(Condition.OPENING))
        if start == 3:
            report(PartState.now(Condition.READY))
        raise DriverError(f"the lamp is away ({min(start, 3)})", Condition.ABSENT)

    async def test() -> None:
        part = Scripted(comes_and_goes)
        async with watching(part) as watched:
            await watched.until(lambda: len(part.starts) >= 6)
        since = [(state.condition, state.since_ns) for state in watched.states]
        assert [condition for condition, _ in since] == [
            Condition.ABSENT,
            Condition.ABSENT,
            Condition.READY,
            Condition.ABSENT,
        ]
        assert since[0][1] == since[1][1] < since[2][1] < since[3][1]

    asyncio.run(test())


def test_one_part_that_crashes_again_and_again_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def crashes(start: int, out: Any, report: Any) -> None:
        raise ZeroDivisionError("seven by nought")

    async def test() -> None:
        states = Watched()
        readings: list[int] = []
        crashing, working = Scripted(crashes, "bad"), Scripted(works, "good")
        supervisor = Supervisor(states.changed, first_delay_s=0.01, max_delay_s=0.02)
        supervisor.add(crashing, readings.append)
        supervisor.add(working, readings.append)
        running = asyncio.create_task(supervisor.run())
        await states.until(lambda: len(crashing.starts) >= 5)
        running.cancel()
        await asyncio.wait([running])
        assert len(working.starts) == 1
        assert set(readings) == {1}
        assert supervisor.states["good"].condition is Condition.READY
        assert supervisor.states["bad"].condition is Condition.FAULTY
        assert supervisor.states["bad"].reason == (
            "bad failed unexpectedly (ZeroDivisionError, seven by nought): it is started again; tell who maintains it"
        )

    with caplog.at_level(logging.ERROR):
        asyncio.run(test())
    assert "bad failed unexpectedly" in caplog.records[0].message
    assert sum("in crashes" in record.message for record in caplog.records) == 1, "where it was, once"


def test_a_part_that_changes_all_the_time_fills_no_log_and_its_device_writes_no_line_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def flaps(start: int, out: Any, report: Any) -> None:
        for turn in range(5000):
            report(PartState.now(Condition.READY))
            report(PartState.now(Condition.FAULTY, f"{turn} \x1b[2J\nforged \x9b31m\u202e"))
        await asyncio.Event().wait()

    async def test() -> None:
        states = Watched()
        supervisor = Supervisor(states.changed)
        supervisor.add(Scripted(flaps, "mad"), lambda _reading: None)
        running = asyncio.create_task(supervisor.run())
        await states.until(lambda: supervisor.states["mad"].reason.startswith("4999"))
        running.cancel()
        await asyncio.wait([running])
        assert supervisor.states["mad"].reason == r"4999 \x1b[2J\nforged \x9b31m\u202e"

    with caplog.at_level(logging.INFO):
        asyncio.run(test())
    assert 0 < len(caplog.records) <= 20
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_the_pauses_grow_up_to_their_bound() -> None:
    async def fails(start: int, out: Any, report: Any) -> None:
        raise DriverError("broken")

    async def test() -> None:
        part = Scripted(fails)
        supervisor = Supervisor(lambda *_: None, first_delay_s=0.02, max_delay_s=0.16)
        supervisor.add(part, lambda _: None)
        running = asyncio.create_task(supervisor.run())
        await wait_on_loop_until(lambda: len(part.starts) >= 8, "eight starts")
        running.cancel()
        await asyncio.wait([running])
        pauses = [after - before for before, after in zip(part.starts, part.starts[1:], strict=False)]
        # With jitter a pause is half to all of 20, 40, 80, 160, 160 … ms.
        assert all(
            pause >= least for pause, least in zip(pauses, (0.01, 0.02, 0.04, 0.08, 0.08, 0.08, 0.08), strict=False)
        )

    asyncio.run(test())


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("returns", "part ended without being asked to: it is started again"),
        ("cancels", "part gave up a piece of its work: it is started again"),
    ],
)
def test_a_part_that_simply_ends_is_started_again(end: str, reason: str) -> None:
    async def ends(start: int, out: Any, report: Any) -> None:
        if start > 1:
            await works(start, out, report)
        if end == "cancels":
            raise asyncio.CancelledError

    async def test() -> None:
        async with watching(Scripted(ends)) as watched:
            await watched.until_state(Condition.READY)
        assert watched.states[0].reason == reason

    asyncio.run(test())


def test_a_part_may_put_its_device_down_when_the_agent_ends() -> None:
    closed = []

    async def tidy(start: int, out: Any, report: Any) -> None:
        try:
            await works(start, out, report)
        finally:
            await asyncio.sleep(0.05)
            closed.append(start)

    async def test() -> None:
        async with watching(Scripted(tidy)) as watched:
            await watched.until_state(Condition.READY)

    asyncio.run(test())
    assert closed == [1]


def test_a_listener_that_fails_does_not_stop_the_part() -> None:
    def listener(*_: Any) -> None:
        raise RuntimeError("the screen is gone")

    async def test() -> None:
        part = Scripted(works)
        supervisor = Supervisor(listener)
        readings: list[int] = []
        supervisor.add(part, readings.append)
        running = asyncio.create_task(supervisor.run())
        await wait_on_loop_until(lambda: len(readings) >= 3, "three readings")
        running.cancel()
        await asyncio.wait([running])
        assert len(part.starts) == 1

    asyncio.run(test())


def test_two_parts_of_one_name_are_refused() -> None:
    supervisor = Supervisor(lambda *_: None)
    supervisor.add(Scripted(works, "hand"), lambda _: None)
    with pytest.raises(ValueError, match="two parts are called 'hand'"):
        supervisor.add(Scripted(works, "hand"), lambda _: None)
