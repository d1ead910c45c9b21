"""`kerbside journal`: look into the store of a unit, walk its chain, and take its events out.

Everything here only reads, also while the agent is running; the work is in `agent.journal`.
"""

from __future__ import annotations

import typer

from agent.cli.journal.chain import export, verify
from agent.cli.journal.contents import status, tail

app = typer.Typer(help="Look into the store, walk its chain, take events out.", no_args_is_help=True)
for verb in (status, tail, verify, export):
    app.command()(verb)
