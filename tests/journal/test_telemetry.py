"""The telemetry lane: kept in bounds, never before events, its numbers never given twice."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from agent.journal import store, telemetry
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from tests.journal.writing import Writer, opened
from tests.waiting import wait_until


def build(sequence: int, stream: str, samples: list[dict[str, Any]]) -> bytes:
    return json.dumps({"sequence": sequence, "stream": stream, "samples": samples}).encode()


def samples_of(journal: Journal, limit: int = 100) -> list[int]:
    found = [json.loads(entry.payload) for entry in journal.telemetry_waiting(limit)]
    return [sample["n"] for message in found for sample in message["samples"]]


def test_samples_become_messages_that_are_stored_before_they_are_sent(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(3):
        journal.sample("position", {"n": number})
    journal.sample("health", {"n": 100})
    made = journal.pack_telemetry(build, 10)
    assert [(entry.sequence, entry.stream) for entry in made] == [(1, "position"), (2, "health")]
    assert json.loads(made[0].payload)["samples"] == [{"n": 0}, {"n": 1}, {"n": 2}]
    journal.close()

    again = opened(tmp_path)
    assert again.telemetry_waiting(10) == made
    assert again.telemetry_waiting(1) == made[:1]
    assert again.pack_telemetry(build, 10) == []
    again.close()


def test_a_message_that_arrived_is_not_waiting_any_more_and_its_number_is_not_given_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.sample("position", {"n": 1})
    journal.pack_telemetry(build, 10)
    journal.telemetry_done([1])
    assert journal.telemetry_waiting(10) == []
    assert journal.status()["backlog"]["telemetry"] == 0
    journal.close()

    again = opened(tmp_path)
    assert again.telemetry_waiting(10) == []
    again.sample("position", {"n": 2})
    assert [entry.sequence for entry in again.pack_telemetry(build, 10)] == [2]
    again.close()


def test_a_long_backlog_becomes_several_messages_no_more_than_asked_for(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    for number in range(450):
        journal.sample("position", {"n": number})
        if number % 30 == 0:
            writer.events(1)
    first = journal.pack_telemetry(build, 2)
    assert len(first) == 2
    rest = journal.pack_telemetry(build, 100)
    counts = [len(json.loads(entry.payload)["samples"]) for entry in first + rest]
    assert max(counts) < 200
    assert samples_of(journal) == list(range(450))
    journal.close()


def test_samples_are_written_with_the_next_event(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.sample("position", {"n": 1})
    assert journal.status()["backlog"]["telemetry"] == 0
    Writer(journal).events(1)
    assert journal.status()["backlog"]["telemetry"] == 1
    journal.close()


def test_samples_are_written_without_an_event_after_a_while(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(store, "SAMPLES_WITHIN_S", 0.05)
    journal = opened(tmp_path)
    journal.sample("position", {"n": 1})
    wait_until(lambda: journal.status()["backlog"]["telemetry"] == 1, "the message")
    journal.close()


def test_too_many_samples_are_thinned_evenly_and_counted(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(telemetry, "ROWS_PER_TRANSACTION", 20)
    journal = opened(tmp_path, max_bytes=2 << 20)  # 200 KB of them are samples
    writer = Writer(journal)
    for number in range(12_000):
        journal.sample("position", {"n": number, "filler": "x" * 40})
        if number % 20 == 0:
            writer.events(1)
    while journal.pack_telemetry(build, 100):
        pass
    left = samples_of(journal, 10_000)
    assert left == sorted(left)
    assert len(left) + journal.status()["dropped"] == 12_000
    assert 1000 < len(left) < 6000
    assert max(after - before for before, after in pairwise(left)) < 400, "a stretch of the way is gone"
    dropped = journal.status()["dropped"]
    journal.close()
    again = opened(tmp_path, max_bytes=2 << 20)
    assert again.status()["dropped"] == dropped
    again.close()


def test_samples_that_cannot_be_written_do_not_fill_the_memory(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(telemetry, "MAX_IN_MEMORY", 50)
    journal = opened(tmp_path)
    for number in range(80):
        journal.sample("position", {"n": number})
    assert journal.status()["dropped"] == 30
    journal.pack_telemetry(build, 10)
    assert samples_of(journal) == list(range(30, 80))
    journal.close()


def test_a_message_that_cannot_be_built_costs_no_samples(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.sample("position", {"n": 1})

    def failing(sequence: int, stream: str, samples: list[dict[str, Any]]) -> bytes:
        raise RuntimeError("no clock")

    with pytest.raises(RuntimeError, match="no clock"):
        journal.pack_telemetry(failing, 10)
    assert [entry.sequence for entry in journal.pack_telemetry(build, 10)] == [1]
    assert samples_of(journal) == [1]
    assert Writer(journal).events(1)
    journal.close()


def test_a_sample_that_is_not_json_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(JournalError, match="telemetry health: a sample cannot be written as JSON"):
        journal.sample("health", {"cpu": float("nan")})
    journal.close()


def test_telemetry_numbers_are_not_given_again_when_the_database_is_gone(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.sample("position", {"n": 1})
    last = journal.pack_telemetry(build, 10)[-1].sequence
    journal.close()
    (tmp_path / "journal.db").unlink()
    again = opened(tmp_path)
    again.sample("position", {"n": 2})
    assert again.pack_telemetry(build, 10)[0].sequence > last
    again.close()
