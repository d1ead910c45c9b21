"""`kerbside journal status` and `tail`: what the store holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from agent.cli import JsonOption, SettingsOption, print_json
from agent.cli.journal.store import StateDirOption, reading_of
from agent.journal.entries import EventEntry
from agent.journal.reading import described


def status(settings: SettingsOption = None, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Show what the store holds and how much of it still waits to be confirmed."""
    with reading_of(settings, state_dir) as reading:
        found = reading.status()
    if as_json:
        print_json(found)
        return
    backlog = found["backlog"]
    lines = {
        "events": f"{found['oldest_sequence']} to {found['sequence']}, "
        f"{found['oldest_time'] or 'time unknown'} to {found['newest_time'] or 'time unknown'}"
        if found["sequence"] >= found["oldest_sequence"]
        else "none kept",
        "confirmed": f"up to {found['confirmed']}",
        "waiting": f"{backlog['events']} events, {backlog['telemetry']} of telemetry",
        "messages": f"{found['messages']} of the cloud",
        "snapshot": f"after event {found['snapshot_after']}" if found["snapshot_after"] else "none yet",
        "size": f"{found['bytes'] / 1e6:.1f} MB",
        "thinned": f"{found['dropped']} samples of telemetry",
    }
    if found["recovery"]:
        lines["recovered"] = (
            f"after event {found['recovery']['last_sequence']}, goes on at {found['recovery']['next_sequence']} "
            f"({found['recovery']['lost']['reason']})"
        )
    for name, text in lines.items():
        typer.echo(f"{name:<10} {text}")


def tail(
    settings: SettingsOption = None,
    state_dir: StateDirOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many entries.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries of the log: events, and messages of the cloud."""
    with reading_of(settings, state_dir) as reading:
        entries = reading.tail(count)
    if as_json:
        print_json([described(sequence, entry) for sequence, entry in entries])
        return
    for sequence, entry in entries:
        if isinstance(entry, EventEntry):
            envelope = json.loads(entry.payload)
            typer.echo(f"{sequence:>8}  {envelope['time']}  {entry.type:<28} {envelope['subject']}")
        else:
            typer.echo(f"{'':>8}  {entry.received}  {entry.type:<28} message {entry.message_id}")
