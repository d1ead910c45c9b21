"""Times of day as a driver reads and hears them: in the zone of the place, and with the day when that is not today.

The zone is that of the block, by its IANA name. Where a block names none, or one that is not known here, it is the
unit's own; where the unit has none either, it is UTC, and the time says so. An hour that comes twice, when summer time
ends, says which of the two it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from gettext import NullTranslations
from typing import Final
from zoneinfo import ZoneInfo

from agent.words.phrases import Sentence, filled, say
from agent.words.terms import MONTHS, WEEKDAYS, Term
from contract.times import unix_ms
from drivers.limited_log import LimitedLog

_log = LimitedLog(logging.getLogger(__name__), "time zones", characters=60)

ON_DAY: Final = say("{time} on {day}")
DAY: Final = say("{weekday} {number} {month}")
DAY_OF_YEAR: Final = say("{weekday} {number} {month} {year}")
HOURS: Final = say("{first} to {last}")
HOURS_ON_DAY: Final = say("{first} to {last} on {day}")
NOT_BEFORE: Final = say("from {first}")
NOT_AFTER: Final = say("until {last}")
SENTENCES: Final = (ON_DAY, DAY, DAY_OF_YEAR, HOURS, HOURS_ON_DAY, NOT_BEFORE, NOT_AFTER)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Calendar:
    """By whose clock times are told, and which day is today there."""

    zone: str | None
    """IANA name, as a block has it."""
    today: date | None
    """The day there; ``None`` where the clock is not set: then every time has its day."""

    @classmethod
    def at(cls, zone: str | None, now_ms: int | None) -> Calendar:
        """The calendar of a zone at a Unix time; ``None`` where the clock is not set."""
        return cls(zone, None if now_ms is None else _there(zone, now_ms).date())

    def of(self, milliseconds: int) -> datetime:
        """A time as the place's clock and calendar show it."""
        return _there(self.zone, milliseconds)


def time_of_day(text: str, calendar: Calendar | None, words: NullTranslations) -> str:
    """A time for a sentence; what is no time is given back as it is.

    :param calendar: without one it is the unit's own time of day, whatever the day
    """
    milliseconds = unix_ms(text)
    if milliseconds is None:
        return text
    if calendar is None:
        return _clock(Calendar(None, None).of(milliseconds))
    at = calendar.of(milliseconds)
    if at.date() == calendar.today:
        return _clock(at)
    return _say(words, ON_DAY, time=_clock(at), day=_day(at, calendar, words))


@lru_cache(maxsize=2048)  # a state is drawn often, and each of its stops has hours
def hours(first: str | None, last: str | None, calendar: Calendar, words: NullTranslations) -> str | None:
    """From when to when, ``09:00 to 13:00``; ``None`` where neither is known."""
    first_ms, last_ms = (None if text is None else unix_ms(text) for text in (first, last))
    if first_ms is None or last_ms is None:
        if first and first_ms is not None:
            return _say(words, NOT_BEFORE, first=time_of_day(first, calendar, words))
        return _say(words, NOT_AFTER, last=time_of_day(last, calendar, words)) if last and last_ms is not None else None
    begins, ends = calendar.of(first_ms), calendar.of(last_ms)
    clocks = {"first": _clock(begins), "last": _clock(ends)}
    if begins.date() != ends.date():  # then each says its day, today as well
        for name, at in (("first", begins), ("last", ends)):
            clocks[name] = _say(words, ON_DAY, time=clocks[name], day=_day(at, calendar, words))
    elif begins.date() != calendar.today:
        return _say(words, HOURS_ON_DAY, **clocks, day=_day(begins, calendar, words))
    return _say(words, HOURS, **clocks)


def _clock(at: datetime) -> str:
    twice = at.replace(fold=1 - at.fold).utcoffset() != at.utcoffset()
    return f"{at:%H:%M %Z}" if twice or at.tzname() == "UTC" else f"{at:%H:%M}"


def _day(at: datetime, calendar: Calendar, words: NullTranslations) -> str:
    named = {"weekday": _term(words, WEEKDAYS[at.weekday()]), "month": _term(words, MONTHS[at.month - 1])}
    if calendar.today is not None and calendar.today.year == at.year:
        return _say(words, DAY, number=str(at.day), **named)
    return _say(words, DAY_OF_YEAR, number=str(at.day), year=str(at.year), **named)


def _term(words: NullTranslations, term: Term) -> str:
    return words.pgettext(term.context, term.text)


def _say(words: NullTranslations, sentence: Sentence, **values: str) -> str:
    return filled(words.gettext(sentence.text), values)


def _there(zone: str | None, milliseconds: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(_zone(zone))


@lru_cache(maxsize=64)
def _zone(name: str | None) -> tzinfo | None:
    """The zone of a name; ``None``, which is the unit's own, for no name and for one that is not known here."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except Exception as error:  # noqa: BLE001 - the name is anybody's: no zone, a folder, no file name at all
        _log.warning("time zone %s is not known here (%s): the unit's own is used", name, type(error).__name__)
        return None
