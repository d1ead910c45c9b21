"""What the check-up finds at a unit: with real brokers, a real gpsd, real terminals and a real journal."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import checkup
from agent.checkup import device, disk
from agent.checkup.agent import RunningAgent
from agent.checkup.device import examine_device
from agent.checkup.finding import Finding
from agent.journal.store import Journal
from agent.settings import Settings
from drivers.simulated import Broker, Gpsd, SimulatedReceiver, free_port
from tests.certificates import Authority
from tests.checkup.patient import Patient, serial_line
from tests.waiting import wait_until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def port() -> Iterator[str]:
    with serial_line() as name:
        yield name


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def test_a_check_that_fails_is_a_finding_and_hides_no_other(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
        yield Finding("clock", "ok", "it shows a time")
        raise OverflowError("date value out of range")

    monkeypatch.setattr(checkup, "SUBJECTS", (broken, disk.examine))
    found = patient.findings()
    assert [finding.state for finding in found][:2] == ["ok", "fault"]
    assert "OverflowError" in found[1].message
    assert any(finding.name == "disk" for finding in found)
    assert len(caplog.records) == 1


def test_a_scanner_that_is_not_plugged_in_is_a_fault_with_what_to_do(patient: Patient, tmp_path: Path) -> None:
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT=tmp_path / "gone")
    finding = patient.examined("scanners")
    assert finding.state == "fault"
    assert finding.message == f"hand: {tmp_path / 'gone'} is not there"
    assert "kerbside devices" in finding.advice


def test_a_path_that_leads_nowhere_is_a_fault_and_no_crash(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT=tmp_path / "loop")
    finding = patient.examined("scanners")
    assert (finding.state, "cannot be reached" in finding.message) == ("fault", True)
    assert "correct the path" in finding.advice


def test_a_program_that_holds_the_scanner_is_named_unless_it_is_the_agent(patient: Patient, port: str) -> None:
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT=port)
    with open(port, "rb", buffering=0) as opened, subprocess.Popen(["sleep", "60"], stdin=opened) as holder:  # noqa: PTH123
        try:
            opened.close()
            finding = patient.examined("scanners")
            assert finding.state == "fault"
            assert f"sleep (process {holder.pid})" in finding.message
            (patient.state_dir / "agent.lock").write_text(f"{holder.pid}\n")
            assert patient.examined("scanners").message.endswith("is in use by the agent")
        finally:
            holder.kill()


def test_a_scanner_that_is_named_by_numbers_and_is_not_there_is_a_fault(patient: Patient) -> None:
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT="0c2e:ffff:S1")
    finding = patient.examined("scanners")
    assert (finding.state, finding.message) == ("fault", "hand: 0c2e:ffff:S1 is not plugged in")
    assert finding.advice.startswith("plug it in")


def test_a_device_of_another_kind_is_a_fault(patient: Patient) -> None:
    patient.set(SCANNER__0__NAME="hand", SCANNER__0__PORT="/dev/null", SCANNER__0__KIND="hid")
    finding = patient.examined("scanners")
    assert finding.state == "fault"
    assert finding.message == "hand: /dev/null is another device, expected an input device"
    assert "kerbside devices" in finding.advice


def test_a_device_that_the_agent_may_not_use_is_a_fault_with_its_group(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked by root it is the agent's user who must be able to; the test has none, so another one stands in for it.
    monkeypatch.setattr(device, "_AGENT_USER", "nobody")
    Path(port).chmod(0o600 if os.geteuid() == 0 else 0)
    finding = examine_device("scanners", "hand", port, "tty", RunningAgent(None, {}))
    assert finding.state == "fault"
    assert finding.message.startswith("hand may not be used by ")
    assert "group" in (finding.advice or "")
    Path(port).chmod(0o666)
    assert examine_device("scanners", "hand", port, "tty", RunningAgent(None, {})).state == "ok"


def test_a_broker_that_is_not_there_is_a_fault(patient: Patient) -> None:
    finding = patient.examined("broker")
    assert finding.state == "fault"
    assert "Connection refused" in finding.message


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_a_broker_that_takes_the_unit_is_in_order(patient: Patient, broker: Broker, protocol: str) -> None:
    patient.set(BROKER__URL=broker.url, BROKER__PROTOCOL=protocol)
    finding = patient.examined("broker")
    assert finding.state == "ok"
    assert finding.message.endswith("MQTT 3.1.1" if protocol == "3.1.1" else "MQTT 5")


@pytest.mark.parametrize(("state", "found"), [("ready", "warning"), ("faulty", "fault")])
def test_what_the_agent_says_of_its_own_connection_is_told_with_the_topic(
    patient: Patient, broker: Broker, state: str, found: str
) -> None:
    patient.set(BROKER__URL=broker.url)
    reason = "the broker does not accept events: not authorized (0x87) on kerbside/demo/u1/events/parcel/loaded"
    part = {"state": state, "reason": reason, "since": "2026-11-21T09:00:00.000Z"}
    outside, own = [each for each in patient.findings({"broker": part}) if each.name == "broker"]
    assert (outside.state, own.state) == ("ok", found)
    assert reason in own.message
    assert "access list" in (own.advice or "")


def test_a_wrong_password_is_a_fault_and_is_not_shown(patient: Patient, tmp_path: Path) -> None:
    passwords, password = tmp_path / "passwords", tmp_path / "password"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "u1", "right"], check=True)
    password.write_text("hunter2\n")
    with Broker(tmp_path / "broker", settings=["allow_anonymous false", f"password_file {passwords}"]) as broker:
        patient.set(BROKER__URL=broker.url, BROKER__USERNAME="u1", BROKER__PASSWORD_FILE=password)
        finding = patient.examined("broker")
        assert finding.state == "fault"
        assert "Not authorized" in finding.message
        assert "hunter2" not in str(finding)
        password.write_text("right\n")
        assert patient.examined("broker").state == "ok"


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "hangs up"])
def test_something_that_is_no_broker_is_a_fault_that_says_it_does_not_answer(patient: Patient, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        patient.set(BROKER__URL=f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        if answers:
            threading.Thread(target=lambda: [listener.accept()[0].close() for _ in range(2)], daemon=True).start()
        finding = patient.examined("broker")
    assert finding.state == "fault"
    assert ("without an answer" if answers else "does not answer") in finding.message


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _tls_broker(tmp_path: Path, authority: Authority, name: str) -> tuple[Broker, int]:
    certificate, key = authority.sign(name)
    port = free_port()
    lines = [
        f"listener {port} 127.0.0.1",
        f"cafile {authority.path}",
        f"certfile {certificate}",
        f"keyfile {key}",
        "require_certificate true",
    ]
    return Broker(tmp_path / "broker", settings=lines), port


def _enrol(patient: Patient, authority: Authority, port: int, **days: int) -> Path:
    certificate, key = authority.sign("u1", **days)
    patient.set(
        BROKER__URL=f"mqtts://localhost:{port}",
        BROKER__CA_FILE=authority.path,
        BROKER__CERT_FILE=certificate,
        BROKER__KEY_FILE=key,
    )
    return key


def test_certificates_in_order_are_shown_with_their_last_day(
    patient: Patient, authority: Authority, tmp_path: Path
) -> None:
    server, port = _tls_broker(tmp_path, authority, "localhost")
    with server:
        _enrol(patient, authority, port)
        findings = patient.findings()
    last = (datetime.now(UTC) + timedelta(days=300)).date()
    assert {finding.name for finding in findings if finding.state == "fault"} == set()
    told = [finding.message for finding in findings]
    assert f"broker.cert_file: valid until {last}" in told
    assert f"localhost:{port} takes connections, MQTT 5" in told


@pytest.mark.parametrize(
    ("first_day", "last_day", "state", "message"),
    [(-30, -1, "fault", "expired on"), (1, 30, "fault", "valid from"), (-30, 7, "warning", "valid until")],
)
def test_a_certificate_out_of_its_time_is_noticed(
    patient: Patient, authority: Authority, first_day: int, last_day: int, state: str, message: str
) -> None:
    _enrol(patient, authority, free_port(), first_day=first_day, last_day=last_day)
    (finding,) = [each for each in patient.findings() if "cert_file" in each.message]
    assert finding.state == state
    assert message in finding.message


def test_a_key_that_others_can_read_is_a_fault_with_the_command_that_mends_it(
    patient: Patient, authority: Authority
) -> None:
    key = _enrol(patient, authority, free_port())
    key.chmod(0o644)
    finding = patient.examined("files")
    assert finding.state == "fault"
    assert finding.message.startswith(f"broker.key_file: {key} may be read by everybody (mode 0644")
    assert finding.advice == f"chmod 640 {key}"


def test_a_seal_key_and_a_state_directory_that_others_can_write_are_faults(patient: Patient) -> None:
    (patient.state_dir / "seal.key").write_bytes(bytes(32))
    (patient.state_dir / "seal.key").chmod(0o666)
    patient.state_dir.chmod(0o777)
    findings = [finding for finding in patient.findings() if finding.name == "files"]
    assert [(finding.state, finding.advice) for finding in findings] == [
        ("fault", f"chmod 700 {patient.state_dir}"),
        ("fault", f"chmod 600 {patient.state_dir / 'seal.key'}"),
    ]


def test_a_certificate_without_its_file_is_a_fault(patient: Patient, authority: Authority) -> None:
    _enrol(patient, authority, free_port())
    patient.set(BROKER__CA_FILE=authority.folder / "gone.pem")
    (finding,) = [each for each in patient.findings() if each.name == "certificates" and each.state == "fault"]
    assert (
        finding.message == f"broker.ca_file: expected certificates in PEM, found nothing at {authority.folder}/gone.pem"
    )


def test_a_broker_of_another_name_is_refused(patient: Patient, authority: Authority, tmp_path: Path) -> None:
    server, port = _tls_broker(tmp_path, authority, "broker.example")
    with server:
        _enrol(patient, authority, port)
        finding = patient.examined("broker")
    assert finding.state == "fault"
    assert "its certificate is refused" in finding.message


def test_a_sound_journal_is_in_order_also_while_the_agent_has_it(patient: Patient) -> None:
    journal = Journal.open(patient.state_dir, max_bytes=1 << 24, retain_days=30, confirm="broker")
    try:
        finding = patient.examined("database")
    finally:
        journal.close()
    assert finding.state == "ok"
    assert "0 events" in finding.message
    assert patient.examined("database").state == "ok"


def test_a_damaged_journal_is_a_fault(patient: Patient) -> None:
    Journal.open(patient.state_dir, max_bytes=1 << 24, retain_days=30, confirm="broker").close()
    path = patient.state_dir / "journal.db"
    content = bytearray(path.read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    path.write_bytes(content)
    finding = patient.examined("database")
    assert finding.state == "fault"
    assert "is damaged" in finding.message


def test_more_journal_than_disk_is_a_warning(patient: Patient) -> None:
    patient.set(JOURNAL__MAX_BYTES=1 << 44)
    finding = patient.examined("disk")
    assert finding.state == "warning"
    assert "journal.max_bytes" in finding.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_a_fault(patient: Patient) -> None:
    patient.state_dir.chmod(0o500)
    assert patient.examined("disk").state == "fault"


def test_a_camera_that_is_a_folder_of_pictures_is_in_order(patient: Patient, tmp_path: Path) -> None:
    patient.set(CAMERA__SOURCE=tmp_path)
    assert patient.examined("camera").state == "ok"
    patient.set(CAMERA__SOURCE=tmp_path / "gone")
    assert patient.examined("camera").state == "fault"


def test_a_camera_on_the_network_is_reached_and_its_password_not_shown(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        patient.set(CAMERA__SOURCE=f"rtsp://me:hunter2@127.0.0.1:{listener.getsockname()[1]}/live")
        finding = patient.examined("camera")
    assert finding.state == "ok"
    finding_gone = patient.examined("camera")
    assert finding_gone.state == "fault"
    assert "hunter2" not in str([finding, finding_gone])


def test_a_simulated_mount_is_in_order(patient: Patient) -> None:
    patient.set(MOUNT__PORT="simulated")
    assert patient.examined("mount").state == "ok"


def test_a_mount_that_is_not_there_is_a_fault(patient: Patient, tmp_path: Path) -> None:
    patient.set(MOUNT__PORT=tmp_path / "gone")
    assert patient.examined("mount").state == "fault"


@pytest.mark.parametrize(
    ("members", "message", "advice"),
    [
        ({"mode": 1}, "no fix, 0 of 8 satellites", "view of the sky; a cold start takes minutes"),
        ({"hdop": 20.0}, "3D fix, ± 380 m, 8 of 8 satellites", "no arrival is seen"),
        ({"mode": 2}, "2D fix", "one satellite more"),
    ],
)
def test_a_receiver_that_sees_too_little_is_a_warning(
    patient: Patient, members: dict[str, Any], message: str, advice: str
) -> None:
    with SimulatedReceiver(rate_hz=2) as receiver, Gpsd(receiver.port) as gpsd:
        for name, value in members.items():
            setattr(receiver, name, value)
        patient.set(GPS__GPSD=gpsd.address)
        wait_until(lambda: patient.examined("receiver").state == "warning", "the warning")
        finding = patient.examined("receiver")
        assert message in finding.message
        assert advice in finding.advice


def test_a_receiver_with_a_fix_is_in_order_and_gpsd_that_is_gone_is_a_fault(patient: Patient) -> None:
    with SimulatedReceiver() as receiver, Gpsd(receiver.port) as gpsd:
        patient.set(GPS__GPSD=gpsd.address)
        wait_until(lambda: patient.examined("receiver").state == "ok", "a fix")
        finding = patient.examined("receiver")
    assert "3D fix, ± 17 m, 8 of 8 satellites" in finding.message
    gone = patient.examined("receiver")
    assert gone.state == "fault"
    assert "start gpsd" in gone.message
