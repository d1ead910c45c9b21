"""Messages of the cloud: what is taken, what is refused and where its fault is, and what happens to secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.inputs import InboxMessage, InvalidMessage
from agent.identity.seal import Sealer
from agent.uplink import messages
from agent.uplink.inbox import InboxReader, Incoming, Token, parse

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
LIMIT = 131_072


def block(**changes: Any) -> dict[str, Any]:
    return {
        "block_id": "B7",
        "kind": "station",
        "starts_at": "2026-11-21T09:00:00Z",
        "ends_at": "2026-11-21T13:00:00Z",
        "timezone": "Europe/Amsterdam",
        "driver_id": "D1",
        "manifest_version": 1,
        "pay": {"amount": "84.00", "currency": "EUR"},
        "otp_key": KEY,
        "service_radius_m": None,
        "fallback_site_id": None,
        "vehicle": {"max_weight_g": 400000, "max_volume_l": 2500},
        "travel": {"stop_ids": ["T0", "T1"], "seconds": [[0, 300], [310, 0]]},
        "elsewhere": [{"tracking_number": "TBA300000000099", "unit": "u2"}],
        "sites": [
            {
                "site_id": "S1",
                "name": "Station DUT2",
                "kind": "station",
                "location": {"latitude": 52.09, "longitude": 5.12},
                "radius_m": 150,
                "pickup_points": [
                    {"point_id": "G4", "name": "Lane 4", "floor": None, "code": None, "ready": True, "hours": None}
                ],
            }
        ],
        "stops": [
            {"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0},
            {
                "stop_id": "T1",
                "kind": "delivery",
                "sequence": 1,
                "service_s": 90,
                "zone": "A-2.1A",
                "priority": 0,
                "address": {"line1": "Oudegracht 12", "house_number": "12", "city": "Utrecht", "country": "NL"},
                "location": {"latitude": 52.0907, "longitude": 5.1214},
                "window": {"from": "2026-11-21T10:00:00Z", "to": "2026-11-21T11:00:00Z"},
                "recipient": {"name": "somebody", "phone": "+31 30 000 00 00"},
            },
        ],
        "parcels": [
            {
                "parcel_id": "P1",
                "tracking_number": "TBA123456789012",
                "aliases": ["00340434161094042557"],
                "pickup_stop_id": "T0",
                "point_id": "G4",
                "stop_id": "T1",
                "return_to": "S1",
                "merchant_id": None,
                "state": None,
                "section": "2",
                "weight_g": 900,
                "size": {"length_mm": 300, "width_mm": 200, "height_mm": 120},
                "requirements": {"photo": True, "signature": False, "otp_hmac": "0" * 64, "minimum_age": None},
                "instruction": {
                    "kind": "front_door",
                    "text": "behind the planter",
                    "neighbour": None,
                    "access_codes": ["#1234", "B 77"],
                    "preferences": None,
                },
            }
        ],
        **changes,
    }


def message(type_: str, data: Any, /, **changes: Any) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": "M-1",
        "source": "/dispatch",
        "type": f"org.kerbside.{type_}.v1",
        "data": data,
        **changes,
    }
    return json.dumps({name: value for name, value in envelope.items() if value is not ...}).encode()


def refused(kind: str, payload: bytes) -> InvalidMessage:
    answer = parse(kind, payload, max_bytes=LIMIT)
    assert isinstance(answer, InvalidMessage), answer
    return answer


def taken(kind: str, payload: bytes) -> InboxMessage:
    answer = parse(kind, payload, max_bytes=LIMIT)
    assert isinstance(answer, InboxMessage), answer
    return answer


EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "offer.made": (
        "offer",
        {
            "offer_id": "O1",
            "block_id": "B7",
            "kind": "retail",
            "place": "Hoog Catharijne",
            "location": {"latitude": 52, "longitude": 5},
            "distance_m": 1200.5,
            "starts_at": "2026-11-21T09:00:00+01:00",
            "ends_at": "2026-11-21T13:00:00+01:00",
            "pay": {"amount": "84", "currency": "EUR"},
            "expires_at": "2026-11-21T08:00:00.5Z",
        },
    ),
    "offer.confirmed": ("offer", {"block_id": "B7"}),
    "offer.refused": ("offer", {"block_id": "B7", "reason": "TAKEN"}),
    "block.assigned": ("block", block()),
    "block.cancelled": ("block", {"block_id": "B7", "reason": "NO_ROUTE"}),
    "block.revised": ("revision", block(manifest_version=2)),
    "parcel.recalled": ("recall", {"parcel_ids": ["P1"], "reason": "SHIPPER"}),
    "roster.replaced": (
        "roster",
        {
            "key": KEY,
            "drivers": [
                {
                    "driver_id": "D1",
                    "name": "one",
                    "badge_hmac": "a" * 64,
                    "pin_hmac": "b" * 64,
                    "approved": True,
                    "reason": None,
                }
            ],
        },
    ),
    "advisory.issued": (
        "advisory",
        {
            "advisory_id": "A1",
            "format": "wzdx",
            "content": {"features": []},
            "valid_from": "2026-11-21T09:00:00Z",
            "valid_to": "2026-11-22T09:00:00Z",
        },
    ),
    "message.sent": ("message", {"message_id": "N1", "text": "Lane 5 today", "needs_ack": True}),
    "feedback.given": ("feedback", {"feedback_id": "F1", "parcel_id": "P1", "rating": 5, "text": "fine"}),
    "earnings.stated": ("earnings", {"block_id": "B7", "base": "84.00", "tips": "3.50", "currency": "EUR"}),
    "settings.changed": ("settings", {"delivery.photo_retakes": 1, "gps.stale_after_s": 4.5}),
    "command.requested": ("command", {"command_id": "C1", "command": "replay", "from_sequence": 3, "to_sequence": 9}),
}


@pytest.mark.parametrize("type_", EXAMPLES)
def test_every_message_of_the_contract_is_taken_as_it_is(type_: str) -> None:
    kind, data = EXAMPLES[type_]
    given = taken(kind, message(type_, data))
    assert (given.message_id, given.kind, given.type, given.data) == ("M-1", kind, type_, data)


@pytest.mark.parametrize("type_", [name for name in EXAMPLES if name != "settings.changed"])
def test_members_that_are_not_known_yet_are_kept(type_: str) -> None:
    kind, data = EXAMPLES[type_]
    assert taken(kind, message(type_, {**data, "later": {"more": 1}})).data["later"] == {"more": 1}


@pytest.mark.parametrize("type_", [name for name in EXAMPLES if name != "settings.changed"])
def test_every_message_without_its_data_names_what_must_be_there(type_: str) -> None:
    kind, _ = EXAMPLES[type_]
    answer = refused(kind, message(type_, {}))
    assert (answer.reason, answer.message_id) == ("INVALID", "M-1")
    assert answer.path
    assert answer.expected == "it must be there"


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one member by its path; ``...`` takes it away."""

    def change(data: dict[str, Any]) -> None:
        *way, last = [
            int(step) if step.isdigit() else step for step in path.replace("]", "").replace("[", ".").split(".")
        ]
        holder: Any = data
        for step in way:
            holder = holder[step]
        if value is ...:
            del holder[last]
        else:
            holder[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("parcels[0].stop_id", "T9", "parcels[0].stop_id"),
        ("parcels[0].stop_id", "T0", "parcels[0].stop_id"),
        ("parcels[0].stop_id", 5, "parcels[0].stop_id"),
        ("parcels[0].pickup_stop_id", "T1", "parcels[0].pickup_stop_id"),
        ("parcels[0].pickup_stop_id", "T9", "parcels[0].pickup_stop_id"),
        ("parcels[0].point_id", "G9", "parcels[0].point_id"),
        ("parcels[0].return_to", "S9", "parcels[0].return_to"),
        ("parcels[0].state", "FLYING", "parcels[0].state"),
        ("parcels[0].weight_g", -1, "parcels[0].weight_g"),
        ("parcels[0].requirements.otp_hmac", "xyz", "parcels[0].requirements.otp_hmac"),
        ("parcels[0].requirements.minimum_age", "18", "parcels[0].requirements.minimum_age"),
        ("parcels[0].instruction.kind", "roof", "parcels[0].instruction.kind"),
        ("parcels[0].instruction.access_codes", "#1", "parcels[0].instruction.access_codes"),
        ("stops[1].location.latitude", 91, "stops[1].location.latitude"),
        ("stops[1].location.longitude", -181, "stops[1].location.longitude"),
        ("stops[1].window.to", "2026-11-21T09:00:00Z", "stops[1].window.to"),
        ("stops[1].window.to", "soon", "stops[1].window.to"),
        ("stops[1].stop_id", "T0", "stops[1].stop_id"),
        ("stops[0].site_id", "S9", "stops[0].site_id"),
        ("stops[0].site_id", ..., "stops[0].site_id"),
        ("stops[0].kind", "lunch", "stops[0].kind"),
        ("travel.seconds[1]", [1], "travel.seconds[1]"),
        ("travel.stop_ids[0]", "T9", "travel.stop_ids[0]"),
        ("fallback_site_id", "S9", "fallback_site_id"),
        ("ends_at", "2026-11-21T08:00:00Z", "ends_at"),
        ("starts_at", "2026-11-21 09:00", "starts_at"),
        ("starts_at", "2026-11-21T09:00:00", "starts_at"),
        ("otp_key", "short", "otp_key"),
        ("otp_key", ..., "otp_key"),
        ("manifest_version", "1", "manifest_version"),
        ("manifest_version", True, "manifest_version"),
        ("pay.amount", 84.0, "pay.amount"),
        ("sites[0].site_id", "\u0007", "sites[0].site_id"),
        ("parcels[0].parcel_id", "x" * 129, "parcels[0].parcel_id"),
    ],
)
def test_a_fault_in_a_block_is_named_by_its_path(path: str, value: Any, fault: str) -> None:
    data = block()
    _set(path, value)(data)
    answer = refused("block", message("block.assigned", data))
    assert (answer.reason, answer.path) == ("INVALID", fault)
    assert answer.expected


