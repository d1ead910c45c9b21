"""Work on the mount's firmware beside the agent: what a technician's command may do, does, and keeps in the journal.

Nothing is sent that was not checked first, and nothing is started that the mount could not take back. The mount's line
belongs to the agent while that runs, so `Service.open` needs the journal, which the agent holds as long.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwuid
from typing import Any, Final, NoReturn
from uuid import UUID

from agent.console.client import Client
from agent.journal.entries import JournalError
from agent.mount import updates
from agent.mount.records import Records
from agent.settings import SIMULATED, GpsSettings, Settings
from contract.vocabulary import BLOCK_ACTIVE
from drivers.gps import Gps
from drivers.hotplug import resolve
from drivers.readings import Fix
from firmware_bridge import images, slots
from firmware_bridge.checks import Check, check_file, check_mount
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.images import Image, Key
from firmware_bridge.link import Link
from firmware_bridge.mount import read_panel
from firmware_bridge.slots import Server, Slot
from firmware_bridge.update import Outcome, Progress, Update, Wanted, passing, patiently

BACK_S: Final = 30.0
"""The longest that a mount takes to restart."""
SWAP_S: Final = 120.0
"""And when its boot loader changes the image."""
LEAVES_S: Final = 5.0
"""A mount that still answers, so long after it was asked to restart, and does not tell its uptime, has done so."""
LOOK_S: Final = 4.0
"""At the receiver, and at a running agent."""


class NoMountError(Exception):
    """Neither the settings nor the command name a mount."""


class RefusedError(Exception):
    """What was asked for was not begun."""

    def __init__(self, wrong: Check, checks: Sequence[Check] = ()) -> None:
        super().__init__(wrong.message)
        self.reason = wrong.reason
        self.checks = tuple(checks) or (wrong,)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose images the mount may get, and which board it is."""

    keys: tuple[Key, ...]
    vendor_id: UUID | None
    class_id: UUID | None

    @classmethod
    def of(
        cls, settings: Settings, keys: Sequence[Path] | None, vendor_id: str | None, class_id: str | None
    ) -> Trusted:
        """What a command names, and where it names nothing what the settings do.

        :raises BridgeError: a key cannot be read, or an id is none
        """
        mount = settings.mount
        return cls(
            images.read_keys(keys or mount.firmware_keys),
            *images.board(vendor_id or mount.vendor_id, class_id or mount.class_id),
        )

    def check(self, image: Image) -> list[Check]:
        """What can be said of an image without a mount."""
        return check_file(image, self.keys, self.vendor_id, self.class_id)


@dataclass(frozen=True, slots=True)
class Updated:
    """What came of an update; without an outcome everything was checked and nothing was sent."""

    image: Image
    port: str
    checks: tuple[Check, ...]
    outcome: Outcome | None

    @property
    def good(self) -> bool:
        """Everything is in order, and the image runs where it was sent."""
        ends = self.outcome is None or self.outcome.result in ("confirmed", "unchanged")
        return ends and all(check.ok for check in self.checks)


@contextmanager
def open_line(settings: Settings, port: str | None, baud: int | None) -> Iterator[Link]:
    """The line to the mount, open: the settings' one, or another port and speed.

    :raises NoMountError: there is none
    :raises BridgeError: it cannot be opened
    :raises DriverError: its numbers mean no line
    """
    chosen = port or settings.mount.port
    if chosen is None or chosen == SIMULATED:
        raise NoMountError("there is no mount in the settings: set mount.port, or give --port")
    link = Link(resolve(chosen, "tty", "mount"), baud or settings.mount.baud)
    try:
        link.open()
    except BridgeError as error:
        if error.cause is not Cause.BUSY:
            raise
        raise BridgeError(f"{error}; if the agent has it: `systemctl stop kerbside`", Cause.BUSY) from error
    try:
        yield link
    finally:
        link.close()


