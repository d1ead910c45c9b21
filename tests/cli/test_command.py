"""The command as a whole: version, help, exit codes, and how little it loads."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.kerbside import kerbside, kerbside_json

NAMED = {"KERBSIDE_UNIT__ID": "u7", "KERBSIDE_UNIT__FLEET": "west"}
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
    in_the_way = tmp_path / place.split("/")[0]
    in_the_way.write_text("a file")
    done = kerbside("run", **NAMED, KERBSIDE_UNIT__STATE_DIR=str(tmp_path / place))
    assert done.returncode == 2
    assert done.stderr == (
        f"unit.state_dir: expected a folder that the agent may write into, found a file at {in_the_way}: "
        "move it away, or name another folder\n"
    )


@pytest.mark.parametrize("content", [None, "", "# nothing yet\n", "[unit]\n", '[unit]\nid = "u1"\n'])
def test_a_unit_that_does_not_say_who_it_is_does_not_start(content: str | None, tmp_path: Path) -> None:
    options = []
    if content is not None:
        path = tmp_path / "agent.toml"
        path.write_text(content)
        options = ["--settings", path]
        assert kerbside("settings", "check", path).returncode == 2
    done = kerbside("run", *options, KERBSIDE_UNIT__STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 2
    assert "unit.fleet: expected the fleet that it belongs to" in done.stderr
    assert ("unit.id: expected the name of this unit" in done.stderr) is (content is None or "id" not in content)
    assert not (tmp_path / "state").exists()


def test_what_the_check_says_of_a_file_that_is_missing_the_start_says_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[unit]\nid = "u7"\nfleet = "west"\nstate_dir = "{tmp_path}/state"\n'
        f'[broker]\nurl = "mqtts://broker.example"\nca_file = "{tmp_path}/ca.pem"\n'
        f'[route]\ntiles = "{tmp_path}/tiles"\n'
    )
    checked, started = kerbside("settings", "check", path), kerbside("run", "--settings", path)
    expected = [
        f"{what}, found nothing at {tmp_path}/{name}: put it there, or correct the path"
        for what, name in (
            ("broker.ca_file: expected certificates in PEM", "ca.pem"),
            ("route.tiles: expected a file or folder that may be read", "tiles"),
        )
    ]
    assert (checked.returncode, started.returncode) == (2, 2)
    assert checked.stdout.splitlines()[:-1] == expected
    assert started.stderr.splitlines() == expected
    assert kerbside("settings", "check", path, "--without-files").returncode == 0


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
    path.write_text(f'[unit]\nid = "u7"\nfleet = "west"\nstate_dir = "{tmp_path}/state"\n')
    done = kerbside("settings", "check", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: fine\n")
    assert kerbside_json("settings", "check", path) == {"file": str(path), "ok": True, "faults": []}


def test_every_fault_of_a_settings_file_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[unit]\nid = "u7"\nfleet = "west"\n[gps]\nstale_after_s = -1\n'
        '[[scanner]]\nname = "hand"\nport = "/dev/x"\nbaud = "fast"\n'
    )
    done = kerbside("settings", "check", path)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "gps.stale_after_s: expected 1 to 60, got -1: correct it, or leave it out for 4.0",
        'scanner[0].baud: expected a whole number, got "fast": correct it, or leave it out for 9600',
        f"{path}: 2 faults",
    ]
    assert kerbside_json("settings", "check", path, expect=2)["faults"][1] == {
        "path": "scanner[0].baud",
        "message": 'expected a whole number, got "fast": correct it, or leave it out for 9600',
    }


def test_the_settings_in_force_can_be_shown_and_used_as_a_file(tmp_path: Path) -> None:
    overrides = {
        "KERBSIDE_UNIT__ID": "u9",
        "KERBSIDE_SCANNER__0__NAME": "hand",
        "KERBSIDE_SCANNER__0__PORT": '/dev/serial/by-id/"odd"',
        "KERBSIDE_CAMERA__SOURCE": "rtsp://me:hunter2@127.0.0.9/live",
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