def test_two_parcels_with_one_tracking_number_are_refused_at_the_second() -> None:
    data = block()
    data["parcels"].append({**data["parcels"][0], "parcel_id": "P2"})
    assert refused("block", message("block.assigned", data)).path == "parcels[1].tracking_number"


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


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"command_id": "C1", "command": "replay"}, "from_sequence"),
        ({"command_id": "C1", "command": "replay", "from_sequence": 9, "to_sequence": 3}, "to_sequence"),
        ({"command_id": "C1", "command": "replay", "from_sequence": -1}, "from_sequence"),
        ({"command_id": "C1", "command": "high_water"}, "sequence"),
        ({"command_id": "C1", "command": "high_water", "sequence": True}, "sequence"),
        ({"command_id": "C1", "command": "media_send", "sha256": "zz"}, "sha256"),
        ({"command": "diag"}, "command_id"),
    ],
)
def test_a_command_without_its_arguments_is_refused(data: dict[str, Any], path: str) -> None:
    assert refused("command", message("command.requested", data)).path == path


def test_sequence_numbers_may_be_given_as_the_envelope_writes_them() -> None:
    data = {"command_id": "C1", "command": "high_water", "sequence": f"{42:020d}"}
    assert taken("command", message("command.requested", data)).data["sequence"] == 42


