"""A scanner that is pulled out and plugged in again and again: no scan is lost or doubled, and nothing is used up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from demo.messages import block_of
from demo.stage import Agent
from drivers.simulated import SimulatedScanner
from tests.agent.running_agent import World, block_is, tracking_numbers, until
from tests.process import Use
from tests.waiting import wait_until

WARM_UP = 10
"""Cycles until pools and caches have their size."""

POOL = 4
"""Threads by which the loop's pool may still grow towards its bound, as chance will have it."""


def rejected(agent: Agent) -> list[str]:
    """The numbers of all scans that came too early, in the order of the events, by the journal itself."""
    journal = ["journal", "export", "--settings", str(agent.settings)]
    done = subprocess.run([sys.executable, "-m", "agent.cli", *journal], capture_output=True, text=True, check=True)
    events = (json.loads(line) for line in done.stdout.splitlines())
    return [event["data"]["scanned"] for event in events if event["type"] == "org.kerbside.scan.rejected.v1"]


def part(agent: Agent, name: str) -> dict[str, str]:
    seen = agent.screen.state()
    assert seen
    state: dict[str, str] = seen["unit"]["parts"][name]
    return state


def assert_same_time(one: str, other: str) -> None:
    """By some milliseconds it differs where the clock was adjusted meanwhile."""
    assert abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) < timedelta(seconds=0.5)


def check_in(world: World, agent: Agent) -> None:
    """As far as the first scan would be too early: each is an event, and nothing else is kept of it."""
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    world.send("block", block_of(tracking_numbers(1)))
    until(agent.screen, block_is("ACCEPTED"), "the block")
    assert agent.screen.act("check_in", reason="no receiver in this vehicle")
    until(agent.screen, block_is("CHECKED_IN"), "the check-in")


def plug_in_and_out(world: World, cycles: int, out_s: float, in_s: float) -> None:
    """Scan at plug-in and after; pull the plug in the middle of a code. A second scanner is never touched."""
    numbers = iter(tracking_numbers(3 * cycles))
    scanned: list[str] = []
    with SimulatedScanner("second") as second:
        scanners = [
            {"name": "handheld", "kind": "honeywell", "port": world.scanner.port},
            {"name": "second", "kind": "honeywell", "port": second.port},
        ]
        agent = world.agent(scanner=scanners)
        agent.start_ready()
        check_in(world, agent)
        wait_until(lambda: part(agent, "second")["state"] == "ready", "the second scanner")
        untouched = part(agent, "second")["since"]
        uses: list[Use] = []

        def scan(scanner: SimulatedScanner) -> None:
            scanned.append(number := next(numbers))
            scanner.scan(number)
            assert scanner.next_signal(10.0), f"{number} got no answer; the agent says:\n{agent.last_words()}"

        for _ in range(cycles):
            world.scanner.write(b"TBA0000")
            world.scanner.unplug()
            scan(second)
            time.sleep(out_s)
            world.scanner.plug()
            scan(world.scanner)
            time.sleep(in_s)
            scan(world.scanner)
            uses.append(Use.of(agent.pid))
        assert part(agent, "handheld")["state"] == "ready"
        world.scanner.unplug()
        wait_until(lambda: part(agent, "handheld")["state"] == "absent", "the scanner to be missed")
        assert "plug it in" in part(agent, "handheld")["reason"]
        assert_same_time(part(agent, "second")["since"], untouched)
        assert agent.pid, "the agent has ended"
        agent.stop()
    assert Counter(rejected(agent)) == Counter(scanned)
    assert rejected(agent) == scanned
    before, after = uses[WARM_UP], uses[-1]
    print(f"after {WARM_UP} cycles {before}, after {cycles} {after}")
    assert max(use.threads for use in uses[WARM_UP:]) <= max(use.threads for use in uses[: WARM_UP + 1]) + POOL
    assert max(use.descriptors for use in uses[WARM_UP:]) <= max(use.descriptors for use in uses[: WARM_UP + 1])
    assert after.resident_bytes - before.resident_bytes < 4_000_000


def test_a_scanner_with_a_loose_plug_loses_no_scan_and_uses_nothing_up(world: World) -> None:
    plug_in_and_out(world, cycles=30, out_s=0.1, in_s=0.05)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_ten_minutes_of_a_scanner_that_is_plugged_in_and_out_every_two_seconds(world: World) -> None:
    plug_in_and_out(world, cycles=300, out_s=1.0, in_s=0.8)


def test_of_two_settings_that_mean_one_device_the_one_that_has_it_works_and_the_other_names_it(
    world: World, tmp_path: Path
) -> None:
    other_name = tmp_path / "by-id"
    other_name.symlink_to(world.scanner.port)
    agent = world.agent(
        scanner=[
            {"name": "left", "kind": "honeywell", "port": world.scanner.port},
            {"name": "right", "kind": "honeywell", "port": str(other_name)},
        ]
    )
    agent.start_ready()
    check_in(world, agent)

    def one_each() -> tuple[str, str] | None:
        """Who has the device, and who is told so."""
        states = {part(agent, name)["state"]: name for name in ("left", "right")}
        return (states["ready"], states["faulty"]) if set(states) == {"ready", "faulty"} else None

    numbers = tracking_numbers(3)
    for number in numbers:
        has, told = wait_until(one_each, "one to have the device and the other to say why not")
        assert f"scanner {told} at " in part(agent, told)["reason"]
        assert f"is the same device as scanner {has}: two settings match one device" in part(agent, told)["reason"]
        since = part(agent, told)["since"]
        world.scanner.scan(number)
        assert world.scanner.next_signal(10.0)
        time.sleep(1.0)  # it is tried again meanwhile, which is no news
        assert_same_time(part(agent, told)["since"], since)
        assert world.scanner.next_signal(0) is None
        world.scanner.unplug()
        wait_until(lambda: {part(agent, name)["state"] for name in ("left", "right")} == {"absent"}, "both to miss it")
        world.scanner.plug()
    agent.stop()
    assert rejected(agent) == numbers
