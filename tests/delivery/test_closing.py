"""How a block ends: what goes back, what is lost, and when it may be closed."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.decision import Forget
from agent.delivery.model.state import Policy
from agent.delivery.screen.view import view
from tests.delivery.support import (
    SHOP,
    STATION,
    CoreUnit,
    at_door,
    block_data,
    door,
    loading,
    on_route,
    on_route_with,
    tick,
)


def returning(data: dict[str, Any] | None = None) -> CoreUnit:
    """One parcel delivered, two that go back, the second to the shop."""
    data = data or block_data(3)
    data["parcels"][2]["return_to"] = "S2"
    unit = on_route_with(data, 1, 2, 3)
    unit.stand(door(1))
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    unit.stand(door(2))
    unit.must("fail", reason="WEATHER")
    unit.stand(door(3))
    unit.must("refuse")
    return unit


def delivered() -> CoreUnit:
    unit = at_door(1)
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    return unit


def test_after_the_last_stop_what_is_left_goes_back_site_by_site() -> None:
    unit = returning()
    types = [event.type for event in unit.last.events]
    assert types == [
        "parcel.refused",
        "stop.failed",
        "parcel.return_pending",
        "block.stops_done",
        "stop.added",
        "stop.added",
        "stop.started",
    ]
    assert unit.block.state == "RETURNING"
    stops = [(stop.plan.site_id, stop.parcel_ids) for stop in unit.block.open_stops()]
    assert stops == [("S1", ("P2",)), ("S2", ("P3",))]


def test_scanning_parcels_back_in_ends_the_return_stops_and_the_block_can_be_closed() -> None:
    unit = returning()
    unit.stand(STATION)
    assert [event.type for event in unit.scan_parcel(2).events] == ["parcel.returned", "stop.completed", "stop.started"]
    unit.stand(SHOP)
    unit.scan_parcel(3)
    assert (unit.code(), unit.counts()) == ("OK", {"DELIVERED": 1, "RETURNED": 2})
    assert unit.must("close_block") == ["block.closed"]
    assert unit.last.effects == (Forget("block/B1"),)
    assert unit.block.state == "CLOSED"
    assert unit.block.otp_key is None


def test_a_parcel_that_goes_back_to_the_shop_is_refused_at_the_station() -> None:
    unit = returning()
    unit.stand(STATION)
    decision = unit.scan_parcel(3)
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["store"]) == ("WRONG_STORE", "Corner shop")
    assert unit.parcel(3).state == "RETURN_PENDING"


def test_a_parcel_scanned_before_the_return_stop_is_reached_is_not_returned() -> None:
    unit = returning()
    unit.scan_parcel(2)
    assert unit.code() == "NOT_ARRIVED"


def test_returning_without_scanning_is_a_handover_by_count() -> None:
    unit = returning()
    assert unit.refused("return", site_id="S1") == "NOT_ARRIVED"
    unit.stand(STATION)
    assert unit.must("return", site_id="S1")[:2] == ["parcel.returned", "handover.confirmed"]
    assert unit.events("handover.confirmed")[0].data["count"] == 1
    assert unit.refused("return", site_id="S1") == "NOTHING_TO_DO"
    assert unit.refused("return", site_id="S7") == "UNKNOWN_SITE"


def test_the_fallback_site_takes_what_the_shop_can_not() -> None:
    unit = returning(block_data(3, fallback_site_id="S1"))
    types = unit.must("return", site_id="S1", parcel_ids=["P3"])
    assert types == ["stop.added", "stop.cancelled"]
    assert unit.stop("return-S2").state == "CANCELLED"
    unit.stand(STATION)
    unit.scan_parcel(2)
    unit.scan_parcel(3)
    assert unit.counts() == {"DELIVERED": 1, "RETURNED": 2}


def test_a_block_is_not_closed_while_parcels_are_in_custody() -> None:
    unit = returning()
    assert unit.refused("close_block") == "CUSTODY_LEFT"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["parcel_ids"] == ["P2", "P3"]


def test_a_return_that_is_due_later_is_written_down_as_owed() -> None:
    unit = returning()
    assert unit.must("close_block", reason="shop opens tomorrow")[-1] == "block.closed"
    closed = unit.events("block.closed")[0]
    assert closed.data["obligation"] == {"parcel_ids": ["P2", "P3"], "site_ids": ["S1", "S2"]}
    assert [parcel.parcel_id for parcel in unit.block.custody] == ["P2", "P3"]


def test_a_delivered_block_is_closed_by_the_driver_and_still_correctable_until_then() -> None:
    unit = delivered()
    assert unit.block.state == "ON_ROUTE"
    unit.must("void", parcel_id="P1", reason="wrong door")
    assert unit.refused("close_block") == "CUSTODY_LEFT"
    unit.stand(door(1))
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    assert unit.must("close_block") == ["block.closed"]
    assert unit.refused("void", parcel_id="P1", reason="too late") == "WRONG_TIME"


def test_the_end_of_a_block_says_how_far_it_was_driven_for() -> None:
    unit = delivered()
    unit.at(door(1), distance_m=12_345.6)
    assert view(unit.state, unit.moment)["block"]["distance_m"] == 12_346
    unit.must("close_block")
    assert unit.events("block.closed")[0].data["distance_m"] == 12_346
    unit.at(door(1), distance_m=None)
    assert view(unit.state, unit.moment)["block"]["distance_m"] == 12_346
    unit.restart()
    assert unit.block.distance_m == 12_346


def test_without_a_receiver_nobody_knows_how_far_it_was() -> None:
    unit = delivered()
    assert view(unit.state, unit.moment)["block"]["distance_m"] is None
    unit.must("close_block")
    assert "distance_m" not in unit.events("block.closed")[0].data


def test_what_was_driven_for_the_last_block_does_not_count_for_the_next() -> None:
    unit = delivered()
    unit.at(door(1), distance_m=500.0)
    unit.must("close_block")
    unit.receive("block.assigned", {**block_data(1), "block_id": "B8"})
    unit.must("check_in", reason="elsewhere")
    assert view(unit.state, unit.moment)["block"]["distance_m"] is None


def test_a_block_with_nothing_left_is_closed_by_itself_after_a_while() -> None:
    unit = delivered()
    tick(unit)
    unit.wait(14 * 60)
    assert tick(unit).events == ()
    unit.wait(61)
    assert [event.type for event in tick(unit).events] == ["block.closed"]


def test_open_stops_keep_the_block_open() -> None:
    unit = on_route(2)
    assert unit.refused("close_block") == "CUSTODY_LEFT"


def test_a_parcel_that_can_not_be_found_is_searched_for_at_the_end_and_then_lost() -> None:
    unit = at_door(1)
    unit.must("not_in_vehicle", parcel_id="P1")
    assert unit.refused("close_block") == "CUSTODY_LEFT"
    assert unit.must("lost", parcel_id="P1") == ["parcel.lost"]
    assert unit.must("close_block") == ["block.closed"]


def test_what_turns_up_at_the_end_goes_back_with_the_rest() -> None:
    unit = at_door(2)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.stand(door(2))
    unit.must("refuse")
    assert unit.block.state == "RETURNING"
    assert unit.must("found", parcel_id="P1") == ["parcel.found", "parcel.return_pending"]
    unit.stand(STATION)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert unit.must("close_block") == ["block.closed"]


def test_a_customer_who_calls_while_the_driver_returns_gets_another_try() -> None:
    unit = returning()
    assert unit.must("reattempt", parcel_id="P2") == [
        "parcel.reattempt_started",
        "stop.added",
        "stop.cancelled",
        "stop.started",
    ]
    assert unit.block.current_stop_id == "T2-2"
    unit.stand(door(2))
    unit.scan_parcel(2)
    unit.must("deliver", handover="recipient")
    assert unit.parcel(2).state == "DELIVERED"
    assert unit.block.current_stop_id == "return-S2"


def test_aborting_brings_everything_back() -> None:
    unit = at_door(3)
    types = unit.must("abort", reason="VEHICLE_BREAKDOWN")
    assert types == [
        "block.aborted",
        *["parcel.return_pending"] * 3,
        "stop.failed",
        *["stop.cancelled"] * 2,
        "stop.added",
        "stop.started",
    ]
    assert unit.counts() == {"RETURN_PENDING": 3}
    assert unit.block.current_stop_id == "return-S1"


def test_aborting_while_loading_leaves_what_was_not_loaded() -> None:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.must("abort", reason="ILLNESS")
    assert unit.counts() == {"RETURN_PENDING": 1, "MANIFESTED": 1}
    unit.must("arrive")
    unit.scan_parcel(1)
    assert unit.must("close_block") == ["block.closed"]


def test_an_adopted_parcel_without_a_stop_goes_back_at_the_end() -> None:
    unit = loading(1, policy=Policy(allow_adoption=True))
    unit.scan_parcel(1)
    unit.scan("TBA999999999999")
    unit.must("adopt", parcel_id="B1-x1")
    unit.must("close_loading")
    unit.must("depart")
    unit.stand(door(1))
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    assert unit.block.state == "RETURNING"
    unit.stand(STATION)
    unit.scan("TBA999999999999")
    assert unit.parcel("B1-x1").state == "RETURNED"


def test_a_return_stop_of_the_manifest_is_used_and_no_other_is_added() -> None:
    data = block_data(2)
    data["stops"].append({"stop_id": "T9", "kind": "return", "site_id": "S1", "sequence": 9})
    unit = on_route_with(data, 1, 2)
    for number in (1, 2):
        unit.stand(door(number))
        unit.must("refuse")
    assert unit.block.current_stop_id == "T9"
    unit.stand(STATION)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert unit.stop("T9").state == "COMPLETED"
    assert unit.must("close_block") == ["block.closed"]


def test_a_return_stop_of_the_manifest_that_nobody_needs_is_dropped() -> None:
    data = block_data(1)
    data["stops"].append({"stop_id": "T9", "kind": "return", "site_id": "S1", "sequence": 9})
    unit = on_route_with(data, 1)
    unit.stand(door(1))
    unit.scan_parcel(1)
    assert unit.must("deliver", handover="front_door") == ["parcel.delivered", "stop.completed", "stop.cancelled"]
    assert unit.must("close_block") == ["block.closed"]


def test_leaving_the_return_site_with_parcels_on_board_is_noticed() -> None:
    unit = returning()
    unit.stand(STATION)
    assert unit.stand(door(3), 14) == ["stop.departed_open"]
    assert unit.parcel(2).state == "RETURN_PENDING"


def test_the_next_block_begins_when_the_last_is_over() -> None:
    unit = delivered()
    unit.receive("block.assigned", block_data(1, block_id="B2"))
    assert unit.block.block_id == "B1"
    unit.must("close_block")
    assert unit.block.block_id == "B2"
    unit.at(STATION)
    assert unit.must("check_in")[0] == "block.checked_in"
