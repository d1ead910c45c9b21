"""`kerbside demo`: a whole delivery block on simulated devices and a real broker, ending with the proof."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from demo.play import Player, Progress, Result


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
    from drivers.readings import DriverError

    if keep is not None and keep.exists() and any(keep.iterdir()):
        typer.echo(f"{keep}: expected a new or empty folder to keep the demo in", err=True)
        raise typer.Exit(2)
    directory = keep or Path(tempfile.mkdtemp(prefix="kerbside-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # gpsd gives up its rights and still has to reach its receiver
    player = Player(Options(directory.resolve(), speed, outage, kills))
    live = sys.stdout.isatty() and not headless and not as_json
    try:
        result = asyncio.run(_play(player, live=live, as_json=as_json, serve=serve))
    except (StageError, DriverError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    if not serve:
        _tell(result, as_json=as_json)
    if keep and not as_json:
        typer.echo(f"kept in           {keep}")
    raise typer.Exit(0 if result.proven else 1)


async def _play(player: Player, *, live: bool, as_json: bool, serve: bool) -> Result:
    async def until_interrupted(result: Result) -> None:
        await hide()
        _tell(result, as_json=as_json)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        port = player.progress.broker.rpartition(":")[2]
        for line in (
            "",
            "Broker and unit stay up until Ctrl-C:",
            f"  screen  {player.progress.console}",
            f"  broker  {player.progress.broker}",
            f"  events  mosquitto_sub -p {port} -v -t 'kerbside/#'",
        ):
            typer.echo(line, err=as_json)
        await stop.wait()

    async def hide() -> None:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing

    view = _live(player.progress) if live else _lines(player.progress, quiet=as_json)
    showing = asyncio.create_task(view)
    try:
        return await player.play(serve=until_interrupted if serve else None)
    finally:
        await hide()


async def _lines(progress: Progress, *, quiet: bool) -> None:
    """A line whenever something that matters has changed."""
    last: list[str] = []
    while True:
        lines = _facts(progress)
        if not quiet:
            for line in lines:
                if line not in last:
                    typer.echo(line)
        last = lines
        await asyncio.sleep(0.5)


async def _live(progress: Progress) -> None:
    from rich.live import Live

    with Live(_panel(progress), refresh_per_second=4) as live:
        try:
            while True:
                await asyncio.sleep(0.25)
                live.update(_panel(progress))
        finally:
            live.update(_panel(progress))


def _facts(progress: Progress) -> list[str]:
    facts = [f"stage: {progress.stage}"]
    if progress.console:
        facts.append(f"screen: {progress.console}")
        facts.append(f"broker: {progress.broker}")
    facts.append("link: up" if progress.broker_is_up else "link: cut, the broker is away")
    if progress.kills:
        facts.append(f"kills of the agent: {progress.kills}")
    if block := progress.seen.get("block"):
        counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(block["counts"].items()) if count)
        facts.append(f"block {block['block_id']} {block['state']}: {counts}")
    return facts


def _panel(progress: Progress) -> RenderableType:
    from rich.panel import Panel
    from rich.table import Table

    seen: dict[str, Any] = progress.seen
    unit, block, feedback = seen.get("unit", {}), seen.get("block"), seen.get("feedback")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("now", progress.stage)
    if block:
        counts = "  ".join(f"{state.lower()} {count}" for state, count in sorted(block["counts"].items()) if count)
        table.add_row("block", f"{block['block_id']} {block['state']}")
        table.add_row("parcels", counts)
    if feedback:
        colour = {"good": "green", "repeat": "yellow", "bad": "red", "attention": "cyan"}[feedback["tone"]]
        table.add_row("feedback", f"[{colour}]{feedback['text']}[/]")
    broker = "[green]up[/]" if progress.broker_is_up else "[red]away[/]"
    table.add_row("link", f"broker {broker}, unit {'online' if unit.get('online') else 'offline'}")
    waiting = unit.get("backlog", {}).get("events", 0)
    received = progress.report.get("events_received", 0)
    table.add_row("events", f"{received + waiting} written  {received} received  {waiting} waiting")
    table.add_row("killed", str(progress.kills))
    table.add_row("screen", progress.console)
    return Panel(table, title="Kerbside", expand=False)


def _tell(result: Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result)))
        return
    waits = result.scan_to_feedback_ms
    typer.echo("")
    typer.echo(f"events written    {result.events_written}")
    typer.echo(
        f"events received   {result.events_received}, each id once ({result.duplicates_removed} repeats removed)"
    )
    typer.echo(f"gaps              {result.gaps}")
    typer.echo(f"hash chain        {'unbroken' if result.chain_intact else 'BROKEN'}")
    typer.echo(f"parcels           {', '.join(f'{n} {state}' for state, n in sorted(result.parcels.items()))}")
    typer.echo(f"troubles          broker away for {result.outage_s:g} s, kills of the agent: {result.kills}")
    typer.echo(f"scan to feedback  p50 {waits['p50']:.2f} ms, p99 {waits['p99']:.2f} ms")
    typer.echo("proven: every event arrived exactly once, in order" if result.proven else "NOT proven")
