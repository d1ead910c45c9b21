"""What the driver reads and hears, for every code that the core can say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from agent import phrases
from agent.delivery.decide import ACTIONS, decide
from agent.delivery.evolve import evolve
from agent.delivery.model import codes
from agent.delivery.model.decision import Feedback, Refusal
from agent.delivery.model.inputs import Acted, InboxMessage, Moment, Scanned
from agent.delivery.model.state import State

OF_THE_UNIT = ("NOT_STORED", "STORE_FULL", "BUSY")
"""What the loop itself says when the store does not take anything; no params."""


@pytest.fixture
def in_amsterdam(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Amsterdam")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def used(template: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", template))


def of_code(code: str) -> str:
    """The code of a template that may be for one value of a param."""
    return code.partition("/")[0]


def samples(names: tuple[str, ...]) -> dict[str, object]:
    lists = {"parcel_ids", "choices", "missing", "proofs", "stop_ids"}
    return {name: ["A1", "B2"] if name in lists else f"<{name}>" for name in names}


@pytest.mark.parametrize("language", phrases.LANGUAGES.values(), ids=phrases.LANGUAGES)
class TestEveryLanguage:
    def test_every_feedback_has_a_phrase_and_no_phrase_is_for_nothing(self, language: phrases.Language) -> None:
        assert {of_code(code) for code in language.feedback} == {*codes.FEEDBACK, *OF_THE_UNIT}

    def test_every_action_has_words_for_its_end(self, language: phrases.Language) -> None:
        told_otherwise = {"scan", "choose", "depart", "arrive", "confirm_location", "close_block"}
        done = {code.removeprefix("DONE/") for code in language.feedback if code.startswith("DONE/")}
        assert done == set(ACTIONS) - told_otherwise

    def test_every_prompt_has_a_phrase_and_no_phrase_is_for_nothing(self, language: phrases.Language) -> None:
        assert {of_code(code) for code in language.prompts} == set(codes.PROMPTS)

    def test_every_refusal_has_a_phrase_and_no_phrase_is_for_nothing(self, language: phrases.Language) -> None:
        assert {of_code(code) for code in {**language.feedback, **language.refusals}} >= set(codes.REFUSALS)
        assert {of_code(code) for code in language.refusals} <= set(codes.REFUSALS)

    def test_a_phrase_speaks_only_of_what_its_code_brings(self, language: phrases.Language) -> None:
        for code, phrase in language.feedback.items():
            known = {"section", "sequence"}
            known |= set(codes.FEEDBACK[of_code(code)].params) if of_code(code) not in OF_THE_UNIT else set()
            assert used(phrase.text) | used(phrase.speech or "") <= known, code
        for code, template in language.prompts.items():
            assert used(template) <= set(codes.PROMPTS[of_code(code)].params), code
        for code, template in language.refusals.items():
            assert used(template) <= set(codes.REFUSALS[of_code(code)].params), code

    def test_a_refusal_that_borrows_the_words_of_a_feedback_brings_their_params(
        self, language: phrases.Language
    ) -> None:
        for code in set(codes.REFUSALS) - set(language.refusals):
            assert used(language.feedback[code].text) <= {*codes.REFUSALS[code].params, "section", "sequence"}, code


@pytest.mark.parametrize("code", codes.FEEDBACK)
def test_a_feedback_reads_as_a_sentence_with_its_params_and_without(code: str) -> None:
    for params in (samples(codes.FEEDBACK[code].params), {}):
        shown = phrases.feedback(Feedback(code, codes.FEEDBACK[code].tone, params))
        assert shown["text"]
        for sentence in (shown["text"], shown["speech"]):
            assert not re.search(r"[{}\[\]|]", sentence)
            assert sentence == sentence.strip()
        assert shown["params"] == params


@pytest.mark.parametrize("code", codes.REFUSALS)
def test_a_refusal_reads_as_a_sentence_with_its_params_and_without(code: str) -> None:
    for params in (samples(codes.REFUSALS[code].params), {}):
        assert not re.search(r"[{}\[\]|]", phrases.refusal(Refusal(code, params)))


@pytest.mark.parametrize("code", codes.PROMPTS)
def test_a_prompt_reads_as_a_sentence_with_its_params_and_without(code: str) -> None:
    for params in (samples(codes.PROMPTS[code].params), {}):
        assert not re.search(r"[{}\[\]|]", phrases.prompt(code, params))


def test_a_load_scan_says_section_and_number_only() -> None:
    params = {"parcel_id": "P1", "tracking_number": "TBA1", "act": "loaded"}
    assert phrases.feedback(Feedback("OK", "good", params, "2", 14)) == {
        "code": "OK",
        "params": params,
        "tone": "good",
        "text": "2 – 14 · TBA1 loaded",  # noqa: RUF001
        "speech": "2 – 14",  # noqa: RUF001
        "section": "2",
        "sequence": 14,
    }


def test_what_the_core_says_of_a_real_load_scan_sends_the_parcel_to_its_place() -> None:
    moment = Moment(1_795_251_600_000, 60_000, "boot", "gps")
    stops = [{"stop_id": "T0", "kind": "pickup", "sequence": 0}, {"stop_id": "T14", "kind": "delivery", "sequence": 14}]
    parcel = {"parcel_id": "P1", "tracking_number": "TBA1", "pickup_stop_id": "T0", "stop_id": "T14", "section": "2"}
    data = {"block_id": "B1", "manifest_version": 1, "stops": stops, "parcels": [parcel]}
    message = InboxMessage("m1", "block", "block.assigned", data)
    state, steps = State(), [message, Acted("check_in"), Acted("start_loading"), Scanned("TBA1", ("TBA1",), "left")]
    for step in steps:
        decision = decide(state, step, moment)
        for entry in (*([step] if isinstance(step, InboxMessage) else []), *decision.events):
            state = evolve(state, entry)
    assert decision.feedback is not None
    assert phrases.feedback(decision.feedback)["speech"] == "2 – 14"  # noqa: RUF001


def test_a_load_scan_without_a_section_says_nothing_wrong() -> None:
    shown = phrases.feedback(Feedback("OK", "good", {"tracking_number": "TBA1", "act": "loaded"}))
    assert (shown["text"], shown["speech"]) == ("TBA1 loaded", "")
    assert "section" not in shown
    assert "sequence" not in shown


def test_a_wrong_stop_names_the_right_one() -> None:
    params = {"parcel_id": "P1", "stop_id": "T9", "sequence": 9, "address": "Oudegracht 12"}
    shown = phrases.feedback(Feedback("WRONG_STOP", "bad", params))
    assert shown["text"] == "For another stop, number 9: Oudegracht 12."
    assert shown["speech"] == "Wrong stop. For number 9."


def test_a_code_that_nobody_knows_is_shown_as_it_is() -> None:
    assert phrases.feedback(Feedback("STRANGE_THING", "bad", {"a": 1}))["text"] == "Strange thing"
    assert phrases.refusal(Refusal("STRANGE_THING")) == "Strange thing"
    assert phrases.prompt("STRANGE_THING", {}) == "Strange thing"


def test_what_a_label_says_is_never_taken_for_a_template() -> None:
    code = "[{code}] {0} {unit:a|b}"
    text = phrases.feedback(Feedback("NOT_ON_MANIFEST", "bad", {"code": code}))["text"]
    assert text == f"Not on your list: {code}. Put it aside."


def test_what_a_label_says_is_never_taken_for_a_word_of_ours() -> None:
    text = phrases.feedback(Feedback("NOT_ON_MANIFEST", "bad", {"code": "ON_ROUTE"}))["text"]
    assert "ON_ROUTE" in text


def test_one_is_not_many() -> None:
    params = {"missing": ["A"], "count": 1}
    assert "1 parcel not scanned" in phrases.refusal(Refusal("LOOK_AGAIN", params))
    params = {"missing": ["A", "B"], "count": 2}
    assert "2 parcels not scanned" in phrases.refusal(Refusal("LOOK_AGAIN", params))


def test_a_long_list_is_cut_short() -> None:
    text = phrases.refusal(Refusal("LOOK_AGAIN", {"missing": [f"P{n}" for n in range(9)], "count": 9}))
    assert text == "9 parcels not scanned: P0, P1, P2 and 6 more. Look again, then close again."


def test_codes_inside_a_sentence_are_words() -> None:
    assert phrases.refusal(Refusal("WRONG_TIME", {"block_state": "ON_ROUTE"})) == "Not now: the block is on the route."
    assert "driver wrote THIS" in phrases.refusal(Refusal("NO_REATTEMPT", {"reason": "driver wrote THIS"}))


def test_a_time_is_that_of_the_place(in_amsterdam: None) -> None:
    params = {"delivered_at": "2026-07-21T09:14:30.000Z"}
    assert "at 11:14." in phrases.feedback(Feedback("ALREADY_DELIVERED", "bad", params))["text"]


def test_a_unit_that_knows_no_time_zone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    params = {"delivered_at": "2026-07-21T09:14:30.000Z"}
    assert "at 09:14 UTC." in phrases.feedback(Feedback("ALREADY_DELIVERED", "bad", params))["text"]
    monkeypatch.undo()
    time.tzset()
