"""Blocks that are in each other's way: none is lost by that, and the driver sees both."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.screen.view import view
from tests.delivery.support import STATION, CoreUnit, assigned, block_data, door, loaded, loading, on_route, tick

LATER = {"starts_at": "2026-11-21T13:30:00Z", "ends_at": "2026-11-21T17:00:00Z"}
MEANWHILE = {"starts_at": "2026-11-21T12:00:00Z", "ends_at": "2026-11-21T16:00:00Z"}


def offer(**members: Any) -> dict[str, Any]:
    return {
        "offer_id": "O2",
        "block_id": "B2",
        "kind": "station",
        "place": "Station DUT2",
        **LATER,
        "pay": {"amount": "84.00", "currency": "EUR"},
        "expires_at": "2026-11-21T10:00:00Z",
        **members,
    }


def second(unit: CoreUnit, **members: Any) -> CoreUnit:
    unit.receive("block.assigned", block_data(1, block_id="B2", **(LATER | members)))
    return unit


def conflicts(unit: CoreUnit) -> list[tuple[str, str]]:
    shown = view(unit.state, unit.moment)["conflicts"]
    return [(one["block_id"], one["other_block_id"]) for one in shown]


def test_a_second_block_waits_while_the_first_runs_longer_than_it_was_to() -> None:
    unit = second(on_route(1))
    assert conflicts(unit) == []
    unit.wait(6 * 3600)  # 15:00, an hour and a half after B2 has begun
    tick(unit)
    assert unit.events("block.no_show") == []
    assert unit.last.feedback is not None
    assert (unit.code(), unit.last.feedback.params["block_id"]) == ("BLOCKS_OVERLAP", "B2")
    assert conflicts(unit) == [("B2", "B1")]
    tick(unit)
    assert unit.code() is None, "it is told once"
    finish(unit)
    assert (unit.block.block_id, unit.block.state) == ("B2", "ACCEPTED")
    unit.wait(3000)
    tick(unit)
    unit.at(STATION)
    assert unit.must("check_in")[0] == "block.checked_in"


def finish(unit: CoreUnit) -> None:
    unit.stand(door(1))
    unit.scan_parcel(1)
    unit.must("deliver", handover="recipient")
    unit.must("close_block")


def test_after_the_first_block_the_second_is_missed_no_sooner_than_any_other() -> None:
    unit = second(on_route(1))
    unit.wait(6 * 3600)
    finish(unit)
    unit.wait(3500)
    tick(unit)
    assert unit.block.state == "ACCEPTED"
    unit.wait(200)
    assert [event.type for event in tick(unit).events] == ["block.no_show"]


@pytest.mark.parametrize("stage", [loading, loaded, on_route])
def test_no_block_is_missed_whatever_the_running_one_is_doing(stage: Any) -> None:
    unit = second(stage(2))
    unit.wait(20 * 3600)
    tick(unit)
    assert unit.events("block.no_show") == []
    unit.restart()
    tick(unit)
    assert unit.events("block.no_show") == []


def test_no_block_is_missed_while_a_replaced_unit_has_the_parcels_of_another_on_board() -> None:
    data = block_data(1)
    data["parcels"][0]["state"] = "OUT_FOR_DELIVERY"
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    second(unit)
    unit.wait(8 * 3600)
    tick(unit)
    assert unit.events("block.no_show") == []


def test_a_block_is_still_missed_while_another_only_waits() -> None:
    unit = second(assigned(1))
    unit.wait(2 * 3600)
    tick(unit)
    assert [event.subject for event in unit.events("block.no_show")] == ["block/B1"]


def test_what_dispatch_assigns_is_taken_and_the_driver_is_told_what_is_in_its_way() -> None:
    unit = second(assigned(1), **MEANWHILE)
    assert unit.code() == "BLOCKS_OVERLAP"
    assert conflicts(unit) == [("B2", "B1")]
    unit.must("give_back", block_id="B2")
    assert conflicts(unit) == []


def test_a_revision_that_moves_a_block_into_another_is_told() -> None:
    unit = second(assigned(1))
    unit.receive("block.revised", block_data(1, block_id="B2", version=2, **MEANWHILE))
    assert unit.code() == "BLOCKS_OVERLAP"


def test_an_offer_that_overlaps_another_one_that_was_asked_for_is_not_requested() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.receive("offer.made", offer(offer_id="O3", block_id="B3", starts_at="2026-11-21T16:59:00Z", ends_at=None))
    unit.receive("offer.made", offer(offer_id="O4", block_id="B4", **MEANWHILE))
    unit.must("accept_offer", offer_id="O2")
    assert unit.refused("accept_offer", offer_id="O4") == "OVERLAP"
    unit.must("decline_offer", offer_id="O4")


def test_a_block_is_asked_for_once() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.receive("offer.made", offer(offer_id="O3"))
    unit.must("accept_offer", offer_id="O2")
    assert unit.refused("accept_offer", offer_id="O2") == "ALREADY_REQUESTED"
    assert unit.refused("accept_offer", offer_id="O3") == "ALREADY_REQUESTED", "another offer of the same block"
    unit.receive("offer.made", offer(pay={"amount": "9.00", "currency": "EUR"}))
    assert unit.events("message.rejected")[-1].data["reason"] == "STALE", "an offer that was asked for stays as it was"
    assert len(unit.events("block.acceptance_requested")) == 1


def test_a_confirmation_that_nobody_asked_for_is_refused() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.receive("offer.confirmed", {"block_id": "B2"})
    assert unit.events("message.rejected")[-1].data["reason"] == "NOT_REQUESTED"
    assert unit.state.blocks["B2"].state == "OFFERED"
    unit.must("accept_offer", offer_id="O2")
    unit.restart()
    unit.receive("offer.confirmed", {"block_id": "B2"})
    assert unit.state.blocks["B2"].state == "ACCEPTED"


def test_a_confirmation_that_comes_after_another_block_is_taken_and_told() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.must("accept_offer", offer_id="O2")
    unit.receive("block.assigned", block_data(1, **MEANWHILE))
    unit.receive("offer.confirmed", {"block_id": "B2"})
    assert (unit.state.blocks["B2"].state, unit.code()) == ("ACCEPTED", "BLOCKS_OVERLAP")


hours = st.tuples(st.integers(0, 23), st.integers(1, 8))


@given(st.lists(hours, min_size=1, max_size=4))
def test_every_two_blocks_that_share_an_hour_are_shown(times: list[tuple[int, int]]) -> None:
    unit = CoreUnit()
    for number, (start, length) in enumerate(times):
        ends = start + length
        members = {
            "starts_at": f"2026-11-21T{start:02}:00:00Z",
            "ends_at": f"2026-11-{21 + ends // 24}T{ends % 24:02}:00:00Z",
        }
        unit.receive("block.assigned", block_data(1, block_id=f"B{number}", **members))
    assert len(unit.state.blocks) == len(times)
    clash = {
        f"B{number}"
        for number, (start, length) in enumerate(times)
        for other, (begin, hours_) in enumerate(times)
        if number != other and max(start, begin) < min(start + length, begin + hours_)
    }
    assert {name for pair in conflicts(unit) for name in pair} == clash
