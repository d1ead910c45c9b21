"""At the door: the drop scan, handing over, and everything that happens instead."""

from __future__ import annotations

from typing import Any

import pytest

from agent.delivery.evolve import evolve
from agent.delivery.model.decision import Event
from agent.delivery.model.state import Policy
from tests.delivery.support import STATION, CoreUnit, assigned, at_door, block_data, door, on_route, on_route_with


def proof(unit: CoreUnit, type_: str, parcel_id: str, **data: Any) -> None:
    """Evidence that another room has captured and verified."""
    event = Event(type_, f"parcel/{parcel_id}", {"block_id": "B1", **data}, unit.moment.time)
    unit.state = evolve(unit.state, event)
    unit.log.append(event)


def with_instruction(**instruction: Any) -> CoreUnit:
    data = block_data(1)
    data["parcels"][0]["instruction"] = instruction
    unit = on_route_with(data, 1)
    unit.stand(door(1))
    unit.scan_parcel(1)
    return unit


def test_the_right_parcel_at_its_stop_is_scanned_and_delivered() -> None:
    unit = at_door(2)
    decision = unit.scan_parcel(1)
    assert [event.type for event in decision.events] == ["pod.drop_scanned"]
    assert unit.code() == "OK"
    assert unit.must("deliver", handover="front_door") == ["parcel.delivered", "stop.completed", "stop.started"]
    data = unit.events("parcel.delivered")[0].data
    assert (data["handover"], data["stop_id"], data["scanned"]) == ("front_door", "T1", True)
    assert unit.code() == "STOP_DONE"
    assert unit.block.current_stop_id == "T2"


def test_a_second_drop_scan_is_a_repeat() -> None:
    unit = at_door()
    unit.scan_parcel(1)
    assert unit.scan_parcel(1).events == ()
    assert unit.code() == "ALREADY_SCANNED"


def test_a_parcel_for_another_stop_is_refused_with_the_right_stop() -> None:
    unit = at_door()
    decision = unit.scan_parcel(3)
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["stop_id"]) == ("WRONG_STOP", "T3")
    assert decision.feedback.params["sequence"] == 3
    assert [event.type for event in decision.events] == ["scan.rejected"]


def test_deliver_covers_what_was_scanned_and_leaves_the_rest_open() -> None:
    unit = at_door(3, 3)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    assert unit.must("deliver", handover="recipient") == ["parcel.delivered"] * 2
    assert unit.stop("T1").state == "ARRIVED"
    unit.must("contact", method="doorbell", outcome="no_answer")
    assert unit.must("fail", reason="CUSTOMER_UNAVAILABLE")[:2] == ["parcel.attempt_failed", "stop.partially_completed"]


def test_nothing_scanned_is_nothing_to_deliver() -> None:
    unit = at_door()
    assert unit.refused("deliver", handover="recipient") == "NOTHING_TO_DELIVER"


def test_an_unscanned_parcel_is_delivered_only_with_a_reason() -> None:
    unit = at_door()
    assert unit.refused("deliver", handover="recipient", parcel_ids=["P1"]) == "SCAN_FIRST"
    unit.must("deliver", handover="recipient", parcel_ids=["P1"], reason="label torn")
    assert unit.events("parcel.delivered")[0].data["override"] is True


def test_a_parcel_of_another_stop_is_delivered_here_only_with_a_reason_and_its_stop_is_saved() -> None:
    unit = at_door(3)
    unit.scan_parcel(1)
    assert unit.refused("deliver", handover="recipient", parcel_ids=["P1", "P2"]) == "DELIVER_ELSEWHERE"
    types = unit.must("deliver", handover="recipient", parcel_ids=["P1", "P2"], reason="same family")
    assert types == ["parcel.delivered", "parcel.delivered", "stop.completed", "stop.cancelled", "stop.started"]
    assert (unit.stop("T2").state, unit.block.current_stop_id) == ("CANCELLED", "T3")


def test_before_arriving_nothing_is_delivered() -> None:
    unit = on_route()
    assert unit.refused("deliver", handover="recipient") == "NOT_ARRIVED"
    assert unit.refused("refuse") == "NOT_ARRIVED"


def test_scanning_the_right_parcel_in_front_of_the_door_arrives() -> None:
    unit = on_route()
    unit.at(door(1))
    decision = unit.scan_parcel(1)
    assert [event.type for event in decision.events] == ["stop.arrived", "pod.drop_scanned"]
    assert unit.code() == "OK"


def test_scanning_the_right_parcel_on_the_way_says_that_its_stop_is_ahead() -> None:
    unit = on_route()
    unit.at(STATION)
    unit.scan_parcel(1)
    assert unit.code() == "NOT_ARRIVED"


