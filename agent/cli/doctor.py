"""`kerbside doctor`: is everything that the unit needs in order, and if not, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json

if TYPE_CHECKING:
    from agent.checkup import Finding


def doctor(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Check the unit: clock, disk, database, files, certificates, broker, receiver, scanners, camera, mount."""
    from agent import checkup
    from agent.checkup.finding import TIMEOUT_S
    from agent.console.client import Client
    from agent.settings import default_path

    chosen = chosen_settings(settings)
    running = Client(chosen.console.listen, TIMEOUT_S).state_of(chosen.unit)
    findings = checkup.examine(chosen, running["unit"]["parts"] if running else {}, settings or default_path())
    result = checkup.document(findings)
    if as_json:
        print_json(result)
    else:
        for finding in findings:
            _show(finding)
    raise typer.Exit(0 if result["ok"] else 1)


def _show(finding: Finding) -> None:
    colours = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "fault": typer.colors.RED}
    mark = typer.style(f"{finding.state:8}", fg=colours[finding.state])
    typer.echo(f"{mark}{finding.name:13}{finding.message}")
    if finding.advice:
        typer.echo(f"{'':21}→ {finding.advice}")
