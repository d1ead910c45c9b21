"""Time that can be trusted without a battery clock: boot id and uptime give the order, wall time is a label.

`Clock.now` never waits, and its uptime never goes back, whatever happens to the system's clock. The label is the best
knowledge there is: the satellites' time once three consecutive 3D fixes agree with each other, a system clock that is
synchronised, one that a battery clock confirms, and at worst one that has at least not fallen behind the last time
that could be trusted.

A receiver counts weeks in 10 bits: after 1024 of them it may be an era behind, or ahead where somebody corrects what
was right. Its time is doubted when it contradicts a synchronised clock, lies before this software was built or before
the last trusted time, or is much later than anything else that is known says.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.built import built_ms
from agent.delivery.model.inputs import Moment
from agent.files import LazyFile, read
from agent.system_clock import boot_id, system_is_synchronised
from contract.vocabulary import ClockTrust

_LOGGER: Final = logging.getLogger(__name__)
FLOOR_FILE: Final = "clock.floor"
_ERA_MS: Final = 1024 * 7 * 86_400_000
"""After so long the satellites' count of weeks begins anew: of the times at which a receiver may mean to be, one lies
within an era from the build on."""
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no later time can be written."""
_FIXES_BEFORE_TRUST: Final = 3
_SHELF_MS: Final = 31 * 86_400_000
"""How long a unit may have been off without any clock that goes on. A receiver's time that is farther ahead of the last
known one may be the week counter's, or gpsd's guess at it (its version 3.22 makes 2027 of a receiver's 2007): that
waits for a network."""
_STEP_MS: Final = 1_000
"""A change of the label that is worth telling."""
_AGREE_MS: Final = 500
"""How far fixes may disagree with the uptime between them: reports that had piled up come too fast for their times."""
_CONTRADICTION_MS: Final = 10_000
"""A receiver this far from a synchronised system clock is wrong: receivers lose count of the weeks, NTP does not."""
_HOLDOVER_MS: Final = 3_600_000
"""So long after the last fix a synchronised system clock knows better."""
_SAVE_EVERY_MS: Final = 600_000
_LOG_EVERY_MS: Final = 3_600_000
_RANK: Final[dict[ClockTrust, int]] = {"unsynced": 0, "rtc": 1, "ntp": 2, "gps": 3}


@dataclass(frozen=True, slots=True)
class Synchronized:
    """The label has become more trustworthy, or has moved: worth a `unit.clock_synchronized`."""

    previous_trust: ClockTrust
    step_ms: int
    """By how much the label moved against the uptime since it was last told; positive is forward."""


