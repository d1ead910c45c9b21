"""The scripts a newcomer runs first, and what a release consists of."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from setuptools import find_packages

from drivers.simulated import free_port

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = [
    path for path in (*sorted((ROOT / "scripts").iterdir()), *sorted((ROOT / ".ci").iterdir())) if path.is_file()
]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


class Machine:
    """A machine with nothing installed: its PATH holds a few tools and what a test puts there, beside a checkout."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.journal = folder / "journal"
        self.journal.touch()
        self.checkout = folder / "checkout"
        for part in ("scripts", "requirements"):
            shutil.copytree(ROOT / part, self.checkout / part)
        for tool in ("bash", "sh", "dirname", "cat", "env", "grep", "mktemp", "rm", "tail", "wc"):
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        self.put("ldconfig", "exit 0")
        self.put("python3", "exit 1")
        self.put("apt-get", 'echo "apt-get $*" >> "$JOURNAL"; [ "$1" = update ]')

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "scripts" / script, *arguments],
            env={"PATH": str(self.bin), "JOURNAL": str(self.journal), "TMPDIR": str(self.journal.parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["demo", "test", "check"])
def test_without_root_the_one_command_that_is_needed_is_named(machine: Machine, script: str) -> None:
    machine.put("id", "echo 1000")
    machine.put("sudo", "exit 1")
    done = machine.run(script)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(r"^  libzbar0 +the second reader of bar codes$", done.stderr, re.MULTILINE)
    commands = [line.strip() for line in done.stderr.splitlines() if "apt-get" in line]
    assert len(commands) == 1
    assert re.fullmatch(r"sudo sh -c 'apt-get update && apt-get install --yes .*\blibzbar0\b.*'", commands[0])
    assert machine.journal.read_text() == ""


def test_what_a_virtual_unit_needs_is_installed_only_for_its_tests(machine: Machine) -> None:
    machine.put("id", "echo 0")
    machine.run("test")
    machine.run("test", "--rig")
    _, plain, _, rig = machine.journal.read_text().splitlines()
    needed = {"qemu-system-x86", "qemu-utils", "mmdebstrap", "openssh-client", "rsync"}
    assert not needed & set(plain.split())
    assert needed <= set(rig.split())


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_with_root_or_sudo_what_is_missing_is_installed(machine: Machine, way: str) -> None:
    machine.put("id", "echo 0" if way == "root" else "echo 1000")
    machine.put("sudo", 'while :; do case "$1" in -n) shift;; *=*) shift;; *) break;; esac; done; exec "$@"')
    machine.put("true", "exit 0")
    done = machine.run("demo")
    update, install = machine.journal.read_text().splitlines()
    assert update == "apt-get update"
    assert install.startswith("apt-get install --yes ")
    assert {"libzbar0", "python3-venv"} <= set(install.split())
    assert done.returncode != 0, "an installation that fails must not be passed over"


def test_what_an_installer_prints_is_kept_in_a_log_and_shown_only_when_it_fails(machine: Machine) -> None:
    machine.put("id", "echo 0")
    machine.put("apt-get", 'echo "apt-get says: $1"')
    machine.put("python3", 'case "$*" in *version*) echo "python3 says" ;; "-m venv"*) echo "no room"; exit 7 ;; esac')
    done = machine.run("demo")
    assert done.returncode == 7
    assert "apt-get says" not in done.stderr
    log = re.search(r"^What the installers print goes to (\S+)$", done.stderr, re.MULTILINE)
    assert log
    assert Path(log[1]).read_text() == "apt-get says: update\napt-get says: install\nno room\n"
    assert re.search(r"^Installing them \.\.\. \d+ s$", done.stderr, re.MULTILINE)
    assert re.search(r"^Making \.venv \.\.\. failed after \d+ s:\nno room\n\Z", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_ends_at_its_first_fault(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert re.search(r"^set -e?uo pipefail$", script.read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *SCRIPTS], cwd=ROOT, check=True)


def packed(folder: Path, name: str, tag: str) -> str:
    """A wheel in a folder, and its line for a lock."""
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    hashed = subprocess.run([sys.executable, "-m", "pip", "hash", path], capture_output=True, text=True, check=True)
    return f"{name}==1.0 {hashed.stdout.splitlines()[-1]}\n"


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("py3-none-any", True),
        ("cp311-abi3-manylinux_2_34_aarch64", True),
        ("cp311-abi3-manylinux_2_39_aarch64", False),
        ("cp311-abi3-manylinux_2_28_x86_64", False),
        ("cp311-cp311-manylinux_2_28_aarch64", False),
    ],
)
def test_a_package_that_a_board_can_not_install_fails_the_check(tag: str, fits: bool, tmp_path: Path) -> None:
    if not (ROOT / ".venv/bin/uv").exists():
        pytest.skip("no .venv beside the scripts")
    lock = tmp_path / "some.lock"
    lock.write_text(packed(tmp_path, "everywhere", "py3-none-any") + packed(tmp_path, "special", tag))
    done = subprocess.run(
        [ROOT / "scripts/board-wheels", lock],
        env={**os.environ, "UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) is fits, done.stderr
    if fits:
        assert "Python 3.13: 2 packages" in done.stdout
    else:
        assert "special" in done.stderr
        assert "a board (aarch64, glibc 2.36" in done.stderr


def pins(lock: Path) -> dict[str, set[str]]:
    """Every package of a lock with its versions (several, where a marker chooses)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_its_hashes(lock: Path) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_tests_run_with_the_very_versions_that_a_unit_gets() -> None:
    agent, dev = pins(ROOT / "requirements/agent.lock"), pins(ROOT / "requirements/dev.lock")
    assert {name: dev.get(name) for name in agent} == agent


def test_what_the_project_asks_for_is_locked() -> None:
    asked = {re.split(r"[<>=!~ \[]", entry)[0] for entry in PROJECT["project"]["dependencies"]}
    assert asked <= set(pins(ROOT / "requirements/agent.lock"))


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_the_address_of_a_package_registry() -> None:
    address = re.compile(rb"https?://[^\s\"']*(?:pypi|pythonhosted|piwheels|/simple\b)")
    assert [str(path) for path in committed() if address.search(path.read_bytes())] == []


def outdated() -> ModuleType:
    """The program behind `./scripts/check --outdated`, which is no package."""
    spec = importlib.util.spec_from_file_location("outdated", ROOT / "scripts/lib/outdated.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_locked_version_that_is_behind_is_named_with_the_newest() -> None:
    program = outdated()
    locked = program.pins(
        "alpha==1.0 \\\n    --hash=sha256:00\nbeta==2.0 ; python_version < '3.12' \\\nbeta==3.0\ngone==1\n"
    )
    newest = program.pins("alpha==1.0\nbeta==2.0\nbeta==3.1\n")
    assert program.compare("agent", locked, newest) == [("agent", "beta", "2.0, 3.0", "2.0, 3.1")]
    assert program.compare("agent", newest, newest) == []


def test_every_lock_is_watched_and_made_of_the_same_as_the_lock_itself() -> None:
    compiled = re.findall(
        r"^compile (.*?) --output-file requirements/(\w+)\.lock", (ROOT / "scripts/lock").read_text(), re.MULTILINE
    )
    made_of = {name: tuple(re.sub(r" --constraints \S+", "", sources).split()) for sources, name in compiled}
    assert {name: sources for name, sources in made_of.items() if name != "zephyr"} == outdated().LOCKS


def test_versions_that_are_behind_are_listed_from_what_the_resolver_says_and_end_with_1(tmp_path: Path) -> None:
    if not (ROOT / ".venv/bin/uv").exists():
        pytest.skip("no .venv beside the scripts")
    empty = {**os.environ, "UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path), "UV_NO_CACHE": "1"}
    done = subprocess.run(
        [ROOT / "scripts/check", "--outdated", "build"],
        env=empty,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, "what could not be looked up has not been found to be the newest"
    assert "The newest versions cannot be found out" in done.stderr


def test_every_package_and_data_file_is_part_of_a_release() -> None:
    included = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    rooms = [name.removesuffix("*") for name in included]
    folders = {path.parent for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} == set(
        find_packages(str(ROOT), (), included)
    )
    for package, names in PROJECT["tool"]["setuptools"]["package-data"].items():
        for name in names:
            assert list((ROOT / package.replace(".", "/")).glob(name)), f"{package}: {name}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", ["kerbside.service", "kerbside-receiver@.service"])
def test_systemd_understands_the_units(unit: str, tmp_path: Path) -> None:
    text = (ROOT / "systemd" / unit).read_text()
    installed = tmp_path / unit.replace("@", "@ttyACM0")
    installed.write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if installed.name in line] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_service_exposes_no_more_than_it_needs() -> None:
    unit = ROOT / "systemd/kerbside.service"
    asked = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = unit.read_text()
    for line in ("ProtectClock=yes", "ProtectProc=invisible", "ProcSubset=pid", "RemoveIPC=yes", "PrivateMounts=yes"):
        assert f"\n{line}\n" in text
    # What these take away is handed to it: tests/test_system_clock.py has what is made of it.
    assert "\nEnvironment=KERBSIDE_BOOT_ID=%b\n" in text


def test_the_service_runs_what_is_installed_and_feeds_its_watchdog() -> None:
    unit = (ROOT / "systemd/kerbside.service").read_text()
    assert "ExecStart=/opt/kerbside/.venv/bin/kerbside run --settings /etc/kerbside/agent.toml\n" in unit
    assert "Type=notify\n" in unit
    assert "RuntimeDirectory=kerbside\n" in unit  # where the agent asks to be switched off
    assert re.search("^ExecStopPost=.*/run/kerbside/power-off.* poweroff", unit, re.MULTILINE)
    assert "kerbside" in PROJECT["project"]["scripts"]


def test_mosquitto_takes_the_example_of_a_broker(tmp_path: Path) -> None:
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if mosquitto is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    text = (ROOT / "config/broker/mosquitto.example.conf").read_text().replace("listener 1883", f"listener {port}")
    path = tmp_path / "mosquitto.conf"
    path.write_text(text)
    with subprocess.Popen([mosquitto, "-c", path], stderr=subprocess.PIPE, text=True) as broker:
        try:
            assert broker.stderr
            words = []
            for line in broker.stderr:
                words.append(line)
                if "running" in line:
                    break
            assert words, "it ended without a word"
            assert "running" in words[-1], "".join(words)
            assert not [word for word in words if "Error" in word or "Warning" in word]
        finally:
            broker.kill()  # a SIGTERM right after "running" is lost: Mosquitto starts its loop all the same
