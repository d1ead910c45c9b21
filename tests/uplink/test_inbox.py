"""Messages of the cloud: what is taken, what is refused and where its fault is, and what happens to secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.inputs import InboxMessage, InvalidMessage
from agent.delivery.model.reading import read_manifest
from agent.identity.seal import Sealer
from agent.uplink.inbox import InboxReader, Incoming, Token, parse
from contract.vocabulary import INBOX, MAX_MESSAGE_BYTES
from tests.contract.examples import EXAMPLES, KEY, block, large_block, message

LIMIT = 131_072


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path, {})


def refused(kind: str, payload: bytes) -> InvalidMessage:
    answer = parse(kind, payload, max_bytes=LIMIT)
    assert isinstance(answer, InvalidMessage), answer
    return answer


def taken(kind: str, payload: bytes) -> InboxMessage:
    answer = parse(kind, payload, max_bytes=LIMIT)
    assert isinstance(answer, InboxMessage), answer
    return answer


@pytest.mark.parametrize("type_", EXAMPLES)
def test_every_message_of_the_contract_is_taken_as_it_is(type_: str) -> None:
    kind, data = EXAMPLES[type_]
    given = taken(kind, message(type_, data))
    assert (given.message_id, given.kind, given.type, given.data) == ("M-1", kind, type_, data)


@pytest.mark.parametrize("type_", [name for name in EXAMPLES if name != "settings.changed"])
def test_members_that_are_not_known_are_tolerated_and_go_no_further(type_: str) -> None:
    def more(node: Any) -> Any:
        if isinstance(node, list):
            return [more(each) for each in node]
        return {name: more(each) for name, each in node.items()} | {"later": "x"} if isinstance(node, dict) else node

    kind, data = EXAMPLES[type_]
    data = {name: each if name == "content" else more(each) for name, each in data.items()}
    assert taken(kind, message(type_, {**data, "later": {"more": 1}})).data == EXAMPLES[type_][1]


@pytest.mark.parametrize("type_", [name for name in EXAMPLES if name != "settings.changed"])
def test_every_message_without_its_data_names_what_must_be_there(type_: str) -> None:
    kind, _ = EXAMPLES[type_]
    answer = refused(kind, message(type_, {}))
    assert (answer.reason, answer.message_id) == ("INVALID", "M-1")
    assert answer.path
    assert answer.expected == "it must be there"


def test_a_block_with_one_pickup_stop_need_not_say_where_its_parcels_come_from() -> None:
    data = block()
    del data["parcels"][0]["pickup_stop_id"]
    assert taken("block", message("block.assigned", data)).data["parcels"][0]["pickup_stop_id"] == "T0"
    data["stops"].append({"stop_id": "T5", "kind": "pickup", "site_id": "S1", "sequence": 5})
    assert refused("block", message("block.assigned", data)).path == "parcels[0].pickup_stop_id"


def test_a_block_of_three_hundred_parcels_is_taken() -> None:
    data = block()
    parcel = data["parcels"][0]
    data["parcels"] = [{**parcel, "parcel_id": f"P{n}", "tracking_number": f"N{n}"} for n in range(300)]
    given = parse("block", message("block.assigned", data), max_bytes=1 << 20)
    assert isinstance(given, InboxMessage)


def test_sequence_numbers_may_be_given_as_the_envelope_writes_them() -> None:
    data = {"command_id": "C1", "command": "high_water", "sequence": f"{42:020d}"}
    assert taken("command", message("command.requested", data)).data["sequence"] == 42


def test_a_command_that_is_not_known_is_for_the_unit_to_answer() -> None:
    assert taken("command", message("command.requested", {"command_id": "C1", "command": "dance"}))


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"id": ...}, "INVALID", "id"),
        ({"id": ""}, "INVALID", "id"),
        ({"id": 7}, "INVALID", "id"),
        ({"id": "a\nb"}, "INVALID", "id"),
        ({"specversion": "0.3"}, "INVALID", "specversion"),
        ({"source": None}, "INVALID", "source"),
        ({"type": ...}, "INVALID", "type"),
        ({"type": "org.kerbside.offer.made.v1"}, "UNKNOWN_TYPE", "type"),
        ({"type": "org.kerbside.block.assigned.v2"}, "UNKNOWN_TYPE", "type"),
        ({"data": ...}, "INVALID", "data"),
        ({"data": []}, "INVALID", "data"),
    ],
)
def test_a_fault_in_the_envelope_is_named(changes: dict[str, Any], reason: str, path: str) -> None:
    answer = refused("block", message("block.assigned", block(), **changes))
    assert (answer.reason, answer.path) == (reason, path)
    assert answer.message_id == (None if path == "id" else "M-1")


def test_a_kind_that_is_not_known_is_refused_by_its_name() -> None:
    assert refused("weather", message("block.assigned", block())).reason == "UNKNOWN_KIND"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"id": "M-1", "a": NaN}', "expected JSON, which does not know NaN"),
        (b'{"specversion": "1.0", "data": {"id": "no"}, "id" : "M-1", "a": [', None),
        (b'{"a": "\\"id\\": 1", "id": "M-1", "b": "\xff"}', "expected UTF-8, which byte 38 is not"),
        (b'{"id": "M-1", "a": ' + b"[" * 100 + b"]" * 100 + b"}", "expected at most 64 levels of nesting"),
    ],
)
def test_a_message_that_does_not_parse_as_a_whole_is_refused_by_its_id(payload: bytes, expected: str | None) -> None:
    answer = refused("block", payload)
    assert (answer.reason, answer.message_id) == ("INVALID_JSON", "M-1")
    assert expected in (None, answer.expected)


@pytest.mark.parametrize(
    "payload",
    [b'{"id": 7, "x": "M-1", NaN}', b'{"data": {"id": "M-1"}, NaN}', b'{"id": "\\u0007", NaN}', b'"id', b"\xff"],
)
def test_an_id_that_is_none_is_not_answered(payload: bytes) -> None:
    assert refused("block", payload).message_id is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037"])
def test_a_message_in_another_encoding_than_utf_8_is_refused(encoding: str) -> None:
    assert refused("block", message("block.assigned", block()).decode().encode(encoding)).reason == "INVALID_JSON"


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b'"text"'])
def test_json_that_is_no_object_is_refused(payload: bytes) -> None:
    assert refused("block", payload).reason == "INVALID"


def test_a_message_that_is_too_large_is_not_even_parsed() -> None:
    answer = parse("block", b"[" * 1001, max_bytes=1000)
    assert isinstance(answer, InvalidMessage)
    assert answer.reason == "TOO_LARGE"


LARGE = "x" * 2000


@pytest.mark.parametrize(
    ("payload", "message_id"),
    [
        (json.dumps({"id": "M-1", "data": {"id": "other", "text": LARGE}}), "M-1"),
        (json.dumps({"data": {"id": "other", "text": LARGE}, "id": "M-1"}), "M-1"),
        (json.dumps({"data": [LARGE, {"id": "{["}, '"id": "}'], "id": "M \\ \u00e9 1"}), "M \\ \u00e9 1"),
        ('{"id" :\n"M-1", "data": [' + "[" * 2000, "M-1"),
        (json.dumps({"id": "M-1"})[:-1] + ', "id": "M-2", "a": "' + LARGE + '"}', None),
        (json.dumps({"id": 7, "data": LARGE}), None),
        (json.dumps({"data": {"id": "inner"}, "text": LARGE}), None),
        (json.dumps([{"id": "M-1"}, LARGE]), None),
        (json.dumps({"id": LARGE}), None),
        (json.dumps({"id": "a\nb", "data": LARGE}), None),
        (json.dumps({"id": "M-1", "data": LARGE}).encode("utf-16").decode("latin-1"), None),
    ],
)
def test_a_message_that_is_too_large_is_refused_by_its_id_wherever_that_stands(
    payload: str, message_id: str | None
) -> None:
    answer = parse("block", payload.encode("latin-1"), max_bytes=1000)
    assert isinstance(answer, InvalidMessage)
    assert (answer.reason, answer.message_id) == ("TOO_LARGE", message_id)


@given(st.binary(max_size=300))
def test_looking_for_the_id_of_a_message_raises_nothing(payload: bytes) -> None:
    assert parse("block", b'{"id": "' + payload, max_bytes=0)


def test_a_message_whose_secrets_cannot_be_sealed_is_refused_by_its_id_and_holds_nobody_up(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    scope = Sealer(other, {}).scope("block/B7")
    incoming = InboxReader(Sealer(tmp_path, scope.keys)).read("block", message("block.assigned", block()), Token(1, 1))
    assert isinstance(incoming.message, InvalidMessage)
    assert (incoming.message.reason, incoming.message.message_id) == ("NOT_TAKEN", "M-1")
    assert (incoming.body, incoming.keys) == (b"", {})


def test_a_block_of_three_hundred_stops_with_its_travel_times_is_taken(sealer: Sealer) -> None:
    data = large_block(300)
    data["travel"] = {"stop_ids": [f"T{n}" for n in range(300)], "seconds": [[3600.5] * 300 for _ in range(300)]}
    payload = message("block.assigned", data)
    assert 512 * 1024 < len(payload) < MAX_MESSAGE_BYTES
    assert isinstance(InboxReader(sealer).read("block", payload, Token(1, 1)).message, InboxMessage)


def test_a_block_of_eight_hundred_parcels_with_everything_is_taken(sealer: Sealer) -> None:
    payload = message("block.assigned", large_block(800))
    assert isinstance(InboxReader(sealer).read("block", payload, Token(1, 1)).message, InboxMessage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from([*INBOX, "other"]), st.binary(max_size=300))
def test_no_bytes_make_it_raise(kind: str, payload: bytes) -> None:
    assert isinstance(parse(kind, payload, max_bytes=LIMIT), InvalidMessage)


@given(st.data())
def test_no_json_in_place_of_a_members_value_makes_it_raise(data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from([*EXAMPLES]))
    kind, example = EXAMPLES[type_]
    changed = json.loads(json.dumps(example))
    holder: Any = changed
    while True:
        keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(holder[key], (dict, list)) or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(JSON)
    answer = parse(kind, message(type_, changed), max_bytes=LIMIT)
    assert isinstance(answer, InboxMessage) or answer.expected


# ------------------------------------------------------------------------------------------------ secrets


def read(sealer: Sealer, kind: str, payload: bytes) -> Incoming:
    return InboxReader(sealer, LIMIT).read(kind, payload, Token(1, 1))


def test_the_secrets_of_a_block_are_sealed_under_its_own_scope(sealer: Sealer) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    assert isinstance(incoming.message, InboxMessage)
    data = incoming.message.data
    stop = next(stop for stop in data["stops"] if stop.get("recipient"))
    sealed = [data["otp_key"], data["parcels"][0]["instruction"]["access_codes"], stop["recipient"]]
    assert [sealer.open("block/B7", token) for token in sealed] == [
        KEY,
        ["#1234", "B 77"],
        {"name": "somebody", "phone": "+31 30 000 00 00"},
    ]
    assert not any(secret in incoming.body.decode() for secret in (KEY, "#1234", "somebody", "+31 30"))
    assert data["parcels"][0]["requirements"]["otp_hmac"] == "0" * 64
    assert json.loads(incoming.body) == data, "what is stored is what is decided on"


@pytest.mark.parametrize("type_", ["block.assigned", "block.revised"])
def test_the_loop_need_not_read_a_block_and_what_it_gets_is_what_is_stored(sealer: Sealer, type_: str) -> None:
    kind, data = EXAMPLES[type_]
    incoming = InboxReader(sealer).read(kind, message(type_, data), Token(0, 0))
    assert isinstance(incoming.message, InboxMessage)
    assert "manifest" in vars(incoming.message), "it is read only when it is asked for"
    assert incoming.message.manifest == read_manifest(json.loads(incoming.body))


def test_the_key_that_opens_the_secrets_of_a_message_comes_with_it(sealer: Sealer, tmp_path: Path) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    sealer.reload({})
    later = Sealer(tmp_path, incoming.keys)
    assert later.open("block/B7", json.loads(incoming.body)["otp_key"]) == KEY


def test_a_message_whose_key_has_gone_meanwhile_is_sealed_anew_before_it_is_written(sealer: Sealer) -> None:
    reader = InboxReader(sealer, LIMIT)
    incoming = reader.read("block", message("block.assigned", block()), Token(3, 9), "answers/7", b"seven")
    assert reader.current(incoming) is incoming
    sealer.reload({})
    again = reader.current(incoming)
    assert (again.token, again.response_topic, again.correlation_data) == (Token(3, 9), "answers/7", b"seven")
    assert again.keys != incoming.keys
    assert sealer.holds(again.keys)
    assert sealer.open("block/B7", json.loads(again.body)["otp_key"]) == KEY


def test_the_rosters_key_is_sealed_under_the_roster(sealer: Sealer) -> None:
    kind, roster = EXAMPLES["roster.replaced"]
    incoming = read(sealer, kind, message("roster.replaced", roster))
    assert {*incoming.keys} == {"roster"}
    assert sealer.open("roster", json.loads(incoming.body)["key"]) == KEY


def test_a_message_without_secrets_is_kept_as_it_is_and_makes_no_key(sealer: Sealer) -> None:
    incoming = read(sealer, "earnings", message("earnings.stated", EXAMPLES["earnings.stated"][1]))
    assert json.loads(incoming.body) == EXAMPLES["earnings.stated"][1]
    assert incoming.keys == {}


def test_neither_the_representation_nor_a_refusal_repeats_a_secret(sealer: Sealer) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    assert "#1234" not in repr(incoming)
    assert KEY not in repr(taken("block", message("block.assigned", block())))
    answer = refused("block", message("block.assigned", block(otp_key="a-secret-of-the-wrong-form")))
    assert "a-secret" not in repr(answer)
    answer = refused("roster", message("roster.replaced", {"key": KEY, "drivers": KEY}))
    assert KEY not in repr(answer)
