"""`kerbside journal verify` and `export`: the chain of events, walked and taken out."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import JsonOption, SettingsOption, print_json
from agent.cli.journal.store import StateDirOption, reading_of
from agent.journal.verify import Verdict, verify_export


class Format(StrEnum):
    """What `export` writes."""

    JSONL = "jsonl"


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
        with reading_of(settings, state_dir) as reading:
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
    with reading_of(settings, state_dir) as reading:
        for payload in reading.events(first, last):
            sys.stdout.buffer.write(payload + b"\n")
        sys.stdout.buffer.flush()


def _verify_file(file: Path) -> Verdict:
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            return verify_export(source)
    except OSError as error:
        typer.echo(f"{file} cannot be read ({error.strerror}): expected an export of JSON lines", err=True)
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
