"""`kerbside firmware confirm` and `reset`: what becomes of the image that runs."""

from __future__ import annotations

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, has_settings, print_json
from agent.cli.firmware.errors import faults_told, tell
from agent.cli.firmware.options import BaudOption, PortOption
from agent.cli.firmware.show import described, show_server


def confirm(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Keep the image that runs for a trial."""
    from agent.mount.service import Service, open_line

    chosen = chosen_settings(settings)
    with (
        faults_told(as_json),
        Service.open(chosen, tell, installed=has_settings(settings)) as service,
        open_line(chosen, port, baud) as link,
    ):
        slot, changed = service.confirm(link)
    message = f"{slot.version} {'runs, and stays' if changed else 'stays already'}"
    if as_json:
        print_json({"ok": True, "changed": changed, "running": slot.version, "message": message})
    else:
        typer.echo(message)


def reset(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Restart the mount's microcontroller, and show what runs then."""
    from agent.mount.service import Service, open_line

    chosen = chosen_settings(settings)
    with (
        faults_told(as_json),
        Service.open(chosen, tell, installed=has_settings(settings)) as service,
        open_line(chosen, port, baud) as link,
    ):
        server = service.restart(link)
    if as_json:
        print_json({"ok": True, **described(link.port, server)})
    else:
        show_server(link.port, server)
