"""What may leave the log, and what stays when it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import retention, store
from agent.journal.store import Journal
from tests.journal.writing import Writer, all_events, at, message, opened, verified
from tests.waiting import wait_until


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    # Look after the house at once, not after megabytes.
    monkeypatch.setattr(store, "WAL_BYTES", 16 << 10)
    journal = opened(tmp_path, retain_days=7)
    yield journal
    journal.close()


@pytest.fixture
def writer(journal: Journal) -> Writer:
    return Writer(journal)


def days(writer: Writer, count: int, *, a_day: int = 5) -> None:
    """Events of so many days, a snapshot at the end of each."""
    for day in range(count):
        for _ in range(a_day):
            assert writer.write(writer.event(at(day))) is None
        assert writer.write(message(f"m{day}"), snapshot=b"state of day %d" % day) is None


def test_confirmed_old_and_covered_events_are_dropped_and_the_chain_still_holds(
    tmp_path: Path, journal: Journal, writer: Writer
) -> None:
    days(writer, 12)
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(12))
    # Days 0 to 4 are more than seven days before day 12.
    wait_until(lambda: journal.oldest_sequence == 26, "the retention")
    assert [event.sequence for event in all_events(journal)] == list(range(26, 91))
    assert journal.replay().snapshot == b"state of day 11"
    assert journal.seen("m0"), "the id of a dropped message is still known"
    assert verified(tmp_path).whole
    journal.close()

    again = opened(tmp_path)
    assert again.oldest_sequence == 26
    assert again.recovered is None
    assert Writer(again).write(Writer(again).event(at(12))) is None
    again.close()
    verdict = verified(tmp_path)
    assert verdict.whole
    assert (verdict.first, verdict.last) == (26, 91)


def test_an_event_that_is_not_confirmed_stays_however_old(journal: Journal, writer: Writer) -> None:
    days(writer, 12)
    journal.confirm_through(7)
    writer.events(30, at(30))
    wait_until(lambda: journal.oldest_sequence == 8, "the retention")
    writer.events(30, at(30))
    assert journal.oldest_sequence == 8


def test_an_event_that_no_snapshot_covers_stays(journal: Journal, writer: Writer) -> None:
    for day in range(12):
        writer.events(3, at(day))
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(40))
    assert journal.oldest_sequence == 1


def test_two_snapshots_cover_what_is_dropped(journal: Journal, writer: Writer) -> None:
    days(writer, 2)
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(30))
    wait_until(lambda: journal.oldest_sequence == 6, "the retention")  # the older one was taken after day 0
    writer.events(10, at(30))
    assert journal.oldest_sequence == 6


def test_age_is_counted_on_trusted_clocks_only(journal: Journal, writer: Writer) -> None:
    for _ in range(5):  # a clock that believes in 1970 is not old
        writer.write(writer.event(at(-20000, "unsynced")))
    writer.events(5, at(0))
    for number in range(2):
        writer.write(writer.event(at(0)), snapshot=b"%d" % number)
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(1))
    assert journal.oldest_sequence == 1
    writer.write(writer.event(at(20000, "unsynced")))  # nor does one from the far future make the others old
    writer.events(20, at(1))
    assert journal.oldest_sequence == 1
    writer.events(30, at(9))
    wait_until(lambda: journal.oldest_sequence == 12, "the retention")


def test_a_long_past_is_dropped_a_part_at_a_time(
    tmp_path: Path, journal: Journal, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVENTS_AT_A_TIME", 10)
    days(writer, 3, a_day=40)
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(30))
    wait_until(lambda: journal.oldest_sequence == 81, "the retention")
    assert verified(tmp_path).whole


def test_the_ids_of_the_last_messages_are_remembered_beyond_their_entries(
    journal: Journal, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SEEN_KEPT", 20)
    for number in range(100):
        writer.write(message(f"m{number}"), writer.event(at(0)), snapshot=b"state")
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(30))
    wait_until(lambda: journal.oldest_sequence > 90, "the retention")
    assert all(journal.seen(f"m{number}") for number in range(80, 100))
    assert not journal.seen("m0")


def test_a_dropped_event_leaves_no_trace_in_the_file(tmp_path: Path, journal: Journal, writer: Writer) -> None:
    writer.write(writer.event(at(0), note="find-me-if-you-can"), message("m", b'{"name":"Jo Delft"}'), snapshot=b"1")
    writer.write(writer.event(at(0)), snapshot=b"2")
    journal.confirm_through(journal.head.sequence)
    assert b"find-me-if-you-can" in _bytes(tmp_path)
    writer.events(30, at(30))
    wait_until(lambda: journal.oldest_sequence > 1, "the retention")
    journal.close()
    assert b"find-me-if-you-can" not in _bytes(tmp_path)
    assert b"Jo Delft" in _bytes(tmp_path), "a message goes with the event behind it"


def _bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def test_the_anchor_names_the_last_dropped_event(tmp_path: Path, journal: Journal, writer: Writer) -> None:
    days(writer, 10)
    dropped = all_events(journal)[9]
    journal.confirm_through(journal.head.sequence)
    writer.events(30, at(9))
    wait_until(lambda: journal.oldest_sequence == 11, "the retention")
    oldest = json.loads(all_events(journal)[0].payload)
    assert oldest["previoushash"] == json.loads(dropped.payload)["hash"]


def test_a_long_log_is_copied_back_in_a_quiet_moment_and_a_very_long_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAL_BYTES", 2 << 20)
    monkeypatch.setattr(store, "QUIET_S", 3600.0)
    journal, database = opened(tmp_path), tmp_path / "journal.db"
    writer, size = Writer(journal), database.stat().st_size
    writer.events(200)
    assert database.stat().st_size == size, "more than a quarter, but more may come"
    writer.events(400)
    wait_until(lambda: database.stat().st_size > size, "the checkpoint of what is too long")
    size = database.stat().st_size
    monkeypatch.setattr(store, "QUIET_S", 0.0)
    writer.events(200)
    wait_until(lambda: database.stat().st_size > size, "the checkpoint in a quiet moment")
    journal.close()
