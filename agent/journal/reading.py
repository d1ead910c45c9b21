"""Looks into a store from outside, whether an agent is running on it or not, and changes nothing in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.journal.database import MESSAGE_BITS, SHIFT, Damage, connect, read_items, read_row, rows_after
from agent.journal.entries import Entry, EventEntry, JournalError
from agent.journal.envelope import own_hash, trusted_time
from agent.journal.verify import Finding, Verdict, verify

OLDEST = "SELECT position >> ?, content FROM entries WHERE position & ? = 0 ORDER BY position LIMIT 1"
LAST_POSITION = 2**63 - 1
"""The store's key is no larger, whatever number somebody asks for."""
NEWEST = "SELECT position >> ?, content FROM entries WHERE position & ? = 0 ORDER BY position DESC LIMIT 1"


class Reading:
    """One consistent view of the store in a state directory, as a context manager.

    :raises JournalError: there is no store, or it cannot be read; from every method
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "journal.db"
        if not self._path.exists():
            raise JournalError(
                f"there is no journal in {state_dir}: expected journal.db; has the agent run with this state_dir?"
            )
        try:
            self._database = connect(self._path, writable=False)
        except sqlite3.Error as fault:
            raise self._fault(fault) from fault
        try:
            self._database.execute("BEGIN")
            self._contents = read_items(self._database)
        except (sqlite3.Error, Damage) as fault:
            self._database.close()
            raise self._fault(fault) from fault

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if isinstance(fault, (sqlite3.Error, Damage)):
            raise self._fault(fault) from fault

    def _fault(self, fault: Exception) -> JournalError:
        return JournalError(
            f"{self._path} cannot be read ({fault}): check its rights (run this as root or as the agent's user); "
            "if it is damaged, the agent recovers what is readable when it starts"
        )

    def status(self) -> dict[str, Any]:
        """What the store holds and how much of it still waits."""
        contents = self._contents
        oldest, newest = self._event(OLDEST), self._event(NEWEST)
        sequence, hash_ = (newest[0], own_hash(newest[1])) if newest else contents.anchor
        confirmed = min(contents.number("confirmed"), sequence)
        through = max(confirmed, contents.arrived.through)
        kept = sum(each > confirmed for each in contents.arrived.kept)
        events, messages, packed, samples = self._database.execute(
            "SELECT (SELECT count(*) FROM entries WHERE position > ? AND position & ? = 0), "
            "(SELECT count(*) FROM entries WHERE position & ? != 0), "
            "(SELECT count(*) FROM telemetry), (SELECT count(*) FROM samples)",
            (through << SHIFT, MESSAGE_BITS, MESSAGE_BITS),
        ).fetchone()
        pages = self._database.execute("PRAGMA page_count").fetchone()[0]
        wal = self._path.with_name(self._path.name + "-wal")
        recovery = contents.json("recovery")
        return {
            "sequence": sequence,
            "hash": hash_,
            "confirmed": confirmed,
            "oldest_sequence": contents.anchor.sequence + 1,
            "oldest_time": trusted_time(oldest[1]) if oldest else None,
            "newest_time": trusted_time(newest[1]) if newest else None,
            "backlog": {"events": events + kept, "telemetry": packed + samples, "media": 0},
            "messages": messages,
            "snapshot_after": max(contents.snapshot_positions(), default=0) >> SHIFT,
            "bytes": pages * 4096 + (wal.stat().st_size if wal.exists() else 0),
            "set_aside": kept,
            "dropped": contents.number("thinned"),
            "recovery": recovery,
        }

    def _event(self, statement: str) -> tuple[int, bytes] | None:
        found: tuple[int, bytes] | None = self._database.execute(statement, (SHIFT, MESSAGE_BITS)).fetchone()
        return found

    def tail(self, count: int) -> list[tuple[int, Entry]]:
        """The newest entries, the oldest of them first, each with the sequence number of the last event up to it."""
        rows = self._database.execute(
            "SELECT position, content FROM entries ORDER BY position DESC LIMIT ?", (count,)
        ).fetchall()
        return [(position >> SHIFT, read_row(position, content)) for position, content in reversed(rows)]

    def events(self, first: int = 1, last: int | None = None) -> Iterator[bytes]:
        """The stored bytes of events, in order."""
        for position, content in rows_after(self._database, min((first << SHIFT) - 1, LAST_POSITION)):
            if last is not None and position >> SHIFT > last:
                return
            if position & MESSAGE_BITS == 0:
                yield content

    def verify(self) -> Verdict:
        """Walk the chain from the anchor on; messages are checked, too."""
        damaged: list[Finding] = []

        def walk() -> Iterator[tuple[str, bytes]]:
            for position, content in rows_after(self._database, 0):
                if position & MESSAGE_BITS == 0:
                    yield "", content
                else:
                    try:
                        read_row(position, content)
                    except Damage as fault:
                        damaged.append(Finding("unreadable", position >> SHIFT, "", str(fault)))

        verdict = verify(walk(), self._contents.anchor)
        verdict.findings = sorted([*verdict.findings, *damaged], key=lambda finding: finding.sequence or 0)
        verdict.finding_count += len(damaged)
        return verdict


def described(sequence: int, entry: Entry) -> dict[str, Any]:
    """An entry of the log as JSON values: an event's envelope, or which message came behind which event."""
    if isinstance(entry, EventEntry):
        described: dict[str, Any] = json.loads(entry.payload)
        return described
    return {
        "after_sequence": sequence,
        "message_id": entry.message_id,
        "kind": entry.kind,
        "type": entry.type,
        "received": entry.received,
    }
