"""However much the cloud sends, what the unit knows stays small: the oldest go, and no work is dropped unsaid."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agent.delivery.fold import messages, snapshot
from agent.delivery.model.decision import Event
from agent.delivery.model.state import Policy
from agent.delivery.rules import room
from tests.delivery.support import CoreUnit, block_data
from tests.delivery.test_messages import offer


def of_block(number: int, parcels: int = 1, **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(block_data(parcels)) | {"block_id": f"B{number}"} | changes


def open_blocks(unit: CoreUnit) -> list[str]:
    return [block_id for block_id, block in unit.state.blocks.items() if not block.ended]


def test_more_blocks_than_are_kept_are_refused_by_their_id_and_taken_once_others_have_ended() -> None:
    unit = CoreUnit()
    for number in range(room.MOST_BLOCKS):
        unit.receive("block.assigned", of_block(number))
    refused = unit.receive("block.assigned", of_block(99))
    assert refused.refusal is not None
    assert (refused.refusal.reason, refused.refusal.params["path"]) == ("NO_ROOM", "block_id")
    assert refused.events[-1].data["message_id"] == f"m{unit.messages}"
    assert open_blocks(unit) == [f"B{number}" for number in range(room.MOST_BLOCKS)]
    unit.receive("block.cancelled", {"block_id": "B3"})
    assert unit.receive("block.assigned", of_block(99)).refusal is None


def test_blocks_that_are_too_much_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = CoreUnit()
    unit.receive("block.assigned", of_block(1, 20))
    monkeypatch.setattr(room, "BLOCKS_WEIGHT", unit.state.blocks["B1"].weight * 3 // 2)
    refused = unit.receive("block.assigned", of_block(2, 20))
    assert refused.refusal is not None
    assert refused.refusal.reason == "NO_ROOM"
    assert open_blocks(unit) == ["B1"]
    assert unit.receive("block.revised", of_block(1, 18, manifest_version=2)).refusal is None


def test_a_manifest_that_is_valid_is_taken_where_there_is_no_other_however_much_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "BLOCKS_WEIGHT", 1000)
    unit = CoreUnit()
    assert unit.receive("block.assigned", of_block(1, 20)).refusal is None
    assert unit.receive("block.revised", of_block(1, 30, manifest_version=2)).refusal is None
    assert unit.receive("block.assigned", of_block(2, 1)).refusal is not None


def test_revisions_that_each_leave_out_what_the_one_before_brought_do_not_grow_a_block_without_end() -> None:
    unit = CoreUnit()
    unit.receive("block.assigned", of_block(1, 1))
    for version in range(2, 60):
        data = of_block(1, 50, manifest_version=version)
        for parcel in data["parcels"]:
            parcel["parcel_id"] = f"{version}-{parcel['parcel_id']}"
            parcel["instruction"] = {"kind": "front_door", "text": "sealed:v1:" + "x" * 4000}
        unit.receive("block.revised", data)
    assert sum(block.weight for block in unit.state.blocks.values()) <= room.BLOCKS_WEIGHT
    assert len(snapshot.dump(unit.state)) <= 1.1 * room.BLOCKS_WEIGHT


def test_of_too_many_offers_those_that_are_out_of_date_go_first_and_then_the_oldest() -> None:
    unit = CoreUnit()
    for number in range(room.MOST_OFFERS):
        unit.receive("offer.made", offer(offer_id=f"O{number}", block_id=f"B{number}"))
    unit.must("accept_offer", offer_id="O0")
    for number in range(100, 103):
        unit.receive("offer.made", offer(offer_id=f"O{number}", block_id=f"B{number}"))
    kept = [f"O{number}" for number in (0, *range(4, room.MOST_OFFERS), *range(100, 103))]
    assert list(unit.state.offers) == kept, "the one that the driver has asked for stays"
    assert len(unit.state.blocks) <= room.MOST_OFFERS + 1, "the last one that has ended"
    gone = [event for event in unit.log if isinstance(event, Event) and event.type == "block.expired"]
    assert [(event.subject, event.data["reason"]) for event in gone] == [(f"block/B{n}", "NO_ROOM") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("type_", "data", "kept", "most"),
    [
        ("message.sent", {"message_id": "N{n}", "text": "sealed:v1:{x}"}, "messages", messages.KEPT_MESSAGES),
        ("feedback.given", {"feedback_id": "F{n}", "text": "sealed:v1:{x}"}, "feedback", messages.KEPT_FEEDBACK),
        ("earnings.stated", {"block_id": "B{n}", "base": "1", "currency": "EUR"}, "earnings", messages.KEPT_EARNINGS),
        (
            "advisory.issued",
            {"advisory_id": "A{n}", "format": "area", "content": None},
            "advisories",
            messages.KEPT_ADVISORIES,
        ),
        ("settings.changed", {"gps.x{n}": "sealed:v1:{x}"}, "settings", messages.KEPT_SETTINGS),
    ],
)
@pytest.mark.parametrize("length", [1, 5000])
def test_of_everything_that_is_told_the_latest_stay(
    type_: str, data: dict[str, Any], kept: str, most: int, length: int
) -> None:
    def filled(value: Any, number: int) -> Any:
        return value.replace("{n}", str(number)).replace("{x}", "x" * length) if isinstance(value, str) else value

    unit = CoreUnit()
    for number in range(3 * most):
        members = {filled(name, number): filled(value, number) for name, value in data.items()}
        unit.receive(type_, members)
    known = getattr(unit.state, kept)
    assert 1 <= len(known) <= most
    assert len(snapshot.dump(unit.state)) < 150_000
    assert str(3 * most - 1) in str(known), "the latest"
    if length == 1:
        assert len(known) == most


def test_the_recalls_of_a_blocks_own_parcels_stay_and_of_others_the_latest() -> None:
    unit = CoreUnit()
    unit.receive("block.assigned", of_block(1, 3))
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"]})
    for number in range(100):
        ids = ["P2", *(f"{number}-{each}" for each in range(200))]
        unit.receive("parcel.recalled", {"parcel_ids": ids})
    recalls = unit.state.blocks["B1"].recalls
    assert (recalls["P1"], recalls["P2"], recalls["99-0"]) == ("m2", "m3", f"m{unit.messages}")
    assert sum(len(each) for each in recalls) < messages.KEPT_RECALLS_WEIGHT
    assert "0-0" not in recalls


def test_a_roster_that_is_too_much_is_refused_and_the_one_before_stays() -> None:
    unit = CoreUnit()
    unit.receive("roster.replaced", {"key": "k", "drivers": [{"driver_id": "D1", "name": "n", "approved": True}]})
    drivers = [{"driver_id": f"D{n}", "name": "sealed:v1:" + "x" * 700, "approved": True} for n in range(1000)]
    refused = unit.receive("roster.replaced", {"key": "k", "drivers": drivers})
    assert refused.refusal is not None
    assert refused.refusal.reason == "NO_ROOM"
    assert unit.state.roster is not None
    assert [driver.driver_id for driver in unit.state.roster.drivers] == ["D1"]


def test_an_ended_block_keeps_nothing_that_nobody_can_open_any_more() -> None:
    unit = CoreUnit()
    data = of_block(1, 2)
    data["sites"][0]["pickup_points"] = [
        {"point_id": "G4", "name": "Lane 4", "code": "sealed:v1:c", "hours": "sealed:x"}
    ]
    unit.receive("block.assigned", data)
    assert "sealed:" in snapshot.dump(unit.state).decode()
    unit.receive("block.cancelled", {"block_id": "B1"})
    assert unit.state.blocks["B1"].ended
    assert "sealed:" not in snapshot.dump(unit.state).decode()
    assert "Oudegracht" not in snapshot.dump(unit.state).decode()
    assert snapshot.load(snapshot.dump(unit.state), Policy()) == unit.state
