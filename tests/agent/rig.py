"""Whole units for the tests: the real agent as a process, a real broker, a scanner on a pseudo-terminal, a consumer."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.demo.stage import Agent, Cloud, Screen, send, wait_until
from drivers.simulated import Broker, SimulatedScanner

STATION = {"latitude": 52.086, "longitude": 5.1}


def block_message(numbers: list[str], *, block_id: str = "B1", **changes: Any) -> dict[str, Any]:
    """A station block that begins now, with one delivery stop for every four parcels."""
    now = datetime.now(UTC)
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    stops += [
        {
            "stop_id": f"T{index}",
            "kind": "delivery",
            "sequence": index,
            "address": {"line1": f"Lindelaan {index}", "house_number": f"{index}", "country": "NL"},
            "location": {"latitude": 52.09 + index / 500, "longitude": 5.11},
        }
        for index in range(1, (len(numbers) + 3) // 4 + 1)
    ]
    data = {
        "block_id": block_id,
        "kind": "station",
        "starts_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ends_at": (now + timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": "Europe/Amsterdam",
        "driver_id": "D1",
        "manifest_version": 1,
        "sites": [
            {
                "site_id": "S1",
                "name": "Station DUT2",
                "kind": "station",
                "location": STATION,
                "radius_m": 150,
                "pickup_points": [{"point_id": "G4", "name": "Lane 4"}],
            }
        ],
        "stops": stops,
        "parcels": [
            {
                "parcel_id": f"P{index}",
                "tracking_number": number,
                "pickup_stop_id": "T0",
                "point_id": "G4",
                "stop_id": f"T{index // 4 + 1}",
                "return_to": "S1",
                "section": "2",
                "requirements": {"photo": False, "signature": False, "otp_hmac": None, "minimum_age": None},
                "instruction": {"kind": "front_door"},
            }
            for index, number in enumerate(numbers)
        ],
        **changes,
    }
    return envelope("block.assigned", data)


def envelope(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the cloud sends it."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/dispatch",
        "type": f"org.kerbside.{type_}.v1",
        "data": data,
    }


def tracking_numbers(count: int) -> list[str]:
    """Different ones each time."""
    return [f"TBA{number:012d}" for number in random.sample(range(10**12), count)]


@dataclass
class Rig:
    """One unit with everything around it."""

    directory: Path
    stack: ExitStack
    broker: Broker
    scanner: SimulatedScanner
    sections: dict[str, Any] = field(default_factory=dict)

    def agent(self, **sections: Any) -> Agent:
        """The agent, not started yet; ended with the test."""
        agent = Agent(
            self.directory,
            {
                "broker": {"url": self.broker.url},
                "gps": {"gpsd": ""},
                "scanner": [{"name": "handheld", "kind": "honeywell", "port": self.scanner.port}],
                **sections,
            },
        )
        self.stack.callback(agent.stop)
        return agent

    def cloud(self, **options: Any) -> Cloud:
        """The consumer, running."""
        return self.stack.enter_context(Cloud(self.directory, self.broker, **options))

    def send(self, kind: str, message: Mapping[str, Any] | bytes) -> None:
        """Put a message into the unit's inbox."""
        send(self.broker, kind, message)

    def beep(self, text: str, timeout_s: float = 10.0) -> bool:
        """Scan and wait for the answer."""
        while self.scanner.next_signal(0):
            pass
        self.scanner.scan(text)
        return self.scanner.next_signal(timeout_s) is not None


def until(screen: Screen, condition: Any, what: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """What the screen shows once `condition` holds of it."""

    def look() -> dict[str, Any] | None:
        seen = screen.look()
        return seen if seen and condition(seen) else None

    seen: dict[str, Any] = wait_until(look, what, timeout_s)
    return seen


def block_is(state: str) -> Any:
    """A condition for `until`."""
    return lambda seen: (seen["block"] or {}).get("state") == state


def begin_loading(rig: Rig, agent: Agent, numbers: list[str]) -> None:
    """Assign a block and get as far as the first scan."""
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    rig.send("block", block_message(numbers))
    until(agent.screen, block_is("ACCEPTED"), "the block")
    for action, arguments in (("check_in", {"reason": "no receiver in this vehicle"}), ("start_loading", {})):
        answer = agent.screen.press(action, **arguments)
        assert answer, action
        assert answer["accepted"], answer
    until(agent.screen, block_is("LOADING"), "loading")


def all_arrived(agent: Agent, cloud: Cloud, timeout_s: float = 60.0) -> dict[str, Any]:
    """The consumer's report once it has every event that the unit holds."""

    def complete() -> dict[str, Any] | None:
        seen, report = agent.screen.look(), cloud.report()
        done = seen and seen["unit"]["backlog"]["events"] == 0 and report
        return report if done and report["last_sequence"] >= seen["unit"]["sequence"] else None

    report: dict[str, Any] = wait_until(complete, "every event to arrive", timeout_s)
    return report
