"""The agent of one unit: settings become parts, parts are joined and run, and are put away in reverse order.

It promises that nothing listens before the log has been replayed, that the service manager hears of readiness only
then, and that an orderly end leaves a snapshot, a farewell event and an offline status behind. It knows kinds of parts,
not parts: a new kind is a line in `PARTS`, new slow work one in `WORK`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

from agent import __version__, checkup, containment
from agent.actions import Actions
from agent.clock import Clock
from agent.cloud_requests import CloudRequests, changed_by_cloud
from agent.collector import Collector
from agent.console.part import console
from agent.delivery.model.decision import DIAGNOSTICS
from agent.delivery.model.inputs import Tick
from agent.delivery.model.scopes import SETTINGS
from agent.delivery.model.state import Policy
from agent.devices.camera import camera
from agent.devices.scanners import scanners
from agent.effects import Effects
from agent.health import Health
from agent.identity.seal import Sealer
from agent.journal.store import Journal
from agent.mount.panel import MountPanel
from agent.mount.part import mount
from agent.mount.power import PowerOff
from agent.mount.restarts import Restarts
from agent.notify import ask_power_off, notify
from agent.parts import Fitted, PartsShown, shown
from agent.position.receiver import receiver
from agent.position.vehicle import Vehicle
from agent.screen_state import ScreenState
from agent.settings import Settings
from agent.unit import Unit
from agent.uplink.inbox import InboxReader
from agent.uplink.uplink import Listeners, Uplink
from agent.workers import Kind, Workers
from drivers.hotplug import Watch
from drivers.readings import Condition, PartState
from drivers.supervisor import Supervisor

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 60.0
SWITCH_S = 0.0005
"""A thread that has much to do lets another go on after this: one scan waits for such a turn several times."""


class App:
    """The agent of one unit. `run` does everything."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End in order; `run` returns once everything is put away."""
        self._stop.set()

    def is_ending(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    async def run(self) -> None:
        """Until `stop`.

        :raises JournalError: the journal cannot be opened, or another agent has it
        """
        sys.setswitchinterval(SWITCH_S)
        async with contextlib.AsyncExitStack() as running:
            tasks = await self._start(running)
            running.callback(notify, "STOPPING=1")
            notify("READY=1")
            log.info("ready: unit %s of fleet %s", self.settings.unit.id, self.settings.unit.fleet)
            stopped = await running.enter_async_context(_running(self._stop.wait(), "stop"))
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        if self.power.reason:
            ask_power_off()

    async def _start(self, running: contextlib.AsyncExitStack) -> list[asyncio.Task[object]]:
        """Start everything, each with its end; what runs from now on without being asked."""
        state_dir = self.settings.unit.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.journal = await asyncio.to_thread(self._open_journal)
        running.push_async_callback(asyncio.to_thread, self.journal.close)
        self._build()

        self._report_status()
        self.uplink.start()
        running.push_async_callback(asyncio.to_thread, self.uplink.stop)
        self.unit.record("unit.started", {"version": __version__, "boot_id": self.clock.now().boot_id})
        running.push_async_callback(self._say_farewell)
        await self.unit.settle()
        self.vehicle.start()
        running.callback(self.vehicle.stop)
        running.callback(self.workers.stop)
        # Not undone: a second signal must not cut the farewell short.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)

        devices = [each.device for each in self.fitted.values() if each.device]
        tasks = [
            await running.enter_async_context(_running(self._each_second(), "each second")),
            await running.enter_async_context(_running(self.supervisor.run(), "supervisor")),
            await running.enter_async_context(_running(Watch(self.supervisor.look_again, devices).run(), "hot-plug")),
        ]
        await self._parts_are_known()
        self.collector.loaded()
        return tasks

    def _open_journal(self) -> Journal:
        settings = self.settings.journal
        return Journal.open(
            self.settings.unit.state_dir,
            max_bytes=settings.max_bytes,
            retain_days=settings.retain_days,
            confirm=settings.confirm,
        )

    def _build(self) -> None:
        """Make the parts and join them; nothing runs yet."""
        state_dir, fleet, unit_id = self.settings.unit.state_dir, self.settings.unit.fleet, self.settings.unit.id
        self.collector = Collector()
        self.clock = Clock(state_dir)
        self.health = Health(state_dir)
        self.sealer = Sealer(state_dir, self.journal.keys())
        policy = Policy(**self.settings.delivery.model_dump())
        self.unit = Unit(self.journal, f"/{fleet}/{unit_id}", policy, self.clock.now)
        file = self.settings
        self.settings = changed_by_cloud(file, self.sealer.opened(SETTINGS, self.unit.state.settings), file)
        self.unit.adopt(Policy(**self.settings.delivery.model_dump()))
        reader = InboxReader(self.sealer)
        self.uplink = Uplink(
            self.settings.broker,
            fleet,
            unit_id,
            self.journal,
            reader,
            Listeners(
                on_message=lambda incoming: self.requests.take(incoming),
                on_state=self._parts_changed,
                on_session_lost=lambda: self.unit.record("unit.session_reset", {}),
                on_damage=self.unit.distrust,
            ).called_in(asyncio.get_running_loop()),
            state_dir=state_dir,
            now=self.clock.now,
            confirm=self.settings.journal.confirm,
            gives_way=lambda: self.unit.is_writing,
        )
        self.requests = CloudRequests(self.settings, file, self.unit, self.uplink, self.journal, reader)
        self.workers = Workers({name: kind(self) for name, kind in WORK.items()}, self.unit.take)
        self.vehicle = Vehicle(self.unit, self.clock, self.journal, state_dir, self._report_status)
        self.power = PowerOff(self.settings.mount.shutdown_after_s, self.stop)
        self.panel = MountPanel(self.unit, Restarts(state_dir, self.clock.now().boot_id), self.power)
        self.screen = ScreenState(
            self.settings.unit,
            self.unit,
            self.uplink,
            self.journal,
            self.clock,
            self.sealer,
            parts=self.parts,
            act=Actions(self.unit.act).act,
            examine=lambda: checkup.document(checkup.examine(self.requests.settings, self.parts())),
            extra={"mount": self.panel.shown, "receiver": self.vehicle.reported},
        )
        self.supervisor = Supervisor(self._part_changed)
        self.unit.containment.on_change = self._parts_changed
        self.fitted: dict[str, Fitted[Any]] = {}
        for fitted in (each for make in PARTS for each in make(self)):
            self.supervisor.add(fitted.part, fitted.out)
            self.fitted[fitted.part.name] = fitted
        self.unit.tell(
            Effects(
                self.fitted.values(),
                self.uplink,
                self.requests,
                self.workers,
                self.sealer,
                self.journal,
                self.unit.containment,
            )
        )

    async def _say_farewell(self) -> None:
        why = {"reason": self.power.reason} if self.power.reason else {}
        self.unit.record("unit.stopped", {"version": __version__, **why})
        self.unit.snapshot()
        await self.unit.settle()

    async def _parts_are_known(self) -> None:
        """Those that are waited for are there, or have said why they are not; the deliveries do not depend on them."""
        states = self.supervisor.states
        awaited = [name for name, fitted in self.fitted.items() if fitted.awaited]
        while any(states[name].condition is Condition.OPENING for name in awaited):
            await asyncio.sleep(0.01)

    async def _each_second(self) -> None:
        """The clock, the core's tick, the watchdog, the collector; each minute a health sample."""
        loop, attempt = asyncio.get_running_loop(), self.unit.containment.attempt
        health_due = loop.time()
        while True:
            await asyncio.sleep(1.0)
            attempt("clock", self.vehicle.tick, None)
            attempt("tick", lambda: self.unit.take(Tick()), None)
            attempt("collector", lambda: self.collector.each_second(self.unit.last_feedback), None)
            attempt("watchdog", lambda: notify("WATCHDOG=1"), None)
            if loop.time() >= health_due:
                health_due += HEALTH_EVERY_S
                attempt("health sample", self._sample_health, None)

    def _sample_health(self) -> None:
        status = self.journal.status()
        sample = {
            "time": self.clock.now().time,
            **self.health.sample(time.monotonic_ns()),
            "backlog": status["backlog"],
            "dropped": status["dropped"],
            "faults": dict(self.unit.containment.counts),
            "scans": {name: fitted.counts() for name, fitted in self.fitted.items() if fitted.counts},
        }
        self.journal.sample("health", sample)

    def parts(self) -> PartsShown:
        """How the parts are; may be called from any thread."""
        parts = shown(self.supervisor.states.copy(), self.clock.now())
        for name, part in parts.items():
            if part["state"] == Condition.READY and not part["reason"]:
                part["reason"] = self.fitted[name].remark() or ""
        others = {"broker": self.uplink.state.as_part()}
        if (failing := self.unit.containment.state) is not None:
            others[containment.PART] = failing
        return parts | shown(others, self.clock.now())

    def _part_changed(self, name: str, state: PartState) -> None:
        self.unit.containment.attempt(f"state of {name}", lambda: self.fitted[name].on_state(state), None)
        self._parts_changed()

    def _parts_changed(self) -> None:
        self._report_status()
        self.unit.changed()

    def _report_status(self) -> None:
        self.uplink.set_status(self.parts())


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[asyncio.Task[object]]:
    """A task that is cancelled, and waited for, at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


PARTS: Final[tuple[Callable[[App], Iterator[Fitted[Any]]], ...]] = (
    lambda app: scanners(app.settings.scanner, app.unit),
    lambda app: mount(
        app.settings, app.unit, app.clock, app.panel, speed_mps=lambda: app.vehicle.speed_mps, ending=app.is_ending
    ),
    lambda app: receiver(app.settings.gps, app.vehicle),
    lambda app: camera(app.settings.camera, app.unit),
    lambda app: console(app.settings.console, app.screen),
    lambda app: iter([Fitted(app.workers)]),
)
"""Every kind of part, and what makes those that the settings name."""

WORK: Final[Mapping[str, Callable[[App], Kind]]] = {
    DIAGNOSTICS: lambda app: Kind(lambda _payload: checkup.diagnostics(app.requests.settings, app.parts()), 60.0),
}
"""Every kind of slow work, and how it is done."""
