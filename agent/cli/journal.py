"""`kerbside journal`: look into the store of a unit, walk its chain, and take its events out.

Everything here only reads, also while the agent is running.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json
from agent.journal.entries import EventEntry, JournalError
from agent.journal.reading import Reading
from agent.journal.verify import Verdict
from agent.journal.verify import verify as verify_events

app = typer.Typer(help="Look into the store, walk its chain, take events out.", no_args_is_help=True)

StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", metavar="DIR", help="The state directory, instead of the settings' one.")
]


class Format(StrEnum):
    """What `export` writes."""

    JSONL = "jsonl"


@app.command()
def status(settings: SettingsOption = None, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Show what the store holds and how much of it still waits to be confirmed."""
    with _reading(settings, state_dir) as reading:
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


@app.command()
def tail(
    settings: SettingsOption = None,
    state_dir: StateDirOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many entries.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries of the log: events, and messages of the cloud."""
    with _reading(settings, state_dir) as reading:
        entries = reading.tail(count)
    if as_json:
        print_json([_described(sequence, entry) for sequence, entry in entries])
        return
    for sequence, entry in entries:
        if isinstance(entry, EventEntry):
            envelope = json.loads(entry.payload)
            typer.echo(f"{sequence:>8}  {envelope['time']}  {entry.type:<28} {envelope['subject']}")
        else:
            typer.echo(f"{'':>8}  {entry.received}  {entry.type:<28} message {entry.message_id}")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An export (JSON lines; - for standard input).")
    ] = None,
    settings: SettingsOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the hash chain of the store, or of an export; a finding ends the command with 1."""
    if file is None:
        with _reading(settings, state_dir) as reading:
            verdict = reading.verify()
    else:
        verdict = _verify_file(file)
    if as_json:
        print_json(
            {
                "ok": verdict.whole,
                **asdict(verdict),
                "findings": [finding._asdict() for finding in verdict.findings],
            }
        )
    else:
        _print(verdict)
    raise typer.Exit(0 if verdict.whole else 1)


@app.command()
def export(
    settings: SettingsOption = None,
    state_dir: StateDirOption = None,
    format_: Annotated[Format, typer.Option("--format", help="jsonl: the envelopes as they were sent, one a line.")] = (
        Format.JSONL
    ),
    first: Annotated[int, typer.Option("--from", min=1, metavar="SEQUENCE", help="The first event.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, metavar="SEQUENCE", help="The last event.")] = None,
) -> None:
    """Write the kept events to standard output, as JSON lines."""
    with _reading(settings, state_dir) as reading:
        for payload in reading.events(first, last):
            sys.stdout.buffer.write(payload + b"\n")
        sys.stdout.buffer.flush()


def _reading(settings: Path | None, state_dir: Path | None) -> Reading:
    try:
        return _Told(state_dir or Path(chosen_settings(settings).unit.state_dir))
    except JournalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


class _Told(Reading):
    """A reading whose faults end the command with a sentence."""

    def __exit__(self, kind: Any, fault: BaseException | None, trace: Any) -> None:
        try:
            super().__exit__(kind, fault, trace)
        except JournalError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


def _verify_file(file: Path) -> Verdict:
    def lines() -> Iterator[tuple[str, bytes]]:
        source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
        with source:
            for number, line in enumerate(source, start=1):
                if line.strip():
                    yield f"line {number}", line.strip()

    try:
        return verify_events(lines())
    except OSError as error:
        typer.echo(f"{file} can not be read ({error.strerror}): expected an export of JSON lines", err=True)
        raise typer.Exit(2) from error


def _print(verdict: Verdict) -> None:
    if verdict.events:
        typer.echo(f"{verdict.events} events, {verdict.first} to {verdict.last}, last hash {verdict.hash}")
    else:
        typer.echo("no events")
    for finding in verdict.findings:
        typer.echo(f"{finding.kind}: {finding.place + ': ' if finding.place else ''}{finding.message}")
    if verdict.finding_count > len(verdict.findings):
        typer.echo(f"and {verdict.finding_count - len(verdict.findings)} more")
    if verdict.whole:
        typer.echo("the chain is whole")


def _described(sequence: int, entry: Any) -> dict[str, Any]:
    if isinstance(entry, EventEntry):
        described: dict[str, Any] = json.loads(entry.payload)
        return described
    return {
        "after_sequence": sequence,
        "message_id": entry.message_id,
        "kind": entry.kind,
        "type": entry.type,
        "received": entry.received,
    }
