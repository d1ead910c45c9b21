"""`kerbside firmware list` and `verify`: images on the mount, and in a file."""

from __future__ import annotations

from dataclasses import asdict

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json
from agent.cli.firmware.errors import faults_told, trusted_by
from agent.cli.firmware.options import BaudOption, ClassOption, FileArgument, KeyOption, PortOption, VendorOption
from agent.cli.firmware.show import described, facts, show_image, show_server


def list_(
    port: PortOption = None, baud: BaudOption = None, settings: SettingsOption = None, as_json: JsonOption = False
) -> None:
    """Show the images that the mount holds, and what its server tells of itself."""
    from agent.mount.service import open_line
    from firmware_bridge.slots import look

    with faults_told(as_json), open_line(chosen_settings(settings), port, baud) as link:
        server = look(link)
    if as_json:
        print_json({**described(link.port, server), "parameters": asdict(link.parameters)})
    else:
        show_server(link.port, server)


def verify(
    file: FileArgument,
    key: KeyOption = None,
    vendor_id: VendorOption = None,
    class_id: ClassOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an image without a mount: its hash, its signature, its board."""
    from firmware_bridge.images import read

    trusted = trusted_by(chosen_settings(settings), key, vendor_id, class_id)
    with faults_told(as_json):
        image = read(file)
        checks = trusted.check(image)
    good = all(check.ok for check in checks)
    if as_json:
        about = {"ok": good, "file": str(file), "image": facts(image)}
        print_json({**about, "checks": [asdict(each) for each in checks]})
    else:
        show_image(image, checks)
    raise typer.Exit(0 if good else 1)
