"""What the service manager, the cloud's programs and the fleet tech are promised of a running unit."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from demo.messages import block_of, envelope
from tests.agent.heard import hearing
from tests.agent.running_agent import World, block_is, tracking_numbers, until
from tests.waiting import wait_until


def test_every_request_is_answered_where_its_sender_wants_it(world: World) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent()
    agent.start_ready()
    heard.wait("status", state="online")
    world.send("command", envelope("command.requested", {"command_id": "C1", "command": "replay", "from_sequence": 1}))
    assert heard.wait("replies", command_id="C1")["ok"] is True
    wait_until(lambda: len(heard.of("unit.started")) == 2, "the replay")
    assert len({m.payload for m in heard.messages if m.topic.endswith("events/unit/started")}) == 1
    world.send("command", envelope("command.requested", {"command_id": "C2", "command": "replay", "from_sequence": 0}))
    gone = heard.wait("replies", command_id="C2")
    assert (gone["ok"], gone["error"]["code"], gone["error"]["oldest_sequence"]) == (False, "gone", 1)
    heard.ask(
        "command",
        envelope("command.requested", {"command_id": "C3", "command": "high_water", "sequence": 1}),
        "dispatch/answers/7",
        b"call-7",
    )
    answer = wait_until(lambda: [m for m in heard.messages if m.topic == "dispatch/answers/7"], "the answer")[0]
    assert answer.properties.CorrelationData == b"call-7"
    assert json.loads(answer.payload)["command_id"] == "C3"
    assert not [reply for reply in heard.of("replies") if reply["command_id"] == "C3"]

    good = envelope("settings.changed", {"delivery.allow_adoption": True})
    world.send("settings", good)
    assert heard.wait("replies", command_id=good["id"])["ok"] is True
    for key, value in (("journal.max_bytes", 5), ("delivery.max_attempts", "x"), ("delivery.nope", 1)):
        bad = envelope("settings.changed", {key: value})
        world.send("settings", bad)
        refused = heard.wait("replies", command_id=bad["id"])
        assert refused["error"]["code"] == "INVALID"
        assert key in refused["error"]["message"]
        assert heard.wait("message.rejected", message_id=bad["id"])["data"]["path"] == key
    incomplete = envelope("command.requested", {"command_id": "C4", "command": "replay"})
    world.send("command", incomplete)
    assert heard.wait("replies", command_id="C4")["error"]["message"].startswith("from_sequence")


def test_the_service_manager_hears_of_readiness_life_and_the_end_and_the_broker_of_the_farewell(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(world.directory / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(world.directory / "notify"))
        heard = world.stack.enter_context(hearing(world.broker))
        agent = world.agent()
        agent.start_ready()
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        heard.wait("status", state="online")
        agent.stop()
        assert agent.returncode == 0
        while (told := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"
    assert heard.wait("status", state="offline")["since"]
    assert heard.wait("unit.stopped")
    with hearing(world.broker) as late:
        assert late.wait("status")["state"] == "offline"
        assert next(m.retain for m in late.messages if m.topic.endswith("/status"))


def test_access_codes_can_be_opened_after_a_restart_although_a_refused_message_had_brought_their_key(
    world: World,
) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent()
    agent.start_ready()
    heard.wait("status", state="online")
    message = block_of(tracking_numbers(1))
    message["data"]["parcels"][0]["instruction"]["access_codes"] = ["#9182"]
    world.send("revision", {**message, "id": "too-early", "type": "org.kerbside.block.revised.v1"})
    heard.wait("message.rejected", message_id="too-early", reason="UNKNOWN_BLOCK")
    world.send("block", message)
    until(agent.screen, block_is("ACCEPTED"), "the block")
    agent.kill()
    agent.start_ready()
    for action, arguments in (
        ("check_in", {"reason": "no receiver"}),
        ("start_loading", {}),
        ("scan", {"code": message["data"]["parcels"][0]["tracking_number"]}),
        ("close_loading", {}),
        ("depart", {}),
        ("arrive", {"reason": "no receiver"}),
    ):
        answer = agent.screen.act(action, **arguments)
        assert answer
        assert answer["accepted"], answer
    seen = until(agent.screen, lambda seen: seen["current_stop"], "the stop")
    assert seen["current_stop"]["access_codes"] == ["#9182"]


def test_a_damaged_seal_key_is_named_with_what_to_do_and_nothing_else(world: World) -> None:
    agent = world.agent()
    agent.state_dir.mkdir()
    (agent.state_dir / "seal.key").write_bytes(b"short")
    (agent.state_dir / "seal.key").chmod(0o600)
    run = [sys.executable, "-m", "agent.cli", "run", "--settings", str(agent.settings)]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{agent.state_dir}/seal.key holds 5 bytes, expected 32: restore it")
    assert "Traceback" not in ended.stderr
