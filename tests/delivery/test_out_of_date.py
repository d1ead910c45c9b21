"""A block that ended long ago is no work of today, and is not in the way of today's."""

from __future__ import annotations

from typing import Any

import pytest

from agent.delivery.screen.prompt import prompt
from agent.delivery.screen.view import view
from contract.vocabulary import ClockTrust
from tests.delivery.support import STATION, CoreUnit, assigned, block_data, loading, tick

HOUR_MS = 3_600_000
YESTERDAY = {"starts_at": "2026-11-20T03:00:00Z", "ends_at": "2026-11-20T07:00:00Z"}
"""Ended 26 h before the block of the other tests begins."""


def offer(**members: Any) -> dict[str, Any]:
    offered = {"offer_id": "O1", "block_id": "B9", "kind": "station", "place": "DUT2", "pay": None}
    times = {"starts_at": "2026-11-22T09:00:00Z", "ends_at": "2026-11-22T13:00:00Z"}
    return {**offered, **times, "expires_at": "2026-11-21T09:05:00Z", **members}


def rejection(unit: CoreUnit) -> tuple[str, str | None]:
    assert unit.last.refusal is not None
    assert [event.type for event in unit.last.events] == ["message.rejected"]
    return unit.last.events[0].data["reason"], unit.last.events[0].data["path"]


@pytest.mark.parametrize("trust", ["gps", "ntp", "rtc"])
def test_a_block_that_ended_yesterday_is_rejected_and_todays_stays(trust: ClockTrust) -> None:
    unit = assigned(block_id="B2")
    unit.trust = trust
    before = unit.state
    unit.receive("block.assigned", block_data(block_id="B1", **YESTERDAY))
    assert rejection(unit) == ("STALE", "ends_at")
    assert unit.state == before
    assert unit.block.block_id == "B2"


@pytest.mark.parametrize(("hours", "is_taken"), [(11.99, True), (12.01, False)])
def test_twelve_hours_after_its_end_a_block_is_out_of_date_whatever_its_offset(hours: float, is_taken: bool) -> None:
    unit = CoreUnit()
    unit.wait(4 * 3600 + hours * 3600)
    ends = {"starts_at": "2026-11-21T14:30:00+05:30", "ends_at": "2026-11-21T18:30:00+05:30"}
    assert (unit.receive("block.assigned", block_data(**ends)).refusal is None) is is_taken


def test_a_revision_that_ended_yesterday_does_not_replace_an_accepted_block() -> None:
    unit = assigned()
    unit.receive("block.revised", block_data(version=2, **YESTERDAY))
    assert rejection(unit) == ("STALE", "ends_at")
    assert str(unit.block.ends_at) == "2026-11-21T13:00:00Z"


def test_a_block_that_is_under_way_may_be_revised_however_late_it_is() -> None:
    unit = loading()
    unit.wait(4 * 3600 + 13 * 3600)
    assert unit.receive("block.revised", block_data(5, version=2)).refusal is None


@pytest.mark.parametrize(
    ("times", "path"),
    [
        ({"expires_at": "2026-11-21T08:59:59Z"}, "expires_at"),
        ({**YESTERDAY, "expires_at": "2026-11-22T00:00:00Z"}, "ends_at"),
    ],
)
def test_an_offer_that_is_past_is_rejected(times: dict[str, str], path: str) -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer(**times))
    assert rejection(unit) == ("STALE", path)
    assert not unit.state.offers
    assert not unit.state.blocks


def test_a_late_answer_does_not_make_yesterdays_offer_a_block() -> None:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.must("accept_offer", offer_id="O1")
    unit.wait(2 * 86_400)
    unit.receive("offer.confirmed", {"block_id": "B9"})
    assert rejection(unit) == ("STALE", "block_id")


def test_an_advisory_leaves_the_screen_when_it_no_longer_holds() -> None:
    unit = CoreUnit()
    until = "2026-11-21T10:05:00+01:00"
    unit.receive("advisory.issued", {"advisory_id": "A1", "format": "cap", "content": {}, "valid_to": until})
    assert [each["advisory_id"] for each in view(unit.state, unit.moment)["advisories"]] == ["A1"]
    unit.wait(301)
    assert view(unit.state, unit.moment)["advisories"] == []


