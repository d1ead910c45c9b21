"""What the cloud sends, and what it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from agent.delivery.fold import snapshot
from agent.delivery.model.decision import Command, Decision, Forget, Reply, Work
from agent.delivery.model.inputs import Finished, InvalidMessage
from agent.delivery.model.messages import Advisory
from agent.delivery.model.times import read_instant
from tests.delivery.support import STATION, CoreUnit, assigned, at_door, block_data, door, loading, on_route, tick


def offer(**members: Any) -> dict[str, Any]:
    return {
        "offer_id": "O1",
        "block_id": "B9",
        "kind": "station",
        "place": "Station DUT2",
        "starts_at": "2026-11-22T09:00:00Z",
        "ends_at": "2026-11-22T13:00:00Z",
        "pay": {"amount": "84.00", "currency": "EUR"},
        "expires_at": "2026-11-21T09:05:00Z",
        **members,
    }


def rejection(unit: CoreUnit) -> tuple[str, str | None]:
    assert [event.type for event in unit.last.events] == ["message.rejected"]
    assert unit.last.refusal is not None
    data = unit.last.events[0].data
    return data["reason"], data["path"]


def test_a_revision_adds_parcels_and_cancels_what_is_not_on_board() -> None:
    unit = loading(3)
    unit.scan_parcel(1)
    revised = block_data(4, version=2)
    revised["parcels"] = [parcel for parcel in revised["parcels"] if parcel["parcel_id"] in {"P2", "P4"}]
    decision = unit.receive("block.revised", revised)
    assert [event.type for event in decision.events] == ["parcel.manifested", "parcel.recalled", "route.revised"]
    states = {name: parcel.state for name, parcel in unit.block.parcels.items()}
    assert states == {"P1": "LOADED", "P2": "MANIFESTED", "P3": "RECALLED_CLOSED", "P4": "MANIFESTED"}
    assert unit.code() == "BLOCK_REVISED"


def test_a_revision_on_the_road_moves_a_parcel_to_its_new_stop() -> None:
    unit = on_route(3)
    revised = block_data(3, version=2)
    revised["parcels"][1]["stop_id"] = "T3"
    revised["stops"] = [stop for stop in revised["stops"] if stop["stop_id"] != "T2"]
    unit.receive("block.revised", revised)
    assert unit.stop("T2").state == "CANCELLED"
    assert unit.stop("T3").parcel_ids == ("P2", "P3")
    unit.must("start_stop", stop_id="T3")
    unit.stand(door(3))
    unit.scan_parcel(2)
    assert unit.code() == "OK"


def test_a_stop_under_way_that_the_revision_drops_gives_way_to_the_next() -> None:
    unit = on_route(2)
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"]})
    assert (unit.stop("T1").state, unit.block.current_stop_id) == ("CANCELLED", "T2")


@pytest.mark.parametrize("version", [0, 1])
def test_an_older_manifest_is_stale_and_changes_nothing(version: int) -> None:
    unit = assigned(2)
    before = unit.state
    unit.receive("block.revised", block_data(4, version=version))
    assert rejection(unit) == ("STALE", "manifest_version")
    assert unit.state == before


def test_a_revision_of_an_unknown_block_is_rejected() -> None:
    unit = assigned(2)
    unit.receive("block.revised", block_data(2, block_id="B7"))
    assert rejection(unit) == ("UNKNOWN_BLOCK", "block_id")


def test_an_assignment_sent_again_with_a_newer_manifest_is_a_revision() -> None:
    unit = assigned(2)
    unit.receive("block.assigned", block_data(3, version=2))
    assert len(unit.block.parcels) == 3
    assert unit.block.state == "ACCEPTED"


def test_a_manifest_that_is_no_block_is_rejected() -> None:
    unit = CoreUnit()
    unit.receive("block.assigned", {"block_id": "B1"})
    assert rejection(unit) == ("INVALID", "data")


def test_a_cancelled_block_ends_and_its_secrets_are_forgotten() -> None:
    unit = assigned()
    decision = unit.receive("block.cancelled", {"block_id": "B1", "reason": "storm"})
    assert decision.events[-1].type == "block.cancelled"
    assert decision.effects == (Forget("block/B1"),)
    assert (unit.block.state, unit.code()) == ("CANCELLED", "BLOCK_CANCELLED")
    unit.receive("block.cancelled", {"block_id": "B1"})
    assert rejection(unit) == ("BLOCK_ENDED", "block_id")


def test_a_block_that_is_being_driven_can_not_be_cancelled() -> None:
    unit = on_route()
    unit.receive("block.cancelled", {"block_id": "B1"})
    assert rejection(unit) == ("TOO_LATE", "block_id")


def test_recalls_take_parcels_out_wherever_they_are() -> None:
    unit = loading(3)
    unit.scan_parcel(1)
    unit.receive("parcel.recalled", {"parcel_ids": ["P1", "P2", "P77"], "reason": "unsafe toy"})
    assert unit.counts() == {"RETURN_PENDING": 1, "RECALLED_CLOSED": 1, "MANIFESTED": 1}
    assert unit.code() == "PARCELS_RECALLED"
    unit.scan_parcel(2)
    assert unit.code() == "RECALLED"
    unit.receive("parcel.recalled", {"parcel_ids": ["P77"]})
    assert rejection(unit) == ("UNKNOWN_PARCEL", "parcel_ids")


def late(unit: CoreUnit) -> dict[str, str | None]:
    """The parcels of which the cloud hears that nobody can stop them now."""
    (told,) = [event.data for event in unit.last.events if event.type == "message.rejected"]
    assert (told["message_id"], told["reason"], told["path"]) == (f"m{unit.messages}", "TOO_LATE", "parcel_ids")
    assert told["count"] == len(told["parcels"])
    return dict(told["parcels"])


def test_the_recall_of_a_parcel_that_is_delivered_is_answered() -> None:
    unit = at_door(2)
    unit.scan_parcel(1)
    unit.must("deliver", handover="recipient")
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"]})
    assert late(unit) == {"P1": "DELIVERED"}
    # It holds all the same, should the parcel not have been handed over.
    assert "parcel.recalled" in unit.must("void", parcel_id="P1", reason="the wrong door")


def test_a_recall_is_answered_for_every_parcel_whatever_has_become_of_it() -> None:
    unit = loading(9)
    for number in range(1, 7):
        unit.scan_parcel(number)
    unit.must("mark_missing", parcel_id="P7", reason="NOT_FOUND")
    unit.must("reject", parcel_id="P8", reason="DAMAGED")
    unit.receive("parcel.recalled", {"parcel_ids": ["P9"]})
    unit.must("close_loading")
    unit.must("depart")
    unit.must("damage", parcel_id="P2")
    unit.must("transfer", parcel_ids=["P3"], driver_id="D2")
    unit.must("not_in_vehicle", parcel_id="P4")
    unit.receive("parcel.recalled", {"parcel_ids": [f"P{number}" for number in range(1, 10)] + ["P77"]})
    recalled = [event.data["parcel_id"] for event in unit.last.events if event.type == "parcel.recalled"]
    assert recalled == ["P1", "P5", "P6"]
    assert late(unit) == {
        "P2": "RETURN_PENDING",
        "P3": "TRANSFERRED",
        "P4": "UNLOCATED",
        "P7": "MISSING",
        "P8": "REJECTED",
        "P9": "RECALLED_CLOSED",
        "P77": None,
    }


def test_a_recall_of_thousands_of_parcels_has_a_short_answer() -> None:
    unit = assigned(1)
    unit.receive("parcel.recalled", {"parcel_ids": ["P1", *(f"X{number}" for number in range(4999))]})
    told = unit.events("message.rejected")[-1].data
    assert (len(told["parcels"]), told["count"]) == (100, 4999)


def test_a_recalled_parcel_that_was_marked_missing_is_not_delivered_when_it_is_found() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.receive("parcel.recalled", {"parcel_ids": ["P2"]})
    unit.must("close_loading")
    unit.must("depart")
    assert unit.must("found", parcel_id="P2")[:3] == ["parcel.found", "parcel.out_for_delivery", "parcel.recalled"]


def test_a_recalled_parcel_that_is_found_while_loading_goes_to_the_return_area() -> None:
    unit = loading(2)
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.receive("parcel.recalled", {"parcel_ids": ["P2"]})
    unit.scan_parcel(2)
    assert unit.code() == "RECALLED"
    assert unit.parcel(2).state == "RETURN_PENDING"


def test_an_unexpected_parcel_that_the_cloud_adds_is_scanned_under_the_clouds_id() -> None:
    unit = loading(1)
    unit.scan("TBA000000000002")
    assert unit.code() == "NOT_ON_MANIFEST"
    decision = unit.receive("block.revised", block_data(2, version=2))
    assert "parcel.handed_back" in [event.type for event in decision.events]
    unit.scan("TBA000000000002")
    assert (unit.code(), unit.parcel(2).state) == ("OK", "LOADED")


def test_invalid_messages_are_answered_but_not_a_flood_of_them() -> None:
    unit = CoreUnit()
    for number in range(30):
        unit.give(InvalidMessage(f"m{number}", "INVALID_JSON", None))
    assert len(unit.events("message.rejected")) == 10
    unit.wait(10)
    unit.give(InvalidMessage("m99", "INVALID", "data.stops"))
    last = unit.events("message.rejected")[-1]
    assert (last.data["message_id"], last.data["reason"], last.data["path"]) == ("m99", "INVALID", "data.stops")
    assert last.data["suppressed"] == 20


def test_a_stale_message_in_a_flood_is_still_refused() -> None:
    unit = assigned()
    for _ in range(30):
        unit.give(InvalidMessage(None, "INVALID_JSON", None))
    decision = unit.receive("block.revised", block_data(1, version=0))
    assert decision.events == ()
    assert decision.refusal is not None
    assert unit.block.manifest_version == 1


def test_commands_and_settings_are_handed_on() -> None:
    unit = CoreUnit()
    decision = unit.receive("command.requested", {"command_id": "C1", "command": "high_water", "sequence": 3})
    assert decision.effects == (Command("m1", "command", {"command_id": "C1", "command": "high_water", "sequence": 3}),)
    decision = unit.receive("settings.changed", {"delivery.photo_retakes": 1})
    assert decision.effects == (Command("m2", "settings", {"delivery.photo_retakes": 1}),)
    assert decision.events == ()


def test_diagnostics_are_collected_by_a_worker_and_then_answered_once() -> None:
    unit = CoreUnit()
    decision = unit.receive("command.requested", {"command_id": "C1", "command": "diag"})
    assert decision.effects == (Work("diagnostics", "m1", {}),)
    findings = {"findings": [{"subject": "clock", "state": "ok"}]}
    assert unit.give(Finished("diagnostics", "m1", findings)).effects == (Reply("m1", findings),)
    assert unit.give(Finished("diagnostics", "m1", findings)) == Decision()


def test_a_result_that_nobody_waits_for_changes_nothing() -> None:
    unit = assigned()
    assert unit.give(Finished("diagnostics", "m7", {"findings": []})) == Decision()
    assert unit.give(Finished("no such kind of work", "B1", {})) == Decision()


def test_a_message_is_shown_and_acknowledged_once() -> None:
    unit = CoreUnit()
    unit.receive("message.sent", {"message_id": "M1", "text": "call us", "needs_ack": True})
    assert unit.last.feedback is not None
    assert (unit.code(), unit.last.feedback.params["text"]) == ("MESSAGE", "call us")
    assert unit.must("acknowledge", message_id="M1") == ["message.acknowledged"]
    assert unit.refused("acknowledge", message_id="M1") == "UNKNOWN_MESSAGE"


def test_an_offer_is_requested_and_confirmed_and_its_manifest_follows() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    assert unit.code() == "OFFER"
    assert unit.must("accept_offer", offer_id="O1") == ["block.acceptance_requested"]
    unit.receive("offer.confirmed", {"block_id": "B9"})
    assert (unit.code(), unit.block.state, unit.state.offers) == ("OFFER_CONFIRMED", "ACCEPTED", {})
    decision = unit.receive("block.assigned", block_data(2, block_id="B9"))
    assert [event.type for event in decision.events] == ["parcel.manifested"] * 2
    assert unit.counts() == {"MANIFESTED": 2}


def test_a_manifest_that_comes_after_the_check_in_finds_the_driver_at_the_pickup() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer(starts_at="2026-11-21T09:00:00Z"))
    unit.must("accept_offer", offer_id="O1")
    unit.receive("offer.confirmed", {"block_id": "B9"})
    unit.must("check_in")
    unit.must("start_loading")
    unit.receive("block.assigned", block_data(1, block_id="B9"))
    unit.scan_parcel(1)
    assert unit.code() == "OK"


def test_an_offer_that_somebody_else_got_is_gone() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.must("accept_offer", offer_id="O1")
    unit.receive("offer.refused", {"block_id": "B9", "reason": "taken"})
    assert unit.code() == "OFFER_REFUSED"
    assert unit.refused("accept_offer", offer_id="O1") == "UNKNOWN_OFFER"


def test_an_offer_without_an_answer_is_told_once_and_a_late_answer_counts() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.must("accept_offer", offer_id="O1")
    unit.wait(31)
    tick(unit)
    assert unit.code() == "OFFER_NO_ANSWER"
    tick(unit)
    assert unit.code() is None
    unit.receive("offer.confirmed", {"block_id": "B9"})
    assert unit.block.state == "ACCEPTED"


def test_an_offer_expires_and_can_be_declined() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.receive("offer.made", offer(offer_id="O2", block_id="B10"))
    assert unit.must("decline_offer", offer_id="O2") == ["block.declined"]
    unit.wait(301)
    assert unit.refused("accept_offer", offer_id="O1") == "OFFER_EXPIRED"
    assert [event.type for event in tick(unit).events] == ["block.expired"]
    assert unit.state.offers == {}


def test_an_offer_that_overlaps_an_accepted_block_is_not_requested() -> None:
    unit = assigned()
    unit.receive("offer.made", offer(starts_at="2026-11-21T12:00:00Z", ends_at="2026-11-21T16:00:00Z"))
    assert unit.refused("accept_offer", offer_id="O1") == "OVERLAP"


def test_roster_advisories_feedback_and_earnings_are_kept() -> None:
    unit = at_door()
    unit.receive("roster.replaced", {"key": "sealed:v1:k", "drivers": [{"driver_id": "D1", "name": "Jo"}]})
    unit.receive("advisory.issued", {"advisory_id": "A1", "format": "cap", "content": {"headline": "fog"}})
    unit.receive("feedback.given", {"feedback_id": "F1", "rating": 5})
    unit.receive("earnings.stated", {"block_id": "B1", "base": "80.00", "tips": "4.00", "currency": "EUR"})
    assert unit.last.events == ()
    state = unit.state
    assert state.roster is not None
    assert [driver.driver_id for driver in state.roster.drivers] == ["D1"]
    assert [given.feedback_id for given in state.feedback] == ["F1"]
    assert state.earnings["B1"].tips == "4.00"


def test_what_an_advisory_contains_stays_in_the_journal_and_the_state_knows_where() -> None:
    unit = CoreUnit()
    content = {"headline": "fog"}
    validity = {"valid_from": "2026-11-21T06:00:00Z", "valid_to": "2026-11-21T12:00:00Z"}
    unit.receive("advisory.issued", {"advisory_id": "A1", "format": "cap", "content": content, **validity})
    assert unit.state.advisories == {
        "A1": Advisory("A1", "cap", *map(read_instant, validity.values()), inbox_message_id="m1")
    }
    assert b"fog" not in snapshot.dump(unit.state)


def test_what_is_kept_of_messages_is_bounded() -> None:
    unit = CoreUnit()
    for number in range(130):
        unit.receive("message.sent", {"message_id": f"M{number}", "text": "x"})
        unit.receive("feedback.given", {"feedback_id": f"F{number}"})
        unit.receive("advisory.issued", {"advisory_id": f"A{number}", "format": "cap"})
        unit.receive("earnings.stated", {"block_id": f"B{number}", "base": "1.00", "currency": "EUR"})
    state = unit.state
    kept = (len(state.messages), len(state.feedback), len(state.advisories), len(state.earnings))
    assert kept == (50, 100, 50, 30)
    assert state.messages[-1].message_id == "M129"


def test_a_second_block_for_later_does_not_disturb_the_first() -> None:
    unit = loading(1)
    unit.receive("block.assigned", block_data(1, block_id="B2", starts_at="2026-11-21T15:00:00Z"))
    unit.receive("block.cancelled", {"block_id": "B2", "reason": "storm"})
    assert (unit.block.block_id, unit.block.state) == ("B1", "LOADING")
    assert unit.stop("T0").state == "ARRIVED"


def test_parcels_without_a_named_pickup_belong_to_the_only_one() -> None:
    data = block_data(1)
    del data["parcels"][0]["pickup_stop_id"]
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    unit.scan_parcel(1)
    assert unit.must("close_loading") == ["stop.completed", "block.load_closed"]
