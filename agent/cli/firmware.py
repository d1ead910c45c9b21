"""`kerbside firmware`: what runs on the mount's microcontroller, and bringing it to another image.

Nothing is sent that was not checked first, and nothing is started that the mount could not take back. The mount's line
belongs to the agent while that runs: everything but `verify` asks for it to be stopped, and says how.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json
from agent.settings import SIMULATED, default_path
from firmware_bridge.checks import Check, check_file, check_mount
from firmware_bridge.errors import BridgeError, Cause

if TYPE_CHECKING:
    from uuid import UUID

    from agent.mount.records import Records
    from agent.settings import GpsSettings, Settings
    from firmware_bridge.images import Image, Key
    from firmware_bridge.link import Link
    from firmware_bridge.slots import Server, Slot
    from firmware_bridge.update import Outcome, Progress, Wanted

app = typer.Typer(help="The firmware of the mount's microcontroller.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="An MCUboot image (….signed.bin).")]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="The mount's serial port, instead of the settings' one.")
]
BaudOption = Annotated[
    int | None, typer.Option("--baud", min=1200, max=4_000_000, help="Its speed, instead of the settings' one.")
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PEM", help="A public key that may have signed it, instead of the settings' ones."),
]
VendorOption = Annotated[
    str | None, typer.Option("--vendor-id", metavar="ID", help="Whose board it is, instead of the settings' vendor_id.")
]
ClassOption = Annotated[
    str | None, typer.Option("--class-id", metavar="ID", help="Which board it is, instead of the settings' class_id.")
]

_BACK_S: Final = 30.0
"""The longest that a mount takes to restart."""
_SWAP_S: Final = 120.0
"""And when its boot loader changes the image."""
_LEAVES_S: Final = 5.0
"""A mount that still answers, so long after it was asked to restart, and does not tell its uptime, has done so."""
_LOOK_S: Final = 4.0
"""At the receiver, and at a running agent."""
T = TypeVar("T")


@app.command("list")
def list_(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Show the images that the mount holds, and what its server tells of itself."""
    from firmware_bridge.slots import look

    with _faults_told(as_json), _link(chosen_settings(settings), port, baud) as link:
        server = look(link)
    if as_json:
        print_json({**_described(link.port, server), "parameters": asdict(link.parameters)})
    else:
        _show(link.port, server)


