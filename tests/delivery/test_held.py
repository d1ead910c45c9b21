"""What the vehicle still holds when a block is closed, and what turns up later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.fold import snapshot
from agent.delivery.model.inputs import Acted
from agent.delivery.model.state import Parcel, Policy
from agent.delivery.screen.view import view
from contract.vocabulary import CUSTODY
from tests.delivery.support import SHOP, STATION, CoreUnit, at_door, block_data, door

LATER = {"starts_at": "2026-11-21T13:30:00Z", "ends_at": "2026-11-21T20:00:00Z"}


def owing(parcels: int = 2, **members: Any) -> CoreUnit:
    """A closed block of which everything is still in the vehicle, and goes back to the station."""
    unit = at_door(parcels, 1, **members)
    for number in range(1, parcels + 1):
        unit.stand(door(number))
        unit.must("refuse")
    unit.at(door(1))
    unit.must("close_block", reason="place_closed")
    return unit


def next_block(unit: CoreUnit, parcels: int = 1, first: int = 8, **members: Any) -> CoreUnit:
    """The next block is being loaded; its parcels are others."""
    data = block_data(parcels, 1, block_id="B2", **(LATER | members))
    for number, parcel in enumerate(data["parcels"], start=first):
        parcel |= {"parcel_id": f"P{number}", "tracking_number": f"TBA{number:012d}", "aliases": []}
    unit.receive("block.assigned", data)
    unit.wait(4 * 3600)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    return unit


def held(unit: CoreUnit) -> dict[str, str]:
    return {one["parcel_id"]: one["state"] for one in view(unit.state, unit.moment)["held"]}


def of_first(unit: CoreUnit, number: int | str) -> Parcel:
    return unit.state.blocks["B1"].parcels[number if isinstance(number, str) else f"P{number}"]


def types(unit: CoreUnit) -> list[str]:
    return [event.type for event in unit.last.events]


def test_what_is_left_is_shown_and_its_way_back_is_the_next_thing_to_do() -> None:
    unit = owing()
    assert held(unit) == {"P1": "RETURN_PENDING", "P2": "RETURN_PENDING"}
    prompt = view(unit.state, unit.moment)["prompt"]
    assert (prompt["code"], prompt["params"]) == ("BRING_BACK", {"parcel_ids": ["P1", "P2"], "site": "Station DUT2"})
    assert {"scan", "return", "transfer", "not_in_vehicle"} <= set(prompt["actions"])


def test_a_scan_at_the_station_returns_it_without_a_block() -> None:
    unit = owing()
    unit.scan_parcel(1)
    assert unit.code() == "TO_RETURN"
    assert unit.last.feedback is not None
    assert unit.last.feedback.params["site"] == "Station DUT2"
    unit.at(STATION)
    unit.scan_parcel(1)
    assert (unit.code(), types(unit)) == ("OK", ["parcel.returned"])
    assert unit.last.events[0].data["site_id"] == "S1"
    assert held(unit) == {"P2": "RETURN_PENDING"}
    unit.scan_parcel(2)
    assert held(unit) == {}
    assert view(unit.state, unit.moment)["prompt"]["code"] == "BLOCK_ENDED"


def test_a_scan_while_the_next_block_is_loaded_returns_it_and_leaves_no_phantom() -> None:
    unit = next_block(owing())
    unit.scan_parcel(2)
    assert (unit.code(), types(unit)) == ("OK", ["parcel.returned"])
    assert unit.last.events[0].data["block_id"] == "B1"
    assert unit.counts() == {"MANIFESTED": 1}
    assert held(unit) == {"P1": "RETURN_PENDING"}


def test_on_the_road_of_the_next_block_it_is_told_where_it_goes() -> None:
    unit = next_block(owing())
    unit.scan_parcel(8)
    unit.must("close_loading")
    unit.must("depart")
    unit.stand(door(1))
    unit.scan_parcel(1)
    assert (unit.code(), types(unit)) == ("TO_RETURN", ["scan.rejected"])
    assert unit.last.events[0].data["block_id"] == "B1"
    unit.scan_parcel(8)
    assert unit.code() == "OK", "the parcel of this door is handled as ever"
    assert unit.block.rejected_scans == 0


@pytest.mark.parametrize("in_next", [False, True])
@pytest.mark.parametrize("name", ["return", "return_all", "transfer", "not_in_vehicle"])
def test_every_way_out_of_custody_is_open(name: str, in_next: bool) -> None:
    unit = next_block(owing()) if in_next else owing()
    if name == "return":
        assert unit.must("return", site_id="S1", parcel_ids=["P1"]) == ["parcel.returned", "handover.confirmed"]
    elif name == "return_all":
        assert unit.must("return", site_id="S1").count("parcel.returned") == 2
    elif name == "transfer":
        unit.must("transfer", parcel_ids=["P1"], driver_id="D2")
    else:
        assert unit.must("not_in_vehicle", parcel_id="P1") == ["parcel.not_in_vehicle"]
        assert held(unit)["P1"] == "UNLOCATED"
        assert unit.must("found", parcel_id="P1")[:1] == ["parcel.found"]
        assert held(unit)["P1"] == "RETURN_PENDING"
        unit.must("not_in_vehicle", parcel_id="P1")
        assert unit.must("lost", parcel_id="P1") == ["parcel.lost"]
    assert "P1" not in held(unit)
    assert unit.refused("return", site_id="S9", parcel_ids=["P2"]) in {"UNKNOWN_SITE", "WRONG_TIME"}


def test_what_one_cannot_do_is_refused_as_ever() -> None:
    unit = owing(1)
    assert unit.refused("return", site_id="S2", parcel_ids=["P1"]) == "WRONG_SITE"
    assert unit.refused("reattempt", parcel_id="P1") == "WRONG_TIME"
    unit.must("return", site_id="S1")
    assert unit.refused("transfer", parcel_ids=["P1"], driver_id="D2") == "WRONG_TIME"


def test_parcels_of_two_blocks_change_hands_at_once() -> None:
    unit = next_block(owing())
    unit.scan_parcel(8)
    events = unit.must("transfer", parcel_ids=["P1", "P8"], driver_id="D2")
    assert events.count("parcel.transferred") == 2
    assert {event.data["block_id"] for event in unit.last.events} == {"B1", "B2"}


def test_all_that_goes_back_to_a_site_is_handed_in_although_the_next_block_has_something_for_it_too() -> None:
    unit = next_block(owing(), parcels=2)
    unit.scan_parcel(8)
    unit.must("damage", parcel_id="P8")
    assert unit.must("return", site_id="S1").count("parcel.returned") == 2
    assert held(unit) == {}
    assert unit.parcel(8).state == "RETURN_PENDING", "that one is handed in when its own block goes back"


def test_it_stays_through_further_blocks_and_restarts() -> None:
    unit = next_block(owing())
    unit.act("mark_missing", parcel_id="P8", reason="not_found")
    unit.must("close_loading")
    unit.must("depart")
    unit.must("close_block")
    unit.receive("block.assigned", block_data(1, 1, block_id="B3", starts_at="2026-11-21T14:00:00Z", ends_at=None))
    unit.receive("block.cancelled", {"block_id": "B3"})
    assert held(unit) == {"P1": "RETURN_PENDING", "P2": "RETURN_PENDING"}
    assert set(unit.state.blocks["B1"].parcels) == {"P1", "P2"}
    again = snapshot.load(snapshot.dump(unit.state), Policy())
    assert again == unit.state
    unit.restart()
    unit.at(STATION)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert held(unit) == {}


def test_a_parcel_that_the_next_block_has_too_moves_there_when_it_is_loaded() -> None:
    unit = next_block(owing(), parcels=2, first=1)
    unit.scan_parcel(1)
    assert (unit.code(), types(unit)) == ("OK", ["parcel.transferred", "parcel.loaded"])
    assert [event.data["block_id"] for event in unit.last.events] == ["B1", "B2"]
    assert unit.last.events[0].data["to_block_id"] == "B2"
    assert held(unit) == {"P2": "RETURN_PENDING"}


def test_a_parcel_that_the_next_block_has_left_behind_still_goes_back() -> None:
    unit = next_block(owing(), parcels=2, first=1)
    unit.must("reject", parcel_id="P1", reason="MIS_SORT")
    unit.scan_parcel(1)
    assert (unit.code(), types(unit), unit.last.events[0].data["block_id"]) == ("OK", ["parcel.returned"], "B1")
    unit.scan_parcel(1)
    assert unit.code() == "ENDED"


def test_a_parcel_that_the_next_block_has_aboard_from_its_start_moves_there() -> None:
    unit = owing(1)
    data = block_data(1, 1, block_id="B2", **LATER)
    data["parcels"][0]["state"] = "LOADED"
    unit.receive("block.assigned", data)
    assert "parcel.transferred" in types(unit)
    assert held(unit) == {}


def test_the_recall_of_a_parcel_that_goes_back_already_is_answered() -> None:
    unit = owing(1)
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"]})
    assert unit.last.events[0].data["parcels"] == {"P1": "RETURN_PENDING"}


def test_a_parcel_that_is_found_after_the_block_goes_back() -> None:
    unit = at_door(2, 1)
    unit.scan_parcel(1)
    unit.must("deliver", handover="recipient")
    unit.must("not_in_vehicle", parcel_id="P2")
    unit.must("lost", parcel_id="P2")
    unit.must("close_block")
    unit.scan_parcel(2)
    assert unit.code() == "OK"
    assert types(unit) == ["parcel.unexpected", "parcel.adopted", "parcel.return_pending"]
    assert unit.last.events[0].data["of_parcel_id"] == "P2"
    assert held(unit) == {"B1-x1": "RETURN_PENDING"}
    unit.at(STATION)
    unit.scan_parcel(2)
    assert (unit.code(), of_first(unit, "B1-x1").state, of_first(unit, 2).state) == ("OK", "RETURNED", "LOST")
    unit.scan_parcel(2)
    assert unit.code() == "NO_BLOCK", "it turns up once"


def lost_on_the_road(**members: Any) -> CoreUnit:
    """The first parcel was given up as lost; the second is still to be delivered."""
    unit = at_door(2, 1, **members)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.stand(door(2))
    unit.must("refuse")
    unit.must("lost", parcel_id="P1")
    return unit


@pytest.mark.parametrize("by_scan", [True, False])
def test_a_lost_parcel_that_turns_up_goes_back_with_the_rest(by_scan: bool) -> None:
    unit = lost_on_the_road()
    assert unit.block.state == "RETURNING"
    if by_scan:
        unit.scan_parcel(1)
        assert unit.code() == "OK"
    else:
        unit.must("found", parcel_id="P1")
        assert unit.refused("found", parcel_id="P1") == "WRONG_STATE"
    assert unit.parcel("B1-x1").state == "RETURN_PENDING"
    unit.stand(STATION)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert (unit.code(), unit.block.custody) == ("OK", ())
    assert unit.block.rejected_scans == 0, "the driver did nothing wrong"


def test_a_lost_parcel_that_turns_up_on_the_route_can_still_be_delivered() -> None:
    unit = at_door(2, 1)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.stand(door(2))
    unit.receive("block.revised", block_data(3, 1, version=2))
    unit.scan_parcel(2)
    unit.must("deliver", handover="recipient")
    unit.must("lost", parcel_id="P1")
    assert unit.block.state == "ON_ROUTE"
    unit.scan_parcel(1)
    assert unit.parcel("B1-x1").state == "OUT_FOR_DELIVERY"
    assert unit.parcel("B1-x1").plan == unit.parcel(1).plan
    unit.stand(door(1))
    unit.scan_parcel(1)
    assert "parcel.delivered" in unit.must("deliver", handover="recipient")


def test_a_lost_parcel_that_was_recalled_is_not_delivered_when_it_turns_up() -> None:
    unit = at_door(2, 1)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"]})
    unit.stand(door(2))
    unit.must("refuse")
    unit.must("lost", parcel_id="P1")
    unit.must("found", parcel_id="P1")
    assert (unit.parcel("B1-x1").state, unit.parcel("B1-x1").reason) == ("RETURN_PENDING", "RECALLED")


def test_the_fallback_site_takes_it_too() -> None:
    unit = owing(1, fallback_site_id="S2")
    unit.at(SHOP)
    unit.scan_parcel(1)
    assert (unit.code(), unit.last.events[0].data["site_id"]) == ("OK", "S2")


walks = st.lists(
    st.tuples(
        st.sampled_from(["scan", "return", "transfer", "not_in_vehicle", "found", "lost", "station", "away", "block"]),
        st.integers(1, 3),
    ),
    max_size=12,
)


@given(walks)
def test_whatever_is_held_leaves_by_an_event_that_says_how(walk: list[tuple[str, int]]) -> None:
    unit = owing(3)
    for what, number in walk:
        before = {one.parcel_id for one in unit.state.blocks["B1"].custody}
        if what == "scan":
            unit.scan_parcel(number)
        elif what in {"station", "away"}:
            unit.at(STATION if what == "station" else door(5))
        elif what == "block":
            unit.receive("block.assigned", block_data(1, 1, block_id=f"B{number + 5}", **LATER))
        else:
            parcel = {"parcel_id": f"P{number}"} if what in {"not_in_vehicle", "found", "lost"} else {}
            several = {} if parcel else {"parcel_ids": [f"P{number}"], "site_id": "S1", "driver_id": "D2"}
            unit.give(Acted(what, parcel | several))
        now = {one.parcel_id for one in unit.state.blocks["B1"].custody}
        out = {e.data.get("parcel_id") for e in unit.last.events if e.type.split(".")[1] in LEAVING}
        assert before - now == out
        assert all(of_first(unit, name).state in CUSTODY for name in now)


LEAVING = {"returned", "transferred", "lost"}
