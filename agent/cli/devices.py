"""`kerbside devices`: what is plugged in, by the name that stays the same, and the settings block that would use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli import JsonOption, SettingsOption, print_json

if TYPE_CHECKING:
    from agent.checkup.plugged_in import Device
    from agent.settings import Settings


def devices(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List what is plugged in, and the settings that would use it."""
    from agent.checkup.plugged_in import plugged_in

    found = list(plugged_in(_settings(settings)))
    if as_json:
        listed = [asdict(device) | {"held_by": [each._asdict() for each in device.held_by]} for device in found]
        print_json({"devices": listed})
        return
    for device in found:
        # What a device calls itself may hold anything, even commands to the terminal.
        for line in _lines(device):
            typer.echo("".join(char if char.isprintable() else "?" for char in line))
        typer.echo()
    if not found:
        typer.echo("Nothing is plugged in that a unit could use: no serial line, no camera, no scanner.")


def _settings(path: Path | None) -> Settings | None:
    """The settings to compare with. Only those that were asked for must be right."""
    from agent.settings import SettingsError, default_path, load

    chosen = path or default_path()
    try:
        return load(chosen)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        if path:
            raise typer.Exit(2) from error
    return None


def _lines(device: Device) -> Iterator[str]:
    number = f", serial number {device.serial_number}" if device.serial_number else ""
    yield device.path
    yield f"  {device.kind}: {device.name} ({device.usb or 'no USB device'}{number}), {device.node}"
    used = f"the settings use it: {', '.join(device.used_by)}" if device.used_by else ""
    held = f"open in {', '.join(map(str, device.held_by))}" if device.held_by else ""
    if used or held:
        yield f"  {'; '.join(filter(None, (used, held)))}"
    for line in (device.note or "").splitlines():
        yield f"  {line}"
    for line in device.settings.splitlines():
        yield f"    {line}"
    if device.rule:
        yield "  in /etc/udev/rules.d/71-kerbside-receiver.rules, then `udevadm control --reload && udevadm trigger`:"
        for line in device.rule.splitlines():
            yield f"    {line}"