def test_a_command_that_is_not_known_is_for_the_unit_to_answer() -> None:
    assert taken("command", message("command.requested", {"command_id": "C1", "command": "dance"}))


@pytest.mark.parametrize("name", ["journal.retain_days", "unit.id", "delivery", "delivery.", "broker.url"])
def test_settings_that_the_cloud_may_not_change_are_refused(name: str) -> None:
    assert refused("settings", message("settings.changed", {name: 1})).path == name


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
    "payload",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": 9007199254740993}',
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
    ],
)
def test_what_is_not_json_for_every_reader_is_refused(payload: bytes) -> None:
    answer = refused("block", payload)
    assert (answer.reason, answer.message_id) == ("INVALID_JSON", None)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b'"text"'])
def test_json_that_is_no_object_is_refused(payload: bytes) -> None:
    assert refused("block", payload).reason == "INVALID"


def test_a_message_that_is_too_large_is_not_even_parsed() -> None:
    answer = parse("block", b"[" * 1001, max_bytes=1000)
    assert isinstance(answer, InvalidMessage)
    assert answer.reason == "TOO_LARGE"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from([*messages.KINDS, "other"]), st.binary(max_size=300))
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


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path, {})


def read(sealer: Sealer, kind: str, payload: bytes) -> Incoming:
    return InboxReader(sealer, LIMIT).read(kind, payload, Token(1, 1))


