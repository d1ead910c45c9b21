"""Between the stops: arriving, leaving and choosing, as the vehicle and its driver do it."""

from __future__ import annotations

import pytest

from agent.delivery.model.geofence import distance_m
from agent.delivery.model.inputs import Located
from agent.delivery.model.manifest import Place
from tests.delivery.support import STATION, CoreUnit, at_door, block_data, door, loaded, on_route, on_route_with

NEAR = {"latitude": 52.1008, "longitude": 5.12}
"""89 m from the first door: outside tier 1, inside tier 2."""
MIDDLE = {"latitude": 52.1015, "longitude": 5.12}
"""167 m from the first door."""
FAR = {"latitude": 52.105, "longitude": 5.12}


def test_standing_at_the_door_for_five_seconds_arrives() -> None:
    unit = on_route()
    assert unit.stand(door(1), 5) == []
    assert unit.stand(door(1), 2) == ["stop.arrived"]
    event = unit.events("stop.arrived")[-1]
    assert (event.data["tier"], event.data["method"]) == (1, "geofence")
    assert (unit.code(), unit.stop("T1").state) == (None, "ARRIVED")


def test_driving_past_does_not_arrive() -> None:
    unit = on_route()
    for _ in range(10):
        unit.at(door(1), speed_mps=9.0)
        unit.wait(0.9)
    assert unit.stop("T1").state == "EN_ROUTE"


def test_a_receiver_that_gives_no_speed_is_believed_by_its_positions() -> None:
    unit = on_route()
    for step in range(10):
        place = {"latitude": 52.0997 + step * 0.0001, "longitude": 5.12}
        unit.at(place, speed_mps=None)  # type: ignore[arg-type]
        unit.wait(0.9)
    assert unit.stop("T1").state == "EN_ROUTE"
    for _ in range(9):
        unit.at(door(1), speed_mps=None)  # type: ignore[arg-type]
        unit.wait(0.9)
    assert unit.stop("T1").state == "ARRIVED"


def test_a_short_halt_that_is_interrupted_begins_anew() -> None:
    unit = on_route()
    unit.stand(door(1), 4)
    unit.at(door(1), speed_mps=6.0)
    unit.wait(0.9)
    assert unit.stand(door(1), 4) == []


def test_the_driver_arrives_near_the_door_without_a_question() -> None:
    unit = on_route()
    unit.at(door(1))
    assert unit.must("arrive") == ["stop.arrived"]
    assert unit.code() == "ARRIVED"
    assert unit.refused("arrive") == "ALREADY_ARRIVED"


@pytest.mark.parametrize("answer", ["confirm_location", "arrive"])
def test_a_little_farther_the_driver_is_asked_once(answer: str) -> None:
    unit = on_route()
    unit.at(MIDDLE)
    assert unit.refused("arrive") == "CONFIRM_LOCATION"
    assert unit.code() == "CONFIRM_LOCATION"
    assert unit.must(answer) == ["stop.arrived"]
    data = unit.last.events[0].data
    assert (data["tier"], data["confirmed"]) == (2, True)
    assert unit.block.overrides == 0


def test_far_from_the_pin_a_reason_is_enough_and_is_counted() -> None:
    unit = on_route()
    unit.at(FAR)
    assert unit.refused("arrive") == "REASON_NEEDED"
    assert unit.refused("confirm_location") == "REASON_NEEDED"
    assert unit.must("arrive", reason="pin is wrong") == ["geofence.overridden", "stop.arrived"]
    assert unit.stop("T1").overridden
    assert unit.block.overrides == 1


def test_without_any_fix_a_reason_is_enough() -> None:
    unit = on_route()
    unit.wait(60)
    assert unit.refused("arrive") == "REASON_NEEDED"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["why"] == "OLD_FIX"
    unit.must("arrive", reason="no reception")


def test_a_stop_without_a_position_is_taken_at_the_drivers_word() -> None:
    data = block_data(1)
    del data["stops"][1]["location"]
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    for action in ("check_in", "start_loading"):
        unit.must(action, reason="no reception") if action == "check_in" else unit.must(action)
    unit.scan_parcel(1)
    unit.must("close_loading")
    unit.must("depart")
    assert unit.must("arrive") == ["stop.arrived"]


def test_a_poor_fix_is_given_the_benefit_of_sixty_metres() -> None:
    unit = on_route()
    unit.at(NEAR, accuracy_m=500.0)
    assert unit.must("arrive") == ["stop.arrived"]
    unit = on_route()
    unit.at(MIDDLE, accuracy_m=500.0)
    assert unit.refused("arrive") == "CONFIRM_LOCATION"


def test_a_position_of_the_hand_held_counts_closer() -> None:
    unit = on_route()
    unit.at({"latitude": 52.1006, "longitude": 5.12}, source="handheld")
    assert unit.refused("arrive") == "CONFIRM_LOCATION"


def test_leaving_with_parcels_unresolved_warns_and_keeps_the_stop_open() -> None:
    unit = at_door()
    assert unit.stand(FAR, 8) == []
    assert unit.stand(FAR, 5) == ["stop.departed_open"]
    assert unit.events("stop.departed_open")[0].data["parcel_ids"] == ["P1"]
    assert (unit.stop("T1").state, unit.block.current_stop_id) == ("PLANNED", None)


def test_a_stray_fix_does_not_leave_the_stop() -> None:
    unit = at_door()
    unit.stand(FAR, 6)
    unit.stand(door(1), 1)
    assert unit.stand(FAR, 6) == []


def test_driving_fast_for_ten_seconds_leaves_even_near_the_pin() -> None:
    unit = at_door()
    types = []
    for _ in range(13):
        types += [event.type for event in unit.at(door(1), speed_mps=8.0).events]
        unit.wait(0.9)
    assert types == ["stop.departed_open"]


