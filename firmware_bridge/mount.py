"""The part ``mount``: the panel of the vehicle mount's microcontroller (SMP group 65), read at a set rate.

Ignition and buttons are debounced, peaks of the acceleration are those since the reading before. Tones of the feedback
go to buzzer and lamp, the microcontroller's clock is kept right, and its watchdog is kicked only as long as the loop
that takes the readings takes them. docs/firmware.md describes the group for those who write firmware.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from drivers.hotplug import claim, resolve
from drivers.limited_log import printable
from drivers.readings import Condition, DriverError, Panel, PartState
from drivers.same_device import Opened
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.link import CommandId, GroupId, Link, is_number

log = logging.getLogger(__name__)

GROUP: Final = 65
STATE, OUT, KICK = 0, 1, 2
"""Commands of the group."""

RATE_HZ: Final = 5.0
SETTLE_S: Final = 0.02
"""A change counts when it is still there after this: contacts bounce."""
KICK_S: Final = 1.0
ALIVE_S: Final = 5.0
"""The loop that has taken no reading for so long is not well, and the watchdog is no longer kicked."""
CLOCK_S: Final = 3600.0
LAMP_S: Final = 2.0
"""How long the lamp shows the last feedback."""
MOST: Final = 1 << 32
MOST_MS: Final = 1 << 53
"""Bounds of the panel's numbers."""
HURRY_S: Final = 0.1
"""Lines of text bring a look forward, but not closer than this to the one before: some firmware logs each request."""
SAY_S: Final = 600.0
"""How often it is logged that a command is refused."""
TIMEOUT_S: Final = 1.0
RETRIES: Final = 2

Tone = Literal["good", "repeat", "bad", "attention"]


class Signal(NamedTuple):
    """What a tone is on the panel."""

    buzzer: int
    """One bit for 50 ms, the lowest first: 1 sounds, 0 is silent."""
    lamp: int
    """0xRRGGBB."""


SIGNALS: Final[dict[Tone, Signal]] = {
    "good": Signal(0b11, 0x00FF00),
    "repeat": Signal(0b11_0011, 0xFFA000),
    "bad": Signal(0xFFF, 0xFF0000),
    "attention": Signal(0b1111_0000_1111_0000_1111, 0x0060FF),
}


