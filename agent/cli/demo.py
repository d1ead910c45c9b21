"""`kerbside demo`: a whole delivery block on simulated devices and a real broker, ending with the proof."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from demo.play import Result


def demo(
    speed: Annotated[float, typer.Option(min=1.0, max=100.0, help="How much faster than in the street.")] = 20.0,
    outage: Annotated[float, typer.Option(min=0.0, max=600.0, help="Seconds without a broker.")] = 10.0,
    kills: Annotated[int, typer.Option(min=0, max=20, help="How often the agent is killed in the middle.")] = 3,
    keep: Annotated[Path | None, typer.Option(help="Keep journal, logs and settings in this folder.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Plain lines instead of a live view.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else on stdout.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep broker and unit up until Ctrl-C.")] = False,
) -> None:
    """Play a whole block and prove that every event arrived exactly once, in order, with an unbroken chain."""
    from demo.play import Options, Player
    from demo.stage import StageError
    from demo.terminal import OutputClosedError, proof_lines, show
    from drivers.readings import DriverError

    if keep is not None and keep.exists() and any(keep.iterdir()):
        typer.echo(f"{keep}: expected a new or empty folder to keep the demo in", err=True)
        raise typer.Exit(2)
    directory = keep or Path(tempfile.mkdtemp(prefix="kerbside-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # gpsd gives up its rights and still has to reach its receiver
    player = Player(Options(directory.resolve(), speed, outage, kills))
    live = sys.stdout.isatty() and not headless

    def tell(result: Result) -> None:
        typer.echo(json.dumps(dataclasses.asdict(result)) if as_json else "\n".join(proof_lines(result)))

    try:
        result = asyncio.run(show(player, "none" if as_json else "live" if live else "lines", tell, serve=serve))
    except (StageError, DriverError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OutputClosedError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes nowhere
        typer.echo("nobody reads the output any more: the demo has stopped all that it had started", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(143) from None
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    if keep and not as_json:
        typer.echo(f"kept in           {keep}")
    raise typer.Exit(0 if result.proven else 1)
