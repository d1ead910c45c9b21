"""Brings a mount to a new image in steps that each can fail: it always ends with the new or the old image running.

The mount says where the update is, never our memory: before each step its slots are read, and the step follows from
them. So whatever happens in between (a lost answer, a cut of its power, a pulled cable, our own end), the next look
goes on from there. The new image is started for a trial, and kept only when it has answered for a while; otherwise the
boot loader goes back to the old one. Each step is told to `note` before it is taken.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.images import Image
from firmware_bridge.link import Link
from firmware_bridge.mount import GROUP as PANEL
from firmware_bridge.mount import KICK, KICK_S, read_panel
from firmware_bridge.slots import Slot, confirm, read_slots, try_next
from firmware_bridge.upload import upload

BOOT_S: Final = 120.0
"""The longest that the mount may be silent: swapping two images takes its time."""
POLL_S: Final = 0.5
RESTART_S: Final = 10.0
"""A mount that still answers as before, so long after it was asked to restart, has not heard it."""
MAX_TRIES: Final = {"upload": 10, "mark": 3, "restart": 3}
"""Of the steps that can get lost: a cable may be pulled several times while an image is sent."""
PASSING: Final = frozenset({Cause.TIMEOUT, Cause.GARBLED, Cause.GONE, Cause.BUSY, Cause.LINE})
"""What may be over in a moment, while a mount restarts or is plugged in again."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 4.0)
"""Before a mount that has no room or time for a step is asked for it again."""


class Stage(StrEnum):
    """What the update is at."""

    UPLOADING = "uploading"
    """`Progress.done` in bytes."""
    RESTARTING = "restarting"
    """In seconds."""
    PROVING = "proving"
    """In seconds that the new image has answered for."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is."""

    stage: Stage
    done: float
    total: float


class Result(StrEnum):
    """How an update ended; the new image runs and stays only with `CONFIRMED` and `UNCHANGED`."""

    CONFIRMED = "confirmed"
    UNCHANGED = "unchanged"
    """It ran already."""
    REFUSED = "refused"
    """By us, or by the boot loader (reason ``BOOT_LOADER``)."""
    REVERTED = "reverted"
    FAILED = "failed"
    """The mount was left as it is: see the message."""
    WAITING = "waiting"
    """The boot loader starts it at the next restart, which must not be now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an update ended, and why."""

    result: Result
    reason: str | None
    """A code."""
    message: str
    running: str | None
    """The version that runs, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The image that is to run."""

    version: str
    hash: bytes
    content: bytes | None = field(default=None, repr=False)
    """``None``: an update that was begun earlier is only seen through."""
    panel: bool | None = None
    """The firmware before it had a panel, and so must this; ``None``: not known yet."""
    tried: bool = False
    """The boot loader was told to start it, earlier."""
    booted: bool = False
    """It was seen running, earlier."""

    @classmethod
    def of(cls, image: Image) -> Wanted:
        """The image of a file."""
        return cls(str(image.version), image.hash, image.content)


T = TypeVar("T")
Note = Callable[[str, Mapping[str, Any]], None]
"""Gets ``firmware.…`` and the members of the event; returns once it is durable."""


def passing(error: BridgeError) -> bool:
    """Whether it may be over in a moment."""
    return error.cause in PASSING or error.transient


