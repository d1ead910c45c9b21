"""The tables of the state machine, walked row by row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from agent.delivery.evolve import evolve, evolve_all
from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import ParcelPlan, StopPlan
from agent.delivery.model.state import Block, Offer, Parcel, State, Stop
from contract.vocabulary import BlockState, ParcelState, StopState

DESIGN = Path(__file__).parents[1] / "contract" / "state_machine.json"
TABLES: dict[str, Any] = json.loads(DESIGN.read_text())

ROWS = [(kind, *row[:3]) for kind in ("block", "stop", "parcel") for row in TABLES[kind]["transitions"]]
STATES = {
    kind: sorted({state for row in TABLES[kind]["transitions"] for state in (row[0], row[2])})
    for kind in ("block", "stop", "parcel")
}
EVENTS = {kind: sorted({row[1] for row in TABLES[kind]["transitions"]}) for kind in ("block", "stop", "parcel")}
POSSIBLE = {(kind, start, event) for kind, start, event, _ in ROWS}
IMPOSSIBLE = [
    (kind, state, event)
    for kind in STATES
    for state in STATES[kind]
    for event in EVENTS[kind]
    if (kind, state, event) not in POSSIBLE
]


def in_state(kind: str, state: str) -> State:
    """A unit with one block, one stop and one parcel, one of them in that state."""
    stop = Stop("T1", StopPlan("delivery"), parcel_ids=("P1",))
    parcel = Parcel("P1", ParcelPlan("TBA000000000001"), stop_id="T1")
    block = Block("B1", manifest_version=1, stops={"T1": stop}, parcels={"P1": parcel}, route=("T1",))
    if kind == "block":
        block = replace(block, state=cast("BlockState", state))
    elif kind == "stop":
        block = replace(block, stops={"T1": replace(stop, state=cast("StopState", state))})
    else:
        block = replace(block, parcels={"P1": replace(parcel, state=cast("ParcelState", state))})
    return State(blocks={"B1": block})


def happening(kind: str, event: str) -> Event:
    subject = {"block": "block/B1", "stop": "stop/T1", "parcel": "parcel/P1"}[kind]
    data = {"block_id": "B1", "reason": "OTHER", "handover": "recipient", "stop_id": "T1"}
    return Event(event, subject, data, "2026-11-21T09:00:00.000Z")


def state_of(kind: str, state: State) -> str:
    block = state.blocks["B1"]
    return {"block": block.state, "stop": block.stops["T1"].state, "parcel": block.parcels["P1"].state}[kind]


@pytest.mark.parametrize(("kind", "start", "event", "end"), ROWS)
def test_every_transition_of_the_table_happens(kind: str, start: str, event: str, end: str) -> None:
    before = in_state(kind, start)
    assert state_of(kind, evolve(before, happening(kind, event))) == end
    assert evolve_all(before, [happening(kind, event)]) == evolve(before, happening(kind, event))


@pytest.mark.parametrize(("kind", "state", "event"), IMPOSSIBLE)
def test_what_the_table_does_not_have_cannot_happen(kind: str, state: str, event: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        evolve(in_state(kind, state), happening(kind, event))
    for name in (happening(kind, event).subject, state, event):
        assert name in str(caught.value)


@pytest.mark.parametrize("event", TABLES["non_state_events"])
def test_other_events_change_no_state(event: str) -> None:
    before = replace(in_state("parcel", "OUT_FOR_DELIVERY"), offers={"O1": Offer("O1", "B1")})
    entity = event.partition(".")[0]
    subject = {"stop": "stop/T9", "pod": "parcel/P1", "parcel": "parcel/P1", "contact": "stop/T1"}.get(
        entity, "block/B1"
    )
    data = {
        "block_id": "B1",
        "kind": "delivery",
        "method": "call",
        "outcome": "no_answer",
        "message_id": "m1",
        "offer_id": "O1",
    }
    if event == "stop.tagged":
        subject = "stop/T1"
    after = evolve(before, Event(event, subject, data, "2026-11-21T09:00:00.000Z"))
    for kind in STATES:
        assert state_of(kind, after) == state_of(kind, before)


def test_an_event_about_something_unknown_is_an_error_that_names_it() -> None:
    state = in_state("parcel", "LOADED")
    for subject, data in (("parcel/P9", {"block_id": "B1"}), ("parcel/P1", {"block_id": "B9"})):
        for apply in (evolve, lambda state, event: evolve_all(state, [event])):
            with pytest.raises(DeliveryError, match=r"P9|B9"):
                apply(state, Event("parcel.transferred", subject, data, ""))


def test_events_of_other_parts_leave_the_core_alone() -> None:
    state = in_state("parcel", "LOADED")
    for event in ("unit.started", "media.stored", "safety.event", "firmware.confirmed"):
        assert evolve(state, Event(event, "unit", {}, "")) == state
