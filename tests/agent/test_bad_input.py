"""What a unit meets that it should not: a clear event or state, nothing lost, and the agent goes on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from demo.messages import block_of, envelope
from demo.stage import Agent
from drivers.simulated import Gpsd, SimulatedReceiver
from tests.agent.heard import hearing
from tests.agent.running_agent import BEEP, World, all_arrived, begin_loading, block_is, heard, tracking_numbers, until
from tests.waiting import wait_until

KERBSIDE = (sys.executable, "-m", "agent.cli")


def part(name: str, state: str) -> object:
    """A condition: that part is in that state."""
    return lambda seen: seen["unit"]["parts"].get(name, {}).get("state") == state


def test_an_invalid_block_is_answered_with_the_path_of_its_fault_and_changes_nothing(world: World) -> None:
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    message = block_of(tracking_numbers(3))
    message["data"]["parcels"][1]["stop_id"] = "T99"
    world.send("block", message)
    wait_until(lambda: cloud.report().get("by_type", {}).get("message.rejected"), "the answer")

    seen = agent.screen.state()
    assert seen
    assert seen["block"] is None
    rejected = [event for event in events(agent) if event["type"].endswith("message.rejected.v1")]
    assert rejected[0]["data"]["message_id"] == message["id"]
    assert rejected[0]["data"]["path"] == "parcels[1].stop_id"


def test_a_flood_of_broken_messages_is_answered_sparingly_and_the_next_good_one_counts(world: World) -> None:
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    flood = world.directory / "flood"
    flood.write_text('{"specversion": "1.0", "id": \n' * 3000)
    subprocess.run(
        ["mosquitto_pub", "-p", str(world.broker.port), "-q", "1", "-t", "kerbside/demo/u1/inbox/block", "-l"],
        stdin=flood.open(),
        check=True,
    )
    world.send("block", b"[" * 100_000)
    world.send("block", b"\xff\xfe\x00")
    world.send("block", block_of(tracking_numbers(2)))
    until(agent.screen, block_is("ACCEPTED"), "the good block behind the flood")

    report = all_arrived(agent, cloud)
    assert 0 < report["by_type"]["message.rejected"] < 100


@pytest.mark.parametrize("number", [2**40, 2**43, 2**53 - 1, str(2**63 - 1)])
def test_a_command_with_a_number_beyond_the_log_is_answered_and_the_next_start_goes_well(
    world: World, number: object
) -> None:
    def command(command_id: str, name: str, **arguments: object) -> None:
        asked = {"command_id": command_id, "command": name, **arguments}
        world.send("command", {**envelope("command.requested", asked), "id": command_id})

    agent = world.agent(journal={"confirm": "cloud"})
    with hearing(world.broker) as heard:
        agent.start_ready()
        until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
        command("first", "replay", from_sequence=number)
        assert heard.wait("replies", command_id="first")["error"]["code"] == "INVALID"
        agent.kill()
        command("replay", "replay", from_sequence=number)
        command("mark", "high_water", sequence=number)
        agent.start_ready()
        assert heard.wait("replies", command_id="replay")["error"]["code"] == "INVALID"
        assert heard.wait("replies", command_id="mark")["error"]["code"] == "INVALID"
        command("last", "replay", from_sequence=1, to_sequence=2)
        assert heard.wait("replies", command_id="last")["ok"]
    seen = until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    assert seen["unit"]["backlog"]["events"] == seen["unit"]["sequence"], "a mark beyond the log frees nothing"


def test_thousands_of_broken_messages_write_few_lines_and_none_of_their_own(world: World) -> None:
    agent = world.agent()
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    flood = world.directory / "flood"
    forged = {f"x\n2026-11-21 ERROR forged {n}\x1b[2J": n for n in range(3)}
    messages = [
        envelope(kind, {**forged, "delivery.x\nERROR forged": 1}) for kind in ("settings.changed", "offer.made")
    ]
    flood.write_text("".join(json.dumps(message) + "\n" for message in messages * 1000))
    for kind in ("settings", "offer"):
        subprocess.run(
            ["mosquitto_pub", "-p", str(world.broker.port), "-q", "1", "-t", f"kerbside/demo/u1/inbox/{kind}", "-l"],
            stdin=flood.open(),
            check=True,
        )
    world.send("block", block_of(tracking_numbers(2)))
    until(agent.screen, block_is("ACCEPTED"), "the good block behind the flood")
    lines = (world.directory / "agent.log").read_text().splitlines()
    assert len(lines) < 60
    assert not [line for line in lines if line.startswith("2026-11-21 ERROR") or "\x1b" in line]


def test_a_flood_of_messages_for_a_block_that_nobody_has_is_answered_sparingly(world: World) -> None:
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    flood = world.directory / "flood"
    cancelled = [envelope("block.cancelled", {"block_id": "B404", "reason": "none"}) for _ in range(300)]
    flood.write_text("".join(json.dumps(message) + "\n" for message in cancelled))
    subprocess.run(
        ["mosquitto_pub", "-p", str(world.broker.port), "-q", "1", "-t", "kerbside/demo/u1/inbox/block", "-l"],
        stdin=flood.open(),
        check=True,
    )
    world.send("block", block_of(tracking_numbers(2)))
    until(agent.screen, block_is("ACCEPTED"), "the good block behind the flood")

    assert 0 < all_arrived(agent, cloud)["by_type"]["message.rejected"] < 100


def test_noise_and_endless_lines_at_the_scanner_do_not_hide_the_next_good_scan(world: World) -> None:
    numbers = tracking_numbers(4)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    assert world.beep(numbers[0])
    world.scanner.noise(65_536, seed=1)
    world.scanner.scan("")
    time.sleep(1)
    assert world.beep(numbers[1])
    world.scanner.scan("X" * 1_000_000)
    time.sleep(1)
    assert world.beep(numbers[2])
    world.scanner.unplug()
    until(agent.screen, part("handheld", "absent"), "the scanner to be missed")
    world.scanner.plug()
    until(agent.screen, part("handheld", "ready"), "the scanner to be back")
    assert world.beep(numbers[3])

    report = all_arrived(agent, cloud)
    assert report["parcels"]["LOADED"] == 4


def test_what_the_scanner_has_read_and_did_not_arrive_is_said_at_once_and_counted(world: World) -> None:
    numbers = tracking_numbers(2)
    told = world.stack.enter_context(hearing(world.broker))
    agent = world.agent()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    assert world.beep(numbers[0])
    until(agent.screen, feedback("OK"), "the good scan")
    world.scanner.write(numbers[1].encode()[:6] + b"\x00" + numbers[1].encode()[7:] + b"\r")
    seen = until(agent.screen, feedback("NOT_READ"), "word that the next one did not arrive")
    assert seen["feedback"]["tone"] == "attention"
    assert seen["feedback"]["text"] == "Not read. Scan again."
    assert heard(world).endswith(4 * BEEP)
    assert seen["unit"]["parts"]["handheld"]["state"] == "ready"
    assert world.beep(numbers[1])
    until(agent.screen, feedback("OK"), "the second try")
    (sample, *_) = told.wait("telemetry/health")["data"]["samples"]
    assert sample["scans"].keys() == {"handheld"}
    assert sample["scans"]["handheld"].keys() == {"read", "not_read"}


def test_a_label_in_an_older_encoding_has_an_answer_and_leaves_the_scanner_ready(world: World) -> None:
    agent = world.agent()
    agent.start_ready()
    begin_loading(world, agent, tracking_numbers(1))
    for _ in range(4):
        world.scanner.write("\x02Müller, Straße 7, 50667 Köln\x03\r\n".encode("latin-1"))
        assert heard(world, 10.0)
    seen = agent.screen.state()
    assert seen
    assert seen["feedback"]["code"] not in {"OK", "NOT_READ"}
    assert seen["unit"]["parts"]["handheld"] == seen["unit"]["parts"]["handheld"] | {"state": "ready", "reason": ""}


def feedback(code: str) -> object:
    """A condition: the driver was told this last."""
    return lambda seen: (seen["feedback"] or {}).get("code") == code


def test_a_receiver_service_that_is_killed_or_hangs_is_shown_and_comes_back(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(rate_hz=5))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    agent = world.agent(gps={"gpsd": gpsd.address, "stale_after_s": 1.5})
    agent.start_ready()
    until(agent.screen, part("gps", "ready"), "the receiver")
    until(agent.screen, lambda seen: seen["position"], "a position")
    gpsd.pause()
    stale = until(agent.screen, lambda seen: not part("gps", "ready")(seen), "the silence to be noticed")
    assert stale["unit"]["parts"]["gps"]["reason"]
    gpsd.resume()
    until(agent.screen, part("gps", "ready"), "the receiver after the silence")
    gpsd.kill()
    until(agent.screen, lambda seen: not part("gps", "ready")(seen), "the death to be noticed")
    gpsd.start()
    until(agent.screen, part("gps", "ready"), "the receiver after gpsd's restart")


def test_a_second_agent_on_the_same_state_refuses_to_start_and_says_why(world: World) -> None:
    agent = world.agent()
    agent.start_ready()
    second = subprocess.run(
        [*KERBSIDE, "run"],
        env={
            **os.environ,
            "KERBSIDE_UNIT__ID": "u1",
            "KERBSIDE_UNIT__FLEET": "demo",
            "KERBSIDE_UNIT__STATE_DIR": str(agent.state_dir),
            "KERBSIDE_CONSOLE__LISTEN": "127.0.0.1:0",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert str(agent.pid) in second.stderr
    assert agent.screen.state()


def test_a_damaged_database_is_put_aside_and_the_gap_is_declared_to_the_cloud(world: World) -> None:
    numbers = tracking_numbers(12)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    for number in numbers[:6]:
        assert world.beep(number)
    all_arrived(agent, cloud)
    agent.stop()
    database = next(agent.state_dir.glob("*.db"))
    damaged = bytearray(database.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 3 + 20_000] = os.urandom(20_000)
    database.write_bytes(damaged)
    agent.start_ready()
    wait_until(lambda: cloud.report()["by_type"].get("unit.journal_recovered"), "the declaration")

    report = all_arrived(agent, cloud)
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert [path for path in agent.state_dir.iterdir() if "damaged" in path.name or "corrupt" in path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_on_a_full_disk_the_driver_hears_that_nothing_was_kept_and_nothing_confirmed_is_lost(world: World) -> None:
    small = world.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(small)], check=True)
    world.stack.callback(subprocess.run, ["umount", "-l", str(small)], check=True)
    (world.directory / "state").symlink_to(small, target_is_directory=True)
    numbers = tracking_numbers(6)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    for number in numbers[:3]:
        assert world.beep(number)
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    refused = None
    for _ in range(400):
        answer = agent.screen.act("scan", code=f"TBA{time.monotonic_ns() % 10**12:012d}")
        if answer and not answer["accepted"] and answer["reason"] in ("STORE_FULL", "NOT_STORED"):
            refused = answer
            break
    assert refused, "the disk was full and nobody said so"
    assert world.beep(numbers[3])
    seen = agent.screen.state()
    assert seen
    assert seen["block"]["counts"]["LOADED"] == 3
    assert seen["feedback"]["tone"] == "bad"

    filler.unlink()
    wait_until(
        lambda: world.beep(numbers[4]) and (agent.screen.state() or {})["block"]["counts"]["LOADED"] == 4,
        "the unit to write again",
    )
    report = all_arrived(agent, cloud)
    assert report["chain_intact"]
    assert report["gaps"] == 0


def events(agent: Agent) -> list[dict[str, object]]:
    """Everything in the unit's journal, by the command that a fleet tech would use."""
    exported = subprocess.run(
        [*KERBSIDE, "journal", "export", "--format", "jsonl", "--state-dir", str(agent.state_dir)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in exported.stdout.splitlines()]


def test_the_answer_to_thousands_of_wrong_settings_is_short(world: World) -> None:
    agent = world.agent()
    with hearing(world.broker) as heard:
        agent.start_ready()
        until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
        for name in ("delivery.unknown_{}", "x{}", "delivery.{}" + "y" * 400):
            wrong = envelope("settings.changed", {name.format(n): "z" * 100 for n in range(2500)})
            world.send("settings", wrong)
            answer = heard.wait("replies", command_id=wrong["id"])
            assert answer["ok"] is False
            assert len(json.dumps(answer)) < 4000
        rejected = wait_until(lambda: heard.of("message.rejected")[2:] and heard.of("message.rejected"), "the events")
        assert max(len(json.dumps(event)) for event in rejected) < 2000
