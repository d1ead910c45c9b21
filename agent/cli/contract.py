"""`kerbside contract`: the machine-readable contract, and a check of messages and events against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import JsonOption, print_json

app = typer.Typer(help="Print the contract and check messages against it.", no_args_is_help=True)


@app.command()
def schema(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One message; by default all names.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a message's JSON Schema (2020-12), or the names of all messages."""
    from agent.uplink import messages

    if name is None:
        if as_json:
            print_json({each: messages.schema(each) for each in messages.names()})
        else:
            for each in messages.names():
                typer.echo(each)
        return
    if name not in messages.names():
        typer.echo(f'"{name}": expected one of {", ".join(messages.names())}', err=True)
        raise typer.Exit(2)
    print_json(messages.schema(name))


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
    name, faults = _faults(content)
    if as_json:
        print_json({"file": str(file), "message": name, "ok": not faults, "faults": faults})
    else:
        for fault in faults:
            typer.echo(": ".join(filter(None, (fault["path"], fault["expected"]))))
        typer.echo(f"{file}: {_count(faults)}" if faults else f"{file}: fine, {name}")
    raise typer.Exit(1 if faults else 0)


def _count(faults: list[Any]) -> str:
    return "1 fault" if len(faults) == 1 else f"{len(faults)} faults"


def _faults(content: bytes) -> tuple[str | None, list[dict[str, str]]]:
    """What the file is by its own type, and every fault."""
    from agent.delivery.model.inputs import InvalidMessage
    from agent.uplink import messages
    from agent.uplink.inbox import decode

    envelope = decode(content)
    if isinstance(envelope, InvalidMessage):
        return None, [{"path": "", "expected": envelope.expected}]
    if not isinstance(envelope, dict):
        return None, [{"path": "", "expected": f"expected an object, got {messages.json_type(envelope)}"}]
    if "lane" in envelope:
        return _of_a_unit(envelope)
    type_ = envelope.get("type")
    name = type_.removeprefix(messages.PREFIX).removesuffix(".v1") if isinstance(type_, str) else ""
    if name not in messages.MODELS:
        known = ", ".join(f"{messages.PREFIX}{each}.v1" for each in messages.MODELS)
        return None, [{"path": "type", "expected": f"expected one of {known}"}]
    found = [*messages.envelope_faults(envelope), *messages.faults(name, envelope.get("data"))]
    return name, [{"path": fault.path, "expected": fault.expected} for fault in found]


def _of_a_unit(envelope: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """An event or a telemetry message, which is judged by its model and, for an event, by its hash."""
    from hashlib import sha256

    import rfc8785

    from agent.uplink import messages

    name = "telemetry" if envelope["lane"] == "telemetry" else "event"
    found = [
        {"path": each.path, "expected": each.expected}
        for each in messages.model_faults(messages.UPWARD[name], envelope)
    ]
    if name == "event" and not found:
        digest = sha256(rfc8785.dumps({key: value for key, value in envelope.items() if key != "hash"})).hexdigest()
        if digest != envelope["hash"]:
            found.append(
                {"path": "hash", "expected": "expected the SHA-256 of the event's canonical JSON without its hash"}
            )
    return name, found
