"""`kerbside firmware`: what runs on the mount's microcontroller, and bringing it to another image.

Here are arguments and printing only, one file a verb or two; the work is in `agent.mount.service`.
"""

from __future__ import annotations

import typer

from agent.cli.firmware.images import list_, verify
from agent.cli.firmware.running import confirm, reset
from agent.cli.firmware.update import update

app = typer.Typer(help="The firmware of the mount's microcontroller.", no_args_is_help=True)
app.command("list")(list_)
for verb in (verify, update, confirm, reset):
    app.command()(verb)
