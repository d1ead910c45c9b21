"""What the driver reads and hears, for every code that the core can say, in every language."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import words
from agent.delivery.decide import ACTIONS, decide
from agent.delivery.evolve import evolve
from agent.delivery.model import codes
from agent.delivery.model.codes import Code
from agent.delivery.model.decision import Feedback, Refusal
from agent.delivery.model.inputs import Acted, InboxMessage, Moment, Scanned
from agent.delivery.model.state import State
from agent.words import catalogue, phrases
from agent.words.phrases import Phrase, say
from agent.words.sentences import FEEDBACK, PROMPTS, REFUSALS
from agent.words.terms import TERMS
from contract import vocabulary

OF_THE_UNIT = ("NOT_STORED", "STORE_FULL", "BUSY", "FAULT")
"""What the loop itself says when the store does not take anything; no params."""

IN_A_SENTENCE: dict[str, set[str]] = {
    "block_state": set(get_args(vocabulary.BlockState)),
    "parcel_state": set(get_args(vocabulary.ParcelState)),
    "reason": {
        *vocabulary.REASONS,
        *vocabulary.REJECT_REASONS,
        *vocabulary.ABORT_REASONS,
        *("FOUND_LATE", "NO_STOP"),  # what the core itself gives when a parcel turns back
    },
    "proofs": {"otp", "age", "signature", "photo"},
    "because": {"otp", "age", "signature"},
    "handover": set(vocabulary.HANDOVERS),
    "instruction": set(get_args(vocabulary.InstructionKind)) - {"none"},  # this one has sentences of its own
    "kind": set(get_args(vocabulary.StopKind)),
    "expected": {"delivery"},
    "action": set(vocabulary.ACTIONS) - set(ACTIONS),  # what this unit refuses as NOT_AVAILABLE
}
"""The codes that a param can hold where a sentence shows it."""


@pytest.fixture
def in_amsterdam(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Amsterdam")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def of_code(key: str) -> str:
    """The code of a phrase that may be for one value of a param."""
    return key.partition("/")[0]


def needed(phrase: Phrase) -> set[str]:
    return {name for sentence in (*phrase.text, *(phrase.speech or ())) for name in sentence.params}


def samples(names: tuple[str, ...]) -> dict[str, object]:
    lists = {"parcel_ids", "choices", "missing", "proofs", "stop_ids"}
    return {name: ["A1", "B2"] if name in lists else f"<{name}>" for name in names}


def known(code: str, table: Mapping[str, Code]) -> set[str]:
    return set(table[code].params) if code in table else set()


def test_every_feedback_has_a_phrase_and_no_phrase_is_for_nothing() -> None:
    assert {of_code(key) for key in FEEDBACK} == {*codes.FEEDBACK, *OF_THE_UNIT}


def test_every_action_has_words_for_its_end() -> None:
    told_otherwise = {"scan", "choose", "depart", "arrive", "confirm_location", "close_block", "panic"}
    done = {key.removeprefix("DONE/") for key in FEEDBACK if key.startswith("DONE/")}
    assert done == set(ACTIONS) - told_otherwise


def test_every_prompt_has_a_phrase_and_no_phrase_is_for_nothing() -> None:
    assert {of_code(key) for key in PROMPTS} == set(codes.PROMPTS)


def test_every_refusal_has_a_phrase_and_no_phrase_is_for_nothing() -> None:
    assert {of_code(key) for key in {**FEEDBACK, **REFUSALS}} >= set(codes.REFUSALS)
    assert {of_code(key) for key in REFUSALS} <= set(codes.REFUSALS)


def test_a_phrase_speaks_only_of_what_its_code_brings() -> None:
    for key, phrase in FEEDBACK.items():
        assert needed(phrase) <= {"section", "sequence", *known(of_code(key), codes.FEEDBACK)}, key
    for key, phrase in PROMPTS.items():
        assert needed(phrase) <= known(of_code(key), codes.PROMPTS), key
    for key, phrase in REFUSALS.items():
        assert needed(phrase) <= known(of_code(key), codes.REFUSALS), key


def test_a_refusal_that_borrows_the_words_of_a_feedback_brings_their_params() -> None:
    for code in set(codes.REFUSALS) - set(REFUSALS):
        borrowed = {name for sentence in FEEDBACK[code].text for name in sentence.params}
        assert borrowed <= {*codes.REFUSALS[code].params, "section", "sequence"}, code


def test_every_code_in_a_sentence_has_words_and_no_words_are_for_nothing() -> None:
    assert set(TERMS) == set(IN_A_SENTENCE)
    for name, values in IN_A_SENTENCE.items():
        assert values <= set(TERMS[name]), name
    for terms in TERMS.values():  # several params may share a table
        assert set(terms) <= set().union(*(IN_A_SENTENCE[name] for name, same in TERMS.items() if same is terms))


@pytest.mark.parametrize("language", words.LANGUAGES)
class TestEveryLanguage:
    @pytest.mark.parametrize("code", codes.FEEDBACK)
    def test_a_feedback_reads_as_a_sentence_with_its_params_and_without(self, code: str, language: str) -> None:
        for params in (samples(codes.FEEDBACK[code].params), {}):
            shown = words.feedback(Feedback(code, codes.FEEDBACK[code].tone, params), language)
            assert shown["text"]
            for sentence in (shown["text"], shown["speech"]):
                assert not re.search(r"[{}|]", sentence)
                assert sentence == sentence.strip()
            assert shown["params"] == params

    @pytest.mark.parametrize("code", codes.REFUSALS)
    def test_a_refusal_reads_as_a_sentence_with_its_params_and_without(self, code: str, language: str) -> None:
        for params in (samples(codes.REFUSALS[code].params), {}):
            assert not re.search(r"[{}|]", words.refusal(Refusal(code, params), language))

    @pytest.mark.parametrize("code", codes.PROMPTS)
    def test_a_prompt_reads_as_a_sentence_with_its_params_and_without(self, code: str, language: str) -> None:
        for params in (samples(codes.PROMPTS[code].params), {}):
            assert not re.search(r"[{}|]", words.prompt(code, params, language))


def test_a_load_scan_says_section_and_number_only() -> None:
    params = {"parcel_id": "P1", "tracking_number": "TBA1", "act": "loaded"}
    assert words.feedback(Feedback("OK", "good", params, "2", 14)) == {
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
    assert words.feedback(decision.feedback)["speech"] == "2 – 14"  # noqa: RUF001


def test_a_load_scan_without_a_section_says_nothing_wrong() -> None:
    shown = words.feedback(Feedback("OK", "good", {"tracking_number": "TBA1", "act": "loaded"}))
    assert (shown["text"], shown["speech"]) == ("TBA1 loaded", "")
    assert "section" not in shown
    assert "sequence" not in shown


def test_a_wrong_stop_names_the_right_one() -> None:
    params = {"parcel_id": "P1", "stop_id": "T9", "sequence": 9, "address": "Oudegracht 12"}
    shown = words.feedback(Feedback("WRONG_STOP", "bad", params))
    assert shown["text"] == "For another stop, number 9: Oudegracht 12."
    assert shown["speech"] == "Wrong stop. For number 9."


def test_a_code_that_nobody_knows_is_shown_as_it_is() -> None:
    assert words.feedback(Feedback("STRANGE_THING", "bad", {"a": 1}))["text"] == "Strange thing"
    assert words.refusal(Refusal("STRANGE_THING")) == "Strange thing"
    assert words.prompt("STRANGE_THING", {}) == "Strange thing"


def test_what_a_label_says_is_never_taken_for_a_template() -> None:
    code = "[{code}] {0} {unit:a|b}"
    text = words.feedback(Feedback("NOT_ON_MANIFEST", "bad", {"code": code}))["text"]
    assert text == f"Not on your list: {code}. Put it aside."


def test_what_a_label_says_is_never_taken_for_a_word_of_ours() -> None:
    text = words.feedback(Feedback("NOT_ON_MANIFEST", "bad", {"code": "ON_ROUTE"}))["text"]
    assert "ON_ROUTE" in text


def test_one_is_not_many() -> None:
    params = {"missing": ["A"], "count": 1}
    assert "1 parcel not scanned" in words.refusal(Refusal("LOOK_AGAIN", params))
    params = {"missing": ["A", "B"], "count": 2}
    assert "2 parcels not scanned" in words.refusal(Refusal("LOOK_AGAIN", params))


def test_a_long_list_is_cut_short() -> None:
    text = words.refusal(Refusal("LOOK_AGAIN", {"missing": [f"P{n}" for n in range(9)], "count": 9}))
    assert text == "9 parcels not scanned: P0, P1, P2 and 6 more. Look again, then close again."


def test_codes_inside_a_sentence_are_words() -> None:
    assert words.refusal(Refusal("WRONG_TIME", {"block_state": "ON_ROUTE"})) == "Not now: the block is on the route."
    assert "driver wrote THIS" in words.refusal(Refusal("NO_REATTEMPT", {"reason": "driver wrote THIS"}))


def test_a_time_is_that_of_the_place(in_amsterdam: None) -> None:
    params = {"delivered_at": "2026-07-21T09:14:30.000Z"}
    assert "at 11:14." in words.feedback(Feedback("ALREADY_DELIVERED", "bad", params))["text"]


def test_a_unit_that_knows_no_time_zone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    params = {"delivered_at": "2026-07-21T09:14:30.000Z"}
    assert "at 09:14 UTC." in words.feedback(Feedback("ALREADY_DELIVERED", "bad", params))["text"]
    monkeypatch.undo()
    time.tzset()


def test_one_parcel_matches_and_two_match() -> None:
    texts = [words.refusal(Refusal("SEVERAL_CODES", {"choices": choices})) for choices in ([{}], [{}, {}])]
    assert texts == ["1 parcel matches. Choose one.", "2 parcels match. Choose one."]


def test_german_is_german() -> None:
    params = {"missing": [f"P{n}" for n in range(9)], "count": 9}
    text = words.refusal(Refusal("LOOK_AGAIN", params), "de")
    assert text == "9 Pakete nicht gescannt: P0, P1, P2 und 6 weitere. Noch einmal suchen, dann erneut abschließen."
    assert words.prompt("DEPART", {"address": None}, "de") == "Losfahren"
    assert words.prompt("GIVE_PROOF", {"proofs": ["otp"]}, "de") == "Vor der Zustellung nötig: Code des Empfängers"
    assert words.feedback(Feedback("OK", "good", {"act": "loaded"}, "2", 14), "de")["speech"] == "2 – 14"  # noqa: RUF001


def test_one_english_word_is_two_where_it_means_two_things() -> None:
    block = words.refusal(Refusal("WRONG_TIME", {"block_state": "LOADED"}), "de")
    parcel = words.refusal(Refusal("WRONG_STATE", {"parcel_state": "LOADED"}), "de")
    assert (block, parcel) == ("Jetzt nicht: Block fertig geladen.", "Nicht möglich: Paket geladen.")


def test_where_a_param_is_missing_another_sentence_is_shown() -> None:
    assert words.prompt("CHECK_IN", {"site": "DUT2", "starts_at": None}) == "Check in at DUT2"
    assert words.prompt("CHECK_IN", {"site": "", "starts_at": None}) == "Check in"
    assert words.refusal(Refusal("BAD_ARGUMENT", {"path": "note"})) == "Something is missing or wrong."


def test_a_time_that_is_none_is_shown_as_it_came() -> None:
    for given_time in ("soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"):
        assert words.refusal(Refusal("OFFER_EXPIRED", {"expires_at": given_time})).startswith("The offer has expired")


def test_a_language_that_is_not_there_is_english_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    catalogue.translations.cache_clear()
    for _ in range(3):
        assert words.prompt("DEPART", {}, "../../xx") == "Drive off"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "../../xx" in caplog.text


def test_a_sentence_that_cannot_be_rendered_is_the_code_in_words_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_reported", set())
    endless: list[Any] = []
    endless.append(endless)
    for _ in range(3):
        assert words.refusal(Refusal("LOOK_AGAIN", {"missing": endless, "count": 1})) == "Look again"
        assert words.feedback(Feedback("MESSAGE", "attention", {"text": 10**5000}))["text"] == "Message"
    assert [record.getMessage() for record in caplog.records] == [
        "LOOK_AGAIN cannot be put into words (en)",
        "MESSAGE cannot be put into words (en)",
    ]


hostile = st.one_of(
    st.text(),
    st.text(alphabet="{}%[]|ns0 \x00\x1b\u202e\ud800", max_size=30),
    st.sampled_from(["{text}", "%s", "%(n)d", "x" * 10_000, "{n}" * 50, "OK/loaded", "none"]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(hostile | st.sampled_from(["amount", "text"]), inner),
    max_leaves=6,
)
names = st.sampled_from(
    sorted(set().union(*(needed(phrase) for phrase in {**FEEDBACK, **PROMPTS, **REFUSALS}.values())))
)
everything = st.sampled_from(sorted({of_code(key) for key in {**FEEDBACK, **PROMPTS, **REFUSALS}}))


@given(
    code=everything | hostile,
    params=st.dictionaries(names | st.sampled_from(phrases.CHOOSING) | hostile, values, max_size=6),
    language=st.sampled_from(words.LANGUAGES) | hostile,
)
def test_rendering_never_raises(code: str, params: dict[str, Any], language: str) -> None:
    logging.disable()
    try:
        assert isinstance(words.refusal(Refusal(code, params), language), str)
        assert isinstance(words.prompt(code, params, language), str)
        shown = words.feedback(Feedback(code, "bad", params, "{section}", 3), language)
        assert isinstance(shown["text"], str)
        assert isinstance(shown["speech"], str)
    finally:
        logging.disable(logging.NOTSET)


@given(text=hostile.filter(bool), language=st.sampled_from(words.LANGUAGES))
def test_what_a_param_says_stands_in_the_sentence_letter_by_letter(text: str, language: str) -> None:
    assert text in words.refusal(Refusal("UNKNOWN_PARCEL", {"parcel_id": text}), language)


def test_a_code_of_a_phrase_that_is_added_wrongly_still_has_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "PROMPTS", {"WAIT_HERE": Phrase((say("Wait for {nothing}"),), None)})
    assert words.prompt("WAIT_HERE", {}) == "Wait here"