def test_an_advisory_that_no_longer_holds_is_rejected() -> None:
    unit = CoreUnit()
    unit.receive(
        "advisory.issued",
        {"advisory_id": "A1", "format": "cap", "content": {}, "valid_to": "2026-11-21T10:59:59+02:00"},
    )
    assert rejection(unit) == ("STALE", "valid_to")


def test_with_a_clock_that_is_not_set_the_driver_sees_the_date_and_confirms() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    assert unit.receive("block.assigned", block_data(**YESTERDAY)).refusal is None
    unit.at(STATION)
    assert unit.refused("check_in") == "CONFIRM_DATE"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["starts_at"] == YESTERDAY["starts_at"]
    asked = prompt(unit.state, unit.moment)
    assert (asked["code"], asked["actions"]) == ("CONFIRM_DATE", ["check_in", "give_back"])
    assert unit.must("check_in")[0] == "block.checked_in"
    assert unit.last.events[0].data["date_confirmed"] is True


def test_a_block_that_is_not_todays_is_given_back_and_todays_comes_up() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    unit.receive("block.assigned", block_data(block_id="B1", **YESTERDAY))
    unit.receive("block.assigned", block_data(block_id="B2"))
    assert unit.refused("check_in") == "CONFIRM_DATE"
    unit.must("give_back", block_id="B1")
    assert unit.last.events[0].data["reason"] == "STALE"
    assert unit.block.block_id == "B2"


def test_a_confirmation_holds_for_its_own_block_only() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    unit.receive("block.assigned", block_data(block_id="B1", **YESTERDAY))
    assert unit.refused("check_in") == "CONFIRM_DATE"
    unit.receive("block.cancelled", {"block_id": "B1"})
    unit.receive(
        "block.assigned", block_data(block_id="B2", starts_at="2026-11-20T04:00:00Z", ends_at="2026-11-20T08:00:00Z")
    )
    assert unit.refused("check_in") == "CONFIRM_DATE"


@pytest.mark.parametrize("behind_ms", [-5 * 365 * 24 * HOUR_MS, -30 * HOUR_MS, 0, 4 * 365 * 24 * HOUR_MS])
def test_the_first_trusted_time_takes_yesterdays_block_out_of_the_way_of_todays(behind_ms: int) -> None:
    """Whatever the clock showed before: the moment at which the block was taken says nothing."""
    unit = CoreUnit()
    unit.trust, right_ms = "unsynced", unit.wall_ms
    unit.wall_ms += behind_ms
    unit.receive("block.assigned", block_data(block_id="B1", **YESTERDAY))
    unit.receive("offer.made", offer(**YESTERDAY))
    unit.trust, unit.wall_ms = "gps", right_ms
    unit.receive("block.assigned", block_data(block_id="B2"))
    assert unit.block.block_id == "B1"
    assert [(event.type, event.data["reason"]) for event in tick(unit).events] == [
        ("block.no_show", "STALE"),
        ("block.expired", "STALE"),
    ]
    assert unit.block.block_id == "B2"
    unit.at(STATION)
    unit.must("check_in")


def test_a_block_that_turns_out_to_be_yesterdays_cannot_be_checked_in_for() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    unit.receive("block.assigned", block_data(**YESTERDAY))
    unit.trust = "gps"
    assert unit.refused("check_in") == "OUT_OF_DATE"


def test_a_block_that_was_confirmed_by_mistake_can_be_closed_once_the_time_is_known() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    unit.receive("block.assigned", block_data(**YESTERDAY))
    unit.at(STATION)
    assert unit.refused("check_in") == "CONFIRM_DATE"
    unit.must("check_in")
    assert unit.refused("close_block") == "PARCELS_EXPECTED"
    unit.trust = "gps"
    assert "block.released_unused" in unit.must("close_block")


def test_a_unit_that_replaces_another_keeps_a_block_whose_parcels_are_on_board() -> None:
    unit = CoreUnit()
    unit.trust = "unsynced"
    data = block_data(2, **YESTERDAY)
    for parcel in data["parcels"]:
        parcel["state"] = "OUT_FOR_DELIVERY"
    unit.receive("block.assigned", data)
    unit.trust = "gps"
    assert tick(unit).events == ()
    unit.at(STATION)
    unit.must("check_in")
