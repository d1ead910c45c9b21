"""`kerbside decode`: the symbols and the parcels in pictures."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer


def decode(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures: JPEG, PNG, WebP, GIF or BMP.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each picture.")] = False,
) -> None:
    """Show the symbols in pictures and the parcels that they name.

    A picture that cannot be read is told with the reason, the others are still read, and the exit status is 1.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    failed = False
    for answer in _with_progress(images):
        failed = failed or "error" in answer
        if as_json:
            typer.echo(json.dumps(answer, ensure_ascii=False))
        elif "error" in answer:
            typer.echo(answer["error"], err=True)
        else:
            _print(answer)
    if failed:
        raise typer.Exit(1)


def _with_progress(images: list[Path]) -> Iterator[dict[str, Any]]:
    """The answer for each picture. Someone who waits at a terminal for many of them sees how far it is."""
    if len(images) < 2 or not sys.stderr.isatty():
        yield from map(_answer_or_error, images)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    task = progress.add_task("", total=len(images))
    progress.start()
    try:
        for image in images:
            answer = _answer_or_error(image)
            progress.advance(task)
            # The results scroll past on the same terminal, or a reason does: the bar steps aside for them.
            in_the_way = sys.stdout.isatty() or "error" in answer
            if in_the_way:
                progress.stop()
            yield answer
            if in_the_way:
                progress.start()
    finally:
        progress.stop()


def _answer_or_error(image: Path) -> dict[str, Any]:
    # Only now: reading pictures needs OpenCV, which no other command should wait for.
    from agent.labels import LabelError
    from agent.labels.reader import load

    try:
        return _answer(image, load(image))
    except LabelError as error:
        return {"file": str(image), "error": str(error)}


def _answer(image: Path, picture: Any) -> dict[str, Any]:
    from agent.labels.choose import parcels
    from agent.labels.reader import read

    symbols = read(picture)
    return {
        "file": str(image),
        "symbols": [
            {
                "text": symbol.text,
                "symbology": symbol.symbology,
                "identifier": symbol.identifier,
                "corners": [list(corner) for corner in symbol.corners],
            }
            for symbol in symbols
        ],
        "parcels": [
            {"tracking_number": parcel.tracking_number, "carrier": parcel.carrier, "kind": parcel.kind}
            for parcel in parcels(symbols)
        ],
    }


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent.labels.identity import identify

    # In a file or a pipe nothing is folded: a code stays on one line, where it can be found.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 4096)
    console.print(Text(answer["file"], style="bold"), soft_wrap=True)
    if not answer["symbols"]:
        console.print("  no symbol found")
        return
    table = Table("symbology", "identifier", "text", box=None, pad_edge=True)
    for symbol in answer["symbols"]:
        table.add_row(symbol["symbology"], Text(symbol["identifier"] or ""), Text(_printable(symbol["text"])))
    console.print(table)
    for symbol in answer["symbols"]:
        fault = identify(symbol["text"], symbol["identifier"], symbol["symbology"]).fault
        if fault is not None:
            console.print(
                Text(f"  not a sound number: {_printable(symbol['text'])}  {_printable(fault)}"), soft_wrap=True
            )
    for parcel in answer["parcels"]:
        carrier = parcel["carrier"] or "carrier unknown"
        console.print(Text(f"  parcel {parcel['tracking_number']}  {carrier}  {parcel['kind']}"), soft_wrap=True)


def _printable(text: str) -> str:
    """A code may hold anything: control characters are shown, not sent to the terminal."""
    return "".join(character if character.isprintable() else "·" for character in text)
