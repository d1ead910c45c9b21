"""The `kerbside` command: one module a command group, loaded only when it is the one that was asked for.

A module holds either a Typer group named ``app`` or the function that is its one command. Exit codes: 0 fine, 1 a
finding or a failure, 2 wrong use or wrong settings.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from agent.settings import Settings

_COMMANDS: Final = ("run", "demo", "doctor", "devices", "settings", "decode", "journal", "firmware", "contract")

SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", help="The settings file; by default /etc/kerbside/agent.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main() -> None:
    """Run the command line of this process."""
    # Without rich: its boxes do not belong into a log, and a traceback with the values of variables shows secrets.
    command = typer.Typer(
        help="The agent that lives in a delivery vehicle.",
        callback=_common,
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in (asked,) if asked in _COMMANDS else _COMMANDS:
        module = import_module(f"{__name__}.{name}")
        group = getattr(module, "app", None)
        if isinstance(group, typer.Typer):
            command.add_typer(group, name=name)
        else:
            command.command(name)(getattr(module, name))
    command()


def chosen_settings(path: Path | None, *, named: bool = False) -> Settings:
    """The settings of `path`, of the installed unit, or the defaults; wrong ones end the command with 2.

    :param named: whether they have to say which unit it is
    """
    from agent.settings import SettingsError, default_path, load

    try:
        return load(path or default_path(), named=named)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def has_settings(path: Path | None) -> bool:
    """Whether there is a settings file: `path`, or the installed unit's."""
    from agent.settings import default_path

    return path is not None or default_path() is not None


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("kerbside"))
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """The agent that lives in a delivery vehicle."""
