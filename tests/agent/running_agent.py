"""Whole units for the tests: the real agent as a process, a real broker, a scanner on a pseudo-terminal, a consumer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.console.client import Client
from demo.messages import block_of
from demo.stage import Agent, Cloud, send
from drivers.simulated import Broker, SimulatedScanner
from tests.waiting import wait_until


def tracking_numbers(count: int) -> list[str]:
    """Different ones each time."""
    return [f"TBA{number:012d}" for number in random.sample(range(10**12), count)]


@dataclass
class World:
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


def until(screen: Client, condition: Any, what: str) -> dict[str, Any]:
    """What the screen shows once `condition` holds of it."""

    def look() -> dict[str, Any] | None:
        seen = screen.state()
        return seen if seen and condition(seen) else None

    seen: dict[str, Any] = wait_until(look, what, instead=lambda: (screen.state() or {}).get("unit"))
    return seen


def block_is(state: str) -> Any:
    """A condition for `until`."""
    return lambda seen: (seen["block"] or {}).get("state") == state


def begin_loading(world: World, agent: Agent, numbers: list[str]) -> None:
    """Assign a block and get as far as the first scan."""
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    world.send("block", block_of(numbers))
    until(agent.screen, block_is("ACCEPTED"), "the block")
    for action, arguments in (("check_in", {"reason": "no receiver in this vehicle"}), ("start_loading", {})):
        answer = agent.screen.act(action, **arguments)
        assert answer, action
        assert answer["accepted"], answer
    until(agent.screen, block_is("LOADING"), "loading")


def all_arrived(agent: Agent, cloud: Cloud, timeout_s: float = 60.0) -> dict[str, Any]:
    """The consumer's report once it has every event that the unit holds."""

    def complete() -> dict[str, Any] | None:
        seen, report = agent.screen.state(), cloud.report()
        done = seen and seen["unit"]["backlog"]["events"] == 0 and report
        return report if done and report["last_sequence"] >= seen["unit"]["sequence"] else None

    report: dict[str, Any] = wait_until(complete, "every event to arrive", timeout_s)
    return report


BEEP = b"\x16\x07\r"


def heard(world: World, timeout_s: float = 1.0) -> bytes:
    """The next thing the scanner was told, which may be several tones in one."""
    signal = world.scanner.next_signal(timeout_s)
    return signal.data if signal else b""


def answers_before_are_over(world: World, agent: Agent) -> None:
    """After this, one beep or two are the answer to the next scan and to no other.

    A scan from before a restart may only now be answered. A label of another route is told with three beeps. What a
    scanner says before its line is open is lost.
    """
    until(agent.screen, lambda seen: seen["unit"]["parts"]["handheld"]["state"] == "ready", "the scanner")
    world.scanner.scan(tracking_numbers(1)[0])
    wait_until(lambda: heard(world).endswith(3 * BEEP), "the tone for a wrong label")


def assert_all_answered_are_loaded(agent: Agent, cloud: Cloud, answered: set[str]) -> None:
    """What was answered is in the vehicle, and the cloud has every event once, in an unbroken chain."""
    report = all_arrived(agent, cloud)
    seen = agent.screen.state()
    assert seen
    loaded = {parcel["tracking_number"] for parcel in seen["parcels"] if parcel["state"] == "LOADED"}
    assert answered <= loaded
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["events_received"] == seen["unit"]["sequence"]
    assert report["parcels"]["LOADED"] == len(loaded)
