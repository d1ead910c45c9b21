"""The only place that knows every part: settings become parts, parts are joined, and run until told to end.

It promises that nothing listens before the log has been replayed, that the service manager hears of readiness only
then, and that an orderly end leaves a snapshot, a farewell event and an offline status behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.clock import Clock, Synchronized
from agent.console.console import Console
from agent.delivery.model.decision import Command, Feedback
from agent.delivery.model.inputs import InvalidMessage, Located, Tick
from agent.delivery.model.state import Policy
from agent.files import write_durably
from agent.health import Health
from agent.identity.seal import PREFIX as SEALED
from agent.identity.seal import Sealer, SealError
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from agent.labels.identity import to_input
from agent.notify import ask_power_off, notify
from agent.position.trip import Trip
from agent.settings import SIMULATED, ScannerSettings, Settings, SettingsError, change
from agent.unit import Answer, Unit
from agent.uplink.inbox import InboxReader, Incoming
from agent.uplink.uplink import Uplink
from contract.vocabulary import BLOCK_ACTIVE
from drivers.gps import Gps
from drivers.hotplug import Watch
from drivers.readings import Condition, Doubt, Fix, Panel, PartState, Scan
from drivers.scanner.serial_port import SerialScanner, framer
from drivers.supervisor import Supervisor
from firmware_bridge.power import ALARMING, Power

if TYPE_CHECKING:
    from drivers.camera import Camera
    from drivers.scanner.input_device import HidPosScanner, KeyboardScanner
    from drivers.simulated.mount import SimulatedMount
    from firmware_bridge.link import Link
    from firmware_bridge.mount import Mount

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 60.0
VIEW_EVERY_S = 0.1
"""The screen is redrawn at most this often."""
POWER_OFF = {"ignition": "the ignition has been off for long", "supply": "the supply is low ({:.1f} V)"}
ASKING = frozenset({"command", "settings"})
"""Kinds of messages that are answered on `replies`."""
TRIP_FILE = "trip.json"
MOUNT_FILE = "mount.json"
"""Which start of the mount's microcontroller was told last."""
SAME_START_MS = 2_000
"""By how much two readings may differ over when the microcontroller started: an answer takes its time,"""
SAME_START_SHARE = 0.01
"""and its clock may be one of resistors and capacitors."""


