"""A whole unit in a vehicle mount: what the microcontroller says becomes, and what it is told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stage import Agent
from firmware_bridge.mount import SIGNALS
from firmware_bridge.simulated.simulator import Simulator
from tests.agent.heard import hearing
from tests.agent.running_agent import World, begin_loading, tracking_numbers, until
from tests.waiting import wait_until


@pytest.fixture
def mount() -> Iterator[Simulator]:
    with Simulator(baud=115_200) as running:
        running.off_s = 0.2
        yield running


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's runtime directory, as systemd makes it."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    return folder


def in_mount(world: World, mount: Simulator, shutdown_after_s: float = 600.0) -> Agent:
    """The agent, running, with the mount read at least once."""
    agent = world.agent(mount={"port": mount.port, "shutdown_after_s": shutdown_after_s})
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["mount"], "the mount")
    return agent


def events(agent: Agent) -> list[dict[str, Any]]:
    """What the journal holds, once the agent has ended."""
    command = [sys.executable, "-m", "agent.cli", "journal", "export", "--format", "jsonl"]
    command += ["--state-dir", str(agent.state_dir)]
    exported = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in exported.stdout.splitlines()]


def of_type(all_events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event["data"] for event in all_events if event["type"] == f"org.kerbside.{name}.v1"]


def test_the_panic_button_of_the_mount_calls_for_help_once(world: World, mount: Simulator) -> None:
    agent = in_mount(world, mount)
    mount.mcu.panel.buttons = 1
    seen = until(agent.screen, lambda seen: (seen["feedback"] or {}).get("code") == "PANIC", "the call for help")
    assert seen["feedback"]["tone"] == "attention"
    agent.stop()
    assert of_type(events(agent), "driver.panic") == [{"device": "mount"}]


def test_the_screen_shows_ignition_and_supply_and_that_the_mount_was_pulled_out(world: World, mount: Simulator) -> None:
    agent = in_mount(world, mount)
    mount.mcu.panel.ignition, mount.mcu.panel.supply_mv = False, 12_345
    seen = until(agent.screen, lambda seen: not (seen["unit"]["mount"] or {}).get("ignition", True), "the ignition")
    assert seen["unit"]["mount"] == {"ignition": False, "supply_mv": 12_345, "buttons": 0, "reset_cause": "por"}
    assert seen["unit"]["parts"]["mount"]["state"] == "ready"
    mount.unplug()
    seen = until(agent.screen, lambda seen: seen["unit"]["parts"]["mount"]["state"] == "absent", "the pulled cable")
    assert seen["unit"]["mount"] is None
    mount.plug()
    until(agent.screen, lambda seen: seen["unit"]["parts"]["mount"]["state"] == "ready", "the cable plugged in again")


def test_buzzer_and_lamp_answer_each_scan_with_the_scanners_tone(world: World, mount: Simulator) -> None:
    (mine, foreign), agent = tracking_numbers(2), in_mount(world, mount)
    begin_loading(world, agent, [mine])
    mount.mcu.told.clear()
    for code, tone in ((mine, "good"), (mine, "repeat"), (foreign, "bad")):
        count = len(mount.mcu.told)
        assert world.beep(code)
        wait_until(lambda count=count: [told for told in list(mount.mcu.told)[count:] if told.buzzer], "the buzzer")
        told = [told for told in mount.mcu.told if told.buzzer][-1]
        assert (told.buzzer, told.lamp) == SIGNALS[tone]  # type: ignore[index]


def test_a_press_on_the_panic_button_is_told_to_the_cloud_once_however_long_it_is_held(
    world: World, mount: Simulator
) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    agent = in_mount(world, mount)
    heard.wait("status", state="online")
    mount.mcu.panel.buttons = 1
    assert heard.wait("driver.panic")["data"]["device"] == "mount"
    until(agent.screen, lambda seen: (seen["feedback"] or {}).get("code") == "PANIC", "the answer on the screen")
    wait_until(lambda: [told for told in mount.mcu.told if told.lamp == SIGNALS["attention"].lamp], "the lamp")
    mount.mcu.panel.buttons = 0
    until(agent.screen, lambda seen: not seen["unit"]["mount"]["buttons"], "the button let go")
    agent.stop()
    assert len(of_type(events(agent), "driver.panic")) == 1


def test_a_brown_out_of_the_mount_is_an_event(world: World, mount: Simulator) -> None:
    agent = in_mount(world, mount)
    time.sleep(0.5)
    mount.cut()
    until(agent.screen, lambda seen: (seen["unit"]["mount"] or {}).get("reset_cause") == "brownout", "the brown-out")
    agent.stop()
    (restarted,) = of_type(events(agent), "firmware.restarted")
    assert restarted["reason"] == "brownout"
    assert restarted["supply_mv"] == 13_800


def test_a_brown_out_before_the_agents_start_is_told_as_well(world: World, mount: Simulator) -> None:
    mount.cut(cause="watchdog")
    time.sleep(0.5)
    agent = in_mount(world, mount)
    agent.stop()
    assert [each["reason"] for each in of_type(events(agent), "firmware.restarted")] == ["watchdog"]


def test_one_brown_out_is_told_once_however_often_the_agent_starts(world: World, mount: Simulator) -> None:
    agent = in_mount(world, mount)
    time.sleep(0.5)
    mount.cut()
    until(agent.screen, lambda seen: (seen["unit"]["mount"] or {}).get("reset_cause") == "brownout", "the brown-out")
    for _ in range(2):
        agent.stop()
        agent.start_ready()
        until(agent.screen, lambda seen: seen["unit"]["mount"], "the mount")
    agent.stop()
    assert [each["reason"] for each in of_type(events(agent), "firmware.restarted")] == ["brownout"]
    mount.cut()  # another one, while the agent is away
    time.sleep(0.5)
    for _ in range(2):
        agent.start_ready()
        until(agent.screen, lambda seen: seen["unit"]["mount"], "the mount")
        agent.stop()
    assert [each["reason"] for each in of_type(events(agent), "firmware.restarted")] == ["brownout", "brownout"]


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"boot_id": 1}', b'{"boot_id": "another", "start_ms": 0}'])
def test_a_brown_out_is_told_when_what_was_told_before_is_of_no_use(
    world: World, mount: Simulator, kept: bytes
) -> None:
    mount.cut()
    time.sleep(0.5)
    agent = world.agent(mount={"port": mount.port})
    agent.state_dir.mkdir(exist_ok=True)
    (agent.state_dir / "mount.json").write_bytes(kept)
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["mount"], "the mount")
    agent.stop()
    assert [each["reason"] for each in of_type(events(agent), "firmware.restarted")] == ["brownout"]


def test_the_watchdog_is_kicked_and_the_end_of_the_agent_ends_that(world: World, mount: Simulator) -> None:
    agent = in_mount(world, mount)
    wait_until(lambda: mount.mcu.kicks >= 2, "kicks")
    agent.stop()
    kicks = mount.mcu.kicks
    time.sleep(1.5)
    assert mount.mcu.kicks == kicks


def test_some_time_after_the_ignition_the_agent_ends_in_order_and_asks_to_be_switched_off(
    world: World, mount: Simulator, runtime: Path
) -> None:
    agent = in_mount(world, mount, shutdown_after_s=2.0)
    mount.mcu.panel.ignition = False
    time.sleep(1.0)
    mount.mcu.panel.ignition = True  # the driver is back: nothing happens
    time.sleep(2.5)
    assert agent.pid is not None
    assert not (runtime / "power-off").exists()
    mount.mcu.panel.ignition = False
    wait_until(lambda: agent.pid is None, "the end of the agent")
    assert agent.returncode == 0
    assert (runtime / "power-off").exists()
    assert "the ignition has been off" in agent.log()
    written = events(agent)
    assert written[-1]["type"] == "org.kerbside.unit.stopped.v1"
    assert written[-1]["data"]["reason"] == "ignition"


def test_a_low_supply_ends_the_agent_at_once(world: World, mount: Simulator, runtime: Path) -> None:
    agent = in_mount(world, mount)
    mount.mcu.panel.supply_mv = 9_800
    wait_until(lambda: agent.pid is None, "the end of the agent")
    assert agent.returncode == 0
    assert (runtime / "power-off").exists()
    assert of_type(events(agent), "unit.stopped")[-1]["reason"] == "supply"


def test_a_supply_that_is_low_from_the_begin_ends_the_agent(world: World, mount: Simulator, runtime: Path) -> None:
    mount.mcu.panel.supply_mv = 9_500
    agent = world.agent(mount={"port": mount.port})
    agent.start_ready()
    wait_until(lambda: agent.pid is None, "the end of the agent")
    assert (runtime / "power-off").exists()
    assert of_type(events(agent), "unit.stopped")[-1]["reason"] == "supply"


def test_an_agent_that_is_only_stopped_does_not_ask_to_be_switched_off(
    world: World, mount: Simulator, runtime: Path
) -> None:
    agent = in_mount(world, mount)
    agent.stop()
    assert not (runtime / "power-off").exists()
    assert "reason" not in of_type(events(agent), "unit.stopped")[-1]


def test_the_doctor_asks_a_mount_and_tells_of_a_low_supply_and_a_brown_out(world: World, mount: Simulator) -> None:
    agent = world.agent(mount={"port": mount.port})

    def examined() -> dict[str, Any]:
        command = [sys.executable, "-m", "agent.cli", "doctor", "--settings", str(agent.settings), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        (found,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "mount"]
        return dict(found)

    finding = examined()
    assert finding["state"] == "ok"
    assert "firmware 1.0.0, ignition on, 13.8 V" in finding["message"]
    mount.mcu.panel.supply_mv = 9_500
    finding = examined()
    assert finding["state"] == "warning"
    assert "9.5 V" in finding["message"]
    assert "battery" in finding["advice"]
    mount.mcu.panel.supply_mv = 13_800
    mount.cut()
    time.sleep(0.5)
    assert examined()["state"] == "warning"
    mount.mcu.stop()
    finding = examined()
    assert finding["state"] == "fault"
    assert "does not answer" in finding["message"]
