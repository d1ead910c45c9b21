"""Times are those of the place of the block, with the day when that is not today."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import words
from agent.delivery.model.decision import Feedback
from agent.words import times
from agent.words.times import Calendar
from contract.times import unix_ms
from drivers.limited_log import LimitedLog

AMSTERDAM = "Europe/Amsterdam"


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def calendar(now: str | None, zone: str | None = AMSTERDAM) -> Calendar:
    return Calendar.at(zone, None if now is None else unix_ms(now))


def begins(starts_at: str, calendar: Calendar, language: str = "en") -> str:
    text = words.prompt("CHECK_IN", {"starts_at": starts_at}, language, calendar)
    return text.partition("begins at " if language == "en" else "beginnt um ")[2]


@pytest.mark.parametrize(
    ("starts_at", "now", "zone", "english", "german"),
    [
        # today, in winter and in summer, and by another offset than the place's
        ("2026-11-21T04:29:00Z", "2026-11-21T03:00:00Z", AMSTERDAM, "05:29", "05:29"),
        ("2026-07-21T03:29:00Z", "2026-07-21T03:00:00Z", AMSTERDAM, "05:29", "05:29"),
        ("2026-11-21T09:59:00+05:30", "2026-11-21T03:00:00Z", AMSTERDAM, "05:29", "05:29"),
        ("2026-11-21T04:29:00Z", "2026-11-21T03:00:00Z", "Asia/Kolkata", "09:59", "09:59"),
        # tomorrow and yesterday: by the place's calendar, not by that of UTC
        (
            "2026-11-22T04:29:00Z",
            "2026-11-21T20:00:00Z",
            AMSTERDAM,
            "05:29 on Sunday 22 November",
            "05:29 am Sonntag, 22. November",
        ),
        ("2026-11-22T04:29:00Z", "2026-11-21T23:30:00Z", AMSTERDAM, "05:29", "05:29"),
        (
            "2026-11-21T23:30:00Z",
            "2026-11-21T20:00:00Z",
            AMSTERDAM,
            "00:30 on Sunday 22 November",
            "00:30 am Sonntag, 22. November",
        ),
        (
            "2026-03-20T08:00:00Z",
            "2026-03-21T08:00:00Z",
            AMSTERDAM,
            "09:00 on Friday 20 March",
            "09:00 am Freitag, 20. März",
        ),
        # another year; and a clock that is not set, which knows no today
        (
            "2027-01-01T08:00:00Z",
            "2026-12-31T08:00:00Z",
            AMSTERDAM,
            "09:00 on Friday 1 January 2027",
            "09:00 am Freitag, 1. Januar 2027",
        ),
        (
            "2026-11-21T04:29:00Z",
            None,
            AMSTERDAM,
            "05:29 on Saturday 21 November 2026",
            "05:29 am Samstag, 21. November 2026",
        ),
        # the hour that comes twice
        ("2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", AMSTERDAM, "02:30 CEST", "02:30 CEST"),
        ("2026-10-25T01:30:00Z", "2026-10-25T00:00:00Z", AMSTERDAM, "02:30 CET", "02:30 CET"),
        ("2026-10-25T02:30:00Z", "2026-10-25T00:00:00Z", AMSTERDAM, "03:30", "03:30"),
    ],
)
def test_a_block_begins_when_the_clock_of_its_place_says_so(
    starts_at: str, now: str | None, zone: str, english: str, german: str
) -> None:
    assert begins(starts_at, calendar(now, zone)) == english
    assert begins(starts_at, calendar(now, zone), "de") == german


def test_what_is_said_aloud_has_the_place_of_the_block_too() -> None:
    asked = Feedback("CONFIRM_DATE", "attention", {"starts_at": "2026-11-21T04:29:00Z"})
    speech = words.feedback(asked, "en", calendar(None))["speech"]
    assert speech == "The block begins at 05:29 on Saturday 21 November 2026. Is that today?"


@pytest.mark.parametrize(
    "zone", [None, "", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "\0", "x" * 500, "\ud800"]
)
def test_without_a_zone_that_is_known_it_is_the_units_own_and_utc_says_so(zone: str | None, in_utc: None) -> None:
    assert begins("2026-11-21T04:29:00Z", calendar("2026-11-21T03:00:00Z", zone)) == "04:29 UTC"


def test_an_unknown_zone_is_logged_once_and_cannot_forge_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "_log", LimitedLog(logging.getLogger("times"), "time zones"))
    times._zone.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            begins("2026-11-21T04:29:00Z", calendar("2026-11-21T03:00:00Z", "No\nSuch/Zone"))
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.messages[0]
    for number in range(300):
        begins("2026-11-21T04:29:00Z", calendar("2026-11-21T03:00:00Z", f"No/Such/Zone{number}"))
    assert len(caplog.messages) <= 5


@pytest.mark.parametrize(
    ("first", "last", "now", "english", "german"),
    [
        ("2026-11-21T08:00:00Z", "2026-11-21T12:00:00Z", "2026-11-21T07:00:00Z", "09:00 to 13:00", "09:00 bis 13:00"),
        (
            "2026-11-21T08:00:00Z",
            "2026-11-21T12:00:00Z",
            "2026-11-20T07:00:00Z",
            "09:00 to 13:00 on Saturday 21 November",
            "09:00 bis 13:00 am Samstag, 21. November",
        ),
        (  # through midnight of the place
            "2026-11-21T21:00:00Z",
            "2026-11-22T05:00:00Z",
            "2026-11-21T07:00:00Z",
            "22:00 on Saturday 21 November to 06:00 on Sunday 22 November",
            "22:00 am Samstag, 21. November bis 06:00 am Sonntag, 22. November",
        ),
        ("2026-11-21T08:00:00Z", None, "2026-11-21T07:00:00Z", "from 09:00", "ab 09:00"),
        (None, "2026-11-21T12:00:00Z", "2026-11-21T07:00:00Z", "until 13:00", "bis 13:00"),
        # the day on which the clock goes forward
        ("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T00:00:00Z", "01:30 to 03:30", "01:30 bis 03:30"),
    ],
)
def test_hours_say_their_day_where_it_is_not_today(
    first: str | None, last: str | None, now: str, english: str, german: str
) -> None:
    assert words.hours(first, last, calendar(now)) == english
    assert words.hours(first, last, calendar(now), "de") == german


def test_hours_that_nobody_knows_are_none() -> None:
    assert words.hours(None, None, calendar(None)) is None
    assert words.hours("soon", "0001-01-01T00:00:00Z", calendar(None)) is None


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    st.one_of(
        st.none(), st.text(), st.sampled_from([AMSTERDAM, "America/St_Johns", "Pacific/Kiritimati", "Europe/London"])
    ),
    st.one_of(st.none(), st.integers(0, 4_133_000_000_000)),
    st.sampled_from(words.LANGUAGES),
)
def test_every_time_can_be_told_in_every_zone(
    at: datetime, zone: str | None, now_ms: int | None, language: str
) -> None:
    assert ":" in begins(at.isoformat(), Calendar.at(zone, now_ms), language)
