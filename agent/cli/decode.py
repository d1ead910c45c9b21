"""`kerbside decode`: the symbols and the parcels in pictures."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def decode(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures: JPEG, PNG, WebP, GIF or BMP.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each picture.")] = False,
) -> None:
    """Show the symbols in pictures and the parcels that they name.

    A picture that can not be read is told with the reason, the others are still read, and the exit status is 1.
    """
    # Only now: reading pictures needs OpenCV, which no other command should wait for.
    from agent.labels import LabelError
    from agent.labels.reader import load

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    failed = False
    for image in images:
        try:
            answer = _answer(image, load(image))
        except LabelError as error:
            failed = True
            if as_json:
                typer.echo(json.dumps({"file": str(image), "error": str(error)}, ensure_ascii=False))
            else:
                typer.echo(str(error), err=True)
            continue
        if as_json:
            typer.echo(json.dumps(answer, ensure_ascii=False))
        else:
            _print(answer)
    if failed:
        raise typer.Exit(1)


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
