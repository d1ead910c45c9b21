"""Runs the parts of the agent side by side and starts each again when it fails, without touching the others.

A part is anything with a `name` and `async run(out, report)`. A device that is not there is asked for again about
once a second, later every three, and at once after `look_again`; a part that fails waits longer each time, with jitter,
so that many units do not act in step. What each part is doing is always to be seen in `states`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from drivers.limited_log import LimitedLog
from drivers.readings import MAX_REASON, Condition, DriverError, PartState

log = logging.getLogger(__name__)

Output = TypeVar("Output")
Output_co = TypeVar("Output_co", covariant=True)

ABSENT_POLL_S = 1.0
MAX_ABSENT_POLL_S = 3.0
"""What has been away for a minute is asked for less often."""
ABSENT_POLL_GROWTH = 1.03
HEALTHY_AFTER_S = 10.0
"""A part that has run this long starts over with the shortest delay."""
LINES = 20
"""Changes of one part that are logged in a minute; the others are counted: a device that goes mad fills no disk."""


class Part(Protocol[Output_co]):
    """What the supervisor runs: until cancelled, handing what it has to `out` and its condition to `report`."""

    @property
    def name(self) -> str:
        """Under which its state is shown; one part a name."""
        ...

    async def run(self, out: Callable[[Output_co], None], report: Callable[[PartState], None]) -> None:
        """Work until cancelled.

        :raises DriverError: on a fault
        """
        ...


class Supervisor:
    """Keeps parts running. `on_change(name, state)` is called on the loop whenever a part's state changes."""

    def __init__(
        self,
        on_change: Callable[[str, PartState], None],
        *,
        first_delay_s: float = 0.25,
        max_delay_s: float = 10.0,
    ) -> None:
        self.states: dict[str, PartState] = {}
        self._on_change = on_change
        self._first_delay_s = first_delay_s
        self._max_delay_s = max_delay_s
        self._runs: dict[str, Callable[[], Any]] = {}
        self._again: dict[str, asyncio.Event] = {}
        self._logs: dict[str, LimitedLog] = {}

    def add(self, part: Part[Output], out: Callable[[Output], None]) -> None:
        """Take in a part before `run`; its output goes to `out`, called on the loop.

        :raises ValueError: when another part has that name.
        """
        name = part.name
        if name in self.states:
            raise ValueError(f"two parts are called {name!r}: give each its own name")
        self.states[name] = PartState.now(Condition.OPENING)
        self._runs[name] = lambda: part.run(out, lambda state: self._report(name, state))
        self._again[name] = asyncio.Event()
        self._logs[name] = LimitedLog(log, name, lines=LINES, characters=MAX_REASON)

    def look_again(self) -> None:
        """Something was plugged in: who waits tries again now, and who is trying tries once more if it fails."""
        for again in self._again.values():
            again.set()

    async def run(self) -> None:
        """Run all parts until cancelled; then wait until each has put its device down."""
        async with asyncio.TaskGroup() as group:
            for name in self._runs:
                group.create_task(self._keep(name), name=f"part {name}")
            await asyncio.Event().wait()

    async def _keep(self, name: str) -> None:
        delay_s = self._first_delay_s
        absent_poll_s = ABSENT_POLL_S
        known_fault = ""
        while True:
            started = time.monotonic()
            self._again[name].clear()
            try:
                await self._runs[name]()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                state = PartState.now(Condition.FAULTY, f"{name} gave up a piece of its work: it is started again")
            except DriverError as error:
                state = PartState.now(error.condition, str(error))
            except Exception as error:  # noqa: BLE001 - whatever a driver trips over, the others go on
                found = f"{type(error).__name__}, {error}"
                # Where it was is of use once, and not each time.
                fault = error if found != known_fault else None
                known_fault = found
                self._logs[name].line(logging.ERROR, "%s failed unexpectedly: %s", name, found, fault=fault)
                state = PartState.now(
                    Condition.FAULTY,
                    f"{name} failed unexpectedly ({found}): it is started again; tell who maintains it",
                )
            else:
                state = PartState.now(Condition.FAULTY, f"{name} ended without being asked to: it is started again")
            was_ready = self.states[name].condition is Condition.READY
            self._report(name, state)
            if state.condition is Condition.ABSENT:
                delay_s = self._first_delay_s
                if was_ready:
                    # A loose plug is back within a moment.
                    pause_s, absent_poll_s = delay_s, ABSENT_POLL_S
                else:
                    pause_s = min(absent_poll_s, self._max_delay_s)
                    absent_poll_s = min(absent_poll_s * ABSENT_POLL_GROWTH, MAX_ABSENT_POLL_S)
            else:
                if time.monotonic() - started > HEALTHY_AFTER_S:
                    delay_s = self._first_delay_s
                pause_s = delay_s
                delay_s = min(delay_s * 2, self._max_delay_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                    await self._again[name].wait()

    def _report(self, name: str, state: PartState) -> None:
        known = self.states[name]
        # Trying again is no news: what was wrong stays visible until the part works.
        trying_again = state.condition is Condition.OPENING and known.condition is not Condition.READY
        if trying_again and known.reason:
            return
        if state.condition is known.condition:
            if state.reason == known.reason:
                return
            state = PartState(state.condition, state.reason, known.since_ns)
        self.states[name] = state
        level = logging.INFO if state.condition in (Condition.READY, Condition.OPENING) else logging.WARNING
        self._logs[name].line(level, "%s is %s%s", name, state.condition.value, state.reason and f": {state.reason}")
        try:
            self._on_change(name, state)
        except Exception:
            log.exception("the listener for part states failed on %s", name)
