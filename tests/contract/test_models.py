"""What is wrong with a message of the cloud: every fault has its path, and says what was expected there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contract.models import MODELS, faults
from contract.vocabulary import INBOX
from tests.contract.examples import EXAMPLES, block


@pytest.mark.parametrize("type_", EXAMPLES)
def test_every_message_of_the_contract_is_right_as_it_is(type_: str) -> None:
    assert faults(type_, EXAMPLES[type_][1]) == []


def test_every_type_of_an_inbox_topic_has_its_model_and_its_example() -> None:
    types = [each for types in INBOX.values() for each in types]
    assert types == [*MODELS] == [*EXAMPLES]


@pytest.mark.parametrize("type_", [name for name in EXAMPLES if name != "settings.changed"])
def test_what_must_be_there_is_named(type_: str) -> None:
    found = faults(type_, {})
    assert found
    assert {fault.expected for fault in found} == {"it must be there"}


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
    first = faults("block.assigned", data)[0]
    assert first.path == fault
    assert first.expected


@pytest.mark.parametrize("member", ["parcel_id", "tracking_number"])
def test_two_parcels_with_one_number_are_a_fault_of_the_second(member: str) -> None:
    data = block()
    data["parcels"].append({**data["parcels"][0], "parcel_id": "P2", "tracking_number": "N2"})
    data["parcels"][1][member] = data["parcels"][0][member]
    assert [str(fault) for fault in faults("block.assigned", data)] == [
        f"parcels[1].{member}: expected an id of its own, parcels[0] has the same"
    ]


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
def test_a_command_without_its_arguments_is_a_fault(data: dict[str, Any], path: str) -> None:
    assert faults("command.requested", data)[0].path == path


@pytest.mark.parametrize("name", ["journal.retain_days", "unit.id", "delivery", "delivery.", "broker.url"])
def test_settings_that_the_cloud_may_not_change_are_a_fault(name: str) -> None:
    assert faults("settings.changed", {name: 1})[0].path == name


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("manifest_version", "1", "manifest_version: expected a whole number, got a text"),
        ("manifest_version", -1, "manifest_version: expected at least 0"),
        ("kind", "depot", 'kind: expected one of "station", "retail", "partner"'),
        ("sites", {}, "sites: expected a list, got an object"),
        ("pay.currency", "euro", "pay.currency: expected a text like ^[A-Z]{3}$"),
        ("timezone", "x" * 501, "timezone: expected a text of at most 500 characters"),
        ("parcels[0].requirements.minimum_age", 0, "parcels[0].requirements.minimum_age: expected at least 1"),
        ("parcels[0].stop_id", "T9", "parcels[0].stop_id: expected the stop_id of one of the stops"),
        ("otp_key", "a secret", "otp_key: expected 32 bytes in base64url"),
    ],
)
def test_a_fault_reads_as_a_sentence_and_never_repeats_the_value(path: str, value: Any, said: str) -> None:
    data = block()
    _set(path, value)(data)
    assert [str(fault) for fault in faults("block.assigned", data)] == [said]


def test_a_message_full_of_faults_tells_fifty_of_them() -> None:
    data = block()
    data["parcels"] = [{**data["parcels"][0], "parcel_id": f"P{n}", "return_to": "S9"} for n in range(100)]
    assert len(faults("block.assigned", data)) == 50
    data["parcels"] = [{}] * 100
    assert len(faults("block.assigned", data)) == 50