class Clock:
    """The unit's clock. It belongs to the loop, as the state does.

    :param state_dir: where the last trusted time is kept over a power cut; ``None`` keeps nothing
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        self._boot_id = boot_id()
        # Lazy: the loop must not wait for a memory card, and losing the file is no harm done.
        self._floor_file = None if state_dir is None else LazyFile(state_dir / FLOOR_FILE, "the last trusted time")
        self._built_ms = built_ms()
        self._floor_ms = self._built_ms if state_dir is None else self._saved_floor_ms(state_dir / FLOOR_FILE)
        self._floor_uptime_ms = _uptime_ms()
        self._saved_uptime_ms: int | None = None
        self._system_offset_ms = time.time_ns() // 1_000_000 - self._floor_uptime_ms
        self._asked_uptime_ms: int | None = None
        self._synchronised = False
        self._has_battery_clock = _battery_clock_agrees()
        self.doubt: str | None = None
        """Why the receiver's time is not believed, and what to do; ``None`` while nothing speaks against it."""
        self._doubt_logged_ms: int | None = None
        self._candidate: tuple[int, int] | None = None
        self._candidates = 0
        self._gps_offset_ms: int | None = None
        self._gps_uptime_ms = 0
        told = self.now()
        self._told_trust = told.trust
        self._told_offset_ms = told.wall_ms - told.uptime_ms

    def now(self) -> Moment:
        """This moment: uptime for the order, wall time and its trust as a label."""
        uptime_ms = _uptime_ms()
        system_ms = time.time_ns() // 1_000_000
        self._ask_system(uptime_ms, system_ms)
        wall_ms, trust = self._label(uptime_ms, system_ms)
        return Moment(wall_ms=wall_ms, uptime_ms=uptime_ms, boot_id=self._boot_id, trust=trust)

    def tick(self) -> Synchronized | None:
        """What has changed since the last call, to be asked each second; also keeps the last trusted time on disk."""
        moment = self.now()
        told = self._tell(moment)
        due = self._saved_uptime_ms is None or moment.uptime_ms - self._saved_uptime_ms >= _SAVE_EVERY_MS
        if due and moment.trust in {"gps", "ntp"}:
            self._saved_uptime_ms = moment.uptime_ms
            self._save(moment.wall_ms)
        return told

    def fix(self, mode: int, time: str | None, monotonic_ns: int) -> Synchronized | None:
        """Take in what the receiver says, and what that changed.

        :param mode: 3 is a 3D fix; others end a row of them, and their time is not looked at (the first report after
            a loss carries an old one)
        :param time: the receiver's time, RFC 3339
        :param monotonic_ns: when the report arrived
        """
        if mode != 3:
            self._candidates = 0
            return None
        gps_ms = _parsed_ms(time)
        if gps_ms is None:
            return None
        uptime_ms = monotonic_ns // 1_000_000
        if against := self._speaks_against(gps_ms, uptime_ms):
            self._candidates = 0
            self._doubt(f"the receiver's time {_told(gps_ms)} cannot be right, {against}", uptime_ms)
            return None
        previous, self._candidate = self._candidate, (gps_ms, uptime_ms)
        if previous is None or self._candidates == 0:
            self._candidates = 1
        elif gps_ms == previous[0]:
            self._candidate = previous
            return None
        elif gps_ms < previous[0] or abs((gps_ms - previous[0]) - (uptime_ms - previous[1])) > _AGREE_MS:
            self._candidates = 1
        else:
            self._candidates += 1
        if self._candidates < _FIXES_BEFORE_TRUST:
            return None
        offset_ms = gps_ms - uptime_ms
        if self._gps_offset_ms is None or abs(offset_ms - self._gps_offset_ms) > _STEP_MS:
            self._gps_offset_ms = offset_ms
        else:
            # Reports arrive late by a varying part of a second; following them slowly keeps the label even.
            self._gps_offset_ms += (offset_ms - self._gps_offset_ms) // 16
        self._gps_uptime_ms = uptime_ms
        self.doubt = None
        return self._tell(self.now())

    def _label(self, uptime_ms: int, system_ms: int) -> tuple[int, ClockTrust]:
        if self._gps_offset_ms is not None:
            gps_ms = self._gps_offset_ms + uptime_ms
            if not self._synchronised or uptime_ms - self._gps_uptime_ms <= _HOLDOVER_MS:
                return gps_ms, "gps"
        if self._synchronised:
            return system_ms, "ntp"
        floor_ms = self._floor_ms + uptime_ms - self._floor_uptime_ms
        if system_ms < floor_ms:
            return floor_ms, "unsynced"
        return system_ms, "rtc" if self._has_battery_clock else "unsynced"

    def _speaks_against(self, gps_ms: int, uptime_ms: int) -> str | None:
        """What is known that a receiver's time contradicts, if anything."""
        system_ms = self._system_offset_ms + uptime_ms
        known_ms = self._label(uptime_ms, system_ms)[0]
        if self._synchronised:
            contradicts = abs(gps_ms - system_ms) > _CONTRADICTION_MS
            return f"the network's is {_told(system_ms)}{_eras(gps_ms - system_ms)}" if contradicts else None
        if gps_ms < self._built_ms:
            return f"this software was built at {_told(self._built_ms)}{_eras(gps_ms - known_ms)}"
        if gps_ms < self._floor_ms - _CONTRADICTION_MS:
            return f"it was {_told(self._floor_ms)} before{_eras(gps_ms - known_ms)}"
        if self._gps_offset_ms is None and max(self._floor_ms, system_ms) <= self._built_ms:
            too_late = gps_ms >= self._built_ms + _ERA_MS
            return f"this software was built at {_told(self._built_ms)}, an era before" if too_late else None
        if gps_ms > known_ms + _SHELF_MS:
            return f"as far as is known it is {_told(known_ms)}{_eras(gps_ms - known_ms)}"
        return None

    def _doubt(self, doubt: str, uptime_ms: int) -> None:
        """Show it at once, and log it, though not for every fix of a receiver that is right now and then."""
        if self.doubt is None:
            self.doubt = f"{doubt}: bring the unit on a network once, or give the receiver newer firmware"
            if self._doubt_logged_ms is None or uptime_ms - self._doubt_logged_ms >= _LOG_EVERY_MS:
                self._doubt_logged_ms = uptime_ms
                _LOGGER.warning("%s", self.doubt)

    def _ask_system(self, uptime_ms: int, system_ms: int) -> None:
        """Ask the kernel at most once a second; the battery clock only when the system's clock was moved."""
        moved = abs(system_ms - uptime_ms - self._system_offset_ms) > _STEP_MS
        if not moved and self._asked_uptime_ms is not None and uptime_ms - self._asked_uptime_ms < 1_000:
            return
        self._asked_uptime_ms = uptime_ms
        self._system_offset_ms = system_ms - uptime_ms
        self._synchronised = system_ms >= self._built_ms and system_is_synchronised()
        contradicts = (
            self._gps_offset_ms is not None and abs(self._gps_offset_ms - self._system_offset_ms) > _CONTRADICTION_MS
        )
        if self._synchronised and contradicts:
            self._gps_offset_ms = None
        if self._synchronised and system_ms < self._floor_ms:
            # What was kept as the last trusted time came from a receiver that was wrong.
            self._floor_ms, self._floor_uptime_ms = system_ms, uptime_ms
        if moved:
            self._has_battery_clock = _battery_clock_agrees()

    def _tell(self, moment: Moment) -> Synchronized | None:
        offset_ms = moment.wall_ms - moment.uptime_ms
        step_ms = offset_ms - self._told_offset_ms
        previous, self._told_trust = self._told_trust, moment.trust
        moved = abs(step_ms) > _STEP_MS
        if moved or moment.trust != previous:
            self._told_offset_ms = offset_ms
        if moment.trust != "unsynced" and (moved or _RANK[moment.trust] > _RANK[previous]):
            return Synchronized(previous, step_ms)
        return None

    def _saved_floor_ms(self, path: Path) -> int:
        saved_ms = read(path, int, "the last trusted time is not known")
        return self._built_ms if saved_ms is None else min(max(saved_ms, self._built_ms), self._built_ms + _ERA_MS)

    def _save(self, wall_ms: int) -> None:
        if self._floor_file is not None:
            self._floor_file.write(b"%d\n" % wall_ms)


def _battery_clock_agrees() -> bool:
    """Whether a battery clock exists that shows what the system's clock shows."""
    for clock in Path("/sys/class/rtc").glob("rtc*"):
        try:
            shown_s = int((clock / "since_epoch").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if abs(shown_s - time.time()) < 120:
            return True
    return False


def _uptime_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _parsed_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    parsed = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    return min(max(round(parsed.timestamp() * 1000), 0), _LAST_MS)


def _told(wall_ms: int) -> str:
    return Moment(wall_ms, 0, "", "unsynced").time[:16] + "Z"


def _eras(ahead_ms: int) -> str:
    """Words for a difference that is as if the count of weeks had begun anew, once or more often."""
    eras = round(ahead_ms / _ERA_MS)
    if eras == 0 or abs(ahead_ms - eras * _ERA_MS) > _SHELF_MS:
        return ""
    return f" (its count of weeks is {abs(eras) * 1024} {'behind' if eras < 0 else 'ahead'})"
