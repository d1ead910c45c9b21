"""The telemetry lane: samples wait in memory, then in rows, then as messages; thinned when they are too many.

Everything but `add`, `done` and `waiting` belongs to the journal's writer thread, inside one of its transactions.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.journal.database import Items
from agent.journal.entries import JournalError, TelemetryEntry

STREAMS = ("position", "health")
"""What samples there are of; each is sent on a topic of its own."""
MAX_IN_MEMORY = 1000
"""Samples that wait for the disk; beyond it the oldest is dropped and counted."""
SAMPLES_PER_MESSAGE = 100
"""Samples a message."""
ROWS_PER_TRANSACTION = 200
"""Rows that are thinned in one transaction."""

Build = Callable[[int, str, list[dict[str, Any]]], bytes]


class Telemetry:
    """`max_bytes` bounds the samples that wait in the database."""

    def __init__(self, max_bytes: int) -> None:
        self.sequence = 0
        """The last number that was given to a message."""
        self.thinned = 0
        """Samples that were dropped."""
        self._max_bytes = max_bytes
        self._memory: deque[tuple[str, bytes]] = deque()
        self._lock = threading.Lock()
        self._done: frozenset[int] = frozenset()
        self._messages = self._rows = self._bytes = 0
        self._thinned_to = self._thinned_written = 0
        self._taken = 0
        self._dropping: frozenset[int] = frozenset()

    def load(self, database: sqlite3.Connection, sequence: int, thinned: int) -> None:
        """Take over what the database holds; samples in memory stay."""
        messages, last = database.execute("SELECT count(*), coalesce(max(sequence), 0) FROM telemetry").fetchone()
        self._messages = messages
        self.sequence = max(sequence, last, self.sequence)
        self.thinned = max(thinned, self.thinned)
        self._count(database)

    def _count(self, database: sqlite3.Connection) -> None:
        self._rows, self._bytes = database.execute(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM samples"
        ).fetchone()

    @property
    def backlog(self) -> int:
        """Messages and rows of samples that wait."""
        return max(self._messages - len(self._done), 0) + self._rows

    @property
    def in_memory(self) -> bool:
        """Whether samples wait for a commit."""
        return bool(self._memory)

    def add(self, stream: str, sample: Mapping[str, Any]) -> None:
        """Keep a sample until the next commit.

        :raises JournalError: it is not JSON
        """
        try:
            text = json.dumps(sample, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError) as fault:
            raise JournalError(f"telemetry {stream}: a sample cannot be written as JSON ({fault})") from fault
        with self._lock:
            self._memory.append((stream, text))
            # Those that are being written right now are at the front and are counted off it after the commit.
            if len(self._memory) > MAX_IN_MEMORY and not self._taken:
                self._memory.popleft()
                self.thinned += 1

    def done(self, sequences: Iterable[int]) -> None:
        """These messages have arrived."""
        with self._lock:
            self._done |= frozenset(sequences)

    def waiting(self, rows: Callable[[int], list[tuple[int, str, bytes]]], limit: int) -> list[TelemetryEntry]:
        """The oldest messages that have not arrived; `rows` reads that many from the database."""
        done = self._done
        return [TelemetryEntry(*row) for row in rows(limit + len(done)) if row[0] not in done][:limit]

    # ------------------------------------------------------------------ inside a transaction

    def write(self, database: sqlite3.Connection, items: Items) -> None:
        """Write what is in memory, drop what has arrived."""
        with self._lock:
            samples = list(self._memory)
            self._taken = len(samples)
            self._dropping = self._done
        if self._dropping:
            database.executemany("DELETE FROM telemetry WHERE sequence = ?", [(each,) for each in self._dropping])
        thinned = self.thinned
        if samples and thinned != self._thinned_written:
            items.put("thinned", b"%d" % thinned)
            self._thinned_written = thinned
        for stream in dict.fromkeys(stream for stream, _ in samples):
            content = b"[" + b",".join(text for name, text in samples if name == stream) + b"]"
            database.execute("INSERT INTO samples (stream, content) VALUES (?, ?)", (stream, content))
            self._rows += 1
            self._bytes += len(content)
        if self._bytes > self._max_bytes:
            self._thin(database)
            items.put("thinned", b"%d" % self.thinned)

    def committed(self) -> None:
        """What `write` wrote is durable."""
        with self._lock:
            for _ in range(self._taken):
                self._memory.popleft()
            self._taken = 0
            self._done -= self._dropping
        self._messages -= len(self._dropping)
        self._dropping = frozenset()

    def rolled_back(self, database: sqlite3.Connection) -> None:
        """What `write` wrote is not there: it is written the next time."""
        self._taken = 0
        self._dropping = frozenset()
        self._count(database)

    def drop_samples(self, database: sqlite3.Connection, items: Items) -> None:
        """Give up all samples in the database for the events' sake."""
        for (content,) in database.execute("SELECT content FROM samples"):
            self.thinned += len(json.loads(content))
        database.execute("DELETE FROM samples")
        items.put("thinned", b"%d" % self.thinned)
        self._rows = self._bytes = 0

    def pack(
        self, database: sqlite3.Connection, items: Items, build: Build, limit: int, stream: str | None
    ) -> list[TelemetryEntry]:
        """Make messages out of rows of samples, of one stream or of all, and store them instead."""
        waiting: dict[str, list[tuple[int, bytes]]] = {}
        for id_, name, content in database.execute(
            "SELECT id, stream, content FROM samples WHERE stream = coalesce(?, stream) ORDER BY id LIMIT ?",
            (stream, limit * SAMPLES_PER_MESSAGE),
        ):
            waiting.setdefault(name, []).append((id_, content))
        made: list[TelemetryEntry] = []
        used: list[tuple[int]] = []
        sequence = self.sequence
        for name, rows in waiting.items():
            samples: list[dict[str, Any]] = []
            for index, (id_, content) in enumerate(rows):
                if len(made) == limit:
                    break
                samples += json.loads(content)
                used.append((id_,))
                if len(samples) >= SAMPLES_PER_MESSAGE or index == len(rows) - 1:
                    sequence += 1
                    made.append(TelemetryEntry(sequence, name, build(sequence, name, samples)))
                    samples = []
        if made:
            database.executemany("INSERT INTO telemetry VALUES (?, ?, ?)", made)
            database.executemany("DELETE FROM samples WHERE id = ?", used)
            items.put("telemetry_sequence", b"%d" % sequence)
        return made

    def split(self, database: sqlite3.Connection, items: Items, sequence: int, build: Build) -> list[TelemetryEntry]:
        """Make two messages out of one; the second gets a new number. A single sample is dropped and counted."""
        row = database.execute("SELECT stream, content FROM telemetry WHERE sequence = ?", (sequence,)).fetchone()
        if row is None:
            return []
        stream, samples = row[0], json.loads(row[1])["data"]["samples"]
        if len(samples) < 2:
            self.thinned += len(samples)
            items.put("thinned", b"%d" % self.thinned)
            database.execute("DELETE FROM telemetry WHERE sequence = ?", (sequence,))
            return []
        half, last = len(samples) // 2, self.sequence + 1
        made = [
            TelemetryEntry(number, stream, build(number, stream, part))
            for number, part in ((sequence, samples[:half]), (last, samples[half:]))
        ]
        database.executemany("INSERT OR REPLACE INTO telemetry VALUES (?, ?, ?)", made)
        items.put("telemetry_sequence", b"%d" % last)
        return made

    def packed(self, database: sqlite3.Connection, made: list[TelemetryEntry]) -> None:
        """What `pack` or `split` made is durable."""
        if made:
            self.sequence = made[-1].sequence
        self._messages = database.execute("SELECT count(*) FROM telemetry").fetchone()[0]
        self._count(database)

    def _thin(self, database: sqlite3.Connection) -> None:
        """Every second sample of some rows goes; each time of the next rows, so that no stretch of the way is empty."""
        rows = database.execute(
            "SELECT id, content FROM samples WHERE id > ? ORDER BY id LIMIT ?", (self._thinned_to, ROWS_PER_TRANSACTION)
        ).fetchall()
        self._thinned_to = rows[-1][0] if len(rows) == ROWS_PER_TRANSACTION else 0
        for id_, content in rows:
            samples = json.loads(content)
            kept = samples[::2] if len(samples) > 1 else samples[id_ % 2 :]
            self.thinned += len(samples) - len(kept)
            if kept:
                text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
                database.execute("UPDATE samples SET content = ? WHERE id = ?", (text, id_))
            else:
                database.execute("DELETE FROM samples WHERE id = ?", (id_,))
        self._count(database)
