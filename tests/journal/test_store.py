"""The store: what is written stays, in order, whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from agent.journal import store
from agent.journal.entries import Arrived, Batch, EventEntry, Head, InboxEntry, JournalError, JournalFull
from agent.journal.store import Journal
from contract.canonical import GENESIS
from tests.journal.writing import Writer, all_events, at, kept, message, opened, verified, write_all
from tests.waiting import wait_until


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = opened(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def writer(journal: Journal) -> Writer:
    return Writer(journal)


# --- what is written stays ---------------------------------------------------------------------------------------


def test_a_new_journal_starts_with_nothing(journal: Journal) -> None:
    assert journal.head == Head(0, GENESIS)
    assert journal.recovered is None
    assert journal.status()["backlog"] == {"events": 0, "telemetry": 0, "media": 0}


def test_the_log_comes_back_in_its_order_after_a_restart(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    batches = [
        (message("m1", b'{"a":1}'), writer.event()),
        (message("m2"), message("m3")),
        (writer.event(), writer.event()),
    ]
    for batch in batches:
        assert writer.write(*batch) is None
    head = journal.head
    journal.close()

    again = opened(tmp_path)
    assert kept(again) == [entry for batch in batches for entry in batch]
    assert again.head == head == Head(3, writer.chain.last_hash)
    again.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans()), max_size=12),
)
def test_a_replay_from_the_start_and_from_a_snapshot_give_the_same_state(
    plan: list[tuple[int, int, bool, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = opened(directory)
    writer = Writer(journal)
    state = b""  # the state of this test is simply everything that happened
    for number, (events, messages, with_snapshot, reopen) in enumerate(plan):
        entries = [
            *(message(f"m{number}-{each}") for each in range(messages)),
            *(writer.event() for _ in range(events)),
        ]
        state += b"".join(
            each.payload if isinstance(each, EventEntry) else each.message_id.encode() for each in entries
        )
        assert writer.write(*entries, snapshot=state if with_snapshot else None) is None
        if reopen:
            journal.close()
            journal = opened(directory)
            writer = Writer(journal)

    def fold(start: bytes | None, entries: Iterator[Any]) -> bytes:
        return (start or b"") + b"".join(
            each.payload if isinstance(each, EventEntry) else each.message_id.encode() for each in entries
        )

    assert fold(*journal.replay()) == fold(*journal.replay(from_start=True)) == state
    journal.close()
    assert verified(directory).whole


def test_an_answer_comes_only_when_others_can_read_the_entry(tmp_path: Path, writer: Writer) -> None:
    outside = sqlite3.connect(tmp_path / "journal.db")
    found: list[int] = []
    answered = threading.Event()

    def done(fault: Exception | None) -> None:
        found.append(outside.execute("SELECT count(*) FROM entries").fetchone()[0])
        answered.set()

    outside.close()
    outside = sqlite3.connect(tmp_path / "journal.db", check_same_thread=False)
    writer.journal.write(Batch((writer.event(), writer.event())), done)
    assert answered.wait(20)
    assert found == [2]
    outside.close()


def test_answers_come_in_the_order_of_the_batches(journal: Journal, writer: Writer) -> None:
    order: list[int] = []
    last = threading.Event()
    for number in range(2000):
        batch = Batch((writer.event(),))
        journal.write(batch, lambda fault, number=number: (order.append(number), number == 1999 and last.set()))  # type: ignore[misc]
    assert last.wait(60)
    assert order == list(range(2000))
    assert journal.head.sequence == 2000


def test_a_caller_that_fails_at_its_own_answer_stops_nobody(journal: Journal, writer: Writer) -> None:
    def bad(fault: Exception | None) -> None:
        raise RuntimeError("nobody home")

    journal.write(Batch((writer.event(),)), bad)
    assert writer.write(writer.event()) is None


def test_messages_may_come_from_many_threads(journal: Journal) -> None:
    def hand_in(name: int) -> None:
        assert write_all(journal, [Batch((message(f"{name}-{each}"),)) for each in range(50)]) == [None] * 50

    threads = [threading.Thread(target=hand_in, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [entry.message_id for entry in kept(journal) if isinstance(entry, InboxEntry)]
    assert sorted(ids) == sorted(f"{name}-{each}" for name in range(8) for each in range(50))


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        writer.write(writer.event())
    with pytest.raises(JournalError, match="closed"):
        journal.reload()


def test_closing_writes_what_still_waits(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    for _ in range(300):
        journal.write(Batch((writer.event(),)), lambda fault: None)
    journal.sample("position", {"latitude": 52.0})
    journal.close()
    again = opened(tmp_path)
    assert again.head.sequence == 300
    assert again.status()["backlog"]["telemetry"] == 1
    again.close()


def test_only_the_owner_may_read_the_files(tmp_path: Path, writer: Writer) -> None:
    writer.write(writer.event())
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_message_is_known_from_the_moment_it_is_handed_in_and_after_a_restart(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    written = threading.Event()
    journal.write(Batch((message("m1"),)), lambda fault: written.set())
    assert journal.seen("m1")
    assert written.wait(20)
    assert journal.seen("m1")
    assert not journal.seen("m2")
    journal.close()
    again = opened(tmp_path)
    assert again.seen("m1")
    assert not again.seen("m2")
    again.close()


# --- reading for the uplink --------------------------------------------------------------------------------------


def test_events_are_read_in_order_without_the_messages_between_them(journal: Journal, writer: Writer) -> None:
    written: list[EventEntry] = []
    for number in range(20):
        written.append(writer.event())
        writer.write(message(f"m{number}"), written[-1], message(f"n{number}"))

    assert journal.events_after(0, 100) == written
    assert journal.events_after(5, 3) == written[5:8]
    assert journal.events_between(3, 6, 100) == written[2:6]
    assert journal.events_after(20, 10) == []


def test_one_event_is_read_however_large_and_no_more_than_asked_for(journal: Journal, writer: Writer) -> None:
    events = [writer.event(note="x" * 50_000) for _ in range(4)]
    writer.write(*events)
    assert journal.events_after(0, 10, max_bytes=1) == events[:1]
    assert journal.events_after(0, 10, max_bytes=120_000) == events[:2]


def test_other_threads_read_while_the_journal_writes(journal: Journal, writer: Writer) -> None:
    read: list[int] = []

    def follow() -> None:
        while len(read) < 3000:
            read.extend(entry.sequence for entry in journal.events_after(len(read), 100))

    thread = threading.Thread(target=follow)
    thread.start()
    write_all(journal, [Batch((writer.event(),)) for _ in range(3000)])
    thread.join(60)
    assert read == list(range(1, 3001))


def test_the_cursor_survives_and_never_goes_back_or_beyond_the_head(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    Writer(journal).events(10)
    journal.confirm_through(7)
    journal.confirm_through(3)
    assert journal.confirmed == 7
    assert journal.status()["backlog"]["events"] == 3
    journal.confirm_through(1000)
    assert journal.confirmed == 10
    journal.close()
    again = opened(tmp_path)
    assert again.confirmed == 10
    again.close()


def test_the_cursor_is_written_without_another_event_and_not_once_a_call(
    tmp_path: Path, journal: Journal, writer: Writer
) -> None:
    writer.events(400)
    wal = tmp_path / "journal.db-wal"

    def stored() -> int:
        with sqlite3.connect(tmp_path / "journal.db") as outside:
            row = outside.execute("SELECT content FROM items WHERE name = 'confirmed'").fetchone()
        return int(row[0][8:]) if row else 0

    before = wal.stat().st_size
    for sequence in range(1, 401):
        journal.confirm_through(sequence)
    wait_until(lambda: stored() == 400, "the samples")
    assert wal.stat().st_size - before < 10 * 4096


# --- snapshots ---------------------------------------------------------------------------------------------------


def test_the_journal_says_when_a_snapshot_is_due(journal: Journal, writer: Writer, mocker: MockerFixture) -> None:
    mocker.patch.object(store, "SNAPSHOT_EVERY", 10)
    writer.events(9)
    assert not journal.snapshot_due
    writer.events(1)
    assert journal.snapshot_due
    writer.write(writer.event(), snapshot=b"state")
    assert not journal.snapshot_due
    assert journal.replay().snapshot == b"state"
    assert list(journal.replay().entries) == []


def test_what_is_due_is_known_after_a_restart(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(store, "SNAPSHOT_EVERY", 10)
    journal = opened(tmp_path)
    writer = Writer(journal)
    writer.write(writer.event(), snapshot=b"state")
    writer.events(10)
    journal.close()
    again = opened(tmp_path)
    assert again.snapshot_due
    again.close()


# --- failures ----------------------------------------------------------------------------------------------------


class Failing:
    """The database of a journal whose disk fails at a statement."""

    def __init__(self, database: sqlite3.Connection, at_statement: str, code: int, text: str) -> None:
        self._database, self._at, self._code, self._text = database, at_statement, code, text
        self.failing = True

    def execute(self, statement: str, *arguments: Any) -> Any:
        if self.failing and statement.startswith(self._at):
            fault = sqlite3.OperationalError(self._text)
            fault.sqlite_errorcode = self._code
            raise fault
        return self._database.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@pytest.mark.parametrize(
    ("code", "text", "error", "sentence"),
    [
        (sqlite3.SQLITE_FULL, "database or disk is full", JournalFull, "the disk is full; free space on it"),
        (sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error", JournalError, "disk I/O error.*check the disk"),
    ],
    ids=["disk full", "failed fsync"],
)
def test_a_failed_commit_leaves_nothing_behind_and_all_waiting_batches_fail_until_reload(
    journal: Journal,
    writer: Writer,
    mocker: MockerFixture,
    code: int,
    text: str,
    error: type[JournalError],
    sentence: str,
) -> None:
    kept_events = writer.events(3)
    failing = Failing(journal._database, "COMMIT", code, text)
    mocker.patch.object(journal, "_database", failing)

    answers = write_all(
        journal,
        [
            Batch((message("m1"), writer.event()), keys={"B7": b"wrapped"}, snapshot=b"never"),
            Batch((writer.event(),)),
            Batch((message("m2"),)),
        ],
    )
    assert [type(answer) for answer in answers] == [error] * 3
    with pytest.raises(error, match=sentence):
        raise answers[0]  # type: ignore[misc]
    failing.failing = False
    assert type(writer.write(writer.event())) is error, "the chain must not go on before reload"

    writer.again()
    assert journal.head == Head(3, writer.chain.last_hash)
    assert kept(journal) == kept_events
    assert journal.replay().snapshot is None
    assert journal.keys() == {}
    assert not journal.seen("m1")
    assert writer.write(message("m1"), writer.event(), keys={"B7": b"wrapped"}) is None
    assert journal.keys() == {"B7": b"wrapped"}
    assert journal.seen("m1")


def test_a_cursor_and_samples_that_could_not_be_written_are_written_later(
    tmp_path: Path, journal: Journal, writer: Writer, mocker: MockerFixture
) -> None:
    writer.events(5)
    failing = Failing(journal._database, "COMMIT", sqlite3.SQLITE_FULL, "database or disk is full")
    mocker.patch.object(journal, "_database", failing)
    journal.confirm_through(5)
    journal.sample("health", {"cpu": 0.1})
    assert isinstance(writer.write(writer.event()), JournalFull)
    failing.failing = False
    writer.again()
    assert writer.write(writer.event()) is None
    journal.close()
    again = opened(tmp_path)
    assert again.confirmed == 5
    assert again.status()["backlog"]["telemetry"] == 1
    again.close()


def test_an_event_that_does_not_follow_is_refused(journal: Journal, writer: Writer) -> None:
    writer.events(2)
    writer.event()
    fault = writer.write(writer.event())
    assert isinstance(fault, JournalError)
    assert "event 4 (parcel.loaded) does not follow 2" in str(fault)
    writer.again()
    assert writer.write(writer.event()) is None


def test_more_than_the_queue_may_hold_is_refused_and_the_journal_goes_on(
    journal: Journal, writer: Writer, mocker: MockerFixture
) -> None:
    mocker.patch.object(store, "QUEUE_BYTES", 2000)
    busy = threading.Event()
    journal.write(Batch((writer.event(),)), lambda fault: busy.wait(20) and None)
    answers: list[Exception | None] = []
    last = threading.Event()
    for number in range(20):
        journal.write(
            Batch((writer.event(),)),
            lambda fault, number=number: (answers.append(fault), number == 19 and last.set()),  # type: ignore[misc]
        )
    busy.set()
    assert last.wait(20)
    assert isinstance(answers[-1], JournalError)
    assert "wait to be written" in str(answers[-1])
    writer.again()
    assert writer.write(writer.event()) is None
    assert [each.sequence for each in all_events(journal)] == list(range(1, journal.head.sequence + 1))


# --- a full journal ----------------------------------------------------------------------------------------------


def fill(writer: Writer) -> JournalFull:
    """Write until the journal refuses."""
    for _ in range(100_000):
        fault = writer.write(*(writer.event() for _ in range(20)))
        if fault is not None:
            assert isinstance(fault, JournalFull)
            return fault
    raise AssertionError("the journal never said that it is full")


def test_a_full_journal_refuses_whole_batches_says_why_and_keeps_every_event(tmp_path: Path) -> None:
    journal = opened(tmp_path, max_bytes=2 << 20)
    writer = Writer(journal)
    fault = fill(writer)
    assert "journal.max_bytes" in str(fault)
    assert "wait to be confirmed" in str(fault)
    assert journal.full
    assert journal.status()["full"]
    writer.again()
    events = all_events(journal)
    assert [each.sequence for each in events] == list(range(1, journal.head.sequence + 1))
    assert len(events) > 1000
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if "-shm" not in path.name) < 2.2 * (1 << 20)
    journal.close()


def test_telemetry_makes_room_for_events(tmp_path: Path) -> None:
    journal = opened(tmp_path, max_bytes=2 << 20)
    writer = Writer(journal)
    for number in range(900):
        journal.sample("position", {"time": at().time, "latitude": 52.0, "longitude": 5.0, "number": number})
    writer.write(writer.event())
    assert journal.status()["backlog"]["telemetry"] == 1
    fill(writer)
    assert journal.status()["backlog"]["telemetry"] == 0
    assert journal.status()["dropped"] == 900
    journal.close()


def test_a_full_journal_works_again_when_events_are_confirmed_and_old(tmp_path: Path) -> None:
    journal = opened(tmp_path, max_bytes=2 << 20, retain_days=0)
    writer = Writer(journal)
    fill(writer)
    writer.again()
    journal.confirm_through(journal.head.sequence)
    assert journal.snapshot_due, "only a snapshot is wanting for events to be dropped"
    assert writer.write(writer.event(at(1)), snapshot=b"state") is None
    wait_until(lambda: not journal.full, "room")
    assert journal.oldest_sequence > 1000
    for _ in range(20):
        assert writer.write(*(writer.event(at(1)) for _ in range(20))) is None
    journal.close()
    assert verified(tmp_path).whole


# --- one agent a directory ---------------------------------------------------------------------------------------


def test_a_second_agent_is_refused_with_the_process_that_has_the_directory(tmp_path: Path, journal: Journal) -> None:
    program = f"from tests.journal.writing import opened; from pathlib import Path; opened(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"{tmp_path} is in use by another agent (process {os.getpid()})" in second.stderr
    assert "stop that one first" in second.stderr
    with pytest.raises(JournalError, match="in use"):
        opened(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"state directory .*file/state cannot be used"):
        opened(tmp_path / "file" / "state")


@given(steps=st.lists(st.tuples(st.integers(1, 12), st.sets(st.integers(1, 12), max_size=4)), max_size=6))
def test_the_cursor_never_passes_an_event_that_is_kept_and_both_are_found_again(
    steps: list[tuple[int, set[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state_dir = tmp_path_factory.mktemp("arrived")
    journal = opened(state_dir)
    Writer(journal).events(12)
    confirmed, arrived = 0, Arrived()
    for through, refused in steps:
        arrived = Arrived(through, tuple(sorted(each for each in refused if confirmed < each <= through)))
        journal.arrived_through(arrived)
        confirmed = max(confirmed, arrived.unbroken)
        assert journal.confirmed == confirmed
    journal.close()
    again = opened(state_dir)
    assert (again.confirmed, again.arrived) == (confirmed, arrived)
    waiting = 12 - max(confirmed, arrived.through) + sum(each > confirmed for each in arrived.kept)
    assert again.status()["backlog"]["events"] == waiting
    again.close()