class Mount:
    """The panel behind `port`, a path or ``vendor:product[:serial]``.

    `now` gives the time to set the microcontroller's clock by, or ``None`` while there is none to be trusted. `opened`
    is called with the link, in its own thread, each time before the first reading, and may take its time.
    """

    def __init__(
        self,
        port: str,
        baud: int = 115_200,
        *,
        name: str = "mount",
        rate_hz: float = RATE_HZ,
        now: Callable[[], datetime | None] = lambda: None,
        opened: Callable[[Link], None] = lambda _link: None,
    ) -> None:
        self.name = name
        self._port = port
        self._device = Opened(port, "tty")
        self._baud = baud
        self._period_s = 1 / rate_hz
        self._now = now
        self._opened = opened
        self._session: _Session | None = None

    def signal(self, tone: Tone) -> None:
        """Sound the buzzer and light the lamp for `tone`; never waits for the mount."""
        if self._session is not None:
            self._session.signal(tone)

    async def run(self, out: Callable[[Panel], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled.

        :raises DriverError: when the port is not there, cannot be opened or goes away, or its firmware has no panel
        """
        report(PartState.now(Condition.OPENING))
        node = await asyncio.to_thread(resolve, self._port, "tty", self.name)
        with claim(node, self.name):
            seen = await asyncio.to_thread(self._device.look, self.name)

            def opened(link: Link) -> None:
                self._device.keep(seen, self.name)
                self._opened(link)

            link = Link(node, self._baud, timeout_s=TIMEOUT_S, retries=RETRIES, on_line=self._heard)
            self._session = session = _Session(self.name, link, self._period_s, self._now, opened, out, report)
            try:
                await session.run()
            finally:
                self._session = None
                await asyncio.to_thread(session.stop)

    def _heard(self, line: str) -> None:
        log.debug("%s: %s", self.name, line)
        # Firmware that says something of its own accord may mean a button.
        if self._session is not None:
            self._session.hurry()


class _Session:
    """One open line, from plug to unplug; the line is spoken to in a thread of its own."""

    def __init__(
        self,
        name: str,
        link: Link,
        period_s: float,
        now: Callable[[], datetime | None],
        opened: Callable[[Link], None],
        out: Callable[[Panel], None],
        report: Callable[[PartState], None],
    ) -> None:
        self._name = name
        self._link = link
        self._period_s = period_s
        self._now = now
        self._opened = opened
        self._out = out
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._hurry = threading.Event()
        self._line_came = False
        self._looked_at = 0.0
        self._wanted: Signal | None = None
        self._lamp_off_at: float | None = None
        self._taken_at = time.monotonic()
        """When the loop took the last reading."""
        self._kick_due = self._clock_due = 0.0
        self._lacks: set[int] = set()
        """Commands that the firmware does not have."""
        self._say_due: dict[int, float] = {}
        """From when on a refusal of a command is logged again."""
        self._contacts = Contacts()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def run(self) -> None:
        self._thread.start()
        await self._ended

    def stop(self) -> None:
        """Put the line down; from any thread but its own."""
        self._stopping = True
        self._hurry.set()
        while self._thread.is_alive():
            self._link.close()
            self._thread.join(0.05)

    def signal(self, tone: Tone) -> None:
        self._wanted = SIGNALS[tone]
        self._hurry.set()

    def hurry(self) -> None:
        """A line of text came: look soon."""
        self._line_came = True
        self._hurry.set()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        fault: Exception | None = None
        try:
            with self._link:
                self._opened(self._link)
                self._taken_at = time.monotonic()
                while not self._stopping:
                    self._pause(self._look())
        except BridgeError as error:
            fault = self._fault(error)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever runs the part
            fault = error
        self._call(self._end, fault)

    def _look(self) -> float:
        """Do what is due and read the panel once; gives the pause until the next look."""
        self._looked_at = began = time.monotonic()
        try:
            self._tell()
            self._keep()
            panel = read_panel(self._link, self._name)
        except BridgeError as error:
            if error.cause not in (Cause.TIMEOUT, Cause.GARBLED):
                raise
            self._call(self._report, PartState.now(Condition.STALE, str(error)))
            return self._period_s
        changing = self._contacts.take(panel)
        self._call(self._hand_over, self._contacts.settled(panel))
        return SETTLE_S if changing else max(0.0, self._period_s - (time.monotonic() - began))

    def _pause(self, pause_s: float) -> None:
        """Wait so long; shorter when a line of text comes, and not at all when a tone is to be sounded."""
        due = time.monotonic() + pause_s
        while not self._stopping and self._wanted is None:
            if self._line_came:
                due = min(due, self._looked_at + HURRY_S)
            if (left_s := due - time.monotonic()) <= 0:
                break
            self._hurry.wait(left_s)
            self._hurry.clear()
        self._line_came = False

    def _tell(self) -> None:
        """Buzzer and lamp."""
        now = time.monotonic()
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._optional(OUT, {"buz": wanted.buzzer, "lamp": wanted.lamp})
            self._lamp_off_at = now + LAMP_S
        elif self._lamp_off_at is not None and now >= self._lamp_off_at:
            self._lamp_off_at = None if self._optional(OUT, {"lamp": 0}) else now + LAMP_S

    def _keep(self) -> None:
        """The watchdog, while the loop is well, and the clock, while there is a time to be trusted."""
        now = time.monotonic()
        if now >= self._kick_due and now - self._taken_at < ALIVE_S:
            self._kick_due = now + KICK_S
            self._optional(KICK, {})
        if now >= self._clock_due and (moment := self._now()) is not None:
            self._clock_due = now + CLOCK_S
            text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
            try:
                self._link.write(GroupId.OS_MANAGEMENT, CommandId.OSManagement.DATETIME_STRING, {"datetime": text})
            except BridgeError as error:
                if error.cause not in (Cause.UNSUPPORTED, Cause.REFUSED):
                    raise
                log.info("%s keeps no clock: %s", self._name, error)

    def _optional(self, command: int, payload: dict[str, Any]) -> bool:
        """What a panel may lack, or may refuse, and is still read; False when it was refused and is worth a retry."""
        if command in self._lacks:
            return True
        try:
            self._link.write(GROUP, command, payload)
        except BridgeError as error:
            if error.cause is Cause.UNSUPPORTED:
                self._lacks.add(command)
                log.warning("%s does not have command %d of its panel: %s", self._name, command, error)
                return True
            if error.cause is not Cause.REFUSED:
                raise
            # A server that is busy for a moment says no as well: only one that lacks the command is not asked again.
            if (now := time.monotonic()) >= self._say_due.get(command, now):
                self._say_due[command] = now + SAY_S
                log.warning("%s did not take command %d of its panel: %s", self._name, command, error)
            return False
        return True

    def _fault(self, error: BridgeError) -> DriverError:
        match error.cause:
            case Cause.GONE:
                return DriverError(str(error), Condition.ABSENT)
            case Cause.TIMEOUT | Cause.GARBLED:
                return DriverError(str(error), Condition.STALE)
            case Cause.UNSUPPORTED:
                return DriverError(
                    f"the firmware of {self._name} at {self._link.port} has no panel: expected SMP group {GROUP}, "
                    "command 0 (docs/firmware.md)"
                )
        return DriverError(str(error))

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- in the loop --------------------------------------------------------------------------------------------

    def _hand_over(self, panel: Panel) -> None:
        if self._stopping or self._ended.done():
            return
        self._taken_at = time.monotonic()
        try:
            self._report(PartState.now(Condition.READY))
            self._out(panel)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever runs the part
            self._end(error)

    def _end(self, fault: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(fault or DriverError(f"{self._name} was put down"))
            self._ended.exception()  # whoever was cancelled does not ask for it


class Contacts:
    """Ignition and buttons as they are once a change has lasted."""

    def __init__(self) -> None:
        self._settled: tuple[bool, int] | None = None
        self._seen: tuple[bool, int] | None = None
        self._seen_ns = 0

    def take(self, panel: Panel) -> bool:
        """Take a reading in; True while a change is still to be seen a second time."""
        raw = panel.ignition, panel.buttons
        if self._settled is None or raw == self._settled:
            self._settled, self._seen = raw, None
        elif raw != self._seen:
            self._seen, self._seen_ns = raw, panel.monotonic_ns
        elif panel.monotonic_ns - self._seen_ns >= SETTLE_S * 0.9e9:
            self._settled, self._seen = raw, None
        return self._seen is not None

    def settled(self, panel: Panel) -> Panel:
        """The reading with what has lasted."""
        ignition, buttons = self._settled or (panel.ignition, panel.buttons)
        return replace(panel, ignition=ignition, buttons=buttons)


def read_panel(link: Link, name: str = "mount") -> Panel:
    """One reading, as the microcontroller gives it.

    :raises BridgeError: as `Link.request`; refused when it is not what docs/firmware.md describes
    """
    answer = link.read(GROUP, STATE)
    now_ns = time.monotonic_ns()
    match answer:
        case {
            "ign": bool() as ignition,
            "mv": supply_mv,
            "btn": buttons,
            "acc": [x, y, z],
            "rst": str() as reset_cause,
            "up": uptime_ms,
        } if (
            all(_is_within(number, 0, MOST) for number in (supply_mv, buttons))
            and all(_is_within(number, -MOST, MOST) for number in (x, y, z))
            and _is_within(uptime_ms, 0, MOST_MS)
        ):
            return Panel(name, now_ns, ignition, supply_mv, buttons, (x, y, z), printable(reset_cause, 32), uptime_ms)
    found = ", ".join(f"{str(key)[:20]}: {_kind(value)}" for key, value in list(answer.items())[:12])
    raise BridgeError(
        f"the panel of {name} at {link.port} says {{{found}}}: expected ign: bool, mv: uint, btn: uint, "
        "acc: three int, rst: str and up: uint (docs/firmware.md)",
        Cause.REFUSED,
    )


def _is_within(number: Any, least: int, most: int) -> bool:
    """A whole number from `least` up to, but not, `most`."""
    return is_number(number) and least <= number < most


def _kind(value: Any) -> str:
    """How the message names what was found: numbers as they are, since a wrong one looks like a right one's type."""
    return str(value) if isinstance(value, int) and abs(value) < 1 << 64 else type(value).__name__
