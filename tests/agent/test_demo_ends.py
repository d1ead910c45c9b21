"""However the demo is ended, nothing that it has started runs on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, wait_until


class Demo:
    """`kerbside demo` in a session of its own, its output in a pipe."""

    def __init__(self, errors: Path, *options: str) -> None:
        self._errors = errors
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "demo", "--speed", "100", *options],
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )

    def started(self) -> list[str]:
        """The command lines of what runs in its session, without the demo itself."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid != int(folder.name) and state != "Z":
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def read_until(self, beginning: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.decode().startswith(beginning):
                return
        raise AssertionError(f"no line that begins with {beginning}: {self._errors.read_text()}")

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self) -> str:
        """Wait until it has ended; what it says on its standard error."""
        self.process.wait(2 * PATIENCE_S)
        wait_until(lambda: not self.started(), "all processes of the demo to end", instead=self.started)
        return self._errors.read_text()


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for each in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


@pytest.mark.parametrize(
    ("options", "last_line"),
    [
        ([], "now: "),
        ([], "screen: "),
        (["--json"], None),
        pytest.param(["--serve", "--kills", "0", "--outage", "0"], "  events  ", marks=pytest.mark.soak),
    ],
)
def test_a_demo_whose_output_nobody_reads_any_more_stops_all_that_it_has_started(
    demos: list[Demo], tmp_path: Path, options: list[str], last_line: str | None
) -> None:
    demo = Demo(tmp_path / "errors", *options)
    demos.append(demo)
    if last_line is None:
        wait_until(lambda: any("cloud.consumer" in each for each in demo.started()), "its processes")
    else:
        demo.read_until(last_line)
    demo.close()
    said = demo.end()
    assert demo.process.returncode == 1
    assert said.splitlines()[-1:] == ["nobody reads the output any more: the demo has stopped all that it had started"]
    assert "Traceback" not in said


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.soak), signal.SIGINT])
def test_a_demo_that_is_ended_by_a_signal_stops_all_that_it_has_started(
    demos: list[Demo], tmp_path: Path, how: signal.Signals
) -> None:
    demo = Demo(tmp_path / "errors")
    demos.append(demo)
    wait_until(lambda: any("agent.cli run" in each for each in demo.started()), "its processes")
    demo.process.send_signal(how)
    said = demo.end()
    assert demo.process.returncode in (130, 143)
    assert "Traceback" not in said
