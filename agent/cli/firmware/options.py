"""The options of the verbs of `kerbside firmware`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="An MCUboot image (….signed.bin).")]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="The mount's serial port, instead of the settings' one.")
]
BaudOption = Annotated[
    int | None, typer.Option("--baud", min=1200, max=4_000_000, help="Its speed, instead of the settings' one.")
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PEM", help="A public key that may have signed it, instead of the settings' ones."),
]
VendorOption = Annotated[
    str | None, typer.Option("--vendor-id", metavar="ID", help="Whose board it is, instead of the settings' vendor_id.")
]
ClassOption = Annotated[
    str | None, typer.Option("--class-id", metavar="ID", help="Which board it is, instead of the settings' class_id.")
]
