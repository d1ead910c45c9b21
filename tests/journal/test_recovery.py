"""A damaged or missing database: what is readable stays, the gap is declared, no number is given twice."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.journal.entries import EventEntry, InboxEntry, JournalError, Recovery
from agent.journal.envelope import chained
from agent.journal.store import Journal
from contract.canonical import GENESIS
from tests.journal.writing import Writer, all_events, at, kept, message, opened, run_sql, verified

PAGE = 4096


def filled(directory: Path, events: int = 200) -> list[EventEntry]:
    """A store with events, messages, keys and snapshots, closed tidily."""
    journal = opened(directory)
    writer = Writer(journal)
    written: list[EventEntry] = []
    for number in range(events):
        written.append(writer.event(at(number / 1000), number=number))
        entries = [written[-1]] if number % 10 else [message(f"m{number}", b'{"x":"%s"}' % (b"y" * 900)), written[-1]]
        rest: dict[str, Any] = {"keys": {"B7": b"wrapped"}} if number == 5 else {}
        if number % 50 == 49:
            rest["snapshot"] = b"state after %d" % number
        assert writer.write(*entries, **rest) is None
    journal.confirm_through(20)
    journal.sample("position", {"n": 1})
    journal.close()
    return written


def declare(journal: Journal) -> EventEntry:
    """What the agent writes first after a recovery."""
    recovered = journal.recovered
    assert recovered is not None
    writer = Writer(journal)
    event = writer.chain.add("unit.journal_recovered", "unit", recovered._asdict(), at(1))
    assert writer.write(event) is None
    return event


def flip(path: Path, offset: int, length: int = 1, value: int = 0xFF) -> None:
    content = bytearray(path.read_bytes())
    for place in range(offset, min(offset + length, len(content))):
        content[place] ^= value
    path.write_bytes(content)


def place_of(path: Path, text: bytes) -> int:
    place = path.read_bytes().find(text)
    assert place > 0
    return place


def test_a_deleted_database_is_declared_and_no_number_is_used_again(tmp_path: Path) -> None:
    written = filled(tmp_path)
    (tmp_path / "journal.db").unlink()

    journal = opened(tmp_path)
    recovered = journal.recovered
    assert recovered is not None
    assert recovered.last_sequence == 0
    assert recovered.last_hash == GENESIS
    assert recovered.next_sequence > written[-1].sequence
    assert recovered.lost["reason"] == "the database is missing"
    event = declare(journal)
    assert event.sequence == recovered.next_sequence
    assert journal.recovered is None
    journal.close()

    verdict = verified(tmp_path)
    assert [finding.kind for finding in verdict.findings] == ["recovery"]
    assert f"declared by the recovery in event {event.sequence}" in verdict.findings[0].message


def test_a_recovery_that_was_not_declared_before_a_crash_is_still_to_be_declared(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "journal.db").unlink()
    journal = opened(tmp_path)
    first = journal.recovered
    journal.close()
    journal = opened(tmp_path)
    assert journal.recovered == first
    declare(journal)
    journal.close()
    journal = opened(tmp_path)
    assert journal.recovered is None
    journal.close()


def test_numbers_go_on_above_the_reserve_again_and_again(tmp_path: Path) -> None:
    highest = 0
    for _ in range(4):
        journal = opened(tmp_path)
        writer = Writer(journal)
        for event in writer.events(3):
            assert event.sequence > highest
        highest = writer.chain.sequence
        journal.close()
        (tmp_path / "journal.db").unlink()


def test_an_event_changed_on_disk_is_lost_and_all_others_are_kept_and_can_be_sent(tmp_path: Path) -> None:
    written = filled(tmp_path)
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b'"number":120,'))

    journal = opened(tmp_path)
    recovered = journal.recovered
    assert recovered is not None
    assert recovered.lost["events"] == [[121, 121]]
    assert recovered.last_sequence == 200
    assert recovered.last_hash == chained(written[-1].payload).hash
    assert all_events(journal) == [event for event in written if event.sequence != 121]
    assert journal.confirmed == 20
    assert journal.keys() == {"B7": b"wrapped"}
    assert journal.replay().snapshot == b"state after 199"
    assert journal.seen("m0")
    assert journal.status()["backlog"] == {"events": 179, "telemetry": 1, "media": 0}
    event = declare(journal)
    assert journal.events_after(200, 10) == [event]
    assert journal.status()["backlog"]["events"] == 180
    journal.close()
    assert (tmp_path / "journal.damaged.db").exists()

    verdict = verified(tmp_path)
    assert [finding.kind for finding in verdict.findings] == ["recovery", "recovery"]
    again = opened(tmp_path)
    assert again.recovered is None
    assert Writer(again).write(Writer(again).event(at(1))) is None
    again.close()


def test_a_message_changed_on_disk_is_lost_and_counted(tmp_path: Path) -> None:
    filled(tmp_path, events=45)
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b'["m20"') + 60)
    journal = opened(tmp_path)
    assert journal.recovered is not None
    assert journal.recovered.lost["messages"] == 1
    assert journal.recovered.lost["events"] == []
    ids = [entry.message_id for entry in kept(journal) if isinstance(entry, InboxEntry)]
    assert ids == ["m0", "m10", "m30", "m40"]
    journal.close()


def test_a_damaged_snapshot_falls_back_to_the_one_before(tmp_path: Path) -> None:
    filled(tmp_path)
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b"state after 199"))
    journal = opened(tmp_path)
    assert journal.recovered is not None
    assert journal.recovered.lost == {
        "reason": 'the item "snapshot/1" does not match its checksum',
        "events": [],
        "messages": 0,
        "snapshot": False,
    }
    replay = journal.replay()
    assert replay.snapshot == b"state after 149"
    assert sum(isinstance(entry, EventEntry) for entry in replay.entries) == 50
    journal.close()


@pytest.mark.parametrize("what", ["header", "schema", "root", "noise", "half", "empty"])
def test_a_broken_file_costs_only_the_rows_on_the_broken_pages(tmp_path: Path, what: str) -> None:
    written = filled(tmp_path)
    path = tmp_path / "journal.db"
    match what:
        case "header":
            flip(path, 0, 100)
        case "schema":
            flip(path, 0, PAGE)
        case "root":
            flip(path, PAGE, PAGE)
        case "noise":
            path.write_bytes(random.Random(1).randbytes(50_000))
        case "half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "empty":
            path.write_bytes(b"")

    journal = opened(tmp_path)
    recovered = journal.recovered
    assert recovered is not None
    events = all_events(journal)
    assert set(events) <= set(written)
    assert len(events) >= {"header": 200, "schema": 200, "root": 200, "half": 80}.get(what, 0)
    assert recovered.next_sequence > written[-1].sequence
    declare(journal)
    journal.close()
    assert {finding.kind for finding in verified(tmp_path).findings} == {"recovery"}


def test_a_log_cut_off_in_the_middle_is_noticed_by_the_commits_behind(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    written = writer.events(40)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal", "journal.reserve"):
        shutil.copy(tmp_path / name, copy / name)
    journal.close()
    wal = copy / "journal.db-wal"
    flip(wal, 32 + 20 * (PAGE + 24) + 500)

    again = opened(copy)
    recovered = again.recovered
    assert recovered is not None
    assert "commits lie behind" in str(recovered.lost["reason"])
    assert recovered.next_sequence > 40
    assert set(all_events(again)) <= set(written)
    assert all_events(again)[-1] == written[-1]
    again.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.data())
def test_any_damage_to_the_log_ahead_leaves_a_prefix(
    damage: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source, written = _live_copy(tmp_path_factory)
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(source, directory, dirs_exist_ok=True)
    wal = directory / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    how = damage.draw(st.sampled_from(["cut", "zero", "flip"]))
    start = damage.draw(st.integers(0, len(content) - 1))
    length = damage.draw(st.integers(1, 20_000))
    if how == "cut":
        del content[start:]
    elif how == "zero":
        content[start : start + length] = bytes(len(content[start : start + length]))
    else:
        content[start] ^= damage.draw(st.integers(1, 255))
    wal.write_bytes(content)

    journal = opened(directory)
    events = all_events(journal)
    if journal.recovered is None:
        assert events == written[: len(events)], "without a recovery it must be a prefix"
    else:
        assert set(events) <= set(written)
        assert journal.recovered.next_sequence > written[-1].sequence
        declare(journal)
    writer = Writer(journal)
    assert writer.write(writer.event(at(1))) is None
    journal.close()
    assert {finding.kind for finding in verified(directory).findings} <= {"recovery"}


_LIVE: list[tuple[Path, list[EventEntry]]] = []


def _live_copy(factory: pytest.TempPathFactory) -> tuple[Path, list[EventEntry]]:
    """The files of a store in the middle of its work, as a power cut would leave them."""
    if not _LIVE:
        directory, copy = factory.mktemp("live"), factory.mktemp("copy")
        journal = opened(directory)
        writer = Writer(journal)
        written = writer.events(60)
        for name in ("journal.db", "journal.db-wal", "journal.reserve"):
            shutil.copy(directory / name, copy / name)
        journal.close()
        _LIVE.append((copy, written))
    return _LIVE[0]


@pytest.mark.parametrize("name", [b"entries", b"samples", b"CREATE TABLE", b"stream TEXT"])
def test_a_name_in_the_database_that_is_no_text_any_more_is_damage(name: bytes, tmp_path: Path) -> None:
    written = filled(tmp_path)
    path = tmp_path / "journal.db"
    content = path.read_bytes()
    assert name in content
    path.write_bytes(content.replace(name, b"\xff\xfe" + name[2:]))
    journal = opened(tmp_path)
    assert set(all_events(journal)) <= set(written)
    assert journal.recovered is not None
    journal.close()


def test_a_store_that_is_loaded_again_and_again_uses_nothing_up(tmp_path: Path) -> None:
    written = filled(tmp_path)
    journal = opened(tmp_path)
    used = []
    for _ in range(8):
        journal.reload()
        assert all_events(journal) == written
        used.append(len([*Path("/proc/self/fd").iterdir()]))
    assert used[-1] == used[1]
    journal.close()


_FILLED: list[tuple[Path, list[EventEntry]]] = []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.data())
def test_any_damage_to_the_file_invents_nothing_and_the_agent_goes_on(
    damage: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not _FILLED:
        directory = tmp_path_factory.mktemp("filled")
        _FILLED.append((directory, filled(directory)))
    source, written = _FILLED[0]
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(source, directory, dirs_exist_ok=True)
    path = directory / "journal.db"
    content = bytearray(path.read_bytes())
    for _ in range(damage.draw(st.integers(1, 3))):
        start = damage.draw(st.integers(0, len(content) - 1))
        length = damage.draw(st.integers(1, 3 * PAGE))
        how = damage.draw(st.sampled_from(["flip", "zero", "noise"]))
        end = min(start + length, len(content))
        if how == "flip":
            content[start] ^= damage.draw(st.integers(1, 255))
        elif how == "zero":
            content[start:end] = bytes(end - start)
        else:
            content[start:end] = random.Random(damage.draw(st.integers(0, 99))).randbytes(end - start)
    if damage.draw(st.booleans()):
        del content[damage.draw(st.integers(1, len(content))) :]
    path.write_bytes(content)
    (directory / "journal.suspect").touch()  # look at everything, not only at what will be acted on

    journal = opened(directory)
    events = all_events(journal)
    assert set(events) <= set(written)
    if journal.recovered is None:
        assert events == written
    else:
        assert journal.recovered.next_sequence > written[-1].sequence
        declare(journal)
    writer = Writer(journal)
    assert writer.write(writer.event(at(1))) is None
    journal.close()
    assert {finding.kind for finding in verified(directory).findings} <= {"recovery"}


def test_damage_found_while_running_is_recovered_by_reload(tmp_path: Path) -> None:
    written = filled(tmp_path)
    journal = opened(tmp_path)
    # What is confirmed and covered by a snapshot is not read at the start.
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b'"number":3,'))
    assert journal.recovered is None
    with pytest.raises(JournalError, match="damaged; a new start recovers what is readable"):
        all_events(journal)
    journal.reload()
    assert journal.recovered is not None
    assert journal.recovered.lost["events"] == [[4, 4]]
    declare(journal)
    assert all_events(journal)[:4] == [*written[:3], written[4]]
    journal.close()


def test_a_recovery_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    written = filled(tmp_path)
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b'"number":120,'))
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("journal.db", "journal.reserve"):
        shutil.copy(tmp_path / name, copy / name)
    opened(copy).close()
    # The new database is complete; the damaged one is half moved.
    (copy / "journal.db").rename(tmp_path / "journal.rebuilt")
    (tmp_path / "journal.draft").write_bytes(b"left over")

    journal = opened(tmp_path)
    assert journal.recovered is not None
    assert len(all_events(journal)) == len(written) - 1
    journal.close()


def test_a_damaged_reserve_costs_nothing_while_the_database_is_sound(tmp_path: Path) -> None:
    written = filled(tmp_path)
    (tmp_path / "journal.reserve").write_text("garbage")
    journal = opened(tmp_path)
    assert journal.recovered is None
    assert journal.head.sequence == written[-1].sequence
    journal.close()
    (tmp_path / "journal.db").unlink()
    (tmp_path / "journal.reserve").write_text("garbage")
    journal = opened(tmp_path)
    assert journal.recovered is not None
    assert journal.recovered.next_sequence > 1_000_000_000, "nobody knows how far numbers were used"
    assert Writer(journal).write(Writer(journal).event()) is None
    journal.close()


def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, events=3)
    run_sql(tmp_path, "PRAGMA user_version = 0x63636363")
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(JournalError, match="layout 99, this agent knows 1: install the newer agent"):
        opened(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before


def test_rows_that_went_missing_are_noticed(tmp_path: Path) -> None:
    filled(tmp_path)
    run_sql(tmp_path, "DELETE FROM entries WHERE position = 150 << 20")
    journal = opened(tmp_path)
    assert isinstance(journal.recovered, Recovery)
    assert journal.recovered.lost["events"] == [[150, 150]]
    assert "event 150 is missing" in str(journal.recovered.lost["reason"])
    json.dumps(journal.recovered._asdict())
    journal.close()
