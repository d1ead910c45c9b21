"""The uplink with a real journal and a real broker: what goes up, what comes down, what is said about the unit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pytest_mock import MockerFixture

from agent.delivery.model.inputs import InvalidMessage, Moment
from agent.settings import BrokerSettings
from agent.uplink.budget import Budget
from agent.uplink.connection import UplinkError
from agent.uplink.uplink import BUDGET_FILE, Uplink
from contract.vocabulary import MAX_MESSAGE_BYTES
from drivers.simulated.servers import Broker
from tests.uplink.support import (
    FLEET,
    PUBACK,
    PUBLISH,
    QUICK,
    ROOT,
    UNIT,
    Gate,
    Listener,
    Subscriber,
    Vehicle,
    now,
    until,
)

Make = Callable[..., Vehicle]


def test_events_arrive_in_order_on_their_topics_with_the_bytes_that_are_stored(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    events = [*unit.write(20), *unit.write(5, "block.departed")]
    until(lambda: len(subscriber.on("/events/")) == 25, "25 events")
    assert subscriber.payloads() == [event.payload for event in events]
    heard = subscriber.on("/events/")
    assert heard[0].topic == f"{ROOT}/events/parcel/loaded"
    assert heard[-1].topic == f"{ROOT}/events/block/departed"
    assert heard[0].properties is not None
    assert heard[0].properties.ContentType == "application/cloudevents+json"
    unit.confirmed(25)


def test_an_older_broker_gets_the_same_events_without_properties(broker: Broker, vehicle: Make) -> None:
    listening = Subscriber(broker.port, protocol=MQTTProtocolVersion.MQTTv311)
    unit = vehicle(broker.url, protocol="3.1.1").start()
    assert unit.uplink.state.protocol == "3.1.1"
    events = unit.write(20)
    until(lambda: len(listening.on("/events/")) == 20, "20 events")
    listening.close()
    assert listening.payloads() == [event.payload for event in events]


def test_what_was_written_while_the_broker_was_away_arrives_when_it_is_back(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    unit.write(3)
    unit.confirmed(3)
    broker.stop()
    unit.offline()
    unit.write(300)
    assert unit.journal.confirmed == 3
    broker.start()
    until(lambda: len({*subscriber.payloads()}) == 303, "303 events")
    unit.confirmed(303)


def test_a_backlog_lets_a_scan_pass_first(
    gate: Gate, subscriber: Subscriber, vehicle: Make, mocker: MockerFixture
) -> None:
    mocker.patch("agent.uplink.session.GIVE_WAY_S", 60.0)
    unit = vehicle(gate.url).start()
    until(lambda: not unit.uplink.state.inflight, "the status to be answered")
    unit.is_scanning = True
    unit.write(50)
    until(lambda: gate.published("/events/"), "an event on its way")
    assert len(gate.published("/events/")) == 1
    unit.is_scanning = False
    until(lambda: len(subscriber.on("/events/")) == 50, "50 events")


def test_a_driver_who_waits_for_ever_does_not_hold_the_events_back(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url)
    unit.is_scanning = True
    unit.start().write(500)
    until(lambda: len(subscriber.on("/events/")) == 500, "500 events")


def test_the_cursor_survives_a_restart_so_that_nothing_is_sent_twice(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    unit.write(10)
    unit.confirmed(10)
    unit.restart()
    unit.write(1)
    unit.confirmed(11)
    until(lambda: len(subscriber.on("/events/")) >= 11, "11 events")
    assert len(subscriber.on("/events/")) == 11


def test_the_status_is_retained_and_says_online_with_the_parts(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url).start()
    unit.uplink.set_status({"gps": {"state": "ready", "reason": "", "since": "2026-11-21T09:00:00.000Z"}})
    late = Subscriber(broker.port, topic=f"{ROOT}/status")
    status = until(lambda: [s for s in map(json.loads, late.payloads("/status")) if s["parts"]], "the status")[-1]
    late.close()
    assert status["state"] == "online"
    assert status["boot_id"] == "boot-1"
    assert status["version"]
    assert status["since"]
    assert status["parts"]["gps"]["state"] == "ready"


def test_a_unit_that_stops_in_order_says_offline_itself_and_since_when(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    assert unit.uplink.stop()
    status = until(
        lambda: [s for s in map(json.loads, subscriber.payloads("/status")) if s["state"] == "offline"], "it"
    )
    assert status[-1]["since"] is not None


def test_a_unit_that_is_cut_off_is_called_offline_by_the_broker(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url).start()
    until(lambda: subscriber.on("/status"), "online")
    gate.shut()
    unit.offline()
    until(lambda: json.loads(subscriber.payloads("/status")[-1])["state"] == "offline", "the will")


def test_a_unit_that_sees_its_own_late_will_says_online_again(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    vehicle(broker.url).start()
    until(lambda: subscriber.on("/status"), "online")
    subscriber.publish(f"{ROOT}/status", b'{"state": "offline", "parts": {}}', retain=True)
    until(lambda: len(subscriber.on("/status")) >= 3, "three words")
    assert [json.loads(word)["state"] for word in subscriber.payloads("/status")] == ["online", "offline", "online"]


# ------------------------------------------------------------------------------------------------ inbox


def test_a_message_comes_again_until_it_is_acknowledged(broker: Broker, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(broker.url).start()
    subscriber.publish(f"{ROOT}/inbox/message", b"first")
    until(lambda: unit.listener.messages, "the message")
    unit.restart()
    again = until(lambda: unit.listener.messages, "the message again")[0]
    assert (again.kind, again.payload) == ("message", b"first")
    unit.uplink.acknowledge(again.token)
    subscriber.publish(f"{ROOT}/inbox/message", b"second")
    until(lambda: len(unit.listener.messages) == 2, "the next message")
    unit.restart()
    until(lambda: unit.listener.messages, "what is still open")
    assert [message.payload for message in unit.listener.messages] == [b"second"]


def test_an_acknowledgement_from_an_earlier_connection_is_not_sent(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    subscriber.publish(f"{ROOT}/inbox/message", b"first")
    old = until(lambda: unit.listener.messages, "the message")[0]
    broker.restart()
    until(lambda: len(unit.listener.messages) == 2, "the message again")
    unit.uplink.acknowledge(old.token)
    unit.restart()
    assert until(lambda: unit.listener.messages, "the message a third time")[0].payload == b"first"


def test_messages_are_acknowledged_in_the_order_they_came(gate: Gate, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(gate.url).start()
    for number in range(3):
        subscriber.publish(f"{ROOT}/inbox/message", b"%d" % number)
    first, second, third = until(
        lambda: unit.listener.messages if len(unit.listener.messages) == 3 else None, "three messages"
    )
    before = len(gate.seen)
    unit.uplink.acknowledge(third.token)
    unit.uplink.acknowledge(second.token)
    unit.write(1)
    unit.confirmed(1)
    assert not [packet for packet in gate.seen[before:] if packet.type == PUBACK]
    unit.uplink.acknowledge(first.token)
    acks = until(
        lambda: [p.mid for p in gate.seen[before:] if p.type == PUBACK][2:] and gate.seen[before:], "three PUBACKs"
    )
    sent = [int.from_bytes(packet.mid, "big") for packet in acks if packet.type == PUBACK]
    assert sent == [first.token.mid, second.token.mid, third.token.mid]


def test_a_flood_of_broken_messages_is_answered_one_by_one_and_events_still_go_out(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url)
    unit.listener.acknowledge = lambda message: unit.uplink.acknowledge(message.token)
    unit.start()
    for number in range(1500):
        subscriber.client.publish(f"{ROOT}/inbox/block", b'{"broken": %d' % number, qos=1)
    unit.write(50)
    unit.confirmed(50)
    until(lambda: len(unit.listener.messages) >= 1500, "1500 messages")
    answers = [incoming.message for incoming in unit.listener.messages]
    assert all(isinstance(answer, InvalidMessage) and answer.reason == "INVALID_JSON" for answer in answers)
    assert unit.uplink.state.online


def test_a_message_of_a_megabyte_is_handed_over_and_refused_by_its_size(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    subscriber.publish(f"{ROOT}/inbox/block", b"[" * (MAX_MESSAGE_BYTES + 1))
    answer = until(lambda: unit.listener.messages, "the message")[0].message
    assert isinstance(answer, InvalidMessage)
    assert answer.reason == "TOO_LARGE"


def test_a_listener_that_fails_is_told_of_the_message_again_on_the_same_connection(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url)

    def fail_once(_message: object) -> None:
        unit.listener.acknowledge = lambda _: None
        raise ValueError("a fault of the listener")

    unit.listener.acknowledge = fail_once
    unit.start()
    subscriber.publish(f"{ROOT}/inbox/message", b"hello")
    first, again = until(lambda: unit.listener.messages[1:] and unit.listener.messages, "the message again")
    assert first == again


# ------------------------------------------------------------------------------------------------ session


def test_a_first_session_is_not_a_lost_one(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url).start()
    unit.write(1)
    unit.confirmed(1)
    unit.restart()
    assert unit.listener.lost == 0


def test_a_session_that_the_broker_lost_is_told_until_the_event_about_it_has_arrived(
    broker: Broker, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    unit.write(1)
    unit.confirmed(1)
    broker.stop()
    broker.forget()
    broker.start()
    until(lambda: unit.listener.lost == 1, "the loss")
    unit.restart()
    until(lambda: unit.listener.lost == 1, "the loss again, in the next life")
    written = unit.write(1, "unit.session_reset")
    unit.confirmed(written[0].sequence)
    unit.restart()
    unit.write(1)
    unit.confirmed(3)
    assert unit.listener.lost == 0


# ------------------------------------------------------------------------------------------------ commands


def test_a_replay_sends_the_same_bytes_on_the_same_topics_before_anything_newer(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url).start()
    events = unit.write(30)
    unit.confirmed(30)
    until(lambda: len(subscriber.on("/events/")) == 30, "30 events")
    gate.shut()
    unit.offline()
    answer = unit.uplink.replay(11, 20)
    newer = unit.write(5)
    gate.reopen()
    assert (answer.accepted, answer.oldest_sequence) == (True, 1)
    until(lambda: len(subscriber.on("/events/")) == 45, "45 events")
    assert subscriber.payloads()[30:] == [event.payload for event in [*events[10:20], *newer]]
    assert {message.topic for message in subscriber.on("/events/")} == {f"{ROOT}/events/parcel/loaded"}


def test_a_replay_without_an_end_goes_up_to_the_newest_event_of_now(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    unit.write(10)
    unit.confirmed(10)
    unit.uplink.replay(8)
    until(lambda: len(subscriber.on("/events/")) == 13, "10 and 3 events")


def test_a_replay_from_before_the_first_event_is_refused_with_the_oldest_that_is_kept(
    broker: Broker, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    unit.write(1)
    answer = unit.uplink.replay(0)
    assert (answer.accepted, answer.oldest_sequence) == (False, 1)


def test_a_reply_goes_to_the_topic_that_the_request_named_with_its_correlation(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    asked = Properties(PacketTypes.PUBLISH)
    asked.ResponseTopic, asked.CorrelationData = f"{ROOT}/answers/7", b"\x00seven"
    subscriber.publish(f"{ROOT}/inbox/command", b"{}", properties=asked)
    message = until(lambda: unit.listener.messages, "the command")[0]
    unit.uplink.reply({"command_id": "C1", "ok": True, "result": {}}, message)
    unit.uplink.reply({"command_id": "C2", "ok": True, "result": {}})
    answer = until(lambda: subscriber.on("/answers/7"), "the answer")[0]
    assert json.loads(answer.payload)["command_id"] == "C1"
    assert answer.properties is not None
    assert answer.properties.CorrelationData == b"\x00seven"
    other = until(lambda: subscriber.on("/replies"), "the other answer")[0]
    assert json.loads(other.payload)["command_id"] == "C2"


def test_a_reply_that_was_on_its_way_when_the_link_broke_is_sent_again(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url).start()
    gate.from_unit = lambda packet, _side: packet.type == PUBLISH
    unit.uplink.reply({"command_id": "C1", "ok": True, "result": {}})
    until(lambda: gate.published("/replies"), "the reply, on its way")
    gate.shut()
    unit.offline()
    gate.reopen()
    until(lambda: subscriber.on("/replies"), "the reply")


def test_a_response_topic_with_wildcards_is_answered_on_replies(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(broker.url).start()
    subscriber.publish(f"{ROOT}/inbox/command", b"{}")
    message = until(lambda: unit.listener.messages, "the command")[0]
    object.__setattr__(message, "response_topic", "a/#")
    unit.uplink.reply({"command_id": "C1", "ok": True, "result": {}}, message)
    until(lambda: subscriber.on("/replies"), "the answer")


# ------------------------------------------------------------------------------------------------ telemetry


def test_telemetry_never_goes_before_an_event(gate: Gate, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(gate.url).start()
    unit.write(1)
    unit.confirmed(1)
    gate.shut()
    unit.offline()
    for number in range(50):
        unit.journal.sample("position", {"time": now().time, "latitude": 52.0 + number, "longitude": 5.0})
    unit.write(400)
    gate.reopen()
    samples = until(lambda: subscriber.on("/telemetry/"), "telemetry")
    order = [message.topic.split("/")[3] for message in subscriber.heard if "/status" not in message.topic]
    assert order.index("telemetry") == len([topic for topic in order if topic == "events"])
    envelope = json.loads(samples[0].payload)
    assert envelope["type"] == "org.kerbside.telemetry.position.v1"
    assert len(envelope["data"]["samples"]) == 50
    until(lambda: unit.journal.status()["backlog"]["telemetry"] == 0, "nothing left")


# ------------------------------------------------------------------------------------------------ settings


def test_an_unencrypted_connection_to_another_host_is_refused(tmp_path: Path, vehicle: Make, broker: Broker) -> None:
    settings = BrokerSettings.model_construct(**{**BrokerSettings().model_dump(), "url": "mqtt://broker.example:1883"})
    unit = vehicle(broker.url)
    with pytest.raises(UplinkError, match=r"expected mqtts:// for broker\.example"):
        Uplink(
            settings,
            FLEET,
            UNIT,
            unit.journal,
            unit.reader,
            Listener().listeners(),
            state_dir=tmp_path,
            now=now,
            timing=QUICK,
        )


def test_a_password_file_that_is_missing_is_named_without_ending_the_uplink(
    broker: Broker, vehicle: Make, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    unit = vehicle(broker.url, username="u1", password_file=secret).start(online=False)
    until(lambda: "broker.password_file" in unit.uplink.state.reason, "the reason")
    secret.write_text("hush\n")
    unit.online()


def test_telemetry_waits_when_the_budget_of_a_metered_link_is_used_up_and_events_do_not(
    broker: Broker, subscriber: Subscriber, vehicle: Make, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    spent = {"month": now().time[:7], "bytes": 995_000}
    (tmp_path / "state" / BUDGET_FILE).write_text(json.dumps(spent))
    unit = vehicle(broker.url, monthly_bytes=1_000_000).start()
    unit.write(10)
    unit.confirmed(10)
    until(lambda: "used up" in unit.uplink.state.reason, "the budget to be used up", lambda: unit.uplink.state)
    unit.journal.sample("position", {"latitude": 52.09})
    unit.write(1)
    unit.confirmed(11)
    unit.restart()
    unit.write(1)
    unit.confirmed(12)

    assert "1000000 bytes" in unit.uplink.state.reason
    assert not subscriber.on("/telemetry/")


def test_a_new_month_brings_a_new_budget(tmp_path: Path) -> None:
    moments = [Moment(1_793_491_140_000, 0, "b", "gps"), Moment(1_793_491_260_000, 0, "b", "gps")]
    budget = Budget(tmp_path / "traffic", 100, lambda: moments[0])
    budget.spend(100)
    assert budget.used_up
    moments.pop(0)
    assert moments[0].time.startswith("2026-11-01")
    assert not budget.used_up
    budget.spend(99)
    assert not budget.used_up
