"""What the unit makes of its receiver, through a real gpsd: the screen's state, events and telemetry."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.built import built_ms
from demo.messages import STATION, assignment, delivery_stop, parcel
from demo.stage import Agent
from drivers.simulated import Gpsd, SimulatedReceiver
from tests.agent.heard import Heard, hearing
from tests.agent.running_agent import World, block_is, until

METRE = 1 / 111_320
DOOR = (STATION[0] + 3000 * METRE, STATION[1])
RATE_HZ = 5
MPS = 24.0


def north_m(seen: dict[str, Any]) -> float:
    """How far from the station the vehicle is believed to be."""
    return float((seen["position"]["latitude"] - STATION[0]) / METRE)


def doubts(*wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda seen: (seen["unit"]["receiver"] or {}).get("doubts") == list(wanted)


def drive(receiver: SimulatedReceiver, from_m: float, to_m: float) -> None:
    """North along a meridian, and stop there."""
    steps = math.ceil(abs(to_m - from_m) / MPS * RATE_HZ)
    for step in range(1, steps + 1):
        metres = from_m + (to_m - from_m) * step / steps
        receiver.move(STATION[0] + metres * METRE, STATION[1], MPS if step < steps else 0.0, 0.0)
        time.sleep(1 / RATE_HZ)


def on_the_road(world: World, agent: Agent, heard: Heard) -> None:
    world.send("block", assignment("BR1", [delivery_stop(1, DOOR)], [parcel("K1", "1Z5R89390357567127", "T1")]))
    until(agent.screen, block_is("ACCEPTED"), "the block")
    for action in ("check_in", "start_loading"):
        answer = agent.screen.act(action)
        assert answer
        assert answer["accepted"], answer
    assert world.beep("1Z5R89390357567127")
    for action in ("close_loading", "depart"):
        answer = agent.screen.act(action)
        assert answer
        assert answer["accepted"], answer
    heard.wait("block.departed")


def test_jumps_poor_fixes_and_drift_move_nothing_and_are_shown(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(*STATION, rate_hz=RATE_HZ))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    seen = until(agent.screen, lambda seen: seen["position"], "a position")
    assert abs(north_m(seen)) < 1
    assert seen["unit"]["receiver"]["doubts"] == []
    assert seen["block"] is None

    receiver.move(STATION[0] + 5000 * METRE, STATION[1])
    seen = until(agent.screen, doubts("jump"), "the jump")
    assert abs(north_m(seen)) < 1
    assert seen["unit"]["receiver"]["latitude"] > STATION[0] + 4900 * METRE
    receiver.move(*STATION)
    seen = until(agent.screen, doubts(), "the old place")

    receiver.hdop = 20.0
    receiver.move(STATION[0] + 60 * METRE, STATION[1])
    seen = until(agent.screen, doubts("poor"), "a poor fix")
    assert abs(north_m(seen)) < 1
    receiver.hdop = 0.9
    receiver.move(*STATION)
    until(agent.screen, doubts(), "a good fix")

    time.sleep(6)
    receiver.move(STATION[0] + 15 * METRE, STATION[1])
    seen = until(agent.screen, doubts("standing"), "the drift")
    assert abs(north_m(seen)) < 1

    receiver.mode = 1
    seen = until(agent.screen, lambda seen: seen["unit"]["parts"]["gps"]["reason"] == "no fix", "the lost fix")
    assert seen["unit"]["receiver"] == seen["unit"]["receiver"] | {"mode": 1, "latitude": None, "doubts": ["no_fix"]}
    assert seen["position"] is None

    receiver.mode = 3
    receiver.move(STATION[0] + 5000 * METRE, STATION[1])
    until(agent.screen, lambda seen: seen["position"] and abs(north_m(seen) - 5000) < 2, "the new place, in the end")


def test_the_way_of_a_block_is_told_by_few_points_and_counted_over_a_kill(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(*STATION, rate_hz=RATE_HZ))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["clock"]["trust"] == "gps" and seen["position"], "a clock set by GPS")
    on_the_road(world, agent, heard)
    drive(receiver, 0, 480)
    seen = until(agent.screen, lambda seen: abs(north_m(seen) - 480) < 2, "the first half of the way")
    assert abs(seen["block"]["distance_m"] - 480) < 40

    agent.kill()
    drive(receiver, 480, 600)
    agent.start_ready()
    seen = until(
        agent.screen, lambda seen: seen["position"] and seen["block"]["distance_m"], "the count after the kill"
    )
    drive(receiver, 600, 720)
    seen = until(agent.screen, lambda seen: abs(north_m(seen) - 720) < 2, "the end of the way")
    assert abs(seen["block"]["distance_m"] - 720) < 50

    receiver.move(STATION[0] + 720 * METRE, STATION[1] + 9000 * METRE)
    until(agent.screen, doubts("jump"), "the jump")
    receiver.move(STATION[0] + 720 * METRE, STATION[1])
    until(agent.screen, doubts(), "the old place")
    assert agent.screen.act("arrive", reason="the pin is wrong")
    heard.wait("stop.arrived", stop_id="T1")
    assert world.beep("1Z5R89390357567127")
    answer = agent.screen.act("deliver", handover="front_door")
    assert answer
    assert answer["accepted"], answer
    assert agent.screen.act("close_block")
    closed = heard.wait("block.closed")
    assert abs(closed["data"]["distance_m"] - 720) < 50
    seen = until(agent.screen, block_is("CLOSED"), "the end of the block")
    assert seen["block"]["distance_m"] == closed["data"]["distance_m"]
    until(agent.screen, lambda seen: seen["unit"]["backlog"]["telemetry"] == 0, "the telemetry to leave")
    agent.stop()

    samples = [sample for message in heard.of("telemetry/position") for sample in message["data"]["samples"]]
    assert 2 <= len(samples) <= 20
    assert all(
        set(sample) == {"time", "latitude", "longitude", "accuracy_m", "speed_mps", "heading"} for sample in samples
    )
    times = [sample["time"] for sample in samples]
    assert times == sorted(times)
    assert all(abs(sample["longitude"] - STATION[1]) < 1e-4 for sample in samples)
    places = [event["data"]["where"] for event in heard.events() if "where" in event["data"]]
    assert places
    assert all(abs(place["longitude"] - STATION[1]) < 1e-4 for place in places)
    assert not (agent.state_dir / "trip.json").exists()


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(lambda now: now.replace(year=now.year + 3, day=1), id="years ahead"),
        pytest.param(lambda now: now - timedelta(weeks=1024), id="an era behind, unless gpsd mends it"),
        pytest.param(
            lambda _now: datetime.fromtimestamp(built_ms() / 1000, UTC) - timedelta(days=2), id="2007 as 2026"
        ),
    ],
)
def test_a_receiver_with_a_wrong_date_gives_positions_and_does_not_set_the_clock(
    world: World, told: Callable[[datetime], datetime]
) -> None:
    begun = datetime.now(UTC)
    receiver = SimulatedReceiver(*STATION, rate_hz=RATE_HZ)
    receiver.clock = lambda: told(begun) + (datetime.now(UTC) - begun)
    world.stack.enter_context(receiver)
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    seen = until(
        agent.screen,
        lambda seen: seen["position"] and (seen["unit"]["parts"]["gps"]["reason"] or gps_time_is_now(seen)),
        "a position and word of the doubt",
    )
    if not gps_time_is_now(seen):
        assert "cannot be right" in seen["unit"]["parts"]["gps"]["reason"]
        assert agent.log().count("cannot be right") == 1
        assert seen["unit"]["clock"]["trust"] != "gps"
    assert seen["unit"]["clock"]["time"][:4] == str(datetime.now(UTC).year)


def gps_time_is_now(seen: dict[str, Any]) -> bool:
    """Whether the receiver's time, mended by gpsd or not, set a clock that is right."""
    clock = seen["unit"]["clock"]
    return clock["trust"] == "gps" and abs(datetime.fromisoformat(clock["time"]) - datetime.now(UTC)) < timedelta(
        days=1
    )
