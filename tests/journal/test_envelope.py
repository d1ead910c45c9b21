"""The envelope and its chain."""

from __future__ import annotations

import json
import uuid
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.decision import Event
from agent.delivery.model.inputs import InboxMessage, Moment
from agent.journal.entries import JournalError
from agent.journal.envelope import Chain, chained, parse, telemetry, trusted_time
from contract.canonical import GENESIS
from tests.journal.writing import BOOT, SOURCE, at, message

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
moments = st.builds(
    Moment,
    wall_ms=st.integers(0, 4_000_000_000_000),
    uptime_ms=st.integers(0, 2**50),
    boot_id=texts,
    trust=st.sampled_from(["gps", "ntp", "rtc", "unsynced"]),
)


@given(
    data=st.dictionaries(texts, json_values, max_size=5),
    subject=texts,
    source=texts,
    moment=moments,
    sequence=st.integers(0, 2**40),
)
def test_the_stored_bytes_are_canonical_json_and_the_hash_covers_all_but_itself(
    data: dict[str, Any], subject: str, source: str, moment: Moment, sequence: int
) -> None:
    chain = Chain(source, sequence, "ab" * 32)
    entry = chain.add("parcel.loaded", subject, data, moment)

    # JSON knows one kind of number: a large one without a fraction would otherwise come back as an integer.
    event = json.loads(entry.payload, parse_int=float)
    assert rfc8785.dumps(event) == entry.payload
    claimed = event.pop("hash")
    assert sha256(rfc8785.dumps(event)).hexdigest() == claimed == chain.last_hash
    assert (event["source"], event["subject"], event["previoushash"]) == (source, subject, "ab" * 32)
    assert (event["bootid"], event["uptimems"]) == (moment.boot_id, str(moment.uptime_ms))
    assert (event["clocktrust"], event["time"]) == (moment.trust, moment.time)
    assert rfc8785.dumps(event["data"]) == rfc8785.dumps(data)
    assert chained(entry.payload) == (sequence + 1, entry.id, "parcel.loaded", "ab" * 32, claimed)


def test_the_envelope_has_the_attributes_of_the_contract_and_no_others() -> None:
    entry = Chain(SOURCE, 0, GENESIS).add("parcel.delivered", "parcel/P1", {"block_id": "B7"}, at())

    event = json.loads(entry.payload)
    assert event == {
        "specversion": "1.0",
        "id": entry.id,
        "source": SOURCE,
        "type": "org.kerbside.parcel.delivered.v1",
        "subject": "parcel/P1",
        "time": "2026-11-18T11:06:40.000Z",
        "sequence": "00000000000000000001",
        "lane": "events",
        "bootid": BOOT,
        "uptimems": "0",
        "clocktrust": "gps",
        "previoushash": "0" * 64,
        "hash": event["hash"],
        "data": {"block_id": "B7"},
    }


def test_each_event_carries_the_next_number_and_the_hash_of_the_one_before() -> None:
    chain = Chain(SOURCE, 41, "cd" * 32)
    links = [chained(chain.add("stop.arrived", "stop/T1", {}, at()).payload) for _ in range(5)]

    assert [each.sequence for each in links] == [42, 43, 44, 45, 46]
    assert [each.previous_hash for each in links] == ["cd" * 32, *(each.hash for each in links[:-1])]


def test_ids_are_uuids_of_version_7_that_carry_the_time() -> None:
    chain = Chain(SOURCE, 0, GENESIS)
    ids = [uuid.UUID(chain.add("unit.started", "unit", {}, at()).id) for _ in range(500)]

    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert {each.int >> 80 for each in ids} == {at().wall_ms}
    assert len(set(ids)) == 500


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**60, {1: "x"}, {"a", "b"}, b"bytes", object(), "lone \ud800 surrogate"],
    ids=["nan", "infinity", "large integer", "number as key", "set", "bytes", "object", "surrogate"],
)
def test_data_that_is_not_json_is_refused_with_the_type_and_the_chain_stays(value: Any) -> None:
    chain = Chain(SOURCE, 7, "ab" * 32)
    with pytest.raises(JournalError, match=r"event parcel\.loaded: its data cannot be written as JSON"):
        chain.add("parcel.loaded", "parcel/P1", {"value": value}, at())
    assert (chain.sequence, chain.last_hash) == (7, "ab" * 32)


def test_data_that_contains_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    with pytest.raises(JournalError, match=r"parcel\.loaded"):
        Chain(SOURCE, 0, GENESIS).add("parcel.loaded", "parcel/P1", data, at())


@pytest.mark.parametrize("type_", ["loaded", "parcel.loaded.v1", "Parcel.Loaded", "parcel.", 'parcel."x'])
def test_a_type_that_is_not_entity_and_verb_is_refused(type_: str) -> None:
    with pytest.raises(JournalError, match=r"expected entity\.verb"):
        Chain(SOURCE, 0, GENESIS).add(type_, "unit", {}, at())


@given(data=st.data())
def test_an_event_with_a_changed_byte_is_recognised(data: st.DataObject) -> None:
    entry = Chain(SOURCE, 0, GENESIS).add("parcel.loaded", "parcel/P1", {"block_id": "B7"}, at())
    place = data.draw(st.integers(0, len(entry.payload) - 1))
    changed = bytearray(entry.payload)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(JournalError):
        chained(bytes(changed))


def test_members_of_the_data_are_never_taken_for_those_of_the_envelope() -> None:
    decoy = {"hash": "0" * 64, "id": "x", "lane": "events", "type": "org.kerbside.a.b.v1", "time": "never"}
    text = ',"hash":"' + "0" * 64 + '","id":"'
    chain = Chain(SOURCE, 0, GENESIS)
    entry = chain.add("parcel.loaded", f'"type":"{text}', {**decoy, "text": text, "inner": decoy}, at())

    found = chained(entry.payload)
    assert (found.id, found.type, found.hash) == (entry.id, "parcel.loaded", chain.last_hash)
    assert trusted_time(entry.payload) == at().time


def test_an_unsynced_clock_gives_no_trusted_time() -> None:
    entry = Chain(SOURCE, 0, GENESIS).add("parcel.loaded", "parcel/P1", {}, at(trust="unsynced"))
    assert trusted_time(entry.payload) is None


def test_entries_come_back_in_the_words_of_the_core() -> None:
    entry = Chain(SOURCE, 0, GENESIS).add("parcel.loaded", "parcel/P1", {"block_id": "B7"}, at())

    assert parse(entry) == Event("parcel.loaded", "parcel/P1", {"block_id": "B7"}, at().time)
    assert parse(message("m1", b'{"block_id": "B7"}')) == InboxMessage(
        "m1", "block", "block.assigned", {"block_id": "B7"}
    )


def test_telemetry_has_its_own_lane_and_no_chain() -> None:
    event = json.loads(telemetry(SOURCE, 3, "position", [{"latitude": 52.1}], at()))

    assert event["lane"] == "telemetry"
    assert event["sequence"] == "00000000000000000003"
    assert event["type"] == "org.kerbside.telemetry.position.v1"
    assert event["data"] == {"samples": [{"latitude": 52.1}]}
    assert "hash" not in event
    assert "previoushash" not in event