def test_a_delivered_parcel_scanned_again_says_so() -> None:
    unit = at_door(2)
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    unit.scan_parcel(1)
    assert unit.code() == "ALREADY_DELIVERED"


def test_a_recalled_parcel_is_refused_and_goes_back() -> None:
    unit = at_door(2)
    assert [event.type for event in unit.receive("parcel.recalled", {"parcel_ids": ["P2"]}).events] == [
        "parcel.recalled",
        "stop.cancelled",
    ]
    assert unit.parcel(2).state == "RETURN_PENDING"
    unit.scan_parcel(2)
    assert unit.code() == "RECALLED"
    assert unit.refused("reattempt", parcel_id="P2") == "NO_REATTEMPT"


@pytest.mark.parametrize(
    ("requirements", "code", "evidence"),
    [
        ({"photo": True}, "PHOTO_REQUIRED", "pod.photo_captured"),
        ({"signature": True}, "SIGNATURE_REQUIRED", "pod.signature_captured"),
        ({"otp_hmac": "ab"}, "OTP_REQUIRED", "pod.otp_verified"),
        ({"minimum_age": 18}, "AGE_CHECK_REQUIRED", "pod.age_verified"),
    ],
)
def test_a_required_proof_holds_the_delivery_back_until_it_is_there(
    requirements: dict[str, Any], code: str, evidence: str
) -> None:
    unit = at_door(1, requirements=requirements)
    unit.scan_parcel(1)
    assert unit.refused("deliver", handover="recipient") == code
    proof(unit, evidence, "P1", outcome="signed")
    assert unit.must("deliver", handover="recipient")[0] == "parcel.delivered"


def test_a_declined_signature_is_an_outcome_and_no_signature() -> None:
    unit = at_door(1, requirements={"signature": True})
    unit.scan_parcel(1)
    proof(unit, "pod.signature_captured", "P1", outcome="declined")
    assert unit.refused("deliver", handover="recipient") == "SIGNATURE_REQUIRED"
    proof(unit, "pod.signature_captured", "P1", outcome="unable")
    unit.must("deliver", handover="recipient")


def test_a_photo_that_can_not_be_taken_is_excepted_with_a_reason() -> None:
    unit = at_door(1, requirements={"photo": True})
    unit.scan_parcel(1)
    assert unit.must("skip_photo", reason="too dark") == ["pod.photo_excepted"]
    unit.must("deliver", handover="front_door")
    assert unit.refused("skip_photo", reason="again") in {"NO_STOP", "NO_PHOTO_REQUIRED", "WRONG_KIND"}


def test_no_photo_is_excepted_where_none_is_asked_for() -> None:
    unit = at_door(1)
    assert unit.refused("skip_photo", reason="too dark") == "NO_PHOTO_REQUIRED"


def test_proofs_belong_to_one_attempt() -> None:
    unit = at_door(2, requirements={"photo": True})
    unit.scan_parcel(1)
    unit.must("skip_photo", reason="too dark")
    unit.must("deliver", handover="front_door")
    unit.must("void", parcel_id="P1", reason="wrong door")
    assert unit.parcel(1).proofs == ()
    assert unit.parcel(1).dropped_at is None


@pytest.mark.parametrize(
    ("requirements", "handover", "because"),
    [
        ({"otp_hmac": "ab"}, "household", "otp"),
        ({"minimum_age": 18}, "household", "age"),
        ({"otp_hmac": "ab"}, "neighbour", "otp"),
        ({"minimum_age": 18}, "neighbour", "age"),
        ({"signature": True}, "neighbour", "signature"),
        ({"minimum_age": 18}, "reception", "age"),
        ({"otp_hmac": "ab"}, "reception", "otp"),
        ({"otp_hmac": "ab"}, "front_door", "otp"),
        ({"minimum_age": 18}, "safe_place", "age"),
        ({"signature": True}, "front_door", "signature"),
    ],
)
def test_a_proof_forbids_handovers_whatever_reason_is_given(
    requirements: dict[str, Any], handover: str, because: str
) -> None:
    unit = at_door(1, requirements=requirements)
    unit.scan_parcel(1)
    assert unit.refused("deliver", handover=handover, reason="nobody else there") == "HANDOVER_NOT_ALLOWED"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["because"] == because