class Service:
    """What the unit allows now, does with its mount, and keeps of it. Without records it keeps nothing and allows all.

    :param tell: takes a sentence for whoever waits
    :param dry_run: nothing is sent or kept, and what is wrong does not end the looking
    """

    def __init__(
        self, settings: Settings, records: Records | None, tell: Callable[[str], None], *, dry_run: bool = False
    ) -> None:
        self._settings = settings
        self._records = records
        self._kept = None if dry_run else records
        self._tell = tell
        self._dry_run = dry_run
        self._speed_mps: float | None = None

    @classmethod
    @contextmanager
    def open(
        cls, settings: Settings, tell: Callable[[str], None], *, installed: bool, dry_run: bool = False
    ) -> Iterator[Service]:
        """The service of the unit with these settings, which has the journal until it is closed.

        :param installed: there is a settings file; without one there is no unit that keeps or forbids anything
        :raises RefusedError: the agent runs, and has a block under way
        :raises JournalError: the agent runs, or this user may not use its files
        """
        if not installed:
            if not dry_run:
                tell("there are no settings: no event of this is kept, and nobody knows of blocks")
            yield cls(settings, None, tell, dry_run=dry_run)
            return
        state_dir = settings.unit.state_dir
        _as_owner(state_dir)
        with ExitStack() as stack:
            try:
                records = stack.enter_context(Records(settings))
            except OSError as error:
                raise JournalError(f"{state_dir} cannot be used by this user ({error.strerror})") from error
            except JournalError as error:
                if (block := _block_of_agent(settings)) is not None:
                    message = f"block {block} is under way: firmware is updated between blocks"
                    raise RefusedError(Check("vehicle", False, message, "BLOCK_ACTIVE")) from error
                advice = "the agent has the mount, too: `systemctl stop kerbside`, and start it again afterwards"
                raise JournalError(f"{error}; {advice}") from error
            yield cls(settings, records, tell, dry_run=dry_run)

    # --- what is done -----------------------------------------------------------------------------------------------

    def update(
        self,
        file: Path,
        trusted: Trusted,
        line: Callable[[], AbstractContextManager[Link]],
        *,
        without_return: bool,
        confirm_after_s: float,
        progress: Callable[[], AbstractContextManager[Callable[[Progress], None]]],
    ) -> Updated:
        """Check an image, send it, start it for a trial, and keep it once it has answered for a while.

        :raises RefusedError: the image, the mount or the vehicle is not fit for it
        :raises BridgeError: the mount cannot be asked
        """
        with ExitStack() as stack:
            link: Link | None = None
            if self._pending() is not None:
                link = stack.enter_context(line())
                self._see_through(link, confirm_after_s)
            image = self._read(file)
            checks = [self._stands(), *trusted.check(image)]
            self._judge(image, checks)
            link = link or stack.enter_context(line())
            slot_bytes = self._settings.mount.slot_bytes
            checks += check_mount(image, slots.look(link), slot_bytes=slot_bytes, without_return=without_return)
            self._judge(image, checks)
            outcome = None
            if not self._dry_run:
                outcome = Update(
                    link,
                    Wanted.of(image),
                    self._note,
                    progress=stack.enter_context(progress()),
                    may_restart=self._objection,
                    confirm_after_s=confirm_after_s,
                    without_return=without_return,
                ).run()
            return Updated(image, link.port, tuple(checks), outcome)

    def confirm(self, link: Link) -> tuple[Slot, bool]:
        """Keep the image that runs for a trial: which it is, and whether that is new.

        :raises BridgeError: the mount does not keep it, or cannot be asked
        """
        before = running(link)
        if before.confirmed:
            return before, False
        patiently(lambda: slots.confirm(link))
        after = running(link)
        if not after.confirmed or after.hash != before.hash:
            raise BridgeError(f"the mount at {link.port} does not keep {before.version}: try again", Cause.REFUSED)
        self._note("firmware.confirmed", {"version": after.version, "hash": (after.hash or b"").hex()})
        return after, True

    def restart(self, link: Link) -> Server:
        """Restart the mount's microcontroller, and look at it once it is back.

        :raises RefusedError: a block is under way, or the vehicle moves
        :raises BridgeError: the mount does not come back
        """
        stands = self._stands()
        if not stands.ok:
            raise RefusedError(stands)
        before_ms, longest_s = _uptime_ms(link), _longest_s(link)
        sure = patiently(link.reset)
        if sure:
            self._record("firmware.restarted", {"reason": "command"})
        self._tell(f"waiting until the mount is back, about {longest_s:.0f} s at the most …")
        asked_at, away = time.monotonic(), False
        while True:
            time.sleep(0.5)
            waited_s = time.monotonic() - asked_at
            try:
                uptime_ms, server = _uptime_ms(link), slots.look(link)
            except BridgeError as error:
                if not passing(error) or waited_s > longest_s:
                    raise
                away = True
                if error.cause is Cause.GONE:
                    _open_again(link)
                continue
            anew = uptime_ms is not None and before_ms is not None and uptime_ms < before_ms
            if anew and not sure:
                self._record("firmware.restarted", {"reason": "command"})
            if away or anew or waited_s > LEAVES_S:
                return server

    # --- what is allowed and kept -----------------------------------------------------------------------------------

    def _note(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event of an update; returns once it is durable."""
        if self._kept is not None:
            self._kept.note(event, data)

    def _record(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event that begins and ends no update; returns once it is durable."""
        if self._kept is not None:
            self._kept.record(event, data)

    def _objection(self) -> tuple[str, str] | None:
        """Why the mount may not be touched now: a code and a sentence."""
        if self._records is None:
            return None
        self._speed_mps = _speed_mps(self._settings.gps)
        return updates.objection(self._records.blocks, self._speed_mps)

    def _stands(self) -> Check:
        """No block is under way, and the vehicle stands."""
        if (found := self._objection()) is not None:
            return Check("vehicle", False, found[1], found[0])
        if self._records is None:
            return Check("vehicle", True, "not known: there are no settings, and so no journal")
        moves = "whether it moves is not known" if self._speed_mps is None else "it stands"
        return Check("vehicle", True, f"no block is under way, {moves}")

    def _read(self, file: Path) -> Image:
        """The image of a file; that there is none is an event, too."""
        try:
            return images.read(file)
        except BridgeError as error:
            self._refuse([Check("image", False, str(error))], {})

    def _judge(self, image: Image, checks: list[Check]) -> None:
        """Go no further with an image that has not passed; a dry run goes on, to find everything."""
        if not self._dry_run and not all(check.ok for check in checks):
            self._refuse(checks, {"version": str(image.version), "hash": image.hash.hex()})

    def _pending(self) -> Wanted | None:
        """An update that broke off, and is to be seen through before another."""
        return None if self._kept is None else updates.pending(self._settings.unit.state_dir)

    def _see_through(self, link: Link, confirm_after_s: float) -> None:
        """An update that broke off comes first; as long as the mount has not ended it, there is no other."""
        if (wanted := self._pending()) is None:
            return
        self._tell(f"the update to {wanted.version} broke off: seeing it through")
        update = Update(link, wanted, self._note, may_restart=self._objection, confirm_after_s=confirm_after_s)
        outcome = update.run()
        self._tell(f"{outcome.result}: {outcome.message}")
        if (wanted := self._pending()) is not None:
            waits = outcome.result == "waiting"
            advice = "run this again afterwards" if waits else "switch the mount's power off and on, and run this again"
            message = f"the update to {wanted.version} is not over ({outcome.message}): {advice}"
            self._refuse([Check("state", False, message, outcome.reason or "STATE" if waits else "STATE")], {})

    def _refuse(self, checks: list[Check], known: Mapping[str, str]) -> NoReturn:
        wrong = next(check for check in checks if not check.ok)
        self._record("firmware.refused", {**known, "reason": wrong.reason, "message": wrong.message})
        raise RefusedError(wrong, checks)


def running(link: Link) -> Slot:
    """The image that runs on the mount.

    :raises BridgeError: it does not say, or cannot be asked
    """
    server = slots.look(link)
    if server.slots is None:
        raise BridgeError(f"the firmware at {link.port} has no image management", Cause.UNSUPPORTED)
    if server.running is None:
        raise BridgeError(f"the mount at {link.port} does not say which image runs", Cause.REFUSED)
    return server.running


def _as_owner(state_dir: Path) -> None:
    """Files that root makes in the agent's folder would keep the agent out of it."""
    if not state_dir.exists() or os.geteuid() != 0 or (owner := state_dir.stat().st_uid) == 0:
        return
    try:
        name = getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise JournalError(f"{state_dir} belongs to {name}: run this as that user (`sudo -u {name} kerbside firmware …`)")


def _block_of_agent(settings: Settings) -> str | None:
    """The block that a running agent has under way."""
    state = Client(settings.console.listen, LOOK_S).state_of(settings.unit)
    block = state and state["block"]
    return str(block["block_id"]) if block and block["state"] in BLOCK_ACTIVE else None


def _speed_mps(gps: GpsSettings) -> float | None:
    """How fast the vehicle moves; ``None`` where that is not to be found out soon."""
    if gps.gpsd is None:
        return None

    async def first(receiver: Gps) -> float | None:
        speed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def take(fix: Fix) -> None:
            if fix.mode >= 2 and fix.speed_mps is not None and not speed.done():
                speed.set_result(fix.speed_mps)

        asking = asyncio.create_task(receiver.run(take, lambda _state: None))
        waiting: set[asyncio.Future[Any]] = {asking, speed}
        await asyncio.wait(waiting, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return speed.result() if speed.done() else None

    return asyncio.run(first(Gps(gps.gpsd, gps.stale_after_s)))


def _uptime_ms(link: Link) -> int | None:
    """How long the firmware has been running; ``None`` where it has no panel, or does not answer."""
    with suppress(BridgeError):
        return read_panel(link).uptime_ms
    return None


def _longest_s(link: Link) -> float:
    """How long a restart may take: the boot loader changes the image where one waits, or is not kept."""
    with suppress(BridgeError):
        if any(slot.pending or (slot.active and not slot.confirmed) for slot in slots.read_slots(link)):
            return SWAP_S
    return BACK_S


def _open_again(link: Link) -> None:
    try:
        link.open()
    except BridgeError as error:
        if error.cause is Cause.INVALID:
            raise
