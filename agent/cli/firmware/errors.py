"""How the verbs of `kerbside firmware` end when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agent.cli import print_json

if TYPE_CHECKING:
    from agent.mount.service import RefusedError, Trusted
    from agent.settings import Settings


@contextmanager
def faults_told(as_json: bool) -> Iterator[None]:
    """Faults end the command with a sentence, or with a document; a mount that nobody named is wrong use."""
    from agent.journal.entries import JournalError
    from agent.mount.service import NoMountError, RefusedError
    from drivers.readings import DriverError
    from firmware_bridge.errors import BridgeError

    try:
        yield
    except NoMountError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (BridgeError, DriverError, JournalError, RefusedError) as error:
        if as_json:
            told = _refused(error) if isinstance(error, RefusedError) else {"result": "failed", "reason": None}
            print_json({"ok": False, "message": str(error), **told})
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("stopped: the mount keeps what it has (`kerbside firmware list`); run it again to go on", err=True)
        raise typer.Exit(1) from None


def trusted_by(settings: Settings, keys: list[Path] | None, vendor_id: str | None, class_id: str | None) -> Trusted:
    """Whose images the mount may get, and which board it is; wrong ones end the command with 2."""
    from agent.mount.service import Trusted
    from firmware_bridge.errors import BridgeError

    try:
        trusted = Trusted.of(settings, keys, vendor_id, class_id)
    except BridgeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    for key in trusted.keys:
        if key.private:
            typer.echo(f"{key.name} holds the private key, too: a unit needs only the public one", err=True)
    return trusted


def tell(sentence: str) -> None:
    """Tell whoever waits, beside what is printed."""
    typer.echo(sentence, err=True)


def _refused(error: RefusedError) -> dict[str, Any]:
    return {
        "result": "refused",
        "reason": error.reason,
        "checks": [asdict(check) for check in error.checks],
    }
