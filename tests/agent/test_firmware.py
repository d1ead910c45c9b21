"""The agent and updates of its mount's firmware: not beside it, not in a block, and never left half done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.mount import updates
from demo.stage import Agent
from firmware_bridge import images
from firmware_bridge.simulated.boot import Flash
from firmware_bridge.simulated.mcu import Microcontroller
from firmware_bridge.simulated.simulator import Simulator
from tests.agent.running_agent import World, begin_loading, tracking_numbers
from tests.cli.kerbside import COMMAND, kerbside, kerbside_json
from tests.firmware.signing import make_image, make_key, public_half
from tests.waiting import wait_until

BODY = bytes(range(256)) * 60


@dataclass
class Mounted:
    """A mount on which version 1.0.0 runs, its settings, and an image of version 2.0.0."""

    simulator: Simulator
    settings: dict[str, Any]
    new: Path


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    key = make_key(tmp_path)
    flash = Flash(slot_bytes=128 * 1024)
    flash.install(images.read(make_image(tmp_path, key=key, version="1.0.0", body=b"old" + BODY)).content)
    with Simulator(Microcontroller(flash)) as simulator:
        settings = {"port": simulator.port, "firmware_keys": [str(public_half(key))], "confirm_after_s": 2.0}
        yield Mounted(simulator, settings, make_image(tmp_path, key=key, version="2.0.0", body=b"new" + BODY))


def events(agent: Agent) -> list[dict[str, Any]]:
    """What the unit's journal says of firmware, with the step as ``step``."""
    exported = kerbside("journal", "export", "--settings", agent.settings).stdout.splitlines()
    told = [json.loads(line) for line in exported if ".firmware." in line]
    return [{"step": event["type"].split(".")[3], **event["data"]} for event in told]


def test_the_running_agent_keeps_its_mount(world: World, mounted: Mounted) -> None:
    agent = world.agent(mount=mounted.settings)
    agent.start_ready()

    refused = kerbside("firmware", "update", mounted.new, "--settings", agent.settings)

    assert refused.returncode == 1
    assert "systemctl stop kerbside" in refused.stderr
    assert mounted.simulator.seen.steps == 0


def test_no_firmware_is_touched_in_the_middle_of_a_block(world: World, mounted: Mounted) -> None:
    agent = world.agent(mount=mounted.settings)
    agent.start_ready()
    begin_loading(world, agent, tracking_numbers(2))

    with_the_agent = kerbside_json("firmware", "update", mounted.new, "--settings", agent.settings, expect=1)
    agent.stop()
    without_it = kerbside_json("firmware", "update", mounted.new, "--settings", agent.settings, expect=1)
    restart = kerbside_json("firmware", "reset", "--settings", agent.settings, expect=1)

    assert {each["reason"] for each in (with_the_agent, without_it, restart)} == {"BLOCK_ACTIVE"}
    assert "block" in without_it["message"]
    assert mounted.simulator.seen.steps == 0
    assert [event["reason"] for event in events(agent) if event["step"] == "refused"] == ["BLOCK_ACTIVE"]


@pytest.mark.parametrize("stage", ["uploading", "proving"])
def test_the_agent_sees_an_update_through_whose_command_was_killed(world: World, mounted: Mounted, stage: str) -> None:
    mounted.simulator.mcu.write_bytes_per_s = 10_000
    agent = world.agent(mount=mounted.settings)
    command = [str(COMMAND), "firmware", "update", str(mounted.new), "--settings", str(agent.settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as update:
        assert update.stderr
        for line in update.stderr:
            if line.startswith(stage):
                break
        time.sleep(0.5)
        update.send_signal(signal.SIGKILL)

    agent.start_ready()
    result, version = ("confirmed", "2.0.0") if stage == "proving" else ("failed", "1.0.0")
    wait_until(lambda: events(agent)[-1]["step"] == result, result, instead=lambda: events(agent))

    last = events(agent)[-1]
    assert (last["step"], last["version"]) == (result, "2.0.0")
    assert last.get("reason") == (None if stage == "proving" else "INTERRUPTED")
    assert not (agent.state_dir / "firmware.json").exists()
    agent.stop()
    mounted.simulator.cut()
    time.sleep(1.0)
    assert mounted.simulator.mcu.running
    assert mounted.simulator.mcu.running.version_text == version


IMPATIENT = """
import runpy, sys
from firmware_bridge.update import Update
Update.__init__.__kwdefaults__["boot_s"] = 2.0
sys.argv = ["kerbside", "run", "--settings", sys.argv[1]]
runpy.run_module("agent.cli", run_name="__main__")
"""
"""An agent that waits two seconds, not two minutes, for a mount to come back."""


def test_an_update_of_a_mount_that_was_silent_for_long_is_seen_through_once_it_answers(
    world: World, mounted: Mounted
) -> None:
    new, flash = images.read(mounted.new), mounted.simulator.mcu.flash
    flash.secondary.data[: len(new.content)] = new.content
    flash.request(permanent=False)
    mounted.simulator.mcu.start_s = 8.0
    agent = world.agent(mount=mounted.settings)
    agent.state_dir.mkdir(mode=0o700)
    updates.begin(agent.state_dir, "firmware.test_started", {"version": "2.0.0", "hash": new.hash.hex()})
    agent.command = [sys.executable, "-c", IMPATIENT, str(agent.settings)]

    agent.start_ready()
    wait_until(lambda: not updates.pending(agent.state_dir), "the end of the update")

    assert [event["step"] for event in events(agent) if event["step"] != "restarted"] == [
        "failed",
        "booted",
        "confirmed",
    ]
