"""Short ways to make entries and to write them, shared by the journal's tests."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.delivery.model.inputs import Moment
from agent.journal.entries import Batch, Entry, EventEntry, InboxEntry
from agent.journal.envelope import Chain
from agent.journal.reading import Reading
from agent.journal.store import Journal
from agent.journal.verify import Verdict
from contract.vocabulary import ClockTrust

BOOT = "0e2ac26e-7c3d-4b8e-9d4c-0f8a3f8f1a55"
SOURCE = "/testers/u1"
DAY_MS = 86_400_000
DATA: dict[str, Any] = {
    "block_id": "B7",
    "stop_id": "T1",
    "parcel_id": "P1",
    "where": {"latitude": 52.0907, "longitude": 5.1214, "accuracy_m": 4.5, "age_s": 0.3, "source": "vehicle"},
}


def at(day: float = 0, trust: ClockTrust = "gps") -> Moment:
    """So many days after the first."""
    return Moment(1_795_000_000_000 + int(day * DAY_MS), int(day * DAY_MS), BOOT, trust)


def opened(state_dir: Path, *, max_bytes: int = 64 << 20, retain_days: int = 7) -> Journal:
    return Journal.open(state_dir, max_bytes=max_bytes, retain_days=retain_days, confirm="broker")


class Writer:
    """A journal and the chain that goes on from its head."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.chain = Chain(SOURCE, *journal.head)

    def event(self, moment: Moment | None = None, type_: str = "parcel.loaded", **data: Any) -> EventEntry:
        return self.chain.add(type_, "parcel/P1", {**DATA, **data}, moment or at())

    def events(self, count: int, moment: Moment | None = None) -> list[EventEntry]:
        """So many events, each committed on its own."""
        entries = [self.event(moment) for _ in range(count)]
        for entry in entries:
            assert self.write(entry) is None
        return entries

    def write(self, *entries: Entry, **rest: Any) -> Exception | None:
        """Write one batch and wait for its answer."""
        return write_all(self.journal, [Batch(entries, **rest)])[0]

    def again(self) -> None:
        """Go on after a failure."""
        self.chain = Chain(SOURCE, *self.journal.reload())


def write_all(journal: Journal, batches: Sequence[Batch]) -> list[Exception | None]:
    """Write batches without waiting in between; the answers in the order they came."""
    answers: list[Exception | None] = []
    answered = threading.Semaphore(0)

    def done(fault: Exception | None) -> None:
        answers.append(fault)
        answered.release()

    for batch in batches:
        journal.write(batch, done)
    for _ in batches:
        assert answered.acquire(timeout=60)
    return answers


def message(id_: str, body: bytes = b"{}") -> InboxEntry:
    return InboxEntry(id_, "block", "block.assigned", at().time, body)


def verified(state_dir: Path) -> Verdict:
    """The verdict of `kerbside journal verify` over a store."""
    with Reading(state_dir) as reading:
        return reading.verify()


def all_events(journal: Journal) -> list[EventEntry]:
    return journal.events_between(1, 1 << 40, 10_000_000, 1 << 40)


def kept(journal: Journal) -> list[Entry]:
    """Every entry that is kept, in the order of the log."""
    return list(journal.replay(from_start=True).entries)


def run_sql(state_dir: Path, statement: str) -> None:
    """Change the database behind the journal's back."""
    connection = sqlite3.connect(state_dir / "journal.db")
    with connection:
        connection.execute(statement)
    connection.close()
