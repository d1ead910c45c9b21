"""What one message, reply or replay does to a connection: it may end itself, and nothing else."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from types import FunctionType
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.delivery.model.inputs import InvalidMessage
from agent.journal.store import Journal
from agent.uplink import (
    arrivals,
    backoff,
    budget,
    connection,
    cuts,
    events,
    inbox,
    kept,
    lanes,
    session,
    session_record,
    uplink,
)
from agent.uplink.inbox import Incoming
from drivers.simulated.servers import Broker
from tests.uplink.support import CONNECT, ROOT, Gate, Listener, Packet, Side, Subscriber, Vehicle, until

Make = Callable[..., Vehicle]


def described(**members: Any) -> Properties:
    made = Properties(PacketTypes.PUBLISH)
    for name, value in members.items():
        setattr(made, name, value)
    return made


def works(unit: Vehicle, subscriber: Subscriber) -> None:
    """Everything still goes its way: events, samples, replies and messages of the inbox."""
    unit.online()
    said = len(subscriber.on("/replies"))
    known = len(unit.listener.messages)
    unit.journal.sample("position", {"latitude": 52.0})
    unit.confirmed(unit.write(3)[-1].sequence)
    unit.uplink.reply({"command_id": "C", "ok": True, "result": {}})
    until(lambda: len(subscriber.on("/replies")) > said, "the reply", lambda: unit.uplink.state)
    while len(unit.listener.messages) == known:  # a fault may end one message, and not the next
        subscriber.publish(f"{ROOT}/inbox/message", b"the next one")
        time.sleep(0.05)
    until(lambda: not unit.journal.status()["backlog"]["telemetry"], "the sample", lambda: unit.uplink.state)
    unit.online()


@pytest.fixture
def unit(broker: Broker, vehicle: Make) -> Vehicle:
    made = vehicle(broker.url)
    made.listener.acknowledge = lambda message: made.uplink.acknowledge(message.token)
    return made.start()


@pytest.mark.parametrize("first", [11, 2**31, 2**43 - 1, 2**43, 2**53, 2**63 - 1, 2**63, 10**20])
def test_a_replay_from_beyond_the_newest_event_sends_nothing_and_ends_nothing(
    unit: Vehicle, subscriber: Subscriber, first: int
) -> None:
    unit.confirmed(unit.write(10)[-1].sequence)
    unit.uplink.replay(first)
    unit.uplink.replay(first, first + 5)
    works(unit, subscriber)
    assert len(subscriber.on("/events/")) == 13


def test_an_event_beyond_the_newest_is_none(unit: Vehicle) -> None:
    unit.write(3)
    for number in (4, 2**43, 2**63, 10**20):
        assert unit.journal.events_between(number, 10**20, 10) == []
    assert len(unit.journal.events_between(2, 10**20, 10)) == 2


@pytest.mark.parametrize(
    "properties",
    [
        {"UserProperty": [("a\ufeff", "b")]},
        {"ContentType": "\ufefftext"},
        {"ResponseTopic": "a\ufeffb"},
        {"UserProperty": [("n" * 100, "v" * 1000)] * 500},
        {"UserProperty": [("a", "b")] * 50_000},
    ],
    ids=["user property", "content type", "response topic", "half a megabyte", "fifty thousand"],
)
def test_a_message_with_properties_that_cannot_be_read_is_taken_without_them(
    broker: Broker, unit: Vehicle, properties: dict[str, Any]
) -> None:
    stranger = Subscriber(broker.port, "elsewhere", "stranger")
    stranger.publish(f"{ROOT}/inbox/message", b"hello", properties=described(**properties))
    stranger.close()
    message = until(lambda: unit.listener.messages, "the message", lambda: unit.uplink.state)[0]
    assert (message.payload, message.response_topic) == (b"hello", None)
    subscriber = Subscriber(broker.port)
    works(unit, subscriber)
    subscriber.close()


def test_of_a_message_of_any_size_only_the_beginning_is_held_in_memory(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url, protocol="3.1.1")
    unit.listener.acknowledge = lambda message: unit.uplink.acknowledge(message.token)
    unit.start()
    stranger = Subscriber(broker.port, "elsewhere", "stranger")
    stranger.publish(f"{ROOT}/inbox/message", b'{"id": "M-1", "data": "' + b"x" * 60_000_000)
    stranger.close()
    message = until(lambda: unit.listener.messages, "the message", lambda: unit.uplink.state)[0]
    assert isinstance(message.message, InvalidMessage)
    assert (message.message.reason, message.message.message_id) == ("TOO_LARGE", "M-1")
    assert len(message.payload) < 30_000_000
    subscriber = Subscriber(broker.port)
    works(unit, subscriber)
    unit.restart()
    works(unit, subscriber)
    assert {each.payload for each in unit.listener.messages} == {b"the next one"}
    subscriber.close()


@pytest.mark.parametrize("topic", ["a\nb", "a\x7fb", "+", "a/#", "", "x" * 2000, "ü" * 600, "\ud800", "\ufffe"])
def test_a_topic_that_no_broker_takes_is_answered_on_replies(unit: Vehicle, subscriber: Subscriber, topic: str) -> None:
    subscriber.publish(f"{ROOT}/inbox/command", b"{}")
    message = until(lambda: unit.listener.messages, "the command")[0]
    object.__setattr__(message, "response_topic", topic)
    unit.uplink.reply({"command_id": "C1", "ok": True, "result": {"text": "\ud800"}}, message)
    answer = json.loads(until(lambda: subscriber.on("/replies"), "the answer")[0].payload)
    assert answer["command_id"] == "C1"
    works(unit, subscriber)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_message_that_comes_before_the_subscription_is_not_lost(
    gate: Gate, vehicle: Make, broker: Broker, protocol: str
) -> None:
    unit = vehicle(gate.url, protocol=protocol).start()
    subscriber = Subscriber(broker.port, protocol=MQTTProtocolVersion.MQTTv311)
    gate.shut()
    unit.offline()
    for number in range(15):
        subscriber.publish(f"{ROOT}/inbox/message", b"%d" % number)
    kept: list[bytes] = []

    def with_connack(packet: Packet, side: Side) -> bool:
        """CONNACK and all the messages in one segment, before the unit has sent anything else."""
        kept.append(packet.raw)
        if len(kept) == 16:
            side.tell_unit(b"".join(kept))
        return len(kept) <= 16

    gate.from_broker = with_connack
    gate.from_unit = lambda packet, _side: packet.type != CONNECT and len(kept) < 16
    until(lambda: len(unit.listener.messages) == 15, "15 messages", lambda: len(unit.listener.messages))
    assert [message.payload for message in unit.listener.messages] == [b"%d" % number for number in range(15)]
    for message in unit.listener.messages:
        unit.uplink.acknowledge(message.token)
    gate.from_broker = lambda _packet, _side: False
    gate.reopen()
    works(unit, subscriber)
    unit.restart()
    works(unit, subscriber)
    assert {message.payload for message in unit.listener.messages} == {b"the next one"}
    subscriber.close()


@pytest.mark.parametrize("times", [1, 100])
def test_a_message_that_its_owner_fails_at_holds_nobody_up(unit: Vehicle, subscriber: Subscriber, times: int) -> None:
    failed: list[bytes] = []

    def fail(message: Incoming) -> None:
        if message.payload == b"first" and len(failed) < times:
            failed.append(message.payload)
            raise ValueError("a fault of the owner")
        unit.uplink.acknowledge(message.token)

    unit.listener.acknowledge = fail
    subscriber.publish(f"{ROOT}/inbox/message", b"first")
    works(unit, subscriber)
    until(lambda: len(failed) == min(times, arrivals.HAND_OVER_TRIES), "the tries")
    unit.restart()
    works(unit, subscriber)
    assert not [message for message in unit.listener.messages if message.payload == b"first"]


# ------------------------------------------------------------------------------------------------ every step

BY_OTHERS = {
    "put", "ask", "news", "under_way", "set_parts", "add", "start", "stop", "reply", "replay", "high_water", "wake",
    "acknowledge", "set_status", "state", "_wake", "_run", "_drain_wakes",
}  # fmt: skip
"""Called by the test itself, or what ends with the thread."""
OF_JOURNAL = {
    "events_after", "events_between", "confirm_through", "pack_telemetry", "telemetry_waiting", "telemetry_done",
    "confirmed", "arrived", "arrived_through", "split_telemetry", "_reading", "_read", "_pack",
}  # fmt: skip


def steps(owner: type) -> list[str]:
    """What the uplink's thread calls of a class: each may have a fault."""
    return [
        name
        for name, member in vars(owner).items()
        if isinstance(member, FunctionType | property | staticmethod | classmethod)
        and not name.startswith("__")
        and (name in OF_JOURNAL if owner is Journal else name not in BY_OTHERS)
    ]


