"""Plays a whole block: real broker, real gpsd, the real agent as a process of its own, a consumer as the cloud.

In the middle the broker goes away for a while and the agent is killed, again and again. At the end the consumer's own
count is held against the journal: every event once, in order, the chain unbroken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.journal.reading import Reading
from demo.block import make_plan
from demo.driver import Driver
from demo.stage import Agent, Cloud, send
from drivers.simulated import Broker, Gpsd, SimulatedReceiver, SimulatedScanner

DRAIN_TIMEOUT_S = 60.0
RECEIVER_HZ = 5.0
LOOK_S = 1.0
"""How often the live view is brought up to date."""


@dataclass(slots=True)
class Options:
    """How the demo is played."""

    directory: Path
    speed: float = 20.0
    outage_s: float = 10.0
    kills: int = 3
    seed: int = 7


@dataclass(slots=True)
class Progress:
    """What a live view shows; the player keeps it up to date."""

    stage: str = "setting up"
    console: str = ""
    broker: str = ""
    ready_after_s: float | None = None
    """From the start of the command (of `scripts/demo`, where that was it) to a unit that has its block."""
    kills: int = 0
    broker_is_up: bool = True
    seen: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What `kerbside demo --json` prints."""

    events_written: int
    events_received: int
    duplicates_removed: int
    gaps: int
    chain_intact: bool
    parcels: dict[str, int]
    outage_s: float
    kills: int
    scan_to_feedback_ms: dict[str, float]

    @property
    def proven(self) -> bool:
        """Every event arrived exactly once, in order, with an unbroken chain."""
        return self.chain_intact and self.gaps == 0 and self.events_written == self.events_received > 0


class Player:
    """Everything that the demo starts; `play` runs it from the first process to the proof."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.progress = Progress()
        self._rng = random.Random()
        self._stack = contextlib.ExitStack()
        self._plan = make_plan(options.seed)

    async def play(self, *, serve: Callable[[Result], Any] | None = None) -> Result:
        """The whole block. With `serve`, broker and unit stay up until that coroutine function returns.

        However it ends, nothing that was started runs on.
        """
        async with self._everything_stopped():
            await asyncio.to_thread(self._set_up)
            driver = Driver(
                self._plan, self._agent.screen, self._scanner, self._receiver, self._pictures, self.options.speed
            )
            await asyncio.to_thread(send, self._broker, "block", self._plan.message)
            self.progress.ready_after_s = _age_of_this_process_s()
            watcher = asyncio.create_task(self._watch())
            troubles = asyncio.create_task(self._troubles())
            work = asyncio.create_task(driver.work())
            try:
                self.progress.stage = "a driver works through the block"
                await asyncio.wait({work, troubles}, return_when=asyncio.FIRST_EXCEPTION)
                await work
                await troubles
                self.progress.stage = "everything is on its way to the cloud"
                written = await self._drained()
                result = self._result(driver, written)
                if serve:
                    self.progress.stage = "the unit stays up"
                    await serve(result)
            finally:
                for task in (watcher, troubles, work):
                    task.cancel()
                await asyncio.gather(watcher, troubles, work, return_exceptions=True)
        return result

    @contextlib.asynccontextmanager
    async def _everything_stopped(self) -> AsyncIterator[None]:
        """Stop at the end what was started, and what a thread is just about to start."""
        try:
            yield
        finally:
            await asyncio.get_running_loop().shutdown_default_executor()
            self._stack.close()

    def _set_up(self) -> None:
        directory, stack = self.options.directory, self._stack
        self._pictures = directory / "camera"
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._scanner = stack.enter_context(SimulatedScanner())
        self._receiver = stack.enter_context(SimulatedReceiver(*self._plan.places["T0"], rate_hz=RECEIVER_HZ))
        self._broker = stack.enter_context(Broker(directory / "broker", max_inflight=100))
        gpsd = stack.enter_context(Gpsd(self._receiver.port))
        self._cloud = stack.enter_context(Cloud(directory, self._broker))
        self._agent = Agent(
            directory,
            {
                "broker": {"url": self._broker.url},
                "gps": {"gpsd": gpsd.address},
                "scanner": [{"name": "handheld", "kind": "honeywell", "port": self._scanner.port}],
                "camera": {"source": str(self._pictures)},
                "mount": {"port": "simulated"},
            },
        )
        stack.callback(self._agent.stop)
        self._agent.start_ready()
        self.progress.console = self._agent.screen.url
        self.progress.broker = self._broker.url

    async def _watch(self) -> None:
        """Keep the progress up to date."""
        while True:
            if seen := await asyncio.to_thread(self._agent.screen.state):
                self.progress.seen = seen
            self.progress.report = await asyncio.to_thread(self._cloud.report)
            await asyncio.sleep(LOOK_S)

    async def _troubles(self) -> None:
        """Once the vehicle is loaded, take the broker away for a while; kill the agent at random instants."""
        await self._block_in("LOADING", "LOADED", "ON_ROUTE")
        killer = asyncio.create_task(self._kill())
        try:
            await self._block_in("ON_ROUTE")
            if self.options.outage_s > 0:
                self.progress.broker_is_up = False
                await asyncio.to_thread(self._broker.stop)
                await asyncio.sleep(self.options.outage_s)
                await asyncio.to_thread(self._broker.start)
                self.progress.broker_is_up = True
            await killer
        finally:
            killer.cancel()

    async def _kill(self) -> None:
        for _ in range(self.options.kills):
            await asyncio.sleep(self._rng.uniform(2.0, 7.0))
            await asyncio.to_thread(self._agent.kill)
            await asyncio.to_thread(self._agent.start_ready)
            self.progress.kills += 1

    async def _block_in(self, *states: str) -> None:
        while (self.progress.seen.get("block") or {}).get("state") not in (*states, "RETURNING", "CLOSED"):
            await asyncio.sleep(0.1)

    async def _drained(self) -> int:
        """Wait until the consumer has the journal's last event; how many the journal holds."""

        def events() -> int:
            with Reading(self._agent.state_dir) as journal:
                return journal.verify().events

        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            written = await asyncio.to_thread(events)
            report = await asyncio.to_thread(self._cloud.report)
            if report.get("last_sequence") == written or time.monotonic() > deadline:
                self.progress.report = report
                return written
            await asyncio.sleep(0.2)

    def _result(self, driver: Driver, written: int) -> Result:
        report = self.progress.report
        waits = sorted(driver.feedback_ms) or [0.0]
        return Result(
            events_written=written,
            events_received=report.get("events_received", 0),
            duplicates_removed=report.get("duplicates_removed", 0),
            gaps=report.get("gaps", 0),
            chain_intact=report.get("chain_intact", False),
            parcels=report.get("parcels", {}),
            outage_s=self.options.outage_s,
            kills=self.progress.kills,
            scan_to_feedback_ms={
                "p50": round(statistics.median(waits), 3),
                "p99": round(waits[min(len(waits) - 1, int(len(waits) * 0.99))], 3),
            },
        )


def _age_of_this_process_s() -> float:
    """By the kernel's clock; a script that has replaced itself by this process has begun it."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
