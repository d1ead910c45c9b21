"""What the screen is given: the one thing to do now, and nothing that is nobody's business."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.delivery.decide import ACTIONS, decide
from agent.delivery.evolve import evolve
from agent.delivery.fold import snapshot
from agent.delivery.model import codes
from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.inputs import Acted, InboxMessage, Located, Moment, Tick
from agent.delivery.model.manifest import Size
from agent.delivery.model.state import Policy, State
from agent.delivery.screen.view import Drawn, view
from contract import vocabulary
from contract.vocabulary import ClockTrust
from tests.delivery.support import STATION, CoreUnit, assigned, at_door, block_data, door, loaded, loading, on_route


def shown(unit: CoreUnit) -> dict[str, Any]:
    seen = view(unit.state, unit.moment)
    json.dumps(seen, allow_nan=False)
    return seen


def prompt(unit: CoreUnit) -> str:
    code: str = shown(unit)["prompt"]["code"]
    return code


def test_an_empty_unit_has_nothing_to_show_but_says_so() -> None:
    seen = shown(CoreUnit())
    assert seen["block"] is None
    assert seen["current_stop"] is None
    assert seen["driver"] is None
    assert seen["position"] is None
    assert seen["prompt"] == {"code": "WAIT_FOR_BLOCK", "params": {}, "actions": [], "action": None}
    for member in ("offers", "stops", "parcels", "route", "messages"):
        assert seen[member] == []


def test_only_parcels_that_have_changed_are_drawn_again_and_the_view_is_the_same() -> None:
    unit, drawn = at_door(3, 2), Drawn()
    before = view(unit.state, unit.moment, drawn)["parcels"]
    block = unit.state.block
    assert block is not None
    stop, parcel = block.stops["T2"], block.parcels["P1"]
    stops = block.stops | {"T2": replace(stop, plan=replace(stop.plan, sequence=9))}
    parcels = block.parcels | {"P1": replace(parcel, plan=replace(parcel.plan, weight_g=1234))}
    changed = replace(block, stops=stops, parcels=parcels)
    state = replace(unit.state, blocks=unit.state.blocks | {block.block_id: changed})
    after = view(state, unit.moment, drawn)["parcels"]
    assert after == view(state, unit.moment)["parcels"]
    assert [(parcel["weight_g"], parcel["sequence"]) for parcel in (after[0], after[2])] == [(1234, 1), (None, 9)]
    assert after[1] is before[1]


def test_a_block_is_shown_with_its_counts_stops_and_parcels() -> None:
    unit = at_door(3, 2)
    seen = shown(unit)
    block = seen["block"]
    assert (block["block_id"], block["state"], block["counts"]) == ("B1", "ON_ROUTE", {"OUT_FOR_DELIVERY": 3})
    assert [(stop["stop_id"], stop["state"]) for stop in seen["stops"]] == [
        ("T0", "COMPLETED"),
        ("T1", "ARRIVED"),
        ("T2", "PLANNED"),
    ]
    assert seen["current_stop"]["stop_id"] == "T1"
    assert seen["route"] == ["T1", "T2"]
    assert [parcel["parcel_id"] for parcel in seen["parcels"]] == ["P1", "P2", "P3"]
    assert seen["parcels"][0]["section"] == "1"
    assert seen["position"]["latitude"] == pytest.approx(52.1)


def test_a_position_that_the_receiver_has_lost_is_not_shown_until_there_is_one_again() -> None:
    unit = at_door(1)
    assert shown(unit)["position"]
    unit.give(Located(unit.uptime_ms, 1))
    assert shown(unit)["position"] is None
    unit.give(Located(unit.uptime_ms, 3, 52.2, 5.1))
    assert shown(unit)["position"]["latitude"] == 52.2


def test_every_step_of_a_block_has_its_prompt() -> None:
    unit = assigned(2)
    steps = [prompt(unit)]
    unit.at(STATION)
    for action in ("check_in", "start_loading"):
        unit.must(action)
        steps.append(prompt(unit))
    unit.scan_parcel(1)
    unit.refused("close_loading")
    steps.append(prompt(unit))
    unit.scan_parcel(2)
    steps.append(prompt(unit))
    for action in ("close_loading", "depart"):
        unit.must(action)
        steps.append(prompt(unit))
    unit.stand(door(1))
    steps.append(prompt(unit))
    unit.scan_parcel(1)
    steps.append(prompt(unit))
    unit.must("deliver", handover="front_door")
    unit.stand(door(2))
    unit.must("refuse")
    steps.append(prompt(unit))
    unit.stand(STATION)
    steps.append(prompt(unit))
    unit.scan_parcel(2)
    steps.append(prompt(unit))
    unit.must("close_block")
    steps.append(prompt(unit))
    assert steps == [
        "CHECK_IN",
        "START_LOADING",
        "SCAN_LOAD",
        "LOOK_AGAIN",
        "CLOSE_LOADING",
        "DEPART",
        "DRIVE_TO_STOP",
        "SCAN_DROP",
        "DELIVER",
        "DRIVE_TO_STOP",
        "SCAN_RETURN",
        "CLOSE_BLOCK",
        "BLOCK_ENDED",
    ]


def test_special_situations_have_their_prompts() -> None:
    unit = assigned()
    unit.wall_ms -= 3 * 3600_000
    assert prompt(unit) == "WAIT_FOR_START"
    unit = CoreUnit()
    unit.receive("offer.made", {"offer_id": "O1", "block_id": "B1"})
    assert prompt(unit) == "ANSWER_OFFER"
    unit = on_route()
    unit.at({"latitude": 52.1015, "longitude": 5.12})
    unit.refused("arrive")
    assert prompt(unit) == "CONFIRM_LOCATION"
    unit = on_route()
    unit.must("pause")
    assert prompt(unit) == "RESUME"
    unit = at_door(1, requirements={"photo": True, "signature": True})
    unit.scan_parcel(1)
    assert shown(unit)["prompt"]["params"]["proofs"] == ["photo", "signature"]
    unit = at_door(1)
    unit.must("not_in_vehicle", parcel_id="P1")
    assert prompt(unit) == "SEARCH_VEHICLE"
    unit = at_door(2)
    unit.stand({"latitude": 52.12, "longitude": 5.12}, 14)
    assert prompt(unit) == "CHOOSE_STOP"
    unit = loading(2)
    unit.refused("scan", code="000001")
    assert prompt(unit) == "CHOOSE_PARCEL"
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    assert prompt(unit) == "SCAN_LOAD", "a question that the driver passes over is gone"
    unit = loaded(1)
    unit.receive("block.revised", block_data(2, version=2))
    assert prompt(unit) == "REOPEN_LOADING"


def test_secrets_and_telephone_numbers_are_never_shown() -> None:
    unit = at_door(2, requirements={"otp_hmac": "ab12cd"})
    unit.receive(
        "roster.replaced", {"key": "sealed:v1:k", "drivers": [{"driver_id": "D1", "name": "Jo", "pin_hmac": "ff"}]}
    )
    text = json.dumps(shown(unit))
    for secret in ("sealed:v1:key", "ab12cd", "+31", "pin_hmac"):
        assert secret not in text
    assert shown(unit)["parcels"][0]["instruction"]["access_codes"] == "AT_STOP"
    assert shown(unit)["parcels"][0]["requirements"]["otp"] is True


def test_access_codes_are_there_only_near_their_stop_or_where_the_driver_says_to_be_there() -> None:
    unit = on_route()
    assert shown(unit)["current_stop"]["access_codes"] == []
    unit.at(door(1), speed_mps=9.0)
    assert shown(unit)["current_stop"]["access_codes"] == ["sealed:v1:code"]
    unit.at(STATION)
    assert shown(unit)["current_stop"]["access_codes"] == []
    unit.must("arrive", reason="pin is wrong")
    assert shown(unit)["current_stop"]["access_codes"] == ["sealed:v1:code"]


def test_the_recipients_name_is_shown_only_at_their_stop() -> None:
    unit = at_door(2)
    assert shown(unit)["current_stop"]["recipient"] == {"name": "Recipient 1"}
    assert "Recipient 2" not in json.dumps(shown(unit))


def test_the_driver_is_named_and_asked_to_sign_in_only_once_a_roster_has_come() -> None:
    unit = assigned()
    assert shown(unit)["driver"] == {"driver_id": "D1", "name": None, "signed_in": False, "sign_in_asked": False}
    unit.receive("roster.replaced", {"key": "k", "drivers": [{"driver_id": "D1", "name": "Jo"}]})
    assert shown(unit)["driver"] == {"driver_id": "D1", "name": "Jo", "signed_in": False, "sign_in_asked": True}


def test_a_driver_who_has_signed_in_is_named_in_what_happens() -> None:
    unit = loading(1)
    unit.state = evolve(unit.state, Event("driver.signed_in", "driver/D7", {}, unit.moment.time))
    unit.scan_parcel(1)
    assert unit.last.events[0].data["driver_id"] == "D7"
    assert shown(unit)["driver"]["signed_in"] is True
    unit.state = evolve(unit.state, Event("driver.signed_out", "driver/D7", {}, unit.moment.time))
    assert shown(unit)["driver"]["driver_id"] == "D1"


def test_the_scorecard_shows_what_each_figure_is_a_share_of() -> None:
    data = block_data(3)
    data["stops"][1]["window"] = {"from": "2026-11-21T09:00:00Z", "to": "2026-11-21T09:30:00Z"}
    data["stops"][2]["window"] = {"from": "2026-11-21T08:00:00Z", "to": "2026-11-21T08:30:00Z"}
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    for number in (1, 2, 3):
        unit.scan_parcel(number)
    unit.scan("TBA300000000099")
    unit.must("close_loading")
    unit.must("depart")
    for number in (1, 2):
        unit.stand(door(number))
        unit.scan_parcel(number)
        unit.must("deliver", handover="front_door")
    unit.stand(door(3))
    unit.must("contact", method="call", outcome="no_answer")
    unit.must("fail", reason="CUSTOMER_UNAVAILABLE")
    card = shown(unit)["scorecard"]
    assert card["delivery_completion"] == {"numerator": 2, "denominator": 3}
    assert card["on_time"] == {"numerator": 1, "denominator": 2}
    assert card["scan_compliance"] == {"numerator": 2, "denominator": 2}
    assert card["contact_compliance"] == {"numerator": 1, "denominator": 1}
    assert card["load_accuracy"] == {"numerator": 3, "denominator": 4}


def test_earnings_are_what_was_agreed_and_stated() -> None:
    unit = assigned(1, pay={"amount": "84.00", "currency": "EUR"})
    unit.at(STATION)
    unit.must("check_in")
    unit.wait(600)
    unit.receive("earnings.stated", {"block_id": "B1", "base": "84.00", "tips": "3.00", "currency": "EUR"})
    seen = shown(unit)["earnings"]
    assert seen["agreed"] == {"amount": "84.00", "currency": "EUR"}
    assert seen["elapsed_s"] == 600
    assert seen["stated"][0]["tips"] == "3.00"


times = st.one_of(
    st.text(max_size=30),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]),
)


@settings(max_examples=100, deadline=None)
@given(times, times, times, st.sampled_from(["gps", "unsynced"]), st.integers(0, 4_000_000_000_000))
def test_no_time_that_a_journal_may_hold_keeps_a_state_from_being_shown(
    starts_at: str, ends_at: str, window: str, trust: ClockTrust, now_ms: int
) -> None:
    """An earlier version took any time that has the form of one."""
    data = block_data(1, starts_at=starts_at, ends_at=ends_at)
    data["stops"][1]["window"] = {"from": window, "to": starts_at}
    offered = {"offer_id": "O1", "block_id": "B9", "starts_at": starts_at, "ends_at": ends_at, "expires_at": window}
    state = evolve(State(), InboxMessage("m-1", "block", "block.assigned", data))
    state = evolve(state, Event("block.accepted", "block/B1", {"block_id": "B1"}, starts_at))
    state = evolve(state, InboxMessage("m-2", "offer", "offer.made", offered))
    moment = Moment(now_ms, 1_000, "boot", trust)
    json.dumps(view(state, moment))
    decide(state, Tick(), moment)
    decide(state, Acted("check_in"), moment)


def test_a_snapshot_gives_the_state_back_and_says_when_it_can_not() -> None:
    unit = at_door(4, 2, requirements={"photo": True})
    unit.scan_parcel(1)
    data = snapshot.dump(unit.state)
    policy = Policy(max_attempts=7)
    again = snapshot.load(data, policy)
    assert again == unit.state
    assert again.policy == policy
    assert again.here.fix is None
    for broken in (b"", b"{}", b"[]", data[:100], data.replace(b'"version":3', b'"version":99', 1)):
        with pytest.raises(DeliveryError, match="snapshot"):
            snapshot.load(broken, policy)


def test_a_snapshot_of_the_first_version_shows_what_that_version_showed() -> None:
    earlier = json.loads((Path(__file__).parent / "snapshot_1.json").read_text())
    assert earlier["snapshot"]["version"] == 1
    state = snapshot.load(json.dumps(earlier["snapshot"]).encode(), Policy())
    shown = view(state, Moment(**earlier["moment"]))
    assert {member: shown[member] for member in earlier["view"]} == earlier["view"]
    assert state.settings == {"delivery.photo_retakes": 1, "delivery.allow_adoption": True}
    assert [feedback.rating for feedback in state.feedback] == [5]
    assert str(state.advisories["A1"].valid_to) == "2026-11-21T12:00:00Z"
    assert snapshot.load(snapshot.dump(state), Policy()) == state


def test_a_snapshot_of_the_second_version_shows_what_that_version_showed() -> None:
    earlier = json.loads((Path(__file__).parent / "snapshot_2.json").read_text())
    state = snapshot.load(json.dumps(earlier["snapshot"]).encode(), Policy())
    shown = view(state, Moment(**earlier["moment"]))
    assert {member: shown[member] for member in earlier["view"]} == earlier["view"]
    # What the screen does not show: a size, and the recipient of a stop that goes on elsewhere.
    block = state.blocks["B1"]
    assert block.parcels["P1"].plan.size == Size(300, 200, 100)
    recipient = {"name": "Recipient 1", "phone": "+31 30 0000000"}
    assert block.stops["T1-2"].plan.recipient == block.stops["T1"].plan.recipient == recipient
    assert block.codes["TBA000000000001"] == ("P1",)
    assert snapshot.load(snapshot.dump(state), Policy()) == state


def test_every_code_has_a_meaning_and_every_action_is_known() -> None:
    for table in (codes.FEEDBACK, codes.PROMPTS, codes.REFUSALS):
        assert all(code.meaning for code in table.values())
    assert set(ACTIONS) <= set(vocabulary.ACTIONS)
    assert set(vocabulary.SCAN_RESULTS) <= set(codes.FEEDBACK)
