"""A block that is really driven, with a real receiver: what others are told of it, and what nobody is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.messages import STATION, assignment, delivery_stop, envelope, parcel
from demo.stage import Agent
from drivers.simulated import Gpsd, SimulatedReceiver
from tests.agent.heard import hearing
from tests.agent.running_agent import World, block_is, until

METRE = 1 / 111_320
DOORS = [(STATION[0] + north * METRE, STATION[1]) for north in (0, 900, 1800)]
ATTRIBUTES = [
    "bootid",
    "clocktrust",
    "data",
    "hash",
    "id",
    "lane",
    "previoushash",
    "sequence",
    "source",
    "specversion",
    "subject",
    "time",
    "type",
    "uptimems",
]
SECRETS = {
    "access code": "#73914628",
    "key": "b3RwLWtleS1vZi10aGlzLWJsb2NrLTAxMjM0NTY3ODk",
    "phone": "+31655501234",
    "name": "Wilhelmina Quist",
    "neighbour": "Joris van Zandvliet",
    "neighbour's phone": "+31655509876",
    "address": "Achterom 113 bis",
    "instruction": "under the third flower pot",
    "pickup code": "LANE-88412",
    "opening hours": "rings only after nine",
    "preference": "never by the side gate",
    "unknown member": "the dog is called Bommel",
}


def private_block(starts: timedelta, version: int = 1) -> dict[str, Any]:
    """Two doors whose recipients, neighbours and codes are nobody's business."""
    stops = [delivery_stop(index, DOORS[index]) for index in (1, 2)]
    for stop in stops:
        stop["recipient"] = {"name": SECRETS["name"], "phone": SECRETS["phone"], "dog": SECRETS["unknown member"]}
        stop["address"] = {"line1": SECRETS["address"], "city": "Utrecht", "dog": SECRETS["unknown member"]}
    instruction = {
        "kind": "neighbour",
        "text": SECRETS["instruction"],
        "neighbour": {"name": SECRETS["neighbour"], "phone": SECRETS["neighbour's phone"]},
        "access_codes": [SECRETS["access code"]],
        "preferences": {"gate": [SECRETS["preference"]]},
        "dog": SECRETS["unknown member"],
    }
    parcels = [
        parcel("K1", "1Z5R89390357567127", "T1", instruction=instruction),
        parcel("K2", "RR473124829GB", "T2", instruction=instruction, merchant_id="SHOP-4"),
    ]
    begin = datetime.now(UTC) + starts
    message = assignment(
        "BX9", stops, parcels, otp_key=SECRETS["key"], manifest_version=version, starts_at=f"{begin:%Y-%m-%dT%H:%M:%SZ}"
    )
    point = {"point_id": "G4", "name": "Lane 4", "code": SECRETS["pickup code"], "hours": SECRETS["opening hours"]}
    message["data"]["sites"][0]["pickup_points"] = [point]
    message["data"]["dog"] = SECRETS["unknown member"]
    return message if version == 1 else {**message, "type": "org.kerbside.block.revised.v1"}


def press(agent: Agent, action: str, **arguments: Any) -> dict[str, Any]:
    answer = agent.screen.act(action, **arguments)
    assert answer, f"the unit went away at {action}"
    return answer


def scan(world: World, agent: Agent, label: str) -> None:
    assert world.beep(label), f"{label}: no beep; {(agent.screen.state() or {}).get('feedback')} {agent.last_words()}"