@pytest.mark.parametrize(
    ("instruction", "allowed"),
    [
        ({"kind": "front_door"}, {"recipient", "household", "front_door", "safe_place"}),
        ({"kind": "none"}, {"recipient", "household", "front_door", "safe_place"}),
        ({"kind": "resident"}, {"recipient", "household"}),
        ({"kind": "neighbour"}, {"recipient", "household", "neighbour"}),
        ({"kind": "resident", "neighbour": "number 14"}, {"recipient", "household", "neighbour"}),
        ({"kind": "reception"}, {"recipient", "household", "reception"}),
        ({"kind": "locker"}, {"recipient", "household", "locker"}),
    ],
)
def test_the_instruction_says_who_may_get_it_and_a_reason_overrules_it(
    instruction: dict[str, Any], allowed: set[str]
) -> None:
    for handover in ("recipient", "household", "neighbour", "reception", "front_door", "safe_place", "locker"):
        unit = with_instruction(**instruction)
        if handover in allowed:
            unit.must("deliver", handover=handover)
        else:
            assert unit.refused("deliver", handover=handover) == "HANDOVER_NEEDS_REASON"
            unit.must("deliver", handover=handover, reason="asked on the telephone")


def test_names_never_enter_an_event() -> None:
    unit = at_door(1)
    unit.scan_parcel(1)
    unit.must("deliver", handover="household", name="Jo Nobody")
    assert unit.events("parcel.delivered")[0].data["named"] is True
    written = str([entry.data for entry in unit.log if isinstance(entry, Event)])
    assert "Nobody" not in written
    assert "Recipient" not in written
    assert "+31" not in written


@pytest.mark.parametrize("reason", ["CUSTOMER_UNAVAILABLE", "ACCESS_PROBLEM", "NO_SAFE_PLACE", "CUSTOMER_RESCHEDULED"])
def test_a_reason_that_asks_for_contact_waits_for_an_attempt_to_reach_the_recipient(reason: str) -> None:
    unit = at_door(2)
    assert unit.refused("fail", reason=reason) == "CONTACT_NEEDED"
    assert unit.must("contact", method="call", outcome="no_answer") == ["contact.attempted"]
    unit.must("fail", reason=reason)
    data = unit.events("parcel.attempt_failed")[0].data
    assert (data["reason"], data["contacted"], data["attempted"]) == (reason, True, True)
    assert unit.parcel(1).state == "ATTEMPTED"


@pytest.mark.parametrize("reason", ["WEATHER", "OTP_FAILED", "AGE_CHECK_FAILED", "OUT_OF_TIME", "WRONG_ITEM"])
def test_other_reasons_need_no_contact(reason: str) -> None:
    unit = at_door(2)
    assert unit.must("fail", reason=reason)[:2] == ["parcel.attempt_failed", "stop.failed"]


def test_another_reason_needs_ten_characters_of_explanation() -> None:
    unit = at_door(2)
    assert unit.refused("fail", reason="OTHER") == "NOTE_NEEDED"
    assert unit.refused("fail", reason="OTHER", note="   too short ") == "NOTE_NEEDED"
    unit.must("fail", reason="OTHER", note="there was a wedding")


def test_an_unknown_reason_is_named_with_what_was_expected() -> None:
    unit = at_door(1)
    assert unit.refused("fail", reason="LAZY") == "BAD_ARGUMENT"
    assert unit.last.refusal is not None
    assert unit.last.refusal.params["path"] == "reason"
    assert "CUSTOMER_UNAVAILABLE" in unit.last.refusal.params["expected"]


def test_reasons_with_an_action_of_their_own_lead_to_its_event() -> None:
    for reason, event, state in (
        ("REFUSED", "parcel.refused", "RETURN_PENDING"),
        ("DAMAGED", "parcel.damaged", "RETURN_PENDING"),
        ("NOT_IN_VEHICLE", "parcel.not_in_vehicle", "UNLOCATED"),
    ):
        unit = at_door(2)
        assert event in unit.must("fail", reason=reason)
        assert unit.parcel(1).state == state


def test_a_refused_parcel_goes_back_and_is_not_tried_again() -> None:
    unit = at_door(2)
    assert unit.must("refuse") == ["parcel.refused", "stop.failed", "stop.started"]
    assert unit.refused("reattempt", parcel_id="P1") == "NO_REATTEMPT"


def test_another_try_is_work_at_a_new_stop_because_ended_stops_stay_ended() -> None:
    unit = at_door(2)
    unit.must("contact", method="call", outcome="no_answer")
    unit.must("fail", reason="CUSTOMER_UNAVAILABLE")
    assert unit.must("reattempt", parcel_id="P1") == ["parcel.reattempt_started", "stop.added"]
    new = unit.stop("T1-2")
    assert (new.kind, new.of_stop_id, new.parcel_ids, new.plan.address) == (
        "delivery",
        "T1",
        ("P1",),
        unit.stop("T1").plan.address,
    )
    assert unit.stop("T1").state == "FAILED"
    unit.must("start_stop", stop_id="T1-2")
    unit.at(door(1))
    unit.must("arrive")
    unit.scan_parcel(1)
    unit.must("deliver", handover="recipient")
    assert unit.parcel(1).state == "DELIVERED"