class App:
    """The agent of one unit. `run` does everything."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = asyncio.Event()
        self._fix: Fix | None = None
        self._panel: Panel | None = None
        self.camera: Camera | None = None
        """Its newest picture and its clips are for whoever needs one."""
        self._mount: Mount | SimulatedMount | None = None
        self._power = Power(settings.mount.shutdown_after_s)
        self._power_off: str | None = None
        """Why the unit is being shut down."""
        self._asked: dict[str, Incoming] = {}

    def stop(self) -> None:
        """End in order; `run` returns once everything is put away."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`.

        :raises JournalError: the journal can not be opened, or another agent has it
        """
        settings = self.settings
        state_dir = settings.unit.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        self.journal = await asyncio.to_thread(
            Journal.open,
            state_dir,
            max_bytes=settings.journal.max_bytes,
            retain_days=settings.journal.retain_days,
            confirm=settings.journal.confirm,
        )
        try:
            await self._run(state_dir)
        finally:
            await asyncio.to_thread(self.journal.close)
        if self._power_off:
            ask_power_off()

    async def _run(self, state_dir: Path) -> None:
        settings = self.settings
        self.clock = Clock(state_dir)
        self._trip = Trip(state_dir / TRIP_FILE)
        self._health = Health(state_dir)
        self._sealer = Sealer(state_dir, self.journal.keys())
        self._reader = InboxReader(self._sealer)
        source = f"/{settings.unit.fleet}/{settings.unit.id}"
        self.unit = Unit(self.journal, source, Policy(**settings.delivery.model_dump()), self.clock.now, self)
        settings = self._change_settings(self.unit.state.settings)
        self.unit.adopt(Policy(**settings.delivery.model_dump()))
        self.uplink = Uplink(
            settings.broker,
            settings.unit.fleet,
            settings.unit.id,
            self.journal,
            self._reader,
            _Bounce(self),
            state_dir=state_dir,
            now=self.clock.now,
            confirm=settings.journal.confirm,
        )
        self.supervisor = Supervisor(self._part_changed)
        self.scanners: dict[str, SerialScanner | KeyboardScanner | HidPosScanner] = {}
        for scanner in settings.scanner:
            self._add_scanner(scanner)
        if settings.mount.port:
            self._add_mount(settings.mount.port)
        if settings.gps.gpsd:
            self.supervisor.add(Gps(settings.gps.gpsd, settings.gps.stale_after_s, settings.gps.device), self.reading)
        if settings.camera.source:
            self._add_camera(settings.camera.source)
        self.console = Console(self, settings.console.listen)
        self.supervisor.add(self.console, lambda _reading: None)

        # The count goes on before the first fix comes, and also where none does.
        self.unit.take(Located(self.clock.now().uptime_ms, 0, distance_m=self._trip.metres(self._block_under_way())))
        self.unit.record("unit.started", {"version": __version__, "boot_id": self.clock.now().boot_id})
        await self.unit.settle()

        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        watch = Watch(self.supervisor.look_again, _devices(settings))
        tasks = [
            asyncio.create_task(self.supervisor.run(), name="supervisor"),
            asyncio.create_task(watch.run(), name="hot-plug"),
            asyncio.create_task(self._tick(), name="tick"),
        ]
        self.uplink.start()
        self._report_status()
        await self._listening()
        # What was loaded to start stays for good: the collector need not walk through it while a driver waits.
        gc.collect()
        gc.freeze()
        notify("READY=1")
        log.info("ready: unit %s, screen at http://%s/", source, self.console.address)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            notify("STOPPING=1")
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self._sample_positions(self._trip.turn(self._block_under_way()))
            self._trip.save()
            why = {"reason": self._power_off} if self._power_off else {}
            self.unit.record("unit.stopped", {"version": __version__, **why})
            self.unit.snapshot()
            await self.unit.settle()
            await asyncio.to_thread(self.uplink.stop)

    async def _listening(self) -> None:
        """The screen is there, or has said why it is not; the deliveries do not depend on it."""
        while self.console.address is None:
            if self.supervisor.states["console"].condition is Condition.FAULTY:
                return
            await asyncio.sleep(0.01)

    # --- readings -----------------------------------------------------------------------------------------------

    def reading(self, reading: Scan | Fix | Panel) -> None:
        """What a device said, on its way into the loop."""
        match reading:
            case Scan():
                self.unit.take(to_input(reading), device=reading.device)
            case Fix():
                self._located(reading)
            case Panel():
                self._powered(reading)

    def _powered(self, panel: Panel) -> None:
        before, self._panel = self._panel, panel
        began = before is None and panel.reset_cause in ALARMING and not self._told_of_start(panel)
        # Its uptime alone does not tell: after a silence it may be more than before.
        again = before and (panel.uptime_ms < before.uptime_ms or panel.reset_cause != before.reset_cause)
        if began or again:
            log.warning("the mount's microcontroller has restarted: %s", panel.reset_cause)
            self.unit.record(
                "firmware.restarted",
                {"reason": panel.reset_cause, "uptime_ms": panel.uptime_ms, "supply_mv": panel.supply_mv},
            )
            kept = {"boot_id": self.clock.now().boot_id, "start_ms": _started_ms(panel)}
            self._loop.run_in_executor(None, _keep_start, self.settings.unit.state_dir / MOUNT_FILE, kept)
        if before is None or (before.ignition, before.buttons) != (panel.ignition, panel.buttons):
            self.unit.changed()
        if (why := self._power.take(panel)) and self._power_off is None:
            log.warning("shutting down: %s", POWER_OFF[why].format(panel.supply_mv / 1000))
            self._power_off = why
            self.stop()

    def _told_of_start(self, panel: Panel) -> bool:
        """An agent before this one, since the unit was booted, has told of the start that this reading speaks of."""
        try:
            kept = json.loads((self.settings.unit.state_dir / MOUNT_FILE).read_bytes())
            same_boot = kept["boot_id"] == self.clock.now().boot_id
            apart_ms = abs(_started_ms(panel) - int(kept["start_ms"]))
        except (OSError, ValueError, ArithmeticError, LookupError, TypeError):
            return False
        return same_boot and apart_ms <= SAME_START_MS + panel.uptime_ms * SAME_START_SHARE

    def _located(self, fix: Fix) -> None:
        self._fix = fix
        mode = 0 if Doubt.OLD in fix.doubts else fix.mode  # nor does its time tell what time it is
        self._synchronized(self.clock.fix(mode, fix.time, fix.monotonic_ns))
        block_id = self._block_under_way()
        self._sample_positions(self._trip.take(fix, block_id))
        here = self._trip.here
        if here is None or here.monotonic_ns != fix.monotonic_ns:
            self.unit.changed()  # what the receiver says is shown, and moves nothing
            return
        self.unit.take(
            Located(
                uptime_ms=here.monotonic_ns // 1_000_000,
                mode=here.mode,
                latitude=here.latitude,
                longitude=here.longitude,
                accuracy_m=here.accuracy_m,
                speed_mps=here.speed_mps,
                heading=here.heading,
                distance_m=self._trip.metres(block_id),
            )
        )

    def _block_under_way(self) -> str | None:
        """Between check-in and close, and only then, the vehicle's way is somebody's business."""
        block = self.unit.state.block
        return block.block_id if block is not None and block.state in BLOCK_ACTIVE else None

    def _sample_positions(self, points: list[Fix]) -> None:
        now = self.clock.now()
        for point in points:
            sample = {
                "time": _time_of(point.monotonic_ns, now.wall_ms - now.uptime_ms),
                "latitude": point.latitude,
                "longitude": point.longitude,
                "accuracy_m": point.accuracy_m,
                "speed_mps": point.speed_mps,
                "heading": point.heading,
            }
            self.journal.sample("position", sample)

    def _synchronized(self, told: Synchronized | None) -> None:
        if told:
            moment = self.clock.now()
            self.unit.record(
                "unit.clock_synchronized",
                {"uptimems": str(moment.uptime_ms), "time": moment.time, "previous_trust": told.previous_trust},
            )
            self._report_status()  # since when each part is as it is, by the better clock

    def _change_settings(self, changes: Mapping[str, Any]) -> Settings:
        """What the cloud has set goes above the settings file. A key that is wrong by now is left out."""
        try:
            self.settings = change(self.settings, changes)
        except SettingsError:
            for key, value in changes.items():
                try:
                    self.settings = change(self.settings, {key: value})
                except SettingsError as error:
                    log.warning("a setting of the cloud is not used: %s", error)
        return self.settings

    def _add_scanner(self, scanner: ScannerSettings) -> None:
        driver: SerialScanner | KeyboardScanner | HidPosScanner
        match scanner.kind:
            case "hid":
                from drivers.scanner.input_device import KeyboardScanner

                end, silence_ms = scanner.terminator, scanner.idle_flush_ms
                driver = KeyboardScanner(scanner.name, scanner.port, scanner.layout, end, silence_ms)
            case "hidpos":
                from drivers.scanner.input_device import HidPosScanner

                driver = HidPosScanner(scanner.name, scanner.port)
            case kind:
                protocol = framer(kind, scanner.terminator, scanner.idle_flush_ms, host_ack=scanner.host_ack)
                driver = SerialScanner(scanner.name, scanner.port, protocol, scanner.baud)
        self.scanners[scanner.name] = driver
        self.supervisor.add(driver, self.reading)

    def _add_mount(self, port: str) -> None:
        if port == SIMULATED:
            from drivers.simulated.mount import SimulatedMount

            self._mount = SimulatedMount()
        else:
            from firmware_bridge.mount import Mount

            self._mount = Mount(
                port, self.settings.mount.baud, now=self._trusted_time, opened=self._see_firmware_through
            )
        self.supervisor.add(self._mount, self.reading)

    def _see_firmware_through(self, link: Link) -> None:
        """Called in the mount's thread, whenever its line has been opened.

        :raises BridgeError: the mount has fallen silent
        """
        from agent.mount import updates

        def write(event: str, data: Mapping[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(record(event, data), self._loop).result()

        async def record(event: str, data: Mapping[str, Any]) -> None:
            self.unit.record(event, data)
            await self.unit.settle()

        def may_restart() -> tuple[str, str] | None:
            return updates.objection(self.unit.state.blocks.values(), self._fix.speed_mps if self._fix else None)

        updates.see_through(
            link,
            self.settings.unit.state_dir,
            write,
            may_restart=may_restart,
            confirm_after_s=self.settings.mount.confirm_after_s,
            ending=self._stop.is_set,
        )

    def _trusted_time(self) -> datetime | None:
        """What the mount's clock may be set by."""
        moment = self.clock.now()
        return datetime.fromtimestamp(moment.wall_ms / 1000, UTC) if moment.trust in ("gps", "ntp") else None

    def _add_camera(self, source: str) -> None:
        from agent.labels.watch import LabelCamera
        from drivers.camera import Camera

        camera = self.settings.camera
        self.camera = driver = Camera(
            source,
            camera.width,
            camera.height,
            camera.fps,
            ring_s=camera.ring_s,
            ring_max_bytes=camera.ring_max_bytes,
        )
        if camera.read_labels:
            self.supervisor.add(LabelCamera(driver, self._expected_codes), self._seen)
        else:
            self.supervisor.add(driver, lambda _frame: None)

    def _expected_codes(self) -> Mapping[str, tuple[str, ...]]:
        """What the camera may take for a parcel at once: the codes of the block under way."""
        block = self.unit.state.block
        return {} if block is None or block.ended else block.codes

    def _seen(self, scan: Scan) -> None:
        self.unit.take(to_input(scan, "camera"), device=scan.device)

    async def _tick(self) -> None:
        """Each second: the core's tick, the clock, the watchdog; each minute a health sample."""
        health_due = self._loop.time()
        while True:
            await asyncio.sleep(1.0)
            with contextlib.suppress(OSError):
                self._synchronized(self.clock.tick())
            self.unit.take(Tick())
            self._sample_positions(self._trip.turn(self._block_under_way()))
            notify("WATCHDOG=1")
            if self._loop.time() >= health_due:
                health_due += HEALTH_EVERY_S
                self._sample_health()

    def _sample_health(self) -> None:
        status = self.journal.status()
        sample = {
            "time": self.clock.now().time,
            **self._health.sample(time.monotonic_ns()),
            "backlog": status["backlog"],
            "dropped": status["dropped"],
        }
        self.journal.sample("health", sample)

    # --- the driver's screen ------------------------------------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """All of ``GET /api/state``."""
        link = self.uplink.link
        moment = self.clock.now()
        status = self.journal.status()
        deliveries = self.unit.view()
        self._open_secrets(deliveries)
        if not self._has_fix():
            deliveries["position"] = None
        return {
            "unit": {
                "id": self.settings.unit.id,
                "fleet": self.settings.unit.fleet,
                "version": __version__,
                "online": link.online,
                "sequence": status["sequence"],
                "backlog": status["backlog"],
                "clock": {"time": moment.time, "trust": moment.trust},
                "mount": self._seen_of_mount(),
                "receiver": self._fix and self._reported(self._fix, moment.uptime_ms),
                "parts": self._parts(),
            },
            **deliveries,
        }

    def _reported(self, fix: Fix, uptime_ms: int) -> dict[str, Any]:
        """What the receiver says, as it is, with what is doubted about it; `position` is where the vehicle is."""
        return {
            "mode": fix.mode,
            "latitude": fix.latitude,
            "longitude": fix.longitude,
            "accuracy_m": fix.accuracy_m,
            "doubts": [doubt.value for doubt in fix.doubts],
            "age_s": max(0, uptime_ms - fix.monotonic_ns // 1_000_000) / 1000,
        }

    def _seen_of_mount(self) -> dict[str, Any] | None:
        """What the panel shows, while it does."""
        panel, state = self._panel, self.supervisor.states.get("mount")
        if panel is None or state is None or state.condition is not Condition.READY:
            return None
        return {
            "ignition": panel.ignition,
            "supply_mv": panel.supply_mv,
            "buttons": panel.buttons,
            "reset_cause": panel.reset_cause,
        }

    def _has_fix(self) -> bool:
        """Whether the last position may still be shown as the vehicle's: what the receiver has lost is none."""
        state = self.supervisor.states.get(Gps.name)
        return state is None or (state.condition is Condition.READY and not state.reason)

    def _open_secrets(self, seen: dict[str, Any]) -> None:
        """Put names and codes of the stop under way, which the core knows only sealed, on the driver's own screen."""
        if (stop := seen["current_stop"]) is None:
            return

        def opened(sealed: Any) -> Any:
            if isinstance(sealed, dict):
                return {name: opened(each) for name, each in sealed.items()}
            if not isinstance(sealed, str) or not sealed.startswith(SEALED):
                return sealed
            try:
                return self._sealer.open(seen["block"]["block_id"], sealed)
            except SealError as error:
                log.warning("%s", error)
                return None

        stop["recipient"] = opened(stop["recipient"])
        stop["neighbour"] = opened(stop["neighbour"])
        codes = dict.fromkeys(map(opened, stop["access_codes"]))  # each once: parcels of one door share theirs
        stop["access_codes"] = [code for code in codes if code is not None]

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        """Carry out a driver's action."""
        typed = arguments.get("code") if action == "scan" else None
        scanned = to_input(Scan("console", typed, time.monotonic_ns()), "manual") if isinstance(typed, str) else None
        return await self.unit.act(action, arguments, scanned)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Views from now on, one a change, the first at once."""

        async def views(changed: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
            while True:
                changed.clear()
                yield self.view()
                await asyncio.sleep(VIEW_EVERY_S)
                await changed.wait()

        async with self.unit.watch() as changed:
            yield views(changed)

    def _parts(self) -> dict[str, dict[str, Any]]:
        now = self.clock.now()
        link = self.uplink.link
        states = dict(self.supervisor.states)
        states["broker"] = PartState(Condition.READY if link.online else Condition.FAULTY, link.reason, link.since_ns)
        return {
            name: {
                "state": state.condition.value,
                "reason": state.reason,
                "since": _time_of(state.since_ns, now.wall_ms - now.uptime_ms),
            }
            for name, state in states.items()
        }

    def _part_changed(self, _name: str, _state: PartState) -> None:
        self._report_status()
        self.unit.changed()

    def _report_status(self) -> None:
        parts = self._parts()
        del parts["broker"]  # whoever reads the status topic knows
        self.uplink.set_status(parts)

    # --- what the unit tells ------------------------------------------------------------------------------------

    def committed(self) -> None:
        """New events are durable."""
        self.uplink.wake()

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        """Let the scanner that asked answer."""
        if device and (scanner := self.scanners.get(device)):
            scanner.signal(feedback.tone)
        if self._mount:
            self._mount.signal(feedback.tone)

    def forget(self, scope: str) -> None:
        """Nor is an ended block's key kept in memory."""
        self._sealer.forget(scope)

    def reloaded(self) -> None:
        """Keys that were not written are gone."""
        self._sealer.reload(self.journal.keys())

    def command(self, command: Command) -> None:
        """Carry out what the cloud asks of the unit itself, and answer."""
        ok, result = self._obey(command)
        answer = {"command_id": command.data.get("command_id", command.message_id), "ok": ok}
        self.uplink.reply({**answer, "result" if ok else "error": result}, self._asked.pop(command.message_id, None))

    def _obey(self, command: Command) -> tuple[bool, dict[str, Any]]:
        data = command.data
        if command.kind == "settings":
            self._change_settings(data)
            self.unit.adopt(Policy(**self.settings.delivery.model_dump()))
            return True, {
                "changed": sorted(data),
                "restart_needed": any(not key.startswith("delivery.") for key in data),
            }
        match data["command"]:
            case "high_water":
                self.uplink.high_water(data["sequence"])
                return True, {"confirmed": self.journal.confirmed}
            case "replay":
                replay = self.uplink.replay(data["from_sequence"], data.get("to_sequence"))
                if replay.accepted:
                    return True, {"from_sequence": data["from_sequence"]}
                if data["from_sequence"] < replay.oldest_sequence:
                    gone = f"events before {replay.oldest_sequence} are no longer kept"
                    return False, {"code": "gone", "message": gone, "oldest_sequence": replay.oldest_sequence}
                return False, {"code": "busy", "message": "too many replays are waiting: ask again later"}
            case other:
                return False, {"code": "NOT_AVAILABLE", "message": f"this version does not know {other}"}

    # --- what the cloud says (bounced into the loop's thread) ---------------------------------------------------

    def on_message(self, incoming: Incoming) -> None:
        """A message of the inbox: hand it to the unit; acknowledged once it is durable."""
        incoming = self._reader.current(incoming)
        message, acknowledge = incoming.message, partial(self.uplink.acknowledge, incoming.token)
        if isinstance(message, InvalidMessage):
            log.warning("a message of the inbox is %s at %s: %s", message.reason, message.path, message.expected)
            self.unit.reject(message, acknowledge)
            if incoming.kind in ASKING and message.message_id is not None:
                self._refuse(message.message_id, ": ".join(filter(None, (message.path, message.expected))), incoming)
            return
        if message.kind == "settings":
            try:
                change(self.settings, message.data)
            except SettingsError as error:
                self.unit.reject(InvalidMessage(message.message_id, "INVALID", error.faults[0].path), acknowledge)
                self._refuse(message.message_id, str(error), incoming)
                return
        if self.journal.full and message.data.get("command") == "high_water":
            # The cloud's word is what makes room: it must count although it cannot be written down.
            self.uplink.high_water(message.data["sequence"])
            acknowledge()
            return
        if message.kind in ASKING and not self.journal.seen(message.message_id):
            self._asked[message.message_id] = incoming
        self.unit.receive(message, incoming.body, incoming.keys, acknowledge, partial(self.on_message, incoming))

    def _refuse(self, message_id: str, why: str, asked: Incoming) -> None:
        wrong = {"code": "INVALID", "message": why}
        self.uplink.reply({"command_id": message_id, "ok": False, "error": wrong}, asked)

    def on_link(self) -> None:
        """The link came up or went down."""
        self.unit.changed()

    def on_damage(self, fault: JournalError) -> None:
        """The uplink could not read what it has to send."""
        self.unit.distrust(fault)

    def on_session_lost(self) -> None:
        """The broker forgot us: what it held for us is gone, and the cloud must send it again."""
        self.unit.record("unit.session_reset", {})


class _Bounce:
    """Carries the uplink's calls from its thread into the loop's."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()

    def _call(self, function: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(function, *arguments)

    def on_message(self, incoming: Incoming) -> None:
        self._call(self._app.on_message, incoming)

    def on_link(self) -> None:
        self._call(self._app.on_link)

    def on_damage(self, fault: JournalError) -> None:
        self._call(self._app.on_damage, fault)

    def on_session_lost(self) -> None:
        self._call(self._app.on_session_lost)


def _devices(settings: Settings) -> list[str]:
    """What the settings call devices. A camera's files are not: a file system that hangs must not hang the loop."""
    named = [settings.gps.device, settings.mount.port]
    if (settings.camera.source or "").startswith("/dev/"):
        named.append(settings.camera.source)
    return [*(scanner.port for scanner in settings.scanner), *filter(None, named)]


def _time_of(monotonic_ns: int, offset_ms: int) -> str:
    from agent.delivery.model.inputs import Moment

    return Moment(monotonic_ns // 1_000_000 + offset_ms, 0, "", "unsynced").time


def _started_ms(panel: Panel) -> int:
    """When the mount's microcontroller started, on the unit's own uptime; negative when that was before the unit."""
    return panel.monotonic_ns // 1_000_000 - panel.uptime_ms


def _keep_start(path: Path, kept: Mapping[str, Any]) -> None:
    """Remember which start of the mount was told; the disk may take its time, so in a thread of its own."""
    try:
        write_durably(path, json.dumps(kept).encode())
    except OSError as error:
        log.warning("the mount's restart may be told again when the agent starts: %s", error)