def test_a_vehicle_arrives_and_leaves_by_its_position_and_nothing_private_leaves_the_unit(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(STATION[0] + 5000 * METRE, STATION[1], rate_hz=2))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    screen = agent.screen

    def stand(place: tuple[float, float], metres_away: float = 0.0, speed_mps: float = 0.0) -> None:
        there = place[0] + metres_away * METRE
        receiver.move(there, place[1], speed_mps)
        until(screen, lambda seen: abs(seen["position"]["latitude"] - there) < 2 * METRE, "the position")

    until(screen, lambda seen: seen["unit"]["clock"]["trust"] == "gps" and seen["position"], "a clock set by GPS")
    world.send("block", private_block(timedelta(minutes=90)))
    until(screen, block_is("ACCEPTED"), "the block")
    assert press(agent, "check_in")["reason"] == "TOO_EARLY"
    world.send("revision", private_block(timedelta(minutes=1), version=2))
    heard.wait("route.revised")
    world.send("revision", private_block(timedelta(minutes=1), version=2))
    heard.wait("message.rejected", reason="STALE", path="manifest_version")
    assert press(agent, "check_in")["reason"] == "REASON_NEEDED"
    stand(STATION, 230)
    assert press(agent, "check_in")["accepted"]
    assert heard.wait("block.checked_in")["data"]["tier"] == 2
    assert press(agent, "start_loading")["accepted"]
    for label in ("1Z5R89390357567127", "RR473124829GB"):
        scan(world, agent, label)
    assert press(agent, "close_loading")["accepted"]

    stand(STATION, 450, speed_mps=8.0)
    until(screen, block_is("ON_ROUTE"), "the departure")
    assert heard.wait("block.departed")["data"]["method"] == "geofence"
    assert screen.state()["current_stop"]["access_codes"] == []  # type: ignore[index]
    stand(DOORS[1])
    at_door = until(screen, lambda seen: (seen["current_stop"] or {}).get("state") == "ARRIVED", "the arrival")
    assert at_door["current_stop"]["access_codes"] == [SECRETS["access code"]]
    assert at_door["current_stop"]["recipient"] == {"name": SECRETS["name"]}
    assert at_door["current_stop"]["neighbour"] == {"name": SECRETS["neighbour"]}
    assert at_door["current_stop"]["address"]["line1"] == SECRETS["address"]
    assert at_door["parcels"][0]["instruction"]["text"] == SECRETS["instruction"]
    assert SECRETS["address"] in at_door["feedback"]["text"]
    shown = json.dumps(at_door)
    for name in ("key", "phone", "neighbour's phone", "pickup code", "unknown member"):
        assert SECRETS[name] not in shown, f"the {name} is shown"
    assert heard.wait("stop.arrived", stop_id="T1")["data"]["method"] == "geofence"
    stand(DOORS[1], 450, speed_mps=8.0)
    until(screen, lambda seen: seen["feedback"]["code"] == "STOP_LEFT_OPEN", "the warning")
    assert heard.wait("stop.departed_open", stop_id="T1")["data"]["parcel_ids"] == ["K1"]

    stand(DOORS[1], 150)
    assert press(agent, "start_stop", stop_id="T1")["accepted"]
    assert press(agent, "arrive")["reason"] == "CONFIRM_LOCATION"
    assert press(agent, "confirm_location")["accepted"]
    scan(world, agent, "1Z5R89390357567127")
    assert press(agent, "deliver", handover="neighbour")["accepted"]
    assert press(agent, "arrive")["reason"] == "REASON_NEEDED"
    assert press(agent, "arrive", reason="the pin is wrong")["accepted"]
    assert heard.wait("geofence.overridden", stop_id="T2")["data"]["tier"] == 3
    scan(world, agent, "RR473124829GB")
    answer = press(agent, "deliver", handover="recipient", name=SECRETS["name"])
    assert answer["accepted"]
    assert heard.wait("parcel.delivered", parcel_id="K2")["id"] in answer["events"]
    assert heard.wait("parcel.delivered", parcel_id="K2")["data"]["merchant_id"] == "SHOP-4"
    assert press(agent, "close_block")["accepted"]
    closed = heard.wait("block.closed")
    after = json.dumps(until(screen, block_is("CLOSED"), "the end of the block"))
    assert [name for name, secret in SECRETS.items() if secret in after] == []
    telemetry = heard.wait("telemetry/position")
    agent.stop()
    assert heard.wait("status", state="offline")

    events = heard.events()
    assert all(sorted(event) == ATTRIBUTES for event in events)
    places = [event["data"]["where"] for event in events if "where" in event["data"]]
    assert places
    assert all(0 not in (place["latitude"], place["longitude"], place["accuracy_m"]) for place in places)
    checked_in = heard.of("block.checked_in")[0]
    assert telemetry["lane"] == "telemetry"
    samples = [sample for message in heard.of("telemetry/position") for sample in message["data"]["samples"]]
    assert all(checked_in["time"] <= sample["time"] <= closed["time"] for sample in samples)
    told = b"".join(message.payload for message in heard.messages if "/inbox/" not in message.topic)
    kept = b"".join(path.read_bytes() for path in agent.state_dir.iterdir())
    for name, secret in SECRETS.items():
        assert secret.encode() not in told, f"the {name} was sent"
        assert secret.encode() not in kept, f"the {name} is on the disk"
        assert secret not in agent.log(), f"the {name} is in the log"


def test_a_unit_that_takes_over_long_after_the_start_of_a_block_goes_on_with_it(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(*DOORS[1], rate_hz=5))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["clock"]["trust"] == "gps", "a clock set by GPS")
    message = private_block(timedelta(hours=-3))
    for each, state in zip(message["data"]["parcels"], ("OUT_FOR_DELIVERY", "DELIVERED"), strict=True):
        each["state"] = state
    world.send("block", message)
    until(agent.screen, block_is("ACCEPTED"), "the block")
    world.send("message", envelope("message.sent", {"message_id": "M1", "text": "Go on", "needs_ack": True}))
    heard.wait("parcel.manifested", parcel_id="K2", state="DELIVERED")
    assert press(agent, "check_in")["accepted"]
    assert press(agent, "close_block")["reason"] == "CUSTODY_LEFT"
    for action in ("start_loading", "close_loading", "depart"):
        assert press(agent, action)["accepted"]
    seen = until(agent.screen, lambda seen: (seen["current_stop"] or {}).get("state") == "ARRIVED", "the arrival")
    assert seen["current_stop"]["stop_id"] == "T1"
    assert press(agent, "acknowledge", message_id="M1")["accepted"]
    assert press(agent, "acknowledge", message_id="M1")["reason"] == "UNKNOWN_MESSAGE"
    heard.wait("message.acknowledged", message_id="M1")