def test_the_secrets_of_a_block_are_sealed_under_its_own_scope(sealer: Sealer) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    assert isinstance(incoming.message, InboxMessage)
    data = incoming.message.data
    stop = next(stop for stop in data["stops"] if stop.get("recipient"))
    sealed = [data["otp_key"], *data["parcels"][0]["instruction"]["access_codes"], *stop["recipient"].values()]
    assert [sealer.open("B7", token) for token in sealed] == [KEY, "#1234", "B 77", "somebody", "+31 30 000 00 00"]
    assert not any(secret in incoming.body.decode() for secret in (KEY, "#1234", "somebody", "+31 30"))
    assert data["parcels"][0]["requirements"]["otp_hmac"] == "0" * 64
    assert json.loads(incoming.body) == data, "what is stored is what is decided on"


def test_the_key_that_opens_the_secrets_of_a_message_comes_with_it(sealer: Sealer, tmp_path: Path) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    sealer.reload({})
    later = Sealer(tmp_path, incoming.keys)
    assert later.open("B7", json.loads(incoming.body)["otp_key"]) == KEY


def test_a_message_whose_key_has_gone_meanwhile_is_sealed_anew_before_it_is_written(sealer: Sealer) -> None:
    reader = InboxReader(sealer, LIMIT)
    incoming = reader.read("block", message("block.assigned", block()), Token(3, 9), "answers/7", b"seven")
    assert reader.current(incoming) is incoming
    sealer.reload({})
    again = reader.current(incoming)
    assert (again.token, again.response_topic, again.correlation_data) == (Token(3, 9), "answers/7", b"seven")
    assert again.keys != incoming.keys
    assert sealer.holds(again.keys)
    assert sealer.open("B7", json.loads(again.body)["otp_key"]) == KEY


def test_the_rosters_key_is_sealed_under_the_roster(sealer: Sealer) -> None:
    kind, roster = EXAMPLES["roster.replaced"]
    incoming = read(sealer, kind, message("roster.replaced", roster))
    assert {*incoming.keys} == {"roster"}
    assert sealer.open("roster", json.loads(incoming.body)["key"]) == KEY


def test_a_message_without_secrets_is_kept_as_it_is_and_makes_no_key(sealer: Sealer) -> None:
    incoming = read(sealer, "message", message("message.sent", EXAMPLES["message.sent"][1]))
    assert json.loads(incoming.body) == EXAMPLES["message.sent"][1]
    assert incoming.keys == {}


def test_neither_the_representation_nor_a_refusal_repeats_a_secret(sealer: Sealer) -> None:
    incoming = read(sealer, "block", message("block.assigned", block()))
    assert "#1234" not in repr(incoming)
    assert KEY not in repr(taken("block", message("block.assigned", block())))
    answer = refused("block", message("block.assigned", block(otp_key="a-secret-of-the-wrong-form")))
    assert "a-secret" not in repr(answer)
    answer = refused("roster", message("roster.replaced", {"key": KEY, "drivers": KEY}))
    assert KEY not in repr(answer)


# ------------------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("name", messages.names())
def test_every_message_has_a_schema_whose_references_resolve(name: str) -> None:
    schema = messages.schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    text = json.dumps(schema)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.startswith("#/$defs/")
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_an_event_of_the_journal_has_the_form_that_is_promised() -> None:
    from agent.delivery.model.inputs import Moment
    from agent.journal.envelope import Chain

    chain = Chain("/fleet/u1", 0, "0" * 64)
    entry = chain.add("parcel.loaded", "parcel/P1", {"n": 1}, Moment(1, 2, "boot", "ntp"))
    assert messages.model_faults(messages.Event, json.loads(entry.payload)) == []