@app.command()
def verify(
    file: FileArgument,
    key: KeyOption = None,
    vendor_id: VendorOption = None,
    class_id: ClassOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an image without a mount: its hash, its signature, its board."""
    from firmware_bridge.images import read

    keys, *board = _trusted(chosen_settings(settings), key, vendor_id, class_id)
    with _faults_told(as_json):
        image = read(file)
        checks = check_file(image, keys, *board)
    good = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": good, "file": str(file), "image": _facts(image), "checks": [asdict(each) for each in checks]})
    else:
        _show_image(image, checks)
    raise typer.Exit(0 if good else 1)


@app.command()
def update(
    file: FileArgument,
    port: PortOption = None,
    baud: BaudOption = None,
    key: KeyOption = None,
    vendor_id: VendorOption = None,
    class_id: ClassOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and send nothing.")] = False,
    without_return: Annotated[
        bool, typer.Option("--without-return", help="Also where the boot loader can not take a failed image back.")
    ] = False,
    confirm_after: Annotated[
        float | None,
        typer.Option("--confirm-after", min=1, metavar="SECONDS", help="How long it must answer before it is kept."),
    ] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an image, send it, start it for a trial, and keep it once it has answered for a while."""
    from firmware_bridge.images import read
    from firmware_bridge.slots import look
    from firmware_bridge.update import Update, Wanted

    chosen = chosen_settings(settings)
    keys, *board = _trusted(chosen, key, vendor_id, class_id)
    after_s = confirm_after or chosen.mount.confirm_after_s
    outcome: Outcome | None = None
    with _faults_told(as_json), ExitStack() as stack:
        unit = stack.enter_context(_unit(chosen, settings, silent=dry_run))
        link: Link | None = None
        if unit.pending() is not None:
            link = stack.enter_context(_link(chosen, port, baud))
            unit.see_through(link, after_s)
        image = unit.image(lambda: read(file))
        checks = [unit.stands(), *check_file(image, keys, *board)]
        unit.judge(image, checks)
        link = link or stack.enter_context(_link(chosen, port, baud))
        checks += check_mount(image, look(link), slot_bytes=chosen.mount.slot_bytes, without_return=without_return)
        unit.judge(image, checks)
        if not dry_run:
            outcome = Update(
                link,
                Wanted.of(image),
                unit.note,
                progress=stack.enter_context(_progress()),
                may_restart=unit.objection,
                confirm_after_s=after_s,
                without_return=without_return,
            ).run()
    good = all(check.ok for check in checks) and (outcome is None or outcome.result in ("confirmed", "unchanged"))
    if as_json:
        told = {"result": "checked", "reason": None, "message": "nothing was sent", "running": None}
        told |= asdict(outcome) if outcome else {}
        about = {"file": str(file), "port": link.port, "dry_run": dry_run, "image": _facts(image)}
        print_json({"ok": good, **told, **about, "checks": [asdict(check) for check in checks]})
    elif outcome is None:
        _show_image(image, checks)
        typer.echo("nothing was sent")
    else:
        _show_outcome(outcome)
    raise typer.Exit(0 if good else 1)


@app.command()
def confirm(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Keep the image that runs for a trial."""
    from firmware_bridge import slots
    from firmware_bridge.update import patiently

    chosen = chosen_settings(settings)
    with _faults_told(as_json), _unit(chosen, settings) as unit, _link(chosen, port, baud) as link:
        before = _running(link)
        if not before.confirmed:
            patiently(lambda: slots.confirm(link))
            after = _running(link)
            if not after.confirmed or after.hash != before.hash:
                raise BridgeError(f"the mount at {link.port} does not keep {before.version}: try again", Cause.REFUSED)
            unit.note("firmware.confirmed", {"version": after.version, "hash": (after.hash or b"").hex()})
    message = f"{before.version} {'stays already' if before.confirmed else 'runs, and stays'}"
    if as_json:
        print_json({"ok": True, "changed": not before.confirmed, "running": before.version, "message": message})
    else:
        typer.echo(message)


@app.command()
def reset(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Restart the mount's microcontroller, and show what runs then."""
    chosen = chosen_settings(settings)
    with _faults_told(as_json), _unit(chosen, settings) as unit, _link(chosen, port, baud) as link:
        stands = unit.stands()
        if not stands.ok:
            raise _RefusedError(stands)
        server = _restarted(link, lambda: unit.record("firmware.restarted", {"reason": "command"}))
    if as_json:
        print_json({"ok": True, **_described(link.port, server)})
    else:
        _show(link.port, server)


# --- the unit, and the mount's line -------------------------------------------------------------------------------


class _Unit:
    """What the unit allows now, and what it keeps of what is done. Without records it allows and keeps nothing."""

    def __init__(self, settings: Settings, records: Records | None, *, silent: bool) -> None:
        self._settings = settings
        self._records = records
        self._silent = silent
        self._speed_mps: float | None = None

    def note(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event of an update; returns once it is durable."""
        if self._records is not None and not self._silent:
            self._records.note(event, data)

    def record(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event that begins and ends no update; returns once it is durable."""
        if self._records is not None and not self._silent:
            self._records.record(event, data)

    def objection(self) -> tuple[str, str] | None:
        """Why the mount may not be touched now: a code and a sentence."""
        from agent.mount.updates import objection

        if self._records is None:
            return None
        self._speed_mps = _speed_mps(self._settings.gps)
        return objection(self._records.blocks, self._speed_mps)

    def stands(self) -> Check:
        """No block is under way, and the vehicle stands."""
        if (found := self.objection()) is not None:
            return Check("vehicle", False, found[1], found[0])
        if self._records is None:
            return Check("vehicle", True, "not known: there are no settings, and so no journal")
        moves = "whether it moves is not known" if self._speed_mps is None else "it stands"
        return Check("vehicle", True, f"no block is under way, {moves}")

    def image(self, step: Callable[[], Image]) -> Image:
        """The image of a file; that there is none is an event, too."""
        try:
            return step()
        except BridgeError as error:
            self._refuse([Check("image", False, str(error))], {})

    def judge(self, image: Image, checks: list[Check]) -> None:
        """Go no further with an image that has not passed; a dry run goes on, to find everything."""
        if not self._silent and not all(check.ok for check in checks):
            self._refuse(checks, {"version": str(image.version), "hash": image.hash.hex()})

    def pending(self) -> Wanted | None:
        """An update that broke off, and is to be seen through before another."""
        from agent.mount.updates import pending

        return None if self._records is None or self._silent else pending(self._settings.unit.state_dir)

    def see_through(self, link: Link, confirm_after_s: float) -> None:
        """An update that broke off comes first; as long as the mount has not ended it, there is no other."""
        from firmware_bridge.update import Update

        if (wanted := self.pending()) is None:
            return
        typer.echo(f"the update to {wanted.version} broke off: seeing it through", err=True)
        update = Update(link, wanted, self.note, may_restart=self.objection, confirm_after_s=confirm_after_s)
        outcome = update.run()
        typer.echo(f"{outcome.result}: {outcome.message}", err=True)
        if (wanted := self.pending()) is not None:
            waits = outcome.result == "waiting"
            advice = "run this again afterwards" if waits else "switch the mount's power off and on, and run this again"
            message = f"the update to {wanted.version} is not over ({outcome.message}): {advice}"
            self._refuse([Check("state", False, message, outcome.reason or "STATE" if waits else "STATE")], {})

    def _refuse(self, checks: list[Check], known: Mapping[str, str]) -> NoReturn:
        wrong = next(check for check in checks if not check.ok)
        self.record("firmware.refused", {**known, "reason": wrong.reason, "message": wrong.message})
        raise _RefusedError(wrong, checks)


class _RefusedError(Exception):
    """What was asked for was not begun."""

    def __init__(self, wrong: Check, checks: list[Check] | None = None) -> None:
        super().__init__(wrong.message)
        self.told = {
            "result": "refused",
            "reason": wrong.reason,
            "message": wrong.message,
            "checks": [asdict(check) for check in checks or [wrong]],
        }


@contextmanager
def _unit(settings: Settings, path: Path | None, *, silent: bool = False) -> Iterator[_Unit]:
    """The unit of the settings; without a settings file there is none."""
    if path is None and default_path() is None:
        if not silent:
            typer.echo("there are no settings: no event of this is kept, and nobody knows of blocks", err=True)
        yield _Unit(settings, None, silent=silent)
        return
    from agent.journal.entries import JournalError
    from agent.mount.records import Records

    state_dir = settings.unit.state_dir
    _as_owner(state_dir)
    with ExitStack() as stack:
        try:
            records = stack.enter_context(Records(settings))
        except OSError as error:
            raise JournalError(f"{state_dir} can not be used by this user ({error.strerror})") from error
        except JournalError as error:
            if (block := _block_of_agent(settings)) is not None:
                message = f"block {block} is under way: firmware is updated between blocks"
                raise _RefusedError(Check("vehicle", False, message, "BLOCK_ACTIVE")) from error
            advice = "the agent has the mount, too: `systemctl stop kerbside`, and start it again afterwards"
            raise JournalError(f"{error}; {advice}") from error
        yield _Unit(settings, records, silent=silent)


def _as_owner(state_dir: Path) -> None:
    """Files that root makes in the agent's folder would keep the agent out of it."""
    from pwd import getpwuid

    from agent.journal.entries import JournalError

    if not state_dir.exists() or os.geteuid() != 0 or (owner := state_dir.stat().st_uid) == 0:
        return
    try:
        name = getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise JournalError(f"{state_dir} belongs to {name}: run this as that user (`sudo -u {name} kerbside firmware …`)")


def _block_of_agent(settings: Settings) -> str | None:
    """The block that a running agent has under way."""
    import json
    from http.client import HTTPConnection, HTTPException

    from agent.settings import split_address
    from contract.vocabulary import BLOCK_ACTIVE

    connection = HTTPConnection(*split_address(settings.console.listen), timeout=_LOOK_S)
    try:
        connection.request("GET", "/api/state")
        block = json.loads(connection.getresponse().read())["block"]
        return str(block["block_id"]) if block and block["state"] in BLOCK_ACTIVE else None
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()


def _speed_mps(gps: GpsSettings) -> float | None:
    """How fast the vehicle moves; ``None`` where that is not to be found out soon."""
    import asyncio

    from drivers.gps import Gps as Receiver
    from drivers.readings import Fix

    if gps.gpsd is None:
        return None

    async def first(receiver: Receiver) -> float | None:
        speed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def take(fix: Fix) -> None:
            if fix.mode >= 2 and fix.speed_mps is not None and not speed.done():
                speed.set_result(fix.speed_mps)

        asking = asyncio.create_task(receiver.run(take, lambda _state: None))
        waiting: set[asyncio.Future[Any]] = {asking, speed}
        await asyncio.wait(waiting, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return speed.result() if speed.done() else None

    return asyncio.run(first(Receiver(gps.gpsd, gps.stale_after_s)))


@contextmanager
def _link(settings: Settings, port: str | None, baud: int | None) -> Iterator[Link]:
    """The line to the mount, open."""
    from drivers.hotplug import resolve
    from firmware_bridge.link import Link

    chosen = port or settings.mount.port
    if chosen is None or chosen == SIMULATED:
        typer.echo("there is no mount in the settings: set mount.port, or give --port", err=True)
        raise typer.Exit(2)
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


def _running(link: Link) -> Slot:
    from firmware_bridge.slots import look

    server = look(link)
    if server.slots is None:
        raise BridgeError(f"the firmware at {link.port} has no image management", Cause.UNSUPPORTED)
    if server.running is None:
        raise BridgeError(f"the mount at {link.port} does not say which image runs", Cause.REFUSED)
    return server.running


def _restarted(link: Link, told: Callable[[], None]) -> Server:
    """Have the mount restart, and look at it once it has; `told` is called when it is sure that it does."""
    from firmware_bridge.slots import look
    from firmware_bridge.update import passing, patiently

    before_ms, longest_s = _uptime_ms(link), _longest_s(link)
    sure = patiently(link.reset)
    if sure:
        told()
    typer.echo(f"waiting until the mount is back, about {longest_s:.0f} s at the most …", err=True)
    asked_at, away = time.monotonic(), False
    while True:
        time.sleep(0.5)
        waited_s = time.monotonic() - asked_at
        try:
            uptime_ms, server = _uptime_ms(link), look(link)
        except BridgeError as error:
            if not passing(error) or waited_s > longest_s:
                raise
            away = True
            if error.cause is Cause.GONE:
                _try(link.open)
            continue
        anew = uptime_ms is not None and before_ms is not None and uptime_ms < before_ms
        if anew and not sure:
            told()
        if away or anew or waited_s > _LEAVES_S:
            return server


def _uptime_ms(link: Link) -> int | None:
    """How long the firmware has been running; ``None`` where it has no panel, or does not answer."""
    from firmware_bridge.mount import read_panel

    with suppress(BridgeError):
        return read_panel(link).uptime_ms
    return None


def _longest_s(link: Link) -> float:
    """How long a restart may take: the boot loader changes the image where one waits, or is not kept."""
    from firmware_bridge.slots import read_slots

    with suppress(BridgeError):
        if any(slot.pending or (slot.active and not slot.confirmed) for slot in read_slots(link)):
            return _SWAP_S
    return _BACK_S


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except BridgeError as error:
        if error.cause is Cause.INVALID:
            raise


def _trusted(
    settings: Settings, keys: list[Path] | None, vendor_id: str | None, class_id: str | None
) -> tuple[tuple[Key, ...], UUID | None, UUID | None]:
    """Whose images the mount may get, and which board it is; wrong ones end the command with 2."""
    from firmware_bridge.images import board, read_keys

    mount = settings.mount
    try:
        trusted = read_keys(keys or mount.firmware_keys)
        vendor, class_ = board(vendor_id or mount.vendor_id, class_id or mount.class_id)
    except BridgeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    for key in trusted:
        if key.private:
            typer.echo(f"{key.name} holds the private key, too: a unit needs only the public one", err=True)
    return trusted, vendor, class_


@contextmanager
def _faults_told(as_json: bool) -> Iterator[None]:
    """Faults end the command with a sentence, or with a document."""
    from agent.journal.entries import JournalError
    from drivers.readings import DriverError

    try:
        yield
    except (BridgeError, DriverError, JournalError, _RefusedError) as error:
        if as_json:
            told = error.told if isinstance(error, _RefusedError) else {"result": "failed", "reason": None}
            print_json({"ok": False, "message": str(error), **told})
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("stopped: the mount keeps what it has (`kerbside firmware list`); run it again to go on", err=True)
        raise typer.Exit(1) from None


# --- what is shown ------------------------------------------------------------------------------------------------


def _facts(image: Image) -> dict[str, Any]:
    return {
        "version": str(image.version),
        "bytes": len(image.content),
        "hash": image.hash.hex(),
        "hash_algorithm": image.hash_algorithm,
        "vendor_id": str(image.vendor_id) if image.vendor_id else None,
        "class_id": str(image.class_id) if image.class_id else None,
        "security_counter": image.security_counter,
        "encrypted": image.encrypted,
        "padding": image.padding,
    }


def _described(port: str, server: Server) -> dict[str, Any]:
    loader = server.boot_loader
    return {
        "port": port,
        "server": server.name,
        "boot_loader": {"name": loader.name, "mode": _mode(server)} if loader else None,
        "image_management": server.slots is not None,
        "slots": [
            {
                **asdict(slot),
                "hash": slot.hash.hex() if slot.hash is not None else None,
                "bytes": server.sizes.get((slot.image, slot.slot)),
            }
            for slot in server.slots or ()
        ],
    }


def _mode(server: Server) -> str | None:
    from firmware_bridge.slots import MODES

    mode = server.boot_loader.mode if server.boot_loader else None
    return None if mode is None else MODES.get(mode, str(mode))


def _show(port: str, server: Server) -> None:
    loader = server.boot_loader
    told = [server.name or "an SMP server"]
    if loader:
        told.append(f"boot loader {loader.name}" + (f" ({_mode(server)})" if loader.mode is not None else ""))
    typer.echo(f"{port}: {', '.join(told)}")
    if server.slots is None:
        typer.echo("its firmware has no image management: it is updated through the microcontroller's debug connector")
    elif server.running is None:
        typer.echo(
            "no image runs, as far as it says: is this its boot loader? `kerbside firmware reset` starts the firmware"
        )
    several = any(slot.image for slot in server.slots or ())
    for slot in server.slots or ():
        where = f"slot {slot.slot}" if not several else f"image {slot.image} slot {slot.slot}"
        hash_ = slot.hash.hex()[:12] + "…" if slot.hash is not None else "no hash told"
        colour = {True: typer.colors.GREEN, False: typer.colors.YELLOW}[slot.confirmed] if slot.active else None
        typer.echo(f"{where:8}{slot.version:14}{hash_:15}{typer.style(_state(slot), fg=colour)}")


def _state(slot: Slot) -> str:
    """In words what a slot's flags mean."""
    if slot.active:
        return "runs" if slot.confirmed else "runs for a trial: a restart takes it back unless it is confirmed"
    if slot.pending:
        return f"starts at the next restart, {'and stays' if slot.permanent else 'for a trial'}"
    if slot.confirmed:
        return "comes back at the next restart"
    return "does not run"


def _show_image(image: Image, checks: list[Check]) -> None:
    typer.echo(f"{image.name}: version {image.version}, {len(image.content):,} bytes, hash {image.hash.hex()[:12]}…")
    if image.padding:
        marked = f" and its mark “{image.marked}”" if image.marked else ""
        typer.echo(f"the file's padding ({image.padding:,} bytes){marked} is not sent")
    for check in checks:
        mark = (
            typer.style("ok      ", fg=typer.colors.GREEN) if check.ok else typer.style("fault   ", fg=typer.colors.RED)
        )
        typer.echo(f"{mark}{check.name:12}{check.message}")


def _show_outcome(outcome: Outcome) -> None:
    good = outcome.result in ("confirmed", "unchanged")
    typer.secho(outcome.message, fg=typer.colors.GREEN if good else typer.colors.RED, err=not good)
    if not good and outcome.running:
        typer.echo(f"{outcome.running} runs", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Shows how far an update is: as a bar on a terminal, otherwise in a line for each stage."""
    if not sys.stderr.isatty():
        seen: list[str] = []

        def tell(progress: Progress) -> None:
            if progress.stage not in seen:
                seen.append(progress.stage)
                typer.echo(f"{progress.stage} …", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description:11}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def draw(progress: Progress) -> None:
            if progress.stage not in tasks:
                for before in bar.tasks:
                    bar.update(before.id, total=1, completed=1)
                tasks[progress.stage] = bar.add_task(progress.stage)
            # How long a restart takes is not known before.
            total = None if progress.stage == "restarting" else progress.total
            bar.update(tasks[progress.stage], completed=progress.done, total=total)

        yield draw
