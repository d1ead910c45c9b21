"""`kerbside contract`: the machine-readable contract, and a check of messages and events against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import JsonOption, print_json
from contract import canonical, strict_json
from contract.faults import Fault, json_type
from contract.topics import full_type, short_type
from contract.vocabulary import MAX_MESSAGE_BYTES

app = typer.Typer(help="Print the contract and check messages against it.", no_args_is_help=True)


@app.command()
def schema(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One message; by default all names.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a message's JSON Schema (2020-12), or the names of all messages."""
    from contract import schema as schemas

    if name is None:
        if as_json:
            print_json({each: schemas.schema(each) for each in schemas.names()})
        else:
            for each in schemas.names():
                typer.echo(each)
        return
    if name not in schemas.names():
        typer.echo(f'"{name}": expected one of {", ".join(schemas.names())}', err=True)
        raise typer.Exit(2)
    print_json(schemas.schema(name))


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A message to a unit, or an event of one (JSON).")],
    as_json: JsonOption = False,
) -> None:
    """Check a message or an event; every fault is named by its path."""
    try:
        content = file.read_bytes()
    except OSError as error:
        typer.echo(f"{file}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    name, faults = _checked(content)
    if as_json:
        told = [{"path": fault.path, "expected": fault.expected} for fault in faults]
        print_json({"file": str(file), "message": name, "ok": not faults, "faults": told})
    else:
        for fault in faults:
            typer.echo(str(fault))
        typer.echo(f"{file}: {_count(faults)}" if faults else f"{file}: fine, {name}")
    raise typer.Exit(1 if faults else 0)


def _count(faults: list[Fault]) -> str:
    return "1 fault" if len(faults) == 1 else f"{len(faults)} faults"


def _checked(content: bytes) -> tuple[str | None, list[Fault]]:
    """What the file is by its own type, and every fault."""
    from contract import models

    if len(content) > MAX_MESSAGE_BYTES:
        return None, [Fault("", f"expected at most {MAX_MESSAGE_BYTES} bytes, got {len(content)}")]
    try:
        envelope = strict_json.parse(content)
    except strict_json.StrictJsonError as error:
        return None, [Fault("", str(error))]
    if not isinstance(envelope, dict):
        return None, [Fault("", f"expected an object, got {json_type(envelope)}")]
    if "lane" in envelope:
        return _of_a_unit(envelope)
    name = short_type(str(envelope.get("type")))
    if name not in models.MODELS or envelope["type"] != full_type(name):
        return None, [Fault("type", f"expected one of {', '.join(map(full_type, models.MODELS))}")]
    return name, [*models.envelope_faults(envelope), *models.faults(name, envelope.get("data"))]


def _of_a_unit(envelope: dict[str, Any]) -> tuple[str, list[Fault]]:
    """An event or a telemetry message, which is judged by its model and, for an event, by its hash."""
    from contract.models import model_faults
    from contract.upward import UPWARD

    name = "telemetry" if envelope["lane"] == "telemetry" else "event"
    found = model_faults(UPWARD[name], envelope)
    if name == "event" and not found and canonical.content_hash(envelope) != envelope["hash"]:
        found.append(Fault("hash", "expected the SHA-256 of the event's canonical JSON without its hash"))
    return name, found
