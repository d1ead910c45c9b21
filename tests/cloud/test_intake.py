"""What comes below a unit's topic is that unit's, and fulfils the contract, or is not taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.inputs import Moment
from agent.journal.envelope import Chain, telemetry
from cloud.intake import EXCERPT_BYTES, MAX_MESSAGE_BYTES, Intake, Message, Unreadable
from contract.canonical import GENESIS
from tests.contract.test_strict_json import JSON

INTAKE = Intake("kerbside")
MOMENT = Moment(1, 2, "boot", "ntp")
TOPIC = "kerbside/fleet/u1/events/parcel/loaded"
TELEMETRY_TOPIC = "kerbside/fleet/u1/telemetry/position"


def event(**changes: Any) -> bytes:
    """An event as a unit writes it, then changed; ``...`` takes a member out."""
    entry = Chain("/fleet/u1", 0, GENESIS).add("parcel.loaded", "parcel/P1", {"n": 1}, MOMENT)
    changed = {**json.loads(entry.payload), **changes}
    return json.dumps({name: value for name, value in changed.items() if value is not ...}).encode()


def test_an_event_of_the_topics_unit_is_read() -> None:
    message = INTAKE.read(TOPIC, event())
    assert isinstance(message, Message)
    assert (message.unit, message.lane, message.sequence, message.type) == ("/fleet/u1", "events", 1, "parcel.loaded")
    assert message.sound


def test_telemetry_of_the_topics_unit_is_read() -> None:
    payload = telemetry("/fleet/u1", 7, "position", [{"latitude": 52.0}], MOMENT)
    message = INTAKE.read(TELEMETRY_TOPIC, payload)
    assert isinstance(message, Message)
    assert (message.unit, message.lane, message.sequence) == ("/fleet/u1", "telemetry", 7)


def test_a_topic_root_may_have_several_levels() -> None:
    assert isinstance(Intake("a/b").read(TOPIC.replace("kerbside", "a/b"), event()), Message)
    assert isinstance(Intake("a/b").read(TOPIC, event()), Unreadable)


@pytest.mark.parametrize(
    "source",
    [
        "/fleet/u2",
        "/other/u1",
        "/fleet/u1/",
        "/fleet/u1/x",
        "fleet/u1",
        "//u1",
        "/fleet/",
        "/fleet/U1",
        "/fleet/u1\n",
        "/fleet/+",
        "/+/u1",
        "/fleet/#",
        "/fleet/u\x001",
        "",
    ],
)
def test_who_names_another_unit_than_its_topic_is_not_believed(source: str) -> None:
    answer = INTAKE.read(TOPIC, event(source=source))
    assert isinstance(answer, Unreadable)
    assert answer.reason.startswith("source: expected")


@pytest.mark.parametrize(
    "topic",
    [
        "kerbside/fleet/u2/events/parcel/loaded",
        "kerbside/fleet/u1/telemetry/position",
        "kerbside/fleet/u1/status",
        "kerbside/fleet/u1/replies",
        "kerbside/fleet/u1/media/00/manifest",
        "kerbside/fleet/u1/inbox/command",
        "kerbside/fleet//events/parcel/loaded",
        "kerbside/fleet/u1",
        "kerbside",
        "other/fleet/u1/events/parcel/loaded",
        "",
    ],
)
def test_an_event_on_another_topic_is_none(topic: str) -> None:
    assert isinstance(INTAKE.read(topic, event()), Unreadable)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sequence": "9" * 20}, "sequence"),
        ({"sequence": "0" * 4 + "1" * 16}, "sequence"),
        ({"sequence": 1}, "sequence"),
        ({"sequence": "-" + "1" * 19}, "sequence"),
        ({"sequence": "\u0660" * 20}, "sequence"),
        ({"subject": ...}, "subject"),
        ({"subject": None}, "subject"),
        ({"data": [1]}, "data"),
        ({"data": None}, "data"),
        ({"data": ...}, "data"),
        ({"id": {"a": 1}}, "id"),
        ({"id": "x"}, "id"),
        ({"type": None}, "type"),
        ({"type": "org.kerbside.parcel.v1"}, "type"),
        ({"lane": "telemetry"}, "lane"),
        ({"previoushash": {}}, "previoushash"),
        ({"hash": ...}, "hash"),
        ({"time": "yesterday"}, "time"),
        ({"specversion": "2.0"}, "specversion"),
        ({"clocktrust": "sundial"}, "clocktrust"),
    ],
)
def test_what_does_not_fulfil_the_contract_is_not_taken_and_its_fault_is_named(
    changes: dict[str, Any], path: str
) -> None:
    answer = INTAKE.read(TOPIC, event(**changes))
    assert isinstance(answer, Unreadable)
    assert answer.reason.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe" * 50,
        event().decode().encode("utf-16"),
        event().decode().encode("utf-8-sig"),
        event(data={"n": float("nan")}),
        event().replace(b'"n": 1', b'"n": 1e999'),
        event().replace(b'"n": 1', b'"n": 9007199254740993'),
        event().replace(b'"n": 1', b'"n": ' + b"9" * 10_000),
        event().replace(b'"n": 1', b'"n": 1, "n": 1'),
        event().replace(b'"n": 1', b'"n": "\\ud800"'),
        event().replace(b'"n": 1', b'"n": ' + b"[" * 100_000),
        event().replace(b'"n": 1', b'"n": ' + b"[" * 80 + b"]" * 80),
        event(data={"n": "x" * MAX_MESSAGE_BYTES}),
    ],
)
def test_bytes_that_not_every_reader_understands_alike_are_not_taken(payload: bytes) -> None:
    answer = INTAKE.read(TOPIC, payload)
    assert isinstance(answer, Unreadable)
    assert answer.size == len(payload)
    assert answer.excerpt == payload[:EXCERPT_BYTES]


@pytest.mark.parametrize("number", [1e16, 2.0**53, -(2.0**60), 1.2345678901234568e20, 1e21, 5e-324])
def test_a_number_that_only_a_float_can_hold_has_the_hash_that_the_unit_gave_it(number: float) -> None:
    entry = Chain("/fleet/u1", 0, GENESIS).add("parcel.loaded", "unit", {"n": number}, MOMENT)
    message = INTAKE.read(TOPIC, entry.payload)
    assert isinstance(message, Message)
    assert message.sound


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=6))
def test_whatever_a_unit_writes_is_read(data: dict[str, Any]) -> None:
    entry = Chain("/fleet/u1", 0, GENESIS).add("parcel.loaded", "parcel/P1", data, MOMENT)
    message = INTAKE.read(TOPIC, entry.payload)
    assert isinstance(message, Message)
    assert (message.sound, message.hash) == (True, json.loads(entry.payload)["hash"])


@given(st.text(max_size=60), st.binary(max_size=60) | JSON.map(rfc8785.dumps))
def test_whatever_comes_nothing_is_raised(topic: str, payload: bytes) -> None:
    assert isinstance(INTAKE.read(topic, payload), Unreadable)
    assert isinstance(INTAKE.read(TOPIC, payload), Unreadable)


@pytest.mark.parametrize("broken", [lambda payload: payload[:-1], lambda payload: payload.replace(b"P1", b"P2")])
def test_what_was_altered_on_its_way_is_not_sound(broken: Callable[[bytes], bytes]) -> None:
    answer = INTAKE.read(TOPIC, broken(event()))
    assert isinstance(answer, Unreadable) or not answer.sound
