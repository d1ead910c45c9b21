"""What the demo looks like on a terminal: a live panel or plain lines while it plays, and the proof at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable
from typing import Any, Literal

from rich.console import RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from demo.play import Player, Progress, Result

Display = Literal["live", "lines", "none"]


class OutputClosedError(Exception):
    """The other end of standard output was closed: there is nobody to play for."""


async def show(player: Player, display: Display, tell: Callable[[Result], None], *, serve: bool) -> Result:
    """Play the block and show how it goes; the result is told as soon as it is there.

    :param serve: keep broker and unit up after that, until SIGINT or SIGTERM
    :raises OutputClosedError: standard output is a pipe, and was closed at its other end
    """

    async def until_interrupted(result: Result) -> None:
        await hide()
        tell(result)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        print("\n".join(_up_lines(player.progress)), file=sys.stderr if display == "none" else sys.stdout, flush=True)
        await stop.wait()

    async def hide() -> None:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokenPipeError):
            await showing

    showing = asyncio.create_task(_VIEWS[display](player.progress))
    playing = asyncio.create_task(player.play(serve=until_interrupted if serve else None))
    unread = asyncio.create_task(_output_is_closed())
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    try:
        await asyncio.wait({playing, unread}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            raise OutputClosedError
        result = await playing
        await hide()
        if not serve:
            tell(result)
    except BrokenPipeError:
        raise OutputClosedError from None
    finally:
        for task in (playing, unread, showing):
            task.cancel()
        await asyncio.gather(playing, unread, showing, return_exceptions=True)
    return result


async def _output_is_closed() -> None:
    """Wait until nobody can read standard output any more; for what is no pipe that is never."""
    closed = asyncio.Event()
    with contextlib.suppress(OSError):
        output = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            asyncio.get_running_loop().add_reader(output, closed.set)  # of the writing end: when it is broken
    await closed.wait()


def proof_lines(result: Result) -> list[str]:
    """The consumer's books beside the journal, for people."""
    waits = result.scan_to_feedback_ms
    return [
        "",
        f"events written    {result.events_written}",
        f"events received   {result.events_received}, each id once ({result.duplicates_removed} repeats removed)",
        f"gaps              {result.gaps}",
        f"hash chain        {'unbroken' if result.chain_intact else 'BROKEN'}",
        f"parcels           {', '.join(f'{n} {state}' for state, n in sorted(result.parcels.items()))}",
        f"troubles          broker away for {result.outage_s:g} s, kills of the agent: {result.kills}",
        f"scan to feedback  p50 {waits['p50']:.2f} ms, p99 {waits['p99']:.2f} ms",
        "proven: every event arrived exactly once, in order" if result.proven else "NOT proven",
    ]


def _up_lines(progress: Progress) -> list[str]:
    port = progress.broker.rpartition(":")[2]
    return [
        "",
        "Broker and unit stay up until Ctrl-C:",
        f"  screen  {progress.console}",
        f"  broker  {progress.broker}",
        f"  events  mosquitto_sub -p {port} -v -t 'kerbside/#'",
    ]


async def _none(_progress: Progress) -> None:
    """Nothing is shown."""


async def _lines(progress: Progress) -> None:
    """A line whenever something that matters has changed."""
    last: list[str] = []
    while True:
        lines = _facts(progress)
        for line in lines:
            if line not in last:
                print(line, flush=True)
        last = lines
        await asyncio.sleep(0.5)


async def _live(progress: Progress) -> None:
    with Live(_panel(progress), refresh_per_second=4) as live:
        try:
            while True:
                await asyncio.sleep(0.25)
                live.update(_panel(progress))
        finally:
            live.update(_panel(progress))


_VIEWS = {"live": _live, "lines": _lines, "none": _none}


def _facts(progress: Progress) -> list[str]:
    facts = [f"now: {progress.stage}"]
    if progress.console:
        facts.append(f"screen: {progress.console}")
        facts.append(f"broker: {progress.broker}")
    if progress.ready_after_s is not None:
        facts.append(f"ready after {progress.ready_after_s:.1f} s")
    facts.append("link: up" if progress.broker_is_up else "link: cut, the broker is away")
    if progress.kills:
        facts.append(f"kills of the agent: {progress.kills}")
    if block := progress.seen.get("block"):
        counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(block["counts"].items()) if count)
        facts.append(f"block {block['block_id']} {block['state']}: {counts}")
    return facts


def _panel(progress: Progress) -> RenderableType:
    seen: dict[str, Any] = progress.seen
    unit, block, feedback = seen.get("unit", {}), seen.get("block"), seen.get("feedback")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("now", progress.stage)
    if progress.ready_after_s is not None:
        table.add_row("ready", f"after {progress.ready_after_s:.1f} s")
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
