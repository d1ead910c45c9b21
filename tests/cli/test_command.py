"""The command as a whole: version, help, exit codes, and how little it loads."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.kerbside import kerbside, kerbside_json

NOUNS = ("run", "demo", "doctor", "devices", "settings", "decode", "journal", "contract")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_the_version_is_that_of_the_package() -> None:
    done = kerbside("--version")
    assert (done.returncode, done.stdout.strip()) == (0, PROJECT["version"])


def test_help_names_every_command() -> None:
    done = kerbside("--help")
    assert done.returncode == 0
    for noun in NOUNS:
        assert re.search(rf"^  {noun} ", done.stdout, re.MULTILINE), noun


@pytest.mark.parametrize("noun", NOUNS)
def test_every_command_explains_itself(noun: str) -> None:
    done = kerbside(noun, "--help")
    assert done.returncode == 0
    assert "Usage: kerbside" in done.stdout


@pytest.mark.parametrize("arguments", [["fly"], ["settings", "check"], ["doctor", "--fast"], ["devices", "all"]])
def test_wrong_use_ends_with_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    done = kerbside(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr


@pytest.mark.parametrize("command", [["doctor"], ["run"], ["settings", "show"]])
def test_wrong_settings_end_with_2_and_are_named(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[unit]\nfleet = "a-b"\n')
    done = kerbside(*command, "--settings", path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert 'unit.fleet: expected a name without "-"' in done.stderr


@pytest.mark.parametrize("place", ["state", "folder/state"])
def test_a_state_directory_that_can_not_be_had_is_named_with_what_to_do(tmp_path: Path, place: str) -> None:
    state_dir = tmp_path / place
    (tmp_path / place.split("/")[0]).write_text("a file that is in the way")
    done = kerbside("run", KERBSIDE_UNIT__STATE_DIR=str(state_dir))
    assert done.returncode == 1
    assert f"{state_dir} cannot be used as the state directory (" in done.stderr
    assert "unit.state_dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_loads_only_itself_and_nothing_for_a_terminal() -> None:
    program = (
        "import sys; from agent.cli import main\n"
        "sys.argv = ['kerbside', 'run', '--help']\n"
        "try: main()\n"
        "finally: print('loaded:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.partition("loaded:")[2].split())
    assert "agent.cli.run" in loaded
    assert not {f"agent.cli.{noun}" for noun in NOUNS if noun not in {"run", "settings"}} & loaded
    assert not {"rich", "cv2", "zxingcpp", "numpy", "cryptography", "starlette", "gpsd"} & loaded


def test_a_settings_file_that_is_right_is_called_fine(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[unit]\nid = "u7"\n')
    done = kerbside("settings", "check", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: fine\n")
    assert kerbside_json("settings", "check", path) == {"file": str(path), "ok": True, "faults": []}


def test_every_fault_of_a_settings_file_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[gps]\nstale_after_s = -1\n[[scanner]]\nname = "hand"\nport = "/dev/x"\nbaud = "fast"\n')
    done = kerbside("settings", "check", path)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "gps.stale_after_s: expected more than 0.0, got -1",
        'scanner[0].baud: expected a whole number, got "fast"',
        f"{path}: 2 faults",
    ]
    assert kerbside_json("settings", "check", path, expect=2)["faults"][1] == {
        "path": "scanner[0].baud",
        "message": 'expected a whole number, got "fast"',
    }


def test_the_settings_in_force_can_be_shown_and_used_as_a_file(tmp_path: Path) -> None:
    overrides = {
        "KERBSIDE_UNIT__ID": "u9",
        "KERBSIDE_SCANNER__0__NAME": "hand",
        "KERBSIDE_SCANNER__0__PORT": '/dev/serial/by-id/"odd"',
        "KERBSIDE_CAMERA__SOURCE": "rtsp://me:hunter2@10.0.0.9/live",
    }
    shown = kerbside("settings", "show", **overrides)
    assert "hunter2" not in shown.stdout
    path = tmp_path / "shown.toml"
    path.write_text(shown.stdout)
    assert kerbside_json("settings", "show", "--settings", path) == kerbside_json("settings", "show", **overrides)


def test_the_schema_describes_every_section_and_key() -> None:
    schema = json.loads(kerbside("settings", "schema").stdout)
    assert set(schema["properties"]) == set(kerbside_json("settings", "show"))
    assert schema["$defs"]["ScannerSettings"]["properties"]["baud"]["description"]
    assert schema["additionalProperties"] is False
