"""Which store the verbs of `kerbside journal` read, and how they end when it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import chosen_settings
from agent.journal.entries import JournalError
from agent.journal.reading import Reading

StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", metavar="DIR", help="The state directory, instead of the settings' one.")
]


def reading_of(settings: Path | None, state_dir: Path | None) -> Reading:
    """The store in `state_dir`, or of the settings; one that cannot be read ends the command with a sentence."""
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
