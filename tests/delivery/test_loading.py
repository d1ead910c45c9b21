"""From the assignment to driving off, as a driver at the station notices it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.delivery.model.decision import Event, Forget
from agent.delivery.model.inputs import Acted, Facts, Scanned
from agent.delivery.model.state import Policy
from agent.delivery.screen.prompt import prompt
from tests.delivery.support import STATION, CoreUnit, assigned, block_data, door, loaded, loading, on_route, tick


def test_a_block_of_the_cloud_is_accepted_with_all_its_parcels() -> None:
    unit = assigned(3)
    assert [event.type for event in unit.last.events] == ["block.accepted"] + ["parcel.manifested"] * 3
    assert unit.last.events[0].data["assigned"] is True
    assert unit.block.state == "ACCEPTED"
    assert unit.counts() == {"MANIFESTED": 3}
    assert unit.code() == "BLOCK_ASSIGNED"


def test_checking_in_at_the_station_arrives_at_the_first_pickup_stop() -> None:
    unit = assigned()
    unit.at(STATION)
    assert unit.must("check_in") == ["block.checked_in", "stop.arrived"]
    assert (unit.block.state, unit.stop("T0").state) == ("CHECKED_IN", "ARRIVED")
    where = unit.last.events[0].data["where"]
    assert where == {
        "latitude": 52.09,
        "longitude": 5.12,
        "accuracy_m": 5.0,
        "age_s": pytest.approx(0.1),
        "source": "vehicle",
    }


def test_checking_in_from_afar_needs_a_reason_which_is_written_down() -> None:
    unit = assigned()
    unit.at(door(5))
    assert unit.refused("check_in") == "REASON_NEEDED"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["why"] == "FAR"
    assert unit.must("check_in", reason="parked_away") == ["geofence.overridden", "block.checked_in", "stop.arrived"]
    assert unit.last.events[0].data["reason"] == "parked_away"
    assert unit.block.overrides == 1


@pytest.mark.parametrize(("age_s", "why"), [(None, "NO_FIX"), (31, "OLD_FIX")])
def test_without_a_recent_position_a_reason_is_enough(age_s: float | None, why: str) -> None:
    unit = assigned()
    if age_s is not None:
        unit.at(STATION)
        unit.wait(age_s)
    assert unit.refused("check_in") == "REASON_NEEDED"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["why"] == why
    unit.must("check_in", reason="no reception")
    assert "where" not in unit.last.events[0].data


def test_checking_in_too_early_says_when_it_opens() -> None:
    unit = assigned(policy=Policy(check_in_early_s=1800))
    unit.at(STATION)
    unit.wall_ms -= 3600_000
    assert unit.refused("check_in") == "TOO_EARLY"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params == {"check_in_from": "2026-11-21T08:30:00Z"}


def test_a_clock_that_was_never_set_does_not_keep_a_driver_out() -> None:
    unit = assigned()
    unit.at(STATION)
    unit.wall_ms = 0
    unit.trust = "unsynced"
    assert unit.refused("check_in") == "CONFIRM_DATE"
    assert unit.must("check_in") == ["block.checked_in", "stop.arrived"]


def test_a_scan_before_the_check_in_says_so() -> None:
    unit = assigned()
    unit.scan_parcel(1)
    assert unit.code() == "NOT_CHECKED_IN"
    assert [event.type for event in unit.last.events] == ["scan.rejected"]


def test_a_scan_without_any_block_is_answered_and_written_down() -> None:
    unit = CoreUnit()
    unit.scan_parcel(1)
    assert unit.code() == "NO_BLOCK"
    assert [(event.type, event.subject) for event in unit.last.events] == [("scan.rejected", "unit")]


def test_a_load_scan_names_section_and_stop_number() -> None:
    unit = loading()
    decision = unit.scan_parcel(2)
    assert [event.type for event in decision.events] == ["parcel.loaded"]
    assert decision.feedback is not None
    said = decision.feedback
    assert (said.code, said.tone, said.section, said.sequence) == ("OK", "good", "2", 2)
    assert unit.parcel(2).state == "LOADED"


@pytest.mark.parametrize("code", ["00340434160000000002", "tba000000000002", "TBA 0000 0000 0002"])
def test_a_parcel_is_known_by_its_alias_and_however_its_number_is_spelt(code: str) -> None:
    unit = loading()
    unit.scan(code)
    assert unit.parcel(2).state == "LOADED"


def test_the_best_form_of_a_code_that_the_manifest_knows_counts() -> None:
    unit = loading()
    unit.scan("]C10100340434160000000003", codes=("00340434160000000003", "TBA000000000001"))
    assert (unit.parcel(3).state, unit.parcel(1).state) == ("LOADED", "MANIFESTED")


def test_a_second_scan_is_a_repeat_with_the_time_of_the_first_and_no_event() -> None:
    unit = loading()
    unit.scan_parcel(1)
    first = unit.parcel(1).loaded_at
    decision = unit.scan_parcel(1)
    assert decision.events == ()
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.tone) == ("ALREADY_SCANNED", "repeat")
    assert first is not None
    assert decision.feedback.params["first_time"] == first.text


def test_a_parcel_of_another_vehicle_is_refused_with_the_vehicle_name() -> None:
    unit = loading()
    decision = unit.scan("TBA300000000099")
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["unit"]) == ("OTHER_DRIVER", "u2")
    assert [event.type for event in decision.events] == ["scan.rejected"]


def test_a_parcel_that_nobody_knows_is_put_aside_and_counted() -> None:
    unit = loading()
    decision = unit.scan("TBA999999999999")
    assert unit.code() == "NOT_ON_MANIFEST"
    assert [event.type for event in decision.events] == ["parcel.unexpected"]
    assert unit.parcel("B1-x1").state == "UNEXPECTED"
    again = unit.scan("TBA999999999999")
    assert [event.type for event in again.events] == ["scan.rejected"]
    assert unit.counts()["UNEXPECTED"] == 1


def test_a_label_with_a_wrong_check_digit_is_bad() -> None:
    unit = loading()
    unit.scan("1Z999AA10123456785", fault="check digit")
    assert unit.code() == "BAD_LABEL"
    assert [event.type for event in unit.last.events] == ["scan.rejected"]


def test_a_label_with_a_wrong_check_digit_that_the_manifest_knows_is_loaded() -> None:
    unit = loading()
    unit.scan_parcel(1, fault="check digit")
    assert unit.code() == "OK"


def test_a_parcel_of_another_vehicle_with_a_wrong_check_digit_still_names_the_vehicle() -> None:
    unit = loading()
    unit.scan("TBA300000000099", fault="check digit")
    assert unit.code() == "OTHER_DRIVER"


def test_the_same_label_read_twice_at_once_is_one_rejected_scan() -> None:
    unit = loading()
    unit.scan("TBA300000000099")
    decision = unit.scan("TBA300000000099", repeat=True)
    assert unit.code() == "OTHER_DRIVER"
    assert decision.events == ()


def test_a_repeat_whose_first_scan_was_lost_still_loads() -> None:
    unit = loading()
    unit.scan_parcel(1, repeat=True)
    assert unit.parcel(1).state == "LOADED"


def test_two_parcels_with_one_number_are_asked_about_and_chosen() -> None:
    data = block_data(2)
    data["parcels"][1]["aliases"] = ["TBA000000000001"]
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    decision = unit.scan_parcel(1)
    assert unit.code() == "SEVERAL_CODES"
    assert decision.events == ()
    assert unit.refused("choose", code="TBA000000000009") == "NO_CHOICE"
    assert unit.must("choose", code="P2") == ["parcel.loaded"]
    assert unit.parcel(2).state == "LOADED"
    # With one of them loaded, the other is the one that is meant.
    unit.scan_parcel(1)
    assert unit.parcel(1).state == "LOADED"


def test_two_parcels_in_one_view_of_the_camera_are_asked_about_and_chosen() -> None:
    unit = loading(3)
    other = Scanned("TBA000000000002", ("TBA000000000002",), "camera", "camera")
    foreign = Scanned("TBA999999999999", ("TBA999999999999",), "camera", "camera")
    decision = unit.scan_parcel(1, entry="camera", others=(other, foreign))
    assert unit.code() == "SEVERAL_CODES"
    assert decision.events == ()
    assert unit.last.feedback is not None
    assert [choice["parcel_id"] for choice in unit.last.feedback.params["choices"]] == ["P1", "P2"]
    assert unit.must("choose", code="P2") == ["parcel.loaded"]
    assert (unit.parcel(2).state, unit.parcel(2).entry) == ("LOADED", "camera")
    # With that one loaded, there is no doubt any more.
    unit.scan_parcel(1, entry="camera", others=(other, foreign))
    assert unit.parcel(1).state == "LOADED"


def test_the_last_six_characters_may_be_typed_and_are_confirmed() -> None:
    unit = loading(12)
    assert unit.refused("scan", code="000007") == "CONFIRM_PARCEL"
    assert unit.last.refusal is not None
    assert [choice["parcel_id"] for choice in unit.last.refusal.params["choices"]] == ["P7"]
    assert unit.must("scan", code="000007") == ["parcel.loaded"]
    assert unit.parcel(7).entry == "manual"


def test_a_typed_end_that_fits_several_parcels_is_chosen_from() -> None:
    data = block_data(2)
    data["parcels"][1]["tracking_number"] = "XYZ900000000001"
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    assert unit.refused("scan", code="000001") == "SEVERAL_CODES"
    assert unit.must("choose", code="XYZ900000000001") == ["parcel.loaded"]
    assert unit.parcel(2).state == "LOADED"


def test_five_characters_are_too_few_to_guess_from() -> None:
    unit = loading()
    assert unit.refused("scan", code="00001") == "NOT_ON_MANIFEST"


def test_what_the_edge_has_read_out_of_a_typed_text_is_used() -> None:
    unit = loading()
    typed = Scanned("(00)00340434160000000001", ("00340434160000000001",), "console", entry="manual")
    unit.give(Acted("scan", {"code": typed.text}, Facts(typed)))
    assert unit.parcel(1).state == "LOADED"


def test_closing_asks_once_to_look_again_and_then_for_reasons() -> None:
    unit = loading(3)
    unit.scan_parcel(1)
    assert unit.refused("close_loading") == "LOOK_AGAIN"
    assert unit.code() == "LOOK_AGAIN"
    assert unit.last.refusal is not None
    assert [parcel["parcel_id"] for parcel in unit.last.refusal.params["missing"]] == ["P2", "P3"]
    assert unit.refused("close_loading") == "PARCELS_OPEN"
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.must("reject", parcel_id="P3", reason="DAMAGED")
    assert unit.must("close_loading") == ["stop.partially_completed", "block.load_closed"]
    assert unit.counts() == {"LOADED": 1, "MISSING": 1, "REJECTED": 1}


def test_a_full_load_completes_the_pickup_stop() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert unit.must("close_loading") == ["stop.completed", "block.load_closed"]


def test_a_pickup_without_any_parcel_has_failed() -> None:
    unit = loading(1)
    unit.must("mark_missing", parcel_id="P1", reason="NOT_FOUND")
    assert unit.must("close_loading") == ["stop.failed", "block.load_closed"]


def test_unexpected_parcels_are_handed_back_by_closing() -> None:
    unit = loading(1)
    unit.scan_parcel(1)
    unit.scan("TBA999999999999")
    assert unit.must("close_loading") == ["parcel.handed_back", "stop.completed", "block.load_closed"]
    unit.must("reopen_loading")
    unit.scan("TBA999999999999")
    assert unit.code() == "ENDED"


def test_an_unexpected_parcel_may_be_taken_along_only_where_the_fleet_allows_it() -> None:
    unit = loading(1)
    unit.scan("TBA999999999999")
    assert unit.refused("adopt", parcel_id="B1-x1") == "ADOPTION_OFF"
    unit = loading(1, policy=Policy(allow_adoption=True))
    unit.scan("TBA999999999999")
    assert unit.must("adopt", parcel_id="B1-x1") == ["parcel.adopted"]
    assert unit.last.events[0].data["provisional"] is True
    assert unit.parcel("B1-x1").state == "LOADED"


def test_undo_takes_back_the_last_load_scan_and_then_the_one_before() -> None:
    unit = loading(3)
    for number in (2, 1, 3):
        unit.scan_parcel(number)
    unit.must("undo")
    unit.must("undo")
    assert [unit.parcel(number).state for number in (1, 2, 3)] == ["MANIFESTED", "LOADED", "MANIFESTED"]
    unit.must("undo")
    assert unit.refused("undo") == "NOTHING_TO_UNDO"


def test_a_missing_parcel_that_turns_up_is_scanned_like_any_other() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.must("close_loading")
    decision = unit.scan_parcel(2)
    assert [event.type for event in decision.events] == ["parcel.found"]
    assert (unit.code(), unit.parcel(2).state) == ("OK", "LOADED")


def test_a_parcel_found_on_the_road_is_out_for_delivery_at_a_new_stop_if_its_own_has_gone() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.must("close_loading")
    assert "stop.cancelled" in unit.must("depart")
    assert unit.must("found", parcel_id="P2") == ["parcel.found", "parcel.out_for_delivery", "stop.added"]
    assert (unit.parcel(2).state, unit.parcel(2).stop_id) == ("OUT_FOR_DELIVERY", "T2-2")
    assert unit.stop("T2-2").plan.address == unit.stop("T2").plan.address


def test_reopening_goes_on_at_a_new_pickup_stop_because_ended_stops_stay_ended() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    unit.must("close_loading")
    assert unit.must("reopen_loading") == ["block.load_reopened", "stop.added", "stop.arrived"]
    assert (unit.stop("T0").state, unit.stop("T0-2").state) == ("PARTIAL", "ARRIVED")
    unit.scan_parcel(2)
    assert unit.must("close_loading") == ["stop.completed", "block.load_closed"]
    assert unit.counts() == {"LOADED": 2}


def test_loading_is_not_reopened_from_afar() -> None:
    unit = loaded(1)
    unit.at(door(4))
    assert unit.refused("reopen_loading") == "OUTSIDE_FENCE"


def test_a_parcel_of_another_store_is_refused_with_the_store_name() -> None:
    data = block_data(2, kind="retail")
    data["sites"][0]["pickup_points"] = [{"point_id": "G4", "name": "Shoe shop"}, {"point_id": "G5", "name": "Books"}]
    data["stops"].append({"stop_id": "T9", "kind": "pickup", "site_id": "S1", "sequence": 0})
    data["parcels"][1] |= {"pickup_stop_id": "T9", "point_id": "G5"}
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    decision = unit.scan_parcel(2)
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["store"]) == ("WRONG_STORE", "Books")
    unit.scan_parcel(1)
    unit.must("close_loading")
    assert "parcel.out_for_delivery" in unit.must("depart")
    assert unit.block.current_stop_id == "T9", "the other store comes next"
    assert unit.must("arrive") == ["stop.arrived", "block.extra_pickup_started"]
    unit.scan_parcel(2)
    assert unit.code() == "OK"
    unit.must("close_loading")
    unit.must("depart")
    assert unit.counts() == {"OUT_FOR_DELIVERY": 2}


def test_departing_sends_all_parcels_out_and_starts_the_first_stop() -> None:
    unit = loaded(2)
    assert unit.must("depart") == ["block.departed", *["parcel.out_for_delivery"] * 2, "stop.started"]
    assert unit.last.feedback is not None
    assert unit.last.feedback.params["next_stop_id"] == "T1"


def test_driving_off_departs_by_itself_after_some_seconds() -> None:
    unit = loaded(2)
    assert unit.stand(STATION, 12) == []
    types = unit.stand(door(1), 12)
    assert types[0] == "block.departed"
    assert unit.block.state == "ON_ROUTE"


def test_a_block_given_back_says_how_long_before_its_start() -> None:
    unit = assigned()
    unit.wall_ms -= 90 * 60_000 + 500
    assert unit.must("give_back", block_id="B1") == ["block.forfeited"]
    assert unit.last.events[0].data["notice_minutes"] == 90
    assert unit.last.effects == (Forget("block/B1"),)
    assert unit.refused("give_back", block_id="B1") == "WRONG_TIME"
    assert unit.refused("give_back", block_id="B7") == "UNKNOWN_BLOCK"


def test_nobody_checking_in_for_an_hour_is_a_no_show() -> None:
    unit = assigned()
    unit.wait(3599)
    assert tick(unit).events == ()
    unit.wait(2)
    assert [event.type for event in tick(unit).events] == ["block.no_show"]
    assert unit.last.effects == (Forget("block/B1"),)


def test_a_clock_that_nobody_has_checked_makes_no_no_show() -> None:
    from agent.delivery.decide import decide
    from agent.delivery.model.inputs import Tick

    unit = assigned()
    unit.wait(7200)
    for trust in ("rtc", "unsynced"):
        assert decide(unit.state, Tick(), replace(unit.moment, trust=trust)).events == ()  # type: ignore[arg-type]


def test_a_unit_that_replaces_another_in_the_middle_of_a_block_goes_on_from_the_parcels_states() -> None:
    data = block_data(3)
    for parcel, state in zip(data["parcels"], ("DELIVERED", "OUT_FOR_DELIVERY", "ATTEMPTED"), strict=True):
        parcel["state"] = state
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    assert unit.counts() == {"DELIVERED": 1, "OUT_FOR_DELIVERY": 1, "ATTEMPTED": 1}
    assert [unit.stop(f"T{number}").state for number in range(4)] == ["COMPLETED", "COMPLETED", "PLANNED", "FAILED"]
    for action in ("check_in", "start_loading", "close_loading", "depart"):
        unit.must(action)
    assert unit.block.current_stop_id == "T2"


def test_a_unit_that_takes_over_hours_after_the_start_is_not_too_late() -> None:
    data = block_data(1)
    data["parcels"][0]["state"] = "OUT_FOR_DELIVERY"
    unit = CoreUnit()
    unit.wait(3 * 3600)
    unit.receive("block.assigned", data)
    unit.wait(2 * 3600)
    assert tick(unit).events == ()
    assert prompt(unit.state, unit.moment)["actions"] == ["check_in"]
    assert unit.must("check_in") == ["block.checked_in"]


def test_a_block_that_comes_after_its_start_can_be_checked_in_to_as_long_as_any_other() -> None:
    unit = CoreUnit()
    unit.wait(3 * 3600)
    unit.receive("block.assigned", block_data(1))
    unit.wait(3599)
    assert tick(unit).events == ()
    unit.wait(2)
    assert [event.type for event in tick(unit).events] == ["block.no_show"]


def test_a_block_with_parcels_on_board_neither_ends_unused_nor_is_given_back_nor_cancelled() -> None:
    data = block_data(2)
    for parcel in data["parcels"]:
        parcel["state"] = "OUT_FOR_DELIVERY"
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    assert unit.refused("give_back", block_id="B1") == "CUSTODY_LEFT"
    unit.must("check_in")
    assert unit.refused("close_block") == "CUSTODY_LEFT"
    assert "close_block" not in prompt(unit.state, unit.moment)["actions"]
    refusal = unit.receive("block.cancelled", {"block_id": "B1", "reason": "WEATHER"}).refusal
    assert refusal is not None
    assert refusal.reason == "TOO_LATE"


def test_a_second_block_waits_until_the_first_is_done() -> None:
    unit = on_route(1)
    unit.receive("block.assigned", block_data(1, block_id="B2", starts_at="2026-11-21T14:00:00Z"))
    assert unit.block.block_id == "B1"
    assert unit.refused("check_in") == "BLOCK_ACTIVE"


def test_an_empty_block_is_released() -> None:
    unit = assigned(0)
    unit.at(STATION)
    unit.must("check_in")
    assert unit.must("close_block") == ["block.released_unused"]
    unit = assigned(1)
    unit.at(STATION)
    unit.must("check_in")
    assert unit.refused("close_block") == "PARCELS_EXPECTED"


@pytest.mark.parametrize(
    "text", ["BEGIN:VCARD\nN:Jansen;Piet\nTEL:+31612345678", "Piet Jansen", "tel:+31612345678", "https://example.org/1"]
)
def test_a_code_that_is_no_parcels_number_is_told_so_and_its_text_is_in_no_event(text: str) -> None:
    for unit in (loading(1), on_route(1)):
        unit.scan(text)
        assert unit.code() == "OTHER_CODE"
        assert [event.type for event in unit.last.events] == ["scan.rejected"]
        assert unit.last.events[0].data["characters"] == len(text)
        told = json.dumps([entry.data for entry in unit.log if isinstance(entry, Event)])
        assert not any(part in told for part in ("Jansen", "JANSEN", "612345678", "example"))


def test_events_before_the_check_in_do_not_say_where_the_vehicle_is() -> None:
    unit = assigned()
    unit.at(STATION)
    unit.scan_parcel(1)
    assert unit.events("scan.rejected")
    assert all("where" not in entry.data for entry in unit.log)