def test_another_try_at_a_stop_that_is_still_open_needs_no_new_stop() -> None:
    unit = at_door(2, 2)
    unit.must("contact", method="call", outcome="no_answer")
    unit.must("fail", reason="CUSTOMER_UNAVAILABLE", parcel_ids=["P1"])
    assert unit.must("reattempt", parcel_id="P1") == ["parcel.reattempt_started"]
    unit.scan_parcel(1)
    assert unit.code() == "OK"


def test_attempts_are_bounded_by_the_fleets_rule() -> None:
    unit = at_door(2, policy=Policy(max_attempts=1))
    unit.must("fail", reason="WEATHER")
    assert unit.refused("reattempt", parcel_id="P1") == "NO_REATTEMPT"


def test_a_reason_without_another_try_is_final_for_today() -> None:
    unit = at_door(2)
    unit.must("fail", reason="AGE_CHECK_FAILED")
    assert unit.refused("reattempt", parcel_id="P1") == "NO_REATTEMPT"


def test_a_voided_delivery_keeps_the_first_event_and_adds_a_stop() -> None:
    unit = at_door(2)
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    assert unit.refused("void", parcel_id="P1") == "BAD_ARGUMENT"
    assert unit.must("void", parcel_id="P1", reason="wrong door") == ["parcel.delivery_voided", "stop.added"]
    voided = unit.events("parcel.delivery_voided")[0]
    assert voided.data["corrects"]["type"] == "parcel.delivered"
    assert len(unit.events("parcel.delivered")) == 1
    assert unit.parcel(1).state == "OUT_FOR_DELIVERY"


def test_a_damaged_parcel_goes_back() -> None:
    unit = at_door(2)
    assert unit.must("damage", parcel_id="P2") == ["parcel.damaged", "stop.cancelled"]
    assert unit.parcel(2).reason == "DAMAGED"


def test_a_parcel_that_can_not_be_found_at_the_stop_and_then_is() -> None:
    unit = at_door(2)
    assert unit.must("not_in_vehicle", parcel_id="P1") == ["parcel.not_in_vehicle", "stop.failed", "stop.started"]
    assert unit.refused("lost", parcel_id="P1") == "SEARCH_FIRST"
    decision = unit.scan_parcel(1)
    assert [event.type for event in decision.events] == ["parcel.found", "stop.added"]
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["act"]) == ("OK", "found")


def test_a_parcel_that_turns_up_at_another_door_is_found_and_yet_not_for_that_door() -> None:
    unit = at_door(2)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.stand(door(2))
    decision = unit.scan_parcel(1)
    assert [event.type for event in decision.events] == ["parcel.found", "stop.added", "scan.rejected"]
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["stop_id"]) == ("WRONG_STOP", "T1-2")


def test_a_recall_of_a_parcel_that_can_not_be_found_holds_when_it_turns_up() -> None:
    unit = at_door(2)
    unit.must("not_in_vehicle", parcel_id="P1")
    unit.receive("parcel.recalled", {"parcel_ids": ["P1"], "reason": "unsafe"})
    assert unit.parcel(1).state == "UNLOCATED"
    assert unit.must("found", parcel_id="P1")[:2] == ["parcel.found", "parcel.recalled"]
    assert unit.parcel(1).state == "RETURN_PENDING"


def test_parcels_are_taken_over_by_another_driver() -> None:
    unit = at_door(3)
    types = unit.must("transfer", driver_id="D2", parcel_ids=["P2", "P3"])
    assert types == ["parcel.transferred"] * 2 + ["handover.confirmed"] + ["stop.cancelled"] * 2
    assert unit.events("parcel.transferred")[0].data["to_driver_id"] == "D2"
    assert unit.refused("transfer", parcel_ids=["P1"]) == "BAD_ARGUMENT"
    assert unit.refused("transfer", driver_id="D2", point_id="G4", parcel_ids=["P1"]) == "BAD_ARGUMENT"


def test_actions_that_do_not_exist_or_can_not_be_done_say_which() -> None:
    unit = at_door(1)
    assert unit.refused("fly") == "UNKNOWN_ACTION"
    assert unit.refused("otp", code="123456") == "NOT_AVAILABLE"
    assert unit.refused("check_in") == "WRONG_TIME"
    assert unit.refused("damage", parcel_id="P99") == "UNKNOWN_PARCEL"
    assert unit.refused("found", parcel_id="P1") == "WRONG_STATE"
    assert CoreUnit().act("depart").refusal is not None
    assert assigned().refused("deliver", handover="recipient") == "WRONG_TIME"


def test_the_section_and_number_go_with_every_scan() -> None:
    unit = at_door(2)
    for number in (1, 2):
        decision = unit.scan_parcel(number)
        assert decision.feedback is not None
        assert (decision.feedback.section, decision.feedback.sequence) == (str(number), number)
