"""What `kerbside firmware` shows of images, slots and updates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from firmware_bridge.checks import Check
    from firmware_bridge.images import Image
    from firmware_bridge.slots import Server, Slot
    from firmware_bridge.update import Outcome, Progress


def facts(image: Image) -> dict[str, Any]:
    """What the document of a command says of an image."""
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


def described(port: str, server: Server) -> dict[str, Any]:
    """What the document of a command says of the mount."""
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


def show_server(port: str, server: Server) -> None:
    """The mount's slots, a line each."""
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


def show_image(image: Image, checks: Sequence[Check]) -> None:
    """An image, and a line for each check."""
    typer.echo(f"{image.name}: version {image.version}, {len(image.content):,} bytes, hash {image.hash.hex()[:12]}…")
    if image.padding:
        marked = f" and its mark “{image.marked}”" if image.marked else ""
        typer.echo(f"the file's padding ({image.padding:,} bytes){marked} is not sent")
    for check in checks:
        mark = (
            typer.style("ok      ", fg=typer.colors.GREEN) if check.ok else typer.style("fault   ", fg=typer.colors.RED)
        )
        typer.echo(f"{mark}{check.name:12}{check.message}")


def show_outcome(outcome: Outcome) -> None:
    """How an update ended."""
    good = outcome.result in ("confirmed", "unchanged")
    typer.secho(outcome.message, fg=typer.colors.GREEN if good else typer.colors.RED, err=not good)
    if not good and outcome.running:
        typer.echo(f"{outcome.running} runs", err=True)


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
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
