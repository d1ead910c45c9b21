"""Whatever a driver types in words, no event holds it: events are hashed and kept for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.decide import ACTIONS, decide
from agent.delivery.fold import snapshot
from agent.delivery.model.inputs import Acted, Moment
from agent.delivery.model.state import State
from agent.delivery.rules.arguments import reason_code
from agent.delivery.screen.view import view
from contract import vocabulary
from tests.delivery.support import CoreUnit, assigned, at_door, loaded, loading, on_route

WORDS = (
    "Erika Musterfrau, 0151 23456789",
    "Musterfrau",
    "musterfrau",
    "MUSTERFRAU",
    "Erika-Musterfrau",
    "+4915123456789",
    "015123456789",
    "0151-2345-6789",
)
PARTS = ("MUSTERFRAU", "ERIKA", "151234567", "151-2345", "151 2345")
RIGHT = {
    "parcel_id": "P1",
    "parcel_ids": ["P1"],
    "stop_id": "T2",
    "site_id": "S1",
    "code": "TBA000000000001",
    "handover": "recipient",
    "kind": "fuel",
    "method": "call",
    "outcome": "no_answer",
    "driver_id": "D2",
    "message_id": "M1",
    "offer_id": "O1",
    "block_id": "B1",
    "item": "parcel/P1",
    "text": "as it was",
    "reason": "other",
}
REASON = {"fail": "OTHER", "not_ready": "PACKAGE_NOT_READY", "reject": "DAMAGED", "abort": "ILLNESS"}


def situations() -> Iterator[CoreUnit]:
    """Units in which each action is possible somewhere."""
    yield assigned(2)
    yield loading(2)
    yield loaded(2)
    yield on_route(2)
    door = at_door(2, 2, requirements={"photo": True})
    door.must("contact", method="call", outcome="no_answer")
    yield door
    door = at_door(2, 2)
    door.must("contact", method="call", outcome="no_answer")
    door.scan_parcel(1)
    yield door
    after = at_door(2, 2)
    after.must("deliver", handover="recipient", parcel_ids=["P1"], reason="other")
    yield after
    paused = on_route(2)
    paused.must("pause")
    yield paused
    returning = on_route(2)
    returning.must("abort", reason="ILLNESS")
    yield returning


@cache
def _states() -> list[tuple[State, Moment]]:
    return [(unit.state, unit.moment) for unit in situations()]


ARGUMENTS = [(action, name) for action, known in ACTIONS.items() for name in known.arguments]
OWN_WORDS = {
    *(("check_in", "reason"), ("arrive", "reason"), ("mark_missing", "reason"), ("skip_stop", "reason")),
    *(("skip_photo", "reason"), ("deliver", "reason"), ("deliver", "name"), ("fail", "note"), ("void", "reason")),
    *(("close_block", "reason"), ("annotate", "item"), ("annotate", "text")),
}
"""Where words are taken, so that the walk below cannot pass by being refused everywhere."""


@pytest.mark.parametrize(("action", "argument"), ARGUMENTS)
def test_a_name_or_a_telephone_number_that_is_typed_anywhere_stands_in_no_event(action: str, argument: str) -> None:
    accepted = False
    for words in WORDS:
        for state, moment in _states():
            given = {name: RIGHT[name] for name in ACTIONS[action].arguments if name in RIGHT}
            given["reason"] = REASON.get(action, "other")
            if action == "transfer":
                given.pop("point_id" if argument == "driver_id" else "driver_id", None)
            given[argument] = [words] if argument.endswith("ids") else words
            decision = decide(state, Acted(action, given), moment)
            accepted |= decision.refusal is None
            told = json.dumps([event.data for event in decision.events]).upper()
            assert not any(part in told for part in PARTS), (words, told)
            kept = snapshot.dump(decision.after or state).decode().upper()
            assert not any(part in kept for part in PARTS), (words, kept)
    assert accepted or (action, argument) not in OWN_WORDS


def test_a_driver_s_note_is_on_the_screen_until_the_block_ends_and_only_there() -> None:
    unit = on_route(1)
    unit.must("annotate", item="parcel/P1", text="Erika Musterfrau, second door")
    assert unit.last.events[0].data["item"] == "parcel/P1"
    assert unit.last.events[0].data["noted"] is True
    unit.must("arrive", reason="pin_wrong")
    unit.must("fail", reason="OTHER", note="Erika was not at home")
    assert unit.events("parcel.attempt_failed")[0].data["noted"] is True
    shown = [(note["item"], note["text"]) for note in view(unit.state, unit.moment)["notes"]]
    assert shown == [("parcel/P1", "Erika Musterfrau, second door"), ("stop/T1", "Erika was not at home")]
    assert "Erika" not in repr(unit.state.here.notes)
    unit.must("arrive", reason="pin_wrong")
    unit.must("return", site_id="S1")
    unit.must("close_block")
    assert view(unit.state, unit.moment)["notes"] == []


def test_notes_are_bounded() -> None:
    unit = on_route(1)
    for number in range(200):
        unit.must("annotate", item="block", text=f"note {number}")
    notes = view(unit.state, unit.moment)["notes"]
    assert len(notes) == 50
    assert notes[-1]["text"] == "note 199"


@pytest.mark.parametrize(
    "code", [*vocabulary.AWAY_REASONS, *vocabulary.REASONS, *vocabulary.MISTAKE_REASONS, "NOT_FOUND", "gate_is_broken"]
)
def test_a_reason_that_is_a_code_is_written_down_as_it_is(code: str) -> None:
    assert reason_code(code) == code


@given(st.text(min_size=1, max_size=60))
def test_a_reason_in_own_words_is_another_reason(words: str) -> None:
    code = reason_code(words)
    assert code == "OTHER" or (code == words and words.replace("_", "").isalpha())


def test_a_parcel_goes_to_a_driver_s_number_and_to_no_name() -> None:
    for to in ("D2", "driver-12", "104233", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"):
        unit = on_route(1)
        assert "parcel.transferred" in unit.must("transfer", parcel_ids=["P1"], driver_id=to)
    assert on_route(1).refused("transfer", parcel_ids=["P1"], driver_id="Erika") == "BAD_ARGUMENT"


def test_a_reason_of_the_cloud_in_words_is_told_and_not_written_into_an_event() -> None:
    unit = assigned(1)
    unit.receive("block.cancelled", {"block_id": "B1", "reason": "Erika Musterfrau has called"})
    assert unit.last.feedback is not None
    assert unit.last.feedback.params["reason"] == "Erika Musterfrau has called"
    assert [event.data["reason"] for event in unit.events("block.cancelled")] == ["OTHER"]
