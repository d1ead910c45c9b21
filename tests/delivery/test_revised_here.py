"""A revision of the stop at which the driver stands waits until he has left it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.state import Block
from agent.delivery.screen.view import view
from tests.delivery.support import SHOP, STATION, CoreUnit, at_door, block_data, door, loading, on_route

ELSEWHERE = {"line1": "Maliebaan 9", "house_number": "9"}


def revised(version: int = 2, parcels: int = 4, per_stop: int = 2, **of_parcels: Any) -> dict[str, Any]:
    """Everything about the first door is another, and about its parcels, too."""
    data = block_data(parcels, per_stop, version=version)
    data["stops"][1] |= {"address": ELSEWHERE, "location": SHOP, "recipient": {"name": "Somebody else"}}
    data["otp_key"] = "sealed:v1:another"
    wanted = {"requirements": {"otp_hmac": "ab", "photo": True}, "instruction": {"kind": "resident"}}
    for parcel in data["parcels"][:per_stop]:
        parcel |= wanted | of_parcels
    return data


def shown(unit: CoreUnit) -> dict[str, Any]:
    seen = view(unit.state, unit.moment)
    stop = seen["current_stop"]
    parcels = [parcel for parcel in seen["parcels"] if parcel["parcel_id"] in stop["parcel_ids"]]
    return {"stop": stop, "parcels": parcels, "prompt": seen["prompt"]}


def test_the_door_where_the_driver_stands_stays_what_it_was() -> None:
    unit = at_door(4, 2)
    before = shown(unit)
    unit.receive("block.revised", revised(), "revision")
    assert unit.code() == "BLOCK_REVISED"
    assert shown(unit) == before
    assert unit.block.otp_key == "sealed:v1:key"
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert "stop.completed" in unit.must("deliver", handover="front_door")


def test_the_cloud_is_told_where_a_part_of_its_revision_waits() -> None:
    unit = at_door(4, 2)
    unit.receive("block.revised", revised(), "revision")
    assert unit.events("route.revised")[-1].data["waits_at"] == "T1"
    unit = on_route(4, 2)
    unit.receive("block.revised", revised(), "revision")
    assert "waits_at" not in unit.events("route.revised")[-1].data
    assert unit.stop("T1").plan.location is not None
    assert unit.stop("T1").plan.location.latitude == SHOP["latitude"]


@pytest.mark.parametrize("restarts", [False, True])
def test_it_counts_once_he_has_left(restarts: bool) -> None:
    unit = at_door(4, 2)
    unit.receive("block.revised", revised(), "revision")
    if restarts:
        unit.restart()
    unit.must("start_stop", stop_id="T2")
    assert unit.stop("T1").state == "PLANNED"
    assert unit.stop("T1").plan.address == ELSEWHERE
    assert unit.parcel(1).plan.requirements.photo
    assert (unit.block.otp_key, unit.block.held_back) == ("sealed:v1:another", None)


def test_what_is_left_of_an_ended_stop_is_planned_anew() -> None:
    unit = at_door(4, 2)
    unit.receive("block.revised", revised(), "revision")
    unit.must("contact", method="call", outcome="no_answer")
    unit.must("fail", reason="CUSTOMER_UNAVAILABLE")
    assert unit.stop("T1").plan.address == {"line1": "Oudegracht 1", "house_number": "1"}, (
        "an ended stop is where it was"
    )
    assert unit.parcel(1).plan.requirements.photo


def test_the_latest_of_several_revisions_counts() -> None:
    unit = at_door(4, 2)
    unit.receive("block.revised", revised(), "revision")
    unit.receive("block.revised", revised(3, section="7"), "revision")
    assert unit.parcel(1).plan.section == "1"
    unit.must("start_stop", stop_id="T2")
    assert unit.parcel(1).plan.section == "7"


def test_the_rest_of_the_route_changes_at_once() -> None:
    unit = at_door(4, 2)
    data = revised()
    data["stops"][2]["address"] = ELSEWHERE
    data["parcels"][2]["section"] = "9"
    unit.receive("block.revised", data, "revision")
    assert unit.stop("T2").plan.address == ELSEWHERE
    assert unit.parcel(3).plan.section == "9"


def test_a_parcel_is_neither_taken_from_the_door_nor_brought_to_it() -> None:
    unit = at_door(4, 2)
    data = block_data(4, 2, version=2)
    data["parcels"][0]["stop_id"], data["parcels"][2]["stop_id"] = "T2", "T1"
    unit.receive("block.revised", data, "revision")
    assert unit.last.events[-1].type == "route.revised"
    unit.scan_parcel(3)
    assert unit.code() == "WRONG_STOP"
    unit.scan_parcel(1)
    assert unit.code() == "OK"
    unit.must("start_stop", stop_id="T2")
    assert (unit.parcel(1).stop_id, unit.parcel(3).stop_id) == ("T2", "T1")
    assert set(unit.stop("T1").parcel_ids) == {"P2", "P3"}


def test_a_number_that_waits_is_found_once_it_counts() -> None:
    unit = at_door(2, 1)
    unit.receive("block.revised", revised(2, 2, 1, tracking_number="TBA000000000077"), "revision")
    unit.scan_parcel(1)
    assert unit.code() == "OK"
    unit.must("start_stop", stop_id="T2")
    assert unit.block.codes.get("TBA000000000077") == ("P1",)
    assert "TBA000000000001" not in unit.block.codes


def test_parcels_that_are_being_given_back_stay_with_their_place() -> None:
    unit = at_door(2, 1)
    unit.must("refuse")
    unit.stand(door(2))
    unit.must("refuse")
    unit.stand(STATION)
    assert unit.block.current_stop is not None
    assert (unit.block.current_stop.kind, unit.block.current_stop.state) == ("return", "ARRIVED")
    data = block_data(2, 1, version=2)
    data["sites"][0] |= {"name": "Another station", "location": SHOP}
    for parcel in data["parcels"]:
        parcel["return_to"] = "S2"
    unit.receive("block.revised", data, "revision")
    assert unit.block.sites["S1"].name == "Station DUT2"
    unit.scan_parcel(1)
    assert unit.code() == "OK"


def test_what_is_still_to_be_loaded_changes_at_once() -> None:
    unit = loading(2, 1)
    unit.receive("block.revised", revised(2, 3, 1, section="8"), "revision")
    assert unit.parcel(1).plan.section == "8"
    unit.scan_parcel(3)
    assert unit.code() == "OK"


@given(st.integers(2, 5), st.integers(1, 3), st.booleans(), st.data())
def test_no_revision_changes_what_is_to_be_done_where_the_driver_stands(
    parcels: int, per_stop: int, scanned: bool, data: st.DataObject
) -> None:
    unit = at_door(4, 2)
    if scanned:
        unit.scan_parcel(1)
    before = unit.block
    content = revised(2, parcels, per_stop)
    doors = [stop["stop_id"] for stop in content["stops"][1:]]
    for parcel in content["parcels"]:
        parcel["stop_id"] = data.draw(st.sampled_from(doors))
    unit.receive("block.revised", content, "revision")
    assert here(unit.block) == here(before)
    unit.act("start_stop", stop_id="T2")
    assert unit.block.held_back is None or unit.block.standing is not None


def here(block: Block) -> Any:
    stop = block.standing
    assert stop is not None
    return stop.plan, [parcel for parcel in block.parcels_of(stop) if parcel.state == "OUT_FOR_DELIVERY"]
