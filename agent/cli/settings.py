"""`kerbside settings`: check a file before a unit gets it, show what is in force, print the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json
from agent.settings import SettingsError, load, on_disk, shown
from agent.settings import schema as settings_schema
from contract.faults import Fault

app = typer.Typer(help="Check, show and describe the settings.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The settings file (TOML).")],
    as_json: JsonOption = False,
    without_files: Annotated[
        bool, typer.Option("--without-files", help="Do not open what it names: for a file that is written elsewhere.")
    ] = False,
) -> None:
    """Check a settings file and open what it names; every fault is named by its path."""
    try:
        settings = load(file)
        found = [] if without_files else [Fault(each.key, str(each)) for each in on_disk.examine(settings, file)]
    except SettingsError as error:
        found = list(error.faults)
    faults = [{"path": fault.path, "message": fault.expected} for fault in found]
    if as_json:
        print_json({"file": str(file), "ok": not faults, "faults": faults})
    else:
        for fault in faults:
            typer.echo(f"{fault['path']}: {fault['message']}")
        typer.echo(f"{file}: {_faults(len(faults))}" if faults else f"{file}: fine")
    raise typer.Exit(2 if faults else 0)


@app.command()
def show(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Show the settings in force: the defaults, the file, and what the environment overrides."""
    values = shown(chosen_settings(settings))
    if as_json:
        print_json(values)
    else:
        typer.echo(as_toml(values), nl=False)


@app.command()
def schema(as_json: JsonOption = True) -> None:
    """Print the JSON Schema of the settings file."""
    print_json(settings_schema())


def as_toml(values: dict[str, Any]) -> str:
    """Settings as the TOML file that would give them; what is unset stands as a comment."""
    tables = []
    for name, section in values.items():
        entries = section if isinstance(section, list) else [section]
        header = f"[[{name}]]" if isinstance(section, list) else f"[{name}]"
        tables += ["\n".join([header, *(_line(key, value) for key, value in entry.items())]) for entry in entries]
    return "\n\n".join(tables) + "\n"


def _line(key: str, value: str | float | bool | None) -> str:
    if value is None:
        return f"# {key} is not set"
    # A JSON string, number or truth value is a TOML one, too.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _faults(count: int) -> str:
    return "1 fault" if count == 1 else f"{count} faults"
