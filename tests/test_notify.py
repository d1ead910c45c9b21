"""What systemd hears of the agent."""

import os
import socket
from pathlib import Path

import pytest

from agent.notify import notify


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_each_state_as_one_datagram(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@kerbside-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1))
        systemd.settimeout(10)
        notify("READY=1\nSTATUS=waiting for a block")
        notify("WATCHDOG=1")
        assert systemd.recv(200) == b"READY=1\nSTATUS=waiting for a block"
        assert systemd.recv(200) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    assert not caplog.records


def test_a_supervisor_that_went_away_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("WATCHDOG=1")
    assert "systemd did not take 'WATCHDOG=1'" in caplog.text
