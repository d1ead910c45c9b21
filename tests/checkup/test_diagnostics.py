"""What the cloud is told of a unit: the doctor's very findings, and no secret."""

import json
import socket
from pathlib import Path

import pytest

from agent.checkup import diagnostics, examine
from agent.settings import load
from drivers.simulated import Broker
from tests.checkup.patient import Patient, without_time
from tests.cli.kerbside import kerbside

PARTS = {
    "gps": {"state": "ready", "reason": "", "since": "2026-01-01T10:00:00Z"},
    "camera": {"state": "faulty", "reason": "rtsp://me:hunter2@cam/live gives nothing: see it", "since": "long ago"},
}


def test_the_doctor_and_the_diagnostics_give_the_same_findings(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    with Broker(tmp_path / "broker") as broker:
        patient.set(BROKER__URL=broker.url, MOUNT__PORT="simulated", CAMERA__SOURCE=tmp_path / "gone.jpg")
        patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT=tmp_path / "gone")
        printed = json.loads(kerbside("doctor", "--json", **patient.environ).stdout)["checks"]
        told = diagnostics(load(None, patient.environ), {})["findings"]
    assert without_time(told) == without_time(printed)
    assert [each["state"] for each in told if each["name"] in ("scanners", "camera", "mount")] == [
        "fault",
        "fault",
        "ok",
    ]


def test_diagnostics_are_json_with_version_parts_and_the_settings_in_force(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    told = json.loads(json.dumps(diagnostics(load(None, patient.environ), PARTS)))
    assert set(told) == {"version", "findings", "parts", "settings"}
    assert told["settings"]["unit"]["state_dir"] == str(patient.state_dir)
    assert told["parts"]["gps"] == PARTS["gps"]


@pytest.mark.parametrize(
    "written",
    [
        "me:hunter2@{}/live",
        "me/hunter2@{}/live",
        "me:h@hunter2@{}/live",
        "me:hunter2 hunter2@{}/live",
        "{}/live?user=me&password=hunter2",
        "{}/live#hunter2",
    ],
)
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_however_a_password_is_written_into_a_url_it_never_leaves(
    tmp_path: Path, written: str, answers: bool, running: bool
) -> None:
    patient = Patient(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        if not answers:
            listener.close()
        source = f"rtsp://{written.format(place)}"
        patient.set(CAMERA__SOURCE=source)
        reason = {"state": "faulty", "reason": f"camera {source} gives nothing: see it", "since": "long ago"}
        told = diagnostics(load(None, patient.environ), {"camera": reason} if running else {})
    assert "hunter2" not in json.dumps(told)
    assert "camera" in [finding["name"] for finding in told["findings"]]


def test_a_secret_in_what_a_part_says_does_not_leave_either(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.set(CAMERA__SOURCE="rtsp://cam/live")
    settings = load(None, patient.environ)
    assert "hunter2" not in str(examine(settings, PARTS))
    assert "hunter2" not in str(diagnostics(settings, PARTS))
