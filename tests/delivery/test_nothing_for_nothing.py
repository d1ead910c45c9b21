"""What is accepted does something: every action and every message of the cloud, in every state of a block.

An action that is accepted has an event, or work that follows, or says itself what it came to; a message has those, or
is seen by the driver. What has nothing to change is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.delivery.decide import ACTIONS, decide
from agent.delivery.evolve import evolve
from agent.delivery.model.inputs import Acted, InboxMessage
from agent.delivery.model.state import Policy
from agent.delivery.screen.view import view
from contract.vocabulary import INBOX
from tests.delivery.support import (
    STATION,
    CoreUnit,
    assigned,
    at_door,
    block_data,
    door,
    loaded,
    loading,
    on_route,
)
from tests.delivery.test_messages import offer
from tests.delivery.test_properties import an_action, two_pickups

SAYS_NOTHING = {"DONE", "STOP_DONE"}
"""Feedback that an action gets for what it has done; it says nothing by itself."""


def offered() -> CoreUnit:
    unit = CoreUnit()
    unit.receive("offer.made", offer())
    unit.receive("message.sent", {"message_id": "M1", "text": "Call us", "needs_ack": True})
    return unit


def requested() -> CoreUnit:
    unit = offered()
    unit.must("accept_offer", offer_id="O1")
    return unit


def with_strange_parcel() -> CoreUnit:
    unit = loading(3, policy=Policy(allow_adoption=True))
    unit.scan("TBA999999999999")
    unit.must("mark_missing", parcel_id="P2", reason="NOT_FOUND")
    return unit


def all_scanned() -> CoreUnit:
    unit = loading(2)
    unit.scan_parcel(1)
    unit.scan_parcel(2)
    return unit


def asked_which() -> CoreUnit:
    unit = loading(3, policy=Policy(allow_adoption=True))
    unit.scan("000000000001", entry="manual")
    return unit


def checked_in() -> CoreUnit:
    unit = assigned(0)
    unit.at(STATION)
    unit.must("check_in")
    return unit


def asked_where() -> CoreUnit:
    unit = on_route(3)
    place = door(1)
    unit.at({**place, "latitude": place["latitude"] + 0.0012})
    unit.refused("arrive")
    return unit


def tried() -> CoreUnit:
    unit = at_door(3, 1, requirements={"photo": True})
    unit.must("contact", method="call", outcome="no_answer")
    unit.must("fail", reason="CUSTOMER_UNAVAILABLE")
    return unit


def delivered() -> CoreUnit:
    unit = at_door(3)
    unit.scan_parcel(1)
    unit.must("deliver", handover="front_door")
    return unit


def photo_wanted() -> CoreUnit:
    unit = at_door(2, 1, requirements={"photo": True})
    unit.scan_parcel(1)
    return unit


def paused() -> CoreUnit:
    unit = on_route(3)
    unit.must("pause")
    return unit


def going_back() -> CoreUnit:
    unit = at_door(1)
    unit.must("damage", parcel_id="P1")
    unit.stand(STATION)
    return unit


def searching() -> CoreUnit:
    unit = on_route(1)
    unit.must("not_in_vehicle", parcel_id="P1")
    return unit


def ended() -> CoreUnit:
    unit = delivered()
    unit.must("abort", reason="ILLNESS")
    return unit


STAGES: list[Callable[[], CoreUnit]] = [
    CoreUnit,
    offered,
    requested,
    assigned,
    checked_in,
    loading,
    with_strange_parcel,
    all_scanned,
    asked_which,
    loaded,
    on_route,
    asked_where,
    at_door,
    photo_wanted,
    tried,
    delivered,
    paused,
    going_back,
    searching,
    two_pickups,
    ended,
]

ANSWERS = [
    Acted("transfer", {"driver_id": "D2", "parcel_ids": ["P1"]}),
    Acted("deliver", {"handover": "front_door", "parcel_ids": ["P1"], "reason": "asked to"}),
    Acted("scan", {"code": "TBA000000000001"}),
    Acted("choose", {"code": "P1"}),
    Acted("close_block", {}),
    *(Acted("start_stop", {"stop_id": f"T{number}"}) for number in range(4)),
    *(Acted(name, {"parcel_id": f"P{number}", "reason": "OTHER"}) for name in ACTIONS for number in (1, 2, 3)),
]


def tried_actions(unit: CoreUnit) -> Iterator[Acted]:
    yield from ANSWERS
    for a in range(len(ACTIONS)):
        for b in range(25):
            yield an_action(unit, a, b)


def is_something(unit: CoreUnit, given: Acted) -> bool | None:
    """Whether anything came of an action; ``None`` if it was refused."""
    decision = decide(unit.state, given, unit.moment)
    if decision.refusal is not None:
        return None
    told = decision.feedback is not None and decision.feedback.code not in SAYS_NOTHING
    return bool(decision.events or decision.effects) or told


def test_every_action_that_is_accepted_comes_to_something() -> None:
    accepted = set()
    for stage in STAGES:
        unit = stage()
        for given in tried_actions(unit):
            came = is_something(unit, given)
            assert came is not False, f"{stage.__name__}: {given} was accepted, and nothing came of it"
            if came:
                accepted.add(given.action)
    assert accepted == set(ACTIONS), "this test has to bring about a state in which each action is possible"


def test_every_action_done_twice_comes_to_something_or_is_refused() -> None:
    for stage in STAGES:
        first = stage()
        for given in tried_actions(first):
            if decide(first.state, given, first.moment).refusal is None:
                again = CoreUnit(first.policy)
                again.state = first.state
                again.uptime_ms, again.wall_ms = first.uptime_ms, first.wall_ms
                again.give(given)
                assert is_something(again, given) is not False, f"{stage.__name__}: {given}, done twice"


def test_starting_the_stop_that_is_under_way_is_refused_with_the_reason() -> None:
    unit = on_route(2)
    assert unit.block.current_stop_id == "T1"
    assert unit.refused("start_stop", stop_id="T1") == "ALREADY_UNDER_WAY"


MESSAGES: dict[str, tuple[Callable[[], CoreUnit], dict[str, Any]]] = {
    "offer.made": (CoreUnit, offer()),
    "offer.confirmed": (requested, {"block_id": "B9"}),
    "offer.refused": (offered, {"block_id": "B9", "reason": "TAKEN"}),
    "block.assigned": (CoreUnit, block_data(2)),
    "block.cancelled": (assigned, {"block_id": "B1"}),
    "block.revised": (assigned, block_data(5, version=2)),
    "parcel.recalled": (loading, {"parcel_ids": ["P1"]}),
    "roster.replaced": (
        CoreUnit,
        {"key": "sealed:v1:k", "drivers": [{"driver_id": "D1", "name": "N", "approved": True}]},
    ),
    "advisory.issued": (CoreUnit, {"advisory_id": "A1", "format": "cap", "content": {}}),
    "message.sent": (CoreUnit, {"message_id": "M1", "text": "Call us"}),
    "feedback.given": (CoreUnit, {"feedback_id": "F1", "parcel_id": "P1", "rating": 4, "text": "kind"}),
    "earnings.stated": (CoreUnit, {"block_id": "B1", "base": "84.00", "currency": "EUR"}),
    "settings.changed": (CoreUnit, {"delivery.photo_retakes": 1}),
    "command.requested": (CoreUnit, {"command_id": "C1", "command": "diag"}),
}


@pytest.mark.parametrize("type_", [type_ for types in INBOX.values() for type_ in types])
def test_every_message_that_is_accepted_is_an_event_an_answer_or_seen_by_the_driver(type_: str) -> None:
    stage, data = MESSAGES[type_]
    unit = stage()
    message = InboxMessage("m-1", "kind", type_, data)
    decision = decide(unit.state, message, unit.moment)
    assert decision.refusal is None
    after = decision.after or evolve(unit.state, message)
    assert decision.events or decision.effects or view(after, unit.moment) != view(unit.state, unit.moment)


def test_what_the_cloud_tells_is_seen() -> None:
    unit = CoreUnit()
    for type_ in ("roster.replaced", "advisory.issued", "feedback.given"):
        unit.receive(type_, MESSAGES[type_][1])
    seen = view(unit.state, unit.moment)
    assert seen["roster"] == {"drivers": 1}
    assert [each["advisory_id"] for each in seen["advisories"]] == ["A1"]
    assert seen["recipient_feedback"] == [{"feedback_id": "F1", "parcel_id": "P1", "rating": 4, "text": "kind"}]


def test_an_action_that_nobody_knows_is_refused_in_few_words() -> None:
    refusal = CoreUnit().act("x" * 5000).refusal
    assert refusal is not None
    assert refusal.reason == "UNKNOWN_ACTION"
    assert len(refusal.params["action"]) < 100
