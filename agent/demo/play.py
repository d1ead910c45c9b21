"""Plays a whole block: real broker, real gpsd, the real agent as a process of its own, a consumer as the cloud.

In the middle the broker goes away for a while and the agent is killed, again and again. At the end the consumer's own
count is held against the journal: every event once, in order, the chain unbroken.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agent.demo.block import Plan, make_plan
from agent.demo.driver import Driver, Screen
from drivers.simulated import Broker, Gpsd, SimulatedReceiver, SimulatedScanner, free_port

FLEET, UNIT = "demo", "u1"
READY_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 60.0
RECEIVER_HZ = 5.0


class DemoError(Exception):
    """The demo can not go on: says what happened and where to look."""


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


class Process:
    """A child process of ours with its log in a file; killed and started again at will."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, appending to its log."""
        with self._log.open("ab") as log:
            # The demo's own settings are the whole truth: no override of the caller's reaches the child.
            environ = {key: value for key, value in os.environ.items() if not key.startswith("KERBSIDE_")}
            self._child = subprocess.Popen(
                [sys.executable, *self._arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    def end(self, how: Literal[signal.Signals.SIGTERM, signal.Signals.SIGKILL]) -> None:
        """Stop or kill it, and wait until it is gone."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.send_signal(how)
        try:
            self._child.wait(15)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])


class Player:
    """Everything that the demo starts; `play` runs it from the first process to the proof."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.progress = Progress()
        self._rng = random.Random()
        self._stack = ExitStack()
        self._plan = make_plan(options.seed)

    async def play(self, *, serve: Callable[[], Any] | None = None) -> Result:
        """The whole block. With `serve`, broker and unit stay up until that coroutine function returns."""
        with self._stack:
            await asyncio.to_thread(self._set_up)
            await self._ready()
            driver = Driver(self._plan, self._screen, self._scanner, self._receiver, self._pictures, self.options.speed)
            await asyncio.to_thread(self._send_block, self._plan)
            watcher = asyncio.create_task(self._watch())
            troubles = asyncio.create_task(self._troubles())
            try:
                self.progress.stage = "a driver works through the block"
                work = asyncio.create_task(driver.work())
                await asyncio.wait({work, troubles}, return_when=asyncio.FIRST_EXCEPTION)
                await work
                await troubles
                self.progress.stage = "everything is on its way to the cloud"
                written = await self._drained()
                result = self._result(driver, written)
                if serve:
                    self.progress.stage = "the unit stays up"
                    await serve()
            finally:
                for task in (watcher, troubles):
                    task.cancel()
                await asyncio.gather(watcher, troubles, return_exceptions=True)
        return result

    def _set_up(self) -> None:
        options, stack = self.options, self._stack
        directory = options.directory
        self._pictures = directory / "camera"
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._scanner = stack.enter_context(SimulatedScanner())
        self._receiver = stack.enter_context(SimulatedReceiver(*self._plan.places["T0"], rate_hz=RECEIVER_HZ))
        self._broker = stack.enter_context(Broker(directory / "broker", max_inflight=100))
        gpsd = stack.enter_context(Gpsd(self._receiver.port))
        console = free_port()
        self._state_dir = directory / "state"
        settings = directory / "agent.toml"
        settings.write_text(
            _settings(self._state_dir, self._broker.url, gpsd.address, self._scanner.port, self._pictures, console)
        )
        self._store = directory / "cloud.sqlite"
        self._screen = Screen("127.0.0.1", console)
        self.progress.console = f"http://127.0.0.1:{console}/"
        self.progress.broker = self._broker.url
        who = ["--broker", self._broker.url, "--fleet", FLEET, "--unit", UNIT, "--store", str(self._store)]
        self._cloud = Process("the consumer", ["-m", "cloud.consumer", *who], directory / "cloud.log")
        self._agent = Process(
            "the agent", ["-m", "agent.cli", "run", "--settings", str(settings)], directory / "agent.log"
        )
        for process in (self._cloud, self._agent):
            stack.callback(process.end, signal.SIGTERM)
            process.start()

    async def _ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if await self._screen.look() is not None:
                return
            if not self._agent.alive:
                raise DemoError(f"the agent ended:\n{self._agent.last_words()}")
            await asyncio.sleep(0.05)
        raise DemoError(f"the agent is not ready after {READY_TIMEOUT_S:.0f} s:\n{self._agent.last_words()}")

    def _send_block(self, plan: Plan) -> None:
        from paho.mqtt import publish
        from paho.mqtt.client import MQTTv5

        topic = f"kerbside/{FLEET}/{UNIT}/inbox/block"
        publish.single(
            topic, json.dumps(plan.message), qos=1, hostname="127.0.0.1", port=self._broker.port, protocol=MQTTv5
        )

    async def _watch(self) -> None:
        """Keep the progress up to date."""
        while True:
            if seen := await self._screen.look():
                self.progress.seen = seen
            self.progress.report = await asyncio.to_thread(self._report)
            await asyncio.sleep(0.5)

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
            await asyncio.to_thread(self._agent.end, signal.SIGKILL)
            self._agent.start()
            await self._ready()
            self.progress.kills += 1

    async def _block_in(self, *states: str) -> None:
        while (self.progress.seen.get("block") or {}).get("state") not in (*states, "RETURNING", "CLOSED"):
            await asyncio.sleep(0.1)

    async def _drained(self) -> int:
        """Wait until the consumer has the journal's last event; how many the journal holds."""
        from agent.journal.verify import verify_store

        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            written = await asyncio.to_thread(lambda: verify_store(self._state_dir).events)
            report = await asyncio.to_thread(self._report)
            if report.get("last_sequence") == written or time.monotonic() > deadline:
                self.progress.report = report
                return written
            await asyncio.sleep(0.2)

    def _report(self) -> dict[str, Any]:
        from agent.demo.report import read

        with suppress(OSError):
            return read(self._store)
        return {}

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


def _settings(state_dir: Path, broker: str, gpsd: str, scanner: str, camera: Path, console: int) -> str:
    """JSON strings are TOML strings, whatever is in a path."""
    return f"""\
[unit]
id = "{UNIT}"
fleet = "{FLEET}"
state_dir = {json.dumps(str(state_dir))}

[broker]
url = "{broker}"

[gps]
gpsd = "{gpsd}"

[[scanner]]
name = "handheld"
kind = "honeywell"
port = {json.dumps(scanner)}

[camera]
source = {json.dumps(str(camera))}

[console]
listen = "127.0.0.1:{console}"
"""
