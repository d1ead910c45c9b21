"""The values of params as they stand in a sentence: the time of day, money, codes as words, short lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from gettext import NullTranslations
from typing import Final

from agent.words.phrases import filled
from agent.words.sentences import LISTED, MORE
from agent.words.terms import TERMS
from agent.words.times import Calendar, time_of_day

MOST_ITEMS: Final = 3
"""Longer lists are cut short in a sentence."""

_CODE = re.compile(r"[A-Z]+(_[A-Z]+)*|[a-z]+(_[a-z]+)+")
_SAYING: Final = ("text", "line1", "tracking_number", "name", "kind", "parcel_id")
"""The member of an object that stands for it in a sentence."""
_TIMES: Final = ("_at", "_from", "_time")


@dataclass(frozen=True, slots=True)
class Manner:
    """In which language something is said, and by whose clock."""

    words: NullTranslations
    calendar: Calendar | None = None


def shown(name: str, value: object, manner: Manner) -> str:
    """The value of a param; the param's name says what kind of value it is."""
    match value:
        case None:
            return "?"
        case str():
            if name.endswith(_TIMES):
                return time_of_day(value, manner.calendar, manner.words)
            return _term(name, value, manner.words) if name in TERMS else value
        case float():
            return f"{value:.0f}"
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case Mapping():
            key = next((key for key in _SAYING if value.get(key)), "")
            return shown(key, value.get(key), manner)
        case list() | tuple() | frozenset():
            return _listed([shown(name, item, manner) for item in value], manner.words)
        case _:
            return str(value)


def in_words(code: str) -> str:
    """A code that has no words of its own: the driver who sees an odd word is better off than one who sees nothing."""
    return code.replace("_", " ").lower() if _CODE.fullmatch(code) else code


def _term(name: str, code: str, words: NullTranslations) -> str:
    term = TERMS[name].get(code)
    return words.pgettext(term.context, term.text) if term else in_words(code)


def _listed(items: list[str], words: NullTranslations) -> str:
    cut = items[MOST_ITEMS:] if len(items) > MOST_ITEMS + 1 else []
    text = ""
    for item in items[: len(items) - len(cut)]:
        text = filled(words.gettext(LISTED.text), {"items": text, "item": item}) if text else item
    return filled(words.gettext(MORE.text), {"items": text, "count": str(len(cut))}) if cut else text
