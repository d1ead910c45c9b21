"""`kerbside firmware update`: from a file to an image that runs and stays."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, has_settings, print_json
from agent.cli.firmware.errors import faults_told, tell, trusted_by
from agent.cli.firmware.options import BaudOption, ClassOption, FileArgument, KeyOption, PortOption, VendorOption
from agent.cli.firmware.show import facts, progress, show_image, show_outcome


def update(
    file: FileArgument,
    port: PortOption = None,
    baud: BaudOption = None,
    key: KeyOption = None,
    vendor_id: VendorOption = None,
    class_id: ClassOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and send nothing.")] = False,
    without_return: Annotated[
        bool, typer.Option("--without-return", help="Also where the boot loader cannot take a failed image back.")
    ] = False,
    confirm_after: Annotated[
        float | None,
        typer.Option("--confirm-after", min=1, metavar="SECONDS", help="How long it must answer before it is kept."),
    ] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an image, send it, start it for a trial, and keep it once it has answered for a while."""
    from agent.mount.service import Service, open_line

    chosen = chosen_settings(settings)
    trusted = trusted_by(chosen, key, vendor_id, class_id)
    with (
        faults_told(as_json),
        Service.open(chosen, tell, installed=has_settings(settings), dry_run=dry_run) as service,
    ):
        updated = service.update(
            file,
            trusted,
            partial(open_line, chosen, port, baud),
            without_return=without_return,
            confirm_after_s=confirm_after or chosen.mount.confirm_after_s,
            progress=progress,
        )
    if as_json:
        told = {"result": "checked", "reason": None, "message": "nothing was sent", "running": None}
        told |= asdict(updated.outcome) if updated.outcome else {}
        about = {"file": str(file), "port": updated.port, "dry_run": dry_run, "image": facts(updated.image)}
        print_json({"ok": updated.good, **told, **about, "checks": [asdict(check) for check in updated.checks]})
    elif updated.outcome is None:
        show_image(updated.image, updated.checks)
        typer.echo("nothing was sent")
    else:
        show_outcome(updated.outcome)
    raise typer.Exit(0 if updated.good else 1)
