"""A whole unit as processes of its own: the agent with its settings, its screen's API, and a consumer as the cloud.

The demo plays on it; tests and benchmarks use the same pieces, so that what they see is the real command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from agent.console.client import Client
from contract.topics import Topics
from drivers.simulated import Broker, ReservedPort

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
FLEET, UNIT = "demo", "u1"


class StageError(Exception):
    """Something on the stage does not go on: says what happened and the last words of who should know."""


def wait_until(done: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """The first true answer of `done`, asked again and again.

    :raises StageError: when there is none in time
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := done()):
        if time.monotonic() > deadline:
            raise StageError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.02)
    return answer


class Process:
    """A Python process of ours with its log in a file; killed and started again at will.

    :param under: a program that runs it, with its arguments, and leaves it the process number
    """

    def __init__(self, arguments: list[str], log: Path, under: Sequence[str] = ()) -> None:
        self.command = [*under, sys.executable, *arguments]
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def returncode(self) -> int | None:
        """How it ended, once it has."""
        return self._child.poll() if self._child else None

    def start(self) -> None:
        """Start it, appending to its log."""
        # The settings file is the whole truth: no override of the caller's reaches the child.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("KERBSIDE_")}
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log().splitlines()[-8:])

    def _end(self, how: signal.Signals) -> None:
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.send_signal(how)
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Agent(Process):
    """`kerbside run` with its settings file and state in `directory`.

    :param sections: the settings beyond unit and console, section by section; a list of tables becomes ``[[…]]``
    """

    def __init__(
        self,
        directory: Path,
        sections: Mapping[str, Mapping[str, Any] | list[Mapping[str, Any]]],
        unit: str = UNIT,
        under: Sequence[str] = (),
    ) -> None:
        self.state_dir = directory / "state"
        self.settings = directory / "agent.toml"
        self._port = ReservedPort()
        self.screen = Client(f"127.0.0.1:{self._port.number}")
        everything: dict[str, Any] = {
            "unit": {"id": unit, "fleet": FLEET, "state_dir": str(self.state_dir)},
            "console": {"listen": f"127.0.0.1:{self._port.number}"},
            **sections,
        }
        self.settings.touch(mode=0o600)  # the URL of a camera may hold a password
        self.settings.write_text(_toml(everything))
        super().__init__(["-m", "agent.cli", "run", "--settings", str(self.settings)], directory / "agent.log", under)

    def start_ready(self) -> dict[str, Any]:
        """Start it and wait until its screen is there.

        :raises StageError: it ends, or takes too long
        """
        self.start()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if (seen := self.screen.state()) is not None:
                return seen
            if self.pid is None:
                raise StageError(f"the agent ended:\n{self.last_words()}")
            time.sleep(0.02)
        raise StageError(f"the agent is not ready after {READY_TIMEOUT_S:.0f} s:\n{self.last_words()}")


class Cloud(Process):
    """The consumer that subscribes to the unit's events and keeps count of them."""

    def __init__(self, directory: Path, broker: Broker, unit: str = UNIT, *, high_water: bool = False) -> None:
        self._store = directory / "cloud.sqlite"
        who = ["--broker", broker.url, "--fleet", FLEET, "--unit", unit, "--store", str(self._store)]
        who += ["--high-water"] if high_water else []
        super().__init__(["-m", "cloud.consumer", "run", *who], directory / "cloud.log")

    def report(self) -> dict[str, Any]:
        """What has arrived so far, by the consumer's own account; empty before it has begun."""
        answer = subprocess.run(
            [sys.executable, "-m", "cloud.consumer", "report", "--store", str(self._store)],
            capture_output=True,
            text=True,
            check=False,
        )
        report: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
        return report


def send(broker: Broker, kind: str, message: Mapping[str, Any] | bytes, unit: str = UNIT) -> None:
    """Put a message into the unit's inbox, as the cloud does.

    :raises StageError: the broker does not take it
    """
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    sent = client.publish(Topics("kerbside", FLEET, unit).inbox(kind), payload, qos=1)
    sent.wait_for_publish(READY_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    if not sent.is_published():
        raise StageError(f"the broker at {broker.address} does not take a message for the inbox")


def _toml(sections: Mapping[str, Any]) -> str:
    """Settings as TOML; for the values that occur here a JSON value is the same TOML value."""
    lines: list[str] = []
    for name, section in sections.items():
        for table in section if isinstance(section, list) else [section]:
            lines.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
