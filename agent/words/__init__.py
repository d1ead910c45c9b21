"""What the driver reads and hears, made from codes and their params, in the driver's language.

Rendering never raises: a code without a sentence, and a sentence that cannot be rendered, are shown as the code in
plain words; the second is logged, once for each code.

>>> from agent.delivery.model.decision import Feedback
>>> feedback(Feedback("OK", "good", {"act": "loaded", "tracking_number": "TBA1"}, "2", 14))["speech"]
'2 – 14'
"""

# ruff: noqa: RUF002 - the dash between section and sequence is part of the contract
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from agent.delivery.model.decision import Feedback, Refusal
from agent.words.catalogue import DEFAULT_LANGUAGE, LANGUAGES, translations
from agent.words.phrases import CHOOSING, Phrase, Sentence, filled
from agent.words.sentences import FEEDBACK, PROMPTS, REFUSALS
from agent.words.times import Calendar
from agent.words.times import hours as hours_of
from agent.words.values import Manner, in_words, shown

__all__ = ["DEFAULT_LANGUAGE", "LANGUAGES", "Calendar", "feedback", "hours", "prompt", "refusal"]

_log = logging.getLogger(__name__)
_reported: set[str] = set()
"""Codes whose wording failed, so that each is logged once."""


def feedback(given: Feedback, language: str = DEFAULT_LANGUAGE, calendar: Calendar | None = None) -> dict[str, Any]:
    """The contract's feedback object (§6)."""
    place = {"section": given.section, "sequence": given.sequence}
    place = {name: value for name, value in place.items() if value is not None}
    text, speech = _rendered(given.code, {**given.params, "section": None, **place}, language, calendar, FEEDBACK)
    params = dict(given.params)
    return {"code": given.code, "params": params, "tone": given.tone, "text": text, "speech": speech, **place}


def refusal(given: Refusal, language: str = DEFAULT_LANGUAGE, calendar: Calendar | None = None) -> str:
    """The sentence that says why an action was not accepted."""
    # A scan typed in by hand is refused with the code of its feedback.
    return _rendered(given.reason, given.params, language, calendar, REFUSALS, FEEDBACK)[0]


def prompt(
    code: str, params: Mapping[str, Any], language: str = DEFAULT_LANGUAGE, calendar: Calendar | None = None
) -> str:
    """The one thing to do now."""
    return _rendered(code, params, language, calendar, PROMPTS)[0]


def hours(first: str | None, last: str | None, calendar: Calendar, language: str = DEFAULT_LANGUAGE) -> str | None:
    """From when to when something is, ``09:00 to 13:00``; ``None`` where that is not known."""
    return hours_of(first, last, calendar, translations(language))


def _rendered(
    code: str, params: Mapping[str, Any], language: str, calendar: Calendar | None, *tables: Mapping[str, Phrase]
) -> tuple[str, str]:
    """What is read and what is said."""
    plain = in_words(code).capitalize()
    try:
        phrase = next(filter(None, (_phrase(code, params, table) for table in tables)), None)
        if phrase is None:
            return plain, plain
        manner = Manner(translations(language), calendar)
        text = _sentence(phrase.text, params, manner)
        speech = text if phrase.speech is None else _sentence(phrase.speech, params, manner)
    except Exception:  # noqa: BLE001 - a fault in wording must not stop a scan
        if code not in _reported:
            _reported.add(code)
            _log.exception("%s cannot be put into words (%s)", code, language)
        return plain, plain
    return text or plain, speech


def _phrase(code: str, params: Mapping[str, Any], table: Mapping[str, Phrase]) -> Phrase | None:
    keys = (f"{code}/{params[name]}" for name in CHOOSING if isinstance(params.get(name), str))
    return next((table[key] for key in keys if key in table), table.get(code))


def _sentence(alternatives: tuple[Sentence, ...], params: Mapping[str, Any], manner: Manner) -> str:
    """The first that is whole, in the language of the catalogue; nothing where none is."""
    for sentence in alternatives:
        if all(params.get(name) not in (None, "", (), [], {}) for name in sentence.params):
            return _filled(sentence, params, manner)
    return ""


def _filled(sentence: Sentence, params: Mapping[str, Any], manner: Manner) -> str:
    values = {name: shown(name, params[name], manner) for name in sentence.params}
    if not sentence.counts:
        return filled(manner.words.gettext(sentence.text), values)
    given = params[sentence.counts]
    number = len(given) if isinstance(given, Sequence | Mapping) and not isinstance(given, str) else given
    template = manner.words.ngettext(sentence.text, sentence.many, number if isinstance(number, int) else 2)
    return filled(template, {**values, "n": str(number)})
