"""Whatever is sent fits what the broker and the settings allow: split, shortened or set aside, and never a cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.delivery.model.inputs import InvalidMessage
from agent.settings import BrokerSettings
from agent.uplink.backoff import Protocol
from agent.uplink.connection import Connection, Will
from agent.uplink.inbox import Incoming, Token
from contract.upward import UPWARD
from drivers.simulated.servers import Broker
from tests.uplink.support import CONNECT, ROOT, Gate, Subscriber, Vehicle, until

Make = Callable[..., Vehicle]
NARROW = 16_384


@pytest.fixture(params=["5", "3.1.1"])
def narrow(request: pytest.FixtureRequest, tmp_path: Path, vehicle: Make) -> Iterator[tuple[Vehicle, Subscriber, Gate]]:
    """A unit whose packets may be as large as `NARROW`: the broker says so, or where it cannot the settings do."""
    five = request.param == "5"
    with Broker(tmp_path / "narrow", settings=[f"max_packet_size {NARROW}"]) as broker, Gate(broker.port) as gate:
        subscriber = Subscriber(broker.port)
        unit = vehicle(gate.url, protocol=request.param, max_packet_bytes=131_072 if five else NARROW)
        yield unit, subscriber, gate
        last = unit.write(3)[-1].payload
        until(lambda: last in subscriber.payloads(), "events to go on")
        assert max(len(packet.raw) for packet in gate.seen) <= NARROW
        assert not [reason for _, reason in unit.listener.states if "bytes were published" in reason], "nothing was cut"
        subscriber.close()
        unit.close()


Narrow = tuple[Vehicle, Subscriber, Gate]


def asked(topic: str | None = None, correlation: bytes | None = None) -> Incoming:
    return Incoming("command", InvalidMessage(None, ""), b"", Token(0, 0), b"", {}, topic, correlation)


def answer_of(narrow: Narrow, answer: dict[str, Any], to: Incoming | None = None, on: str = "/replies") -> Any:
    unit, subscriber, _ = narrow
    if not unit.uplink.state.online:
        unit.start()
    unit.uplink.reply({"command_id": "C1", **answer}, to)
    reply = json.loads(until(lambda: subscriber.on(on), "the answer", lambda: unit.uplink.state)[0].payload)
    UPWARD["reply"].validate_python(reply)
    assert reply["command_id"] == "C1"
    return reply


def test_an_answer_with_a_result_that_is_too_long_says_so(narrow: Narrow) -> None:
    reply = answer_of(narrow, {"ok": True, "result": {"parts": ["x" * 100] * 1000}})
    assert (reply["ok"], reply["error"]["code"]) == (False, "TOO_LARGE")
    until(lambda: "was shortened" in narrow[0].uplink.state.reason, "the finding")


def test_a_refusal_with_thousands_of_faults_is_shortened(narrow: Narrow) -> None:
    why = "\n".join(f"delivery.unknown_{n}: expected a key of delivery" for n in range(2500))
    reply = answer_of(narrow, {"ok": False, "error": {"code": "INVALID", "message": why}})
    assert reply["error"]["code"] == "INVALID"
    assert why.startswith(reply["error"]["message"])


@pytest.mark.parametrize(
    ("topic", "correlation"), [(f"{ROOT}/answers", b"x" * 60_000), (f"{ROOT}/" + "y" * 900, b"x" * 16_000)]
)
def test_an_answer_that_does_not_fit_with_what_it_was_asked_with_comes_on_replies(
    narrow: Narrow, topic: str, correlation: bytes
) -> None:
    unit, _, _ = narrow
    unit.start()
    on = "/replies" if unit.uplink.state.protocol == "5" else topic
    assert answer_of(narrow, {"ok": True, "result": {}}, asked(topic, correlation), on)["command_id"] == "C1"


def test_a_status_of_many_parts_with_long_reasons_is_shortened(narrow: Narrow) -> None:
    unit, subscriber, _ = narrow
    parts = {
        f"scanner-{n}": {"state": "faulty", "reason": "ü" * 1000, "since": "2026-11-21T09:00:00.000Z"}
        for n in range(60)
    }
    unit.uplink.set_status(parts)
    unit.start()
    said = json.loads(until(lambda: subscriber.on("/status"), "the status", lambda: unit.uplink.state)[0].payload)
    UPWARD["status"].validate_python(said)
    assert said["state"] == "online"
    assert said["parts"].keys() == parts.keys()
    until(lambda: "the status is shortened" in unit.uplink.state.reason, "the finding")


@pytest.mark.parametrize("count", [2, 20, 2000])
def test_a_status_says_online_however_many_parts_there_are(narrow: Narrow, count: int) -> None:
    unit, subscriber, _ = narrow
    unit.uplink.set_status({"p" * 100 + str(n): {"state": "faulty", "reason": "r" * 8000} for n in range(count)})
    unit.start()
    said = until(lambda: subscriber.on("/status"), "the status", lambda: unit.uplink.state)[0].payload
    assert json.loads(said)["state"] == "online"


def test_samples_are_split_into_messages_that_fit_and_none_is_lost(narrow: Narrow) -> None:
    unit, subscriber, _ = narrow
    for n in range(400):
        unit.journal.sample("position", {"n": n, "text": "x" * 150})
        unit.journal.sample("health", {"n": n})
    unit.start()
    until(lambda: unit.journal.status()["backlog"]["telemetry"] == 0, "nothing to be left", lambda: unit.uplink.state)
    until(lambda: len(subscriber.on("/telemetry/health")) >= 1, "the other stream")
    heard = [json.loads(message.payload) for message in subscriber.on("/telemetry/")]
    for stream in ("position", "health"):
        own = [each for each in heard if each["type"] == f"org.kerbside.telemetry.{stream}.v1"]
        assert {sample["n"] for each in own for sample in each["data"]["samples"]} == {*range(400)}
    numbers = sorted(int(each["sequence"]) for each in heard)
    assert numbers == [*range(1, len(numbers) + 1)], "a gap would be a loss"


def test_a_sample_that_fits_nowhere_is_dropped_and_counted_and_holds_no_other_up(narrow: Narrow) -> None:
    unit, subscriber, _ = narrow
    for text in ("small", "x" * 40_000, "small again"):
        unit.journal.sample("health", {"text": text})
    unit.start()
    until(lambda: unit.journal.status()["backlog"]["telemetry"] == 0, "nothing to be left", lambda: unit.uplink.state)
    heard = [json.loads(message.payload)["data"]["samples"] for message in subscriber.on("/telemetry/")]
    assert [sample["text"] for samples in heard for sample in samples] == ["small", "small again"]
    assert unit.journal.status()["dropped"] == 1


def test_an_event_that_fits_nowhere_is_set_aside_with_its_name_and_the_others_arrive(narrow: Narrow) -> None:
    unit, subscriber, _ = narrow
    unit.start()
    unit.write(2)
    large = unit.write(1, "note.taken", text="x" * 40_000)[0]
    unit.write(2)
    until(lambda: len(subscriber.on("/events/")) == 4, "the others")
    until(
        lambda: f"event {large.sequence} (note.taken" in unit.uplink.state.reason, "its name", lambda: unit.uplink.state
    )
    assert unit.journal.confirmed == 2
    until(lambda: unit.journal.status()["set_aside"] == 1, "it to be set aside")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_connects_a_unit_is_small_whatever_its_parts_say(gate: Gate, vehicle: Make, protocol: str) -> None:
    unit = vehicle(gate.url, protocol=protocol)
    unit.uplink.set_status({f"part-{n}": {"state": "faulty", "reason": "r" * 1000} for n in range(1000)})
    unit.start()
    (connect,) = [packet for packet in gate.seen if packet.type == CONNECT]
    assert len(connect.raw) < 1024


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_packet_is_measured_to_the_byte(gate: Gate, vehicle: Make, protocol: Protocol) -> None:
    unit = vehicle(gate.url, protocol=protocol, max_packet_bytes=4_000_000).start()
    measure = Connection(BrokerSettings(), "c", protocol, Will("w", b""), 1)
    expected = []
    for size in (0, 1, 60, 127, 128, 200, 16_300, 16_383, 16_500, 2_097_000, 2_097_152, 2_097_300):
        for topic, correlation in (("a", b""), (f"{ROOT}/ü/{size}", b"c" * 200), ("t" * 300, b"c" * 20_000)):
            described = Properties(PacketTypes.PUBLISH)
            described.ContentType, described.CorrelationData = "application/json", correlation
            unit.uplink.reply({"": "x" * size}, asked(topic, correlation))
            expected.append(measure.packet_bytes(topic, json.dumps({"": "x" * size}).encode(), described))
    until(lambda: len(gate.published("")) >= len(expected) + 1, "every packet", lambda: len(gate.published("")))
    assert [len(packet.raw) for packet in gate.published("") if not packet.topic.endswith("/status")] == expected
