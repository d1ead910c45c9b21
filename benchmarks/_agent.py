"""A real agent with a real broker for the benchmarks: a process of its own, driven from outside."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from drivers.simulated import Broker, free_port
from drivers.simulated.terminal import Terminal


def wait_until(done: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Poll until `done`."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.02)


def block_message(numbers: list[str]) -> dict[str, Any]:
    """A station block with one delivery stop for every ten parcels."""
    now = datetime.now(UTC)
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    stops += [
        {
            "stop_id": f"T{index}",
            "kind": "delivery",
            "sequence": index,
            "address": {"line1": f"Lindelaan {index}", "house_number": str(index), "city": "Utrecht", "country": "NL"},
            "location": {"latitude": 52.09, "longitude": 5.1 + index / 1000},
        }
        for index in range(1, (len(numbers) + 9) // 10 + 1)
    ]
    parcels = [
        {
            "parcel_id": f"P{index}",
            "tracking_number": number,
            "pickup_stop_id": "T0",
            "point_id": "G1",
            "stop_id": f"T{index // 10 + 1}",
            "return_to": "S1",
            "section": "2",
            "requirements": {"photo": False, "signature": False, "otp_hmac": None, "minimum_age": None},
            "instruction": {"kind": "front_door"},
        }
        for index, number in enumerate(numbers)
    ]
    data = {
        "block_id": "B1",
        "kind": "station",
        "starts_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ends_at": (now + timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": "UTC",
        "driver_id": "D1",
        "manifest_version": 1,
        "sites": [
            {
                "site_id": "S1",
                "name": "Station",
                "kind": "station",
                "location": {"latitude": 52.09, "longitude": 5.1},
                "radius_m": 150,
                "pickup_points": [{"point_id": "G1", "name": "Lane 1"}],
            }
        ],
        "stops": stops,
        "parcels": parcels,
    }
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/dispatch",
        "type": "org.kerbside.block.assigned.v1",
        "data": data,
    }


class Agent:
    """`kerbside run` with one beeping scanner and a broker, both of which end with it."""

    def __init__(self, directory: Path, *, gpsd: str = "", broker: Broker | None = None) -> None:
        self.directory = directory
        # A bare terminal: the benchmark itself reads what comes back.
        self.scanner = Terminal("scanner")
        self.broker = broker or Broker(directory / "broker", max_inflight=100)
        self.started_s = 0.0
        """From the start of the process to its first answer."""
        self._port = free_port()
        self._gpsd = gpsd

    def __enter__(self) -> Self:
        self.scanner.plug()
        self.broker.start()
        settings = self.directory / "agent.toml"
        settings.write_text(
            f"""\
[unit]
state_dir = {json.dumps(str(self.directory / "state"))}
[broker]
url = "{self.broker.url}"
[gps]
gpsd = "{self._gpsd}"
[[scanner]]
name = "handheld"
kind = "honeywell"
port = {json.dumps(self.scanner.port)}
[console]
listen = "127.0.0.1:{self._port}"
"""
        )
        begun = time.monotonic()
        with (self.directory / "agent.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "run", "--settings", str(settings)], stdout=log, stderr=log
            )
        wait_until(self._answers, "the agent")
        self.started_s = time.monotonic() - begun
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.broker.stop()
        self.scanner.close()

    def request(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """One request of the console's API."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"Content-Type": "application/json", "X-Kerbside-Token": token}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def state(self) -> dict[str, Any]:
        """What the screen shows."""
        state: dict[str, Any] = self.request("GET", "/api/state")
        return state

    def act(self, action: str, **arguments: Any) -> None:
        """A driver's action, which must be accepted."""
        token = self.request("GET", "/api/session")["token"]
        answer = self.request("POST", "/api/actions", {"action": action, **arguments}, token)
        if not answer.get("accepted"):
            raise SystemExit(f"{action}: {answer}")

    def send_block(self, message: dict[str, Any]) -> None:
        """As the cloud sends it."""
        from paho.mqtt import publish
        from paho.mqtt.client import MQTTv5

        topic = "kerbside/demo/u1/inbox/block"
        wait_until(lambda: bool(self.state()["unit"]["online"]), "the link")
        publish.single(
            topic, json.dumps(message), qos=1, hostname="127.0.0.1", port=self.broker.port, protocol=MQTTv5
        )

    def wait_drained(self) -> None:
        """Until nothing waits for the broker."""
        wait_until(lambda: self.state()["unit"]["backlog"]["events"] == 0, "the backlog to drain")

    def event_bytes(self, event_type: str) -> int:
        """Size of the first stored event of a type."""
        from agent.journal.verify import read_events

        return next(len(event.payload) for event in read_events(self.directory / "state") if event.type == event_type)

    def written_bytes(self) -> int:
        """What the process has had written to disk so far."""
        lines = Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise SystemExit((self.directory / "agent.log").read_text())
        try:
            return "unit" in self.state()
        except OSError:
            return False