def test_a_driver_who_arrived_against_the_position_is_not_told_to_have_left() -> None:
    unit = on_route()
    unit.at(FAR)
    unit.must("arrive", reason="pin is wrong")
    assert unit.stand(FAR, 30) == []
    assert unit.stop("T1").state == "ARRIVED"


def test_a_stop_left_open_can_be_taken_up_again() -> None:
    unit = at_door()
    unit.stand(FAR, 13)
    unit.at(door(1))
    assert unit.must("arrive") == ["stop.arrived"]
    assert unit.stop("T1").left_open == 1


def test_choosing_another_stop_puts_the_first_back_in_its_place() -> None:
    unit = on_route(3)
    assert unit.must("start_stop", stop_id="T3") == ["stop.skipped", "stop.started"]
    assert unit.code() == "OUT_OF_ORDER"
    assert unit.block.current_stop_id == "T3"
    unit.stand(door(3))
    unit.scan_parcel(3)
    unit.must("deliver", handover="front_door")
    assert unit.block.current_stop_id == "T1", "the skipped stop kept its place"


def test_choosing_another_stop_while_at_one_says_that_it_stays_open() -> None:
    unit = at_door(2)
    assert unit.must("start_stop", stop_id="T2") == ["stop.departed_open", "stop.started"]
    assert unit.code() == "STOP_LEFT_OPEN"


def test_a_skipped_stop_goes_to_the_end() -> None:
    unit = on_route(3)
    assert unit.must("skip_stop", reason="gate opens at noon") == ["stop.skipped", "stop.started"]
    assert unit.block.current_stop_id == "T2"
    assert [stop.stop_id for stop in unit.block.open_stops()] == ["T2", "T3", "T1"]
    unit.stand(door(2))
    assert unit.refused("skip_stop", reason="too late") == "ALREADY_ARRIVED"


def test_a_stop_that_is_unknown_or_over_is_not_started() -> None:
    unit = at_door(2)
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    assert unit.refused("start_stop", stop_id="T1") == "STOP_ENDED"
    assert unit.refused("start_stop", stop_id="T77") == "UNKNOWN_STOP"
    assert unit.refused("start_stop", stop_id="T0") == "STOP_ENDED"


def test_a_road_that_is_closed_fails_the_stop_before_it_is_reached() -> None:
    unit = on_route(2)
    unit.at(STATION)
    assert unit.refused("fail", reason="ADDRESS_NOT_FOUND") == "NOT_ARRIVED"
    assert unit.must("fail", reason="ROAD_CLOSED") == ["parcel.attempt_failed", "stop.failed", "stop.started"]
    assert unit.events("parcel.attempt_failed")[0].data["attempted"] is False
    assert unit.parcel(1).state == "ATTEMPTED"


def test_out_of_time_before_the_stop_is_no_attempt() -> None:
    unit = on_route(2)
    assert unit.must("fail", reason="OUT_OF_TIME")[:2] == ["parcel.return_pending", "stop.failed"]
    assert unit.parcel(1).attempts == ()


def test_a_break_pauses_and_resumes() -> None:
    unit = on_route()
    unit.must("pause")
    unit.scan_parcel(1)
    assert unit.code() == "PAUSED"
    unit.wait(900)
    unit.must("resume")
    assert unit.events("block.resumed")[0].data["paused_s"] == pytest.approx(900.2, abs=0.2)
    assert unit.block.state == "ON_ROUTE"


def test_a_planned_break_ends_when_the_vehicle_drives_on() -> None:
    data = block_data(1)
    data["stops"].append({"stop_id": "T5", "kind": "break", "sequence": 0, "location": NEAR})
    unit = on_route_with(data, 1)
    assert unit.block.current_stop_id == "T5"
    unit.stand(NEAR)
    assert unit.stop("T5").state == "ARRIVED"
    assert unit.stand(FAR, 13) == ["stop.completed", "stop.started"]
    assert unit.block.current_stop_id == "T1"


def test_a_driver_tags_a_halt_and_suggests_where_the_pin_belongs() -> None:
    unit = at_door()
    assert unit.must("tag_stop", kind="traffic") == ["stop.tagged"]
    assert unit.stop("T1").tags == ("traffic",)
    assert unit.must("suggest_location") == ["location.suggested"]
    assert unit.last.events[0].data["where"]["latitude"] == pytest.approx(52.10)
    unit.wait(60)
    assert unit.refused("suggest_location") == "NO_POSITION"


def test_losing_the_fix_forgets_nothing_but_the_position_after_half_a_minute() -> None:
    unit = at_door()
    unit.give(Located(unit.uptime_ms, 1))
    unit.scan_parcel(1)
    assert "where" in unit.last.events[0].data
    unit.wait(31)
    unit.must("deliver", handover="front_door")
    assert "where" not in unit.last.events[0].data


def test_distances_are_those_of_the_globe() -> None:
    assert distance_m(Place(52.0, 5.0), Place(53.0, 5.0)) == pytest.approx(111_195, rel=1e-4)
    assert distance_m(Place(52.0, 179.999), Place(52.0, -179.999)) == pytest.approx(136.9, rel=1e-2)


def test_a_restart_at_a_stop_goes_on_at_the_stop() -> None:
    unit = at_door()
    unit.scan_parcel(1)
    unit.restart()
    assert unit.must("deliver", handover="front_door")[0] == "parcel.delivered"


def test_standing_at_the_station_after_loading_does_not_depart() -> None:
    unit = loaded()
    assert unit.stand(STATION, 30) == []
