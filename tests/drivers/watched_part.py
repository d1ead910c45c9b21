"""What the driver tests share: a part that runs beside the test, and what it said."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from drivers.readings import Condition, NotRead, PartState
from drivers.supervisor import Part, Supervisor
from tests.waiting import PATIENCE_S


class Watched:
    """A part under a supervisor, its readings and the states it went through."""

    def __init__(self) -> None:
        self.readings: list[Any] = []
        self.lost: list[NotRead] = []
        """Codes that a scanner has read and that did not arrive."""
        self.states: list[PartState] = []
        self._news = asyncio.Event()

    def out(self, reading: Any) -> None:
        (self.lost if isinstance(reading, NotRead) else self.readings).append(reading)
        self._news.set()

    def changed(self, _: str, state: PartState) -> None:
        self.states.append(state)
        self._news.set()

    @property
    def state(self) -> PartState:
        return self.states[-1] if self.states else PartState(Condition.OPENING)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a reading or a state brings about."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._news.wait()

    async def until_state(self, condition: Condition) -> PartState:
        try:
            await self.until(lambda: self.state.condition is condition)
        except TimeoutError:
            pytest.fail(f"the part did not become {condition}; it went through {self.states}")
        return self.state

    async def until_readings(self, count: int) -> list[Any]:
        try:
            await self.until(lambda: len(self.readings) >= count)
        except TimeoutError:
            pytest.fail(f"expected {count} readings, got {len(self.readings)}; states {self.states}")
        return self.readings


@contextlib.asynccontextmanager
async def watching(part: Part[Any]) -> AsyncIterator[Watched]:
    """Run `part` under a supervisor with short delays for the time of the block."""
    watched = Watched()
    supervisor = Supervisor(watched.changed, first_delay_s=0.05, max_delay_s=0.5)
    supervisor.add(part, watched.out)
    running = asyncio.create_task(supervisor.run())
    try:
        yield watched
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled(), running.exception()


def needs(binary: str, package: str) -> pytest.MarkDecorator:
    """Skip where a program of the system is missing."""
    found = shutil.which(binary, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin")
    return pytest.mark.skipif(found is None, reason=f"needs {binary} (apt-get install {package})")