def patiently(step: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Do a step, and again some times where the mount has no room or time for it.

    :raises BridgeError: as `step`
    """
    for pause_s in PAUSES_S:
        try:
            return step()
        except BridgeError as error:
            if not error.transient:
                raise
        sleep(pause_s)
    return step()


class Update:
    """One update of one mount; `run` does everything, in the thread that calls it.

    :param link: open, or to be opened
    :param may_restart: why the mount may not be restarted now, a code and a sentence; ``None`` when it may
    :param confirm_after_s: for how long without a break the new image must answer before it is kept
    :param without_return: go on where the boot loader cannot take an image back
    :param sleep: waits so many seconds; what it raises ends the update where it is, to be seen through later
    """

    def __init__(
        self,
        link: Link,
        wanted: Wanted,
        note: Note,
        *,
        progress: Callable[[Progress], None] = lambda _progress: None,
        may_restart: Callable[[], tuple[str, str] | None] = lambda: None,
        confirm_after_s: float = 10.0,
        boot_s: float = BOOT_S,
        without_return: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._link = link
        self._wanted = wanted
        self._tell = note
        self._progress = progress
        self._may_restart = may_restart
        self._confirm_after_s = confirm_after_s
        self._boot_s = boot_s
        self._without_return = without_return
        self._sleep = sleep
        self._kick_due = 0.0
        self._tries: Counter[str] = Counter()
        self._panel = wanted.panel
        self._trials = True
        """The boot loader can start an image for a trial."""
        self._uploaded = False
        self._tried = wanted.tried
        """The boot loader has taken it for the next to start, or has started it."""
        self._ran = wanted.booted
        """It was seen running."""
        self._kept = False
        """We have told the mount to keep it."""
        self._unhealthy = False
        self._prove_until = 0.0

    def run(self) -> Outcome:
        """Update, or see an update through."""
        try:
            return self._run()
        except BridgeError as error:
            return self._failed(error)

    def _run(self) -> Outcome:
        slots = self._slots()
        mine, old = self._mine(slots), _running(slots)
        if self._wanted.content is not None:
            if mine is not None and mine.active and mine.confirmed:
                return Outcome(Result.UNCHANGED, None, f"{mine.version} runs already", mine.version)
            self._asked(self._pulse)
            self._note("update_started", None, running=old.version if old else None, panel=self._panel)
            if old is not None and old.confirmed and not self._knows_trials() and not self._without_return:
                message = (
                    "its boot loader starts the newest image and cannot take it back: nothing was sent; "
                    "--without-return updates it all the same"
                )
                return self._end(Result.REFUSED, "WAY_BACK", message, old)
        while True:
            if mine is not None and mine.active:
                outcome = self._settle(mine)
            elif mine is not None and mine.pending:
                self._tried = True
                outcome = self._restart(mine)
            elif self._tried:
                outcome = self._gone_back(mine, old)
            elif mine is None or not self._uploaded:
                outcome = self._upload(old)
            else:
                outcome = self._mark(mine, old)
            if outcome is not None:
                return outcome
            slots = self._slots()
            mine, old = self._mine(slots), _running(slots)

    def _failed(self, error: BridgeError) -> Outcome:
        """What runs is asked of a mount that answers; of one that does not, nothing is known."""
        slots: tuple[Slot, ...] = ()
        if error.cause not in PASSING:
            with contextlib.suppress(BridgeError):
                slots = read_slots(self._link)
        mine, message = self._mine(slots), str(error)
        if mine is not None and mine.active and not mine.confirmed:
            message += f"; {mine.version} runs for a trial, and a restart takes it back"
        elif mine is not None and mine.pending:
            message += f"; {mine.version} starts at the next restart, for a trial"
        return self._end(Result.FAILED, error.cause.upper(), message, _running(slots))

    # --- the steps ----------------------------------------------------------------------------------------------

    def _knows_trials(self) -> bool:
        """Whether marks can be set at all: keeping what is kept already changes nothing."""
        try:
            self._asked(lambda: confirm(self._link))
        except BridgeError as error:
            if error.cause not in (Cause.UNSUPPORTED, Cause.REFUSED):
                raise
            self._trials = error.cause is Cause.REFUSED  # there is something to be kept or not, but not now
        return self._trials

    def _upload(self, old: Slot | None) -> Outcome | None:
        content, version = self._wanted.content, self._wanted.version
        if content is None:
            message = f"the update to {version} broke off before it was started: run it again"
            return self._end(Result.FAILED, "INTERRUPTED", message, old)
        self._count("upload", "does not take the image")
        started_at = time.monotonic()
        size = len(content)
        self._progress(Progress(Stage.UPLOADING, 0, size))
        try:
            whole = upload(self._link, content, lambda sent: self._sent(sent, size))
        except BridgeError as error:
            if error.cause not in PASSING:
                raise
            return None
        mine = self._mine(self._slots())
        if mine is not None:
            self._uploaded = True
            self._note("uploaded", mine, bytes=size, seconds=round(time.monotonic() - started_at))
        elif whole:
            message = f"the mount at {self._link.port} has taken {version}, and does not list it: is it for this mount?"
            raise BridgeError(message, Cause.REFUSED)
        return None

    def _sent(self, sent: int, size: int) -> None:
        self._progress(Progress(Stage.UPLOADING, sent, size))
        self._kick()

    def _kick(self) -> None:
        """Nobody else keeps the mount's watchdog quiet meanwhile."""
        now = time.monotonic()
        if self._panel and now >= self._kick_due:
            self._kick_due = now + KICK_S
            with contextlib.suppress(BridgeError):
                self._link.write(PANEL, KICK, timeout_s=0.5, retries=0)

    def _mark(self, mine: Slot, old: Slot | None) -> Outcome | None:
        """Have the boot loader start it at the next restart, for a trial."""
        if (objection := self._may_restart()) is not None:
            return self._end(Result.REFUSED, *objection, old)
        self._count("mark", "does not keep in mind which image to start")
        if self._tries["mark"] == 1:
            self._note("test_started", mine)
        if not self._trials:
            self._tried = True
            return self._restart(mine)
        try:
            self._patiently(lambda: try_next(self._link, self._wanted.hash))
        except BridgeError as error:
            if error.cause not in PASSING:
                raise
        return None

    def _restart(self, mine: Slot) -> Outcome | None:
        """Have the boot loader act: start the new image, or take it back."""
        if self._tries["mark"] == 0 and not mine.active and (objection := self._may_restart()) is not None:
            return Outcome(Result.WAITING, *objection, None)
        self._count("restart", "does not restart")
        try:
            self._patiently(self._link.reset)
        except BridgeError as error:
            if error.cause not in PASSING:
                raise
        self._await_boot(mine)
        return None

    def _await_boot(self, before: Slot) -> None:
        """Wait until the mount answers differently from before its restart."""
        started_at = time.monotonic()
        while (waited_s := time.monotonic() - started_at) < self._boot_s:
            self._progress(Progress(Stage.RESTARTING, waited_s, self._boot_s))
            self._sleep(POLL_S)
            try:
                slots = read_slots(self._link)
            except BridgeError as error:
                if not passing(error):
                    raise
                if error.cause is Cause.GONE:
                    self._open()
                continue
            if self._mine(slots) != before or waited_s > RESTART_S:
                return
        raise self._silent()

    def _settle(self, mine: Slot) -> Outcome | None:
        """It runs: keep it when it is well, otherwise have it taken back."""
        self._tried = True
        if not self._ran:
            self._ran = True
            self._note("booted", mine)
        if self._unhealthy:
            if not mine.confirmed:
                return self._restart(mine)
            message = f"{mine.version} does not answer reliably, and has confirmed itself: update the mount again"
            return self._end(Result.FAILED, "UNHEALTHY", message, mine)
        if mine.confirmed and self._kept:
            return self._end(Result.CONFIRMED, None, f"{mine.version} runs, and stays", mine)
        healthy = self._prove()
        self._unhealthy = healthy is False
        if healthy:
            try:
                self._patiently(lambda: confirm(self._link))
            except BridgeError as error:
                if error.cause in PASSING:
                    return None
                if not (mine.confirmed and error.cause is Cause.UNSUPPORTED):
                    raise
            self._kept = True
        return None

    def _prove(self) -> bool | None:
        """Whether it answers for long enough without a break; ``None`` when it has restarted meanwhile."""
        self._prove_until = self._prove_until or time.monotonic() + 3 * self._confirm_after_s + 30
        since: float | None = None
        last_uptime_ms = -1
        failed = False
        while time.monotonic() < self._prove_until:
            try:
                uptime_ms = self._pulse()
            except BridgeError as error:
                if not passing(error):
                    return False
                if error.cause is Cause.GONE:
                    # A pulled cable says nothing of the image.
                    gone_at = time.monotonic()
                    self._reopen()
                    self._prove_until += time.monotonic() - gone_at
                failed = True
            else:
                if failed or uptime_ms < last_uptime_ms:
                    return None
                now = time.monotonic()
                since, last_uptime_ms = since or now, uptime_ms
                self._progress(Progress(Stage.PROVING, now - since, self._confirm_after_s))
                if now - since >= self._confirm_after_s:
                    return True
                self._kick()
            self._sleep(POLL_S)
        return False

    def _pulse(self) -> int:
        """The uptime that the panel tells; 0 from firmware that never had one, which must echo.

        :raises BridgeError: it does not answer as it should
        """
        if self._panel is not False:
            try:
                uptime_ms = read_panel(self._link).uptime_ms
            except BridgeError as error:
                if passing(error) or self._panel:
                    raise
            else:
                self._panel = True
                return uptime_ms
        if self._link.echo("kerbside") != "kerbside":
            raise BridgeError(f"the microcontroller at {self._link.port} echoes wrongly", Cause.GARBLED)
        self._panel = False
        return 0

    def _gone_back(self, mine: Slot | None, old: Slot | None) -> Outcome:
        """The old image runs again: the boot loader has swapped them back, or has never started the new one."""
        version = self._wanted.version
        if self._unhealthy:
            message = f"{version} did not answer reliably and was taken back"
            return self._end(Result.REVERTED, "UNHEALTHY", message, old)
        if self._ran:
            message = f"{version} ran for a trial and was not confirmed: the mount restarted, and took it back"
            return self._end(Result.REVERTED, "NOT_CONFIRMED", message, old)
        if mine is not None:
            message = f"{version} did not come up, or was never started"
            return self._end(Result.REVERTED, "NOT_CONFIRMED", message, old)
        message = (
            f"refused by the boot loader: {version} did not come up; is it signed with the key that the boot loader "
            "knows, and made for this board?"
        )
        return self._end(Result.REFUSED, "BOOT_LOADER", message, old)

    # --- talking to the mount -----------------------------------------------------------------------------------

    def _slots(self) -> tuple[Slot, ...]:
        return self._asked(lambda: read_slots(self._link))

    def _asked(self, question: Callable[[], T]) -> T:
        """The answer of a mount that may be away for a while."""
        until = time.monotonic() + self._boot_s
        while True:
            try:
                return self._patiently(question)
            except BridgeError as error:
                if error.cause not in PASSING:
                    raise
                if time.monotonic() > until:
                    raise self._silent() from error
                if error.cause is Cause.GONE:
                    self._reopen()

    def _patiently(self, step: Callable[[], T]) -> T:
        def sleep(pause_s: float) -> None:
            self._kick()
            self._sleep(pause_s)

        return patiently(step, sleep)

    def _reopen(self) -> None:
        """Wait for a line that was unplugged."""
        until = time.monotonic() + self._boot_s
        while True:
            self._sleep(POLL_S)
            if self._open():
                return
            if time.monotonic() > until:
                raise self._silent()

    def _open(self) -> bool:
        try:
            self._link.open()
        except BridgeError as error:
            if error.cause not in PASSING:
                raise
            return False
        return True

    def _silent(self) -> BridgeError:
        return BridgeError(
            f"the mount at {self._link.port} has not answered for {self._boot_s:.0f} s: switch its power off and on; "
            "an image that was not confirmed is then taken back",
            Cause.TIMEOUT,
        )

    def _mine(self, slots: tuple[Slot, ...]) -> Slot | None:
        """The slot with the wanted image; the one that runs or is to run, if it is in both."""
        found = [slot for slot in slots if slot.image == 0 and slot.hash == self._wanted.hash]
        return max(found, key=lambda slot: (slot.active, slot.pending), default=None)

    def _count(self, step: str, what: str) -> None:
        self._tries[step] += 1
        if self._tries[step] > MAX_TRIES[step]:
            raise BridgeError(
                f"the mount at {self._link.port} {what}, after {MAX_TRIES[step]} tries: switch its power off and on",
                Cause.TIMEOUT,
            )

    # --- telling ------------------------------------------------------------------------------------------------

    def _note(self, step: str, slot: Slot | None, **members: Any) -> None:
        known = {"slot": slot.slot if slot else None, **members}
        self._tell(
            f"firmware.{step}",
            {
                "version": self._wanted.version,
                "hash": self._wanted.hash.hex(),
                **{name: value for name, value in known.items() if value is not None},
            },
        )

    def _end(self, result: Result, reason: str | None, message: str, running: Slot | None) -> Outcome:
        version = running.version if running else None
        if result is Result.CONFIRMED:
            self._note(result, running)
        else:
            self._note(result, None, reason=reason, message=message, running=version)
        return Outcome(result, reason, message, version)


def _running(slots: tuple[Slot, ...]) -> Slot | None:
    return next((slot for slot in slots if slot.active and slot.image == 0), None)
