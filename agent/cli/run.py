"""`kerbside run`: the agent itself."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import SettingsOption, chosen_settings
from agent.settings import SettingsError, default_path, on_disk

log = logging.getLogger(__name__)


def run(
    settings: SettingsOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every detail.")] = False,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, Ctrl-C)."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    chosen = chosen_settings(settings, named=True)
    try:
        for fault in on_disk.require(chosen, settings or default_path()):
            log.warning("%s", fault)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error

    # Only now: what the agent needs takes a moment to load, and wrong settings should be told at once.
    from agent.app import App
    from agent.identity.seal import SealError
    from agent.journal.entries import JournalError
    from drivers.readings import DriverError

    async def main() -> None:
        await App(chosen).run()

    try:
        asyncio.run(main())
    except (JournalError, SealError, DriverError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        state_dir = chosen.unit.state_dir
        if not (isinstance(error.filename, (str, Path)) and state_dir.is_relative_to(error.filename)):
            raise
        typer.echo(
            f"{state_dir} cannot be used as the state directory ({error.strerror}): run the agent as a user that may "
            "write there, or set unit.state_dir to another folder",
            err=True,
        )
        raise typer.Exit(1) from error