MODULES = (lanes, events, kept, cuts, arrivals, session, session_record, budget, backoff, connection, uplink, inbox)
OWNERS = [
    found
    for module in MODULES
    for found in vars(module).values()
    if isinstance(found, type) and found.__module__ == module.__name__ and not issubclass(found, Enum) and steps(found)
]


def faulty(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        if left[0] > 0 and threading.current_thread().name == "uplink":
            left[0] -= 1
            raise OverflowError("a fault of our own")
        return call(*arguments, **named)

    return fail


@pytest.mark.parametrize("owner", [*OWNERS, Journal])
def test_a_fault_at_any_step_of_a_connection_passes_and_everything_is_sent(
    broker: Broker, subscriber: Subscriber, vehicle: Make, owner: type
) -> None:
    unit = vehicle(broker.url)
    for name in steps(owner):
        plain = vars(owner)[name]
        left = [3]
        with pytest.MonkeyPatch.context() as patch:
            unit.listener = Listener()
            unit.listener.acknowledge = lambda message: unit.uplink.acknowledge(message.token)
            unit.uplink = unit._make()
            if isinstance(plain, property):
                assert plain.fget is not None
                patch.setattr(owner, name, property(faulty(plain.fget, left)))
            elif isinstance(plain, staticmethod | classmethod):
                patch.setattr(owner, name, type(plain)(faulty(plain.__func__, left)))
            else:
                patch.setattr(owner, name, faulty(plain, left))
            unit.uplink.start()
            unit.uplink.replay(1)
            works(unit, subscriber)
        assert unit.uplink.stop(), name


def test_a_storm_of_messages_that_cannot_be_read_writes_few_lines(
    broker: Broker, unit: Vehicle, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Subscriber(broker.port, "elsewhere", "stranger")
    with caplog.at_level(logging.INFO):
        for _ in range(300):
            stranger.publish(f"{ROOT}/inbox/message", b"x", properties=described(UserProperty=[("\ufeff", "")]))
        until(lambda: len(unit.listener.messages) == 300, "300 messages")
    stranger.close()
    assert len(caplog.records) < 30
