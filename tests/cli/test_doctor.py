"""How the doctor shows what the check-up finds, and that it asks the agent that runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stage import Agent
from drivers.simulated import Broker, SimulatedScanner
from tests.checkup.patient import Patient, serial_line
from tests.cli.kerbside import kerbside, kerbside_json
from tests.waiting import wait_until

ORDER = ["clock", "disk", "database", "files", "certificates", "broker", "receiver", "scanners", "camera", "mount"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def port() -> Iterator[str]:
    with serial_line() as name:
        yield name


def _checks(stdout: str) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = json.loads(stdout)["checks"]
    return checks


def test_a_unit_in_order_has_no_fault_and_each_part_has_its_line(tmp_path: Path, broker: Broker, port: str) -> None:
    patient = Patient(tmp_path)
    patient.set(BROKER__URL=broker.url, SCANNER__0__NAME="hand", SCANNER__0__PORT=port)
    report = kerbside_json("doctor", **patient.environ)
    plain = kerbside("doctor", **patient.environ)
    assert report["ok"] is True
    assert [check["name"] for check in report["checks"]] == ORDER
    assert {check["state"] for check in report["checks"]} <= {"ok", "warning"}
    assert plain.returncode == 0
    assert [line.split()[1] for line in plain.stdout.splitlines() if line[0] != " "] == ORDER


def test_a_fault_ends_the_command_with_1_and_what_to_do_stands_below_it(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT=tmp_path / "gone")
    done = kerbside("doctor", **patient.environ)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    fault = next(number for number, line in enumerate(lines) if line.startswith("fault   scanners"))
    assert lines[fault].endswith(f"hand: {tmp_path / 'gone'} is not there")
    assert lines[fault + 1].strip().startswith("→ plug it in")


def test_a_running_agent_is_asked_how_it_finds_its_devices(tmp_path: Path, broker: Broker) -> None:
    def examined() -> dict[str, Any]:
        done = kerbside("doctor", "--json", "--settings", agent.settings)
        (finding,) = [check for check in _checks(done.stdout) if check["name"] == "scanners"]
        return finding

    def is_(state: str) -> bool:
        return bool((agent.screen.state() or {})["unit"]["parts"]["hand"]["state"] == state)

    with SimulatedScanner() as scanner:
        settings = {
            "broker": {"url": broker.url},
            "gps": {"gpsd": ""},
            "mount": {"port": "simulated"},
            "scanner": [{"name": "hand", "port": scanner.port}],
        }
        with Agent(tmp_path, settings) as agent:
            agent.start_ready()
            wait_until(lambda: is_("ready"), "the scanner")
            seen = examined()
            assert seen["state"] == "ok"
            assert seen["message"].startswith(f"hand: {scanner.port} is ready since ")
            scanner.unplug()
            wait_until(lambda: is_("absent"), "the scanner to be missed")
            seen = examined()
            assert seen["state"] == "fault"
            assert f"hand: {scanner.port} is absent since " in seen["message"]
            assert "plug it in" in seen["advice"]
            with agent.settings.open("a") as file:
                file.write('[[scanner]]\nname = "new"\nport = "/dev/null"\n')
            done = kerbside("doctor", "--json", "--settings", agent.settings)
            assert [
                check["message"].partition(":")[0] for check in _checks(done.stdout) if check["name"] == "scanners"
            ] == ["hand", "new"]
            assert "systemctl restart" in done.stdout
            assert "mount" in done.stdout
