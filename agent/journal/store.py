"""The one durable store: an ordered log of events and messages, and beside it what must survive with it.

One thread writes, and whatever waits at that moment goes into one commit (SQLite, WAL, synchronous=FULL): `done` of a
batch is called only when the batch can no longer be lost, in the order the batches came. A batch is written whole or
not at all; after a failure nothing more is written until `reload()`, so that the chain never continues from an event
that is not there. Nothing in the log is changed; only a prefix that is confirmed, older than the retention and covered
by a snapshot is dropped, and its last sequence and hash stay as the anchor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple, TypeVar

from agent.journal import recovery
from agent.journal.database import (
    BETWEEN,
    SHIFT,
    Contents,
    connect,
    inbox_row,
    is_damage,
    read_items,
    read_row,
    rows_after,
    sealed,
)
from agent.journal.directory import Lock, Reserve
from agent.journal.entries import (
    Batch,
    Entry,
    EventEntry,
    Head,
    JournalError,
    JournalFull,
    Recovery,
    TelemetryEntry,
)
from agent.journal.envelope import GENESIS, entry_of, own_hash, trusted_time

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], None]
T = TypeVar("T")

AHEAD = 1000
"""Sequence numbers in the reserve beyond those in use."""
QUEUE_BYTES = 64 << 20
"""What may wait for the disk; beyond it a batch is refused."""
GROUP_BATCHES = 512
GROUP_BYTES = 1 << 20
CURSOR_WITHIN_S = 0.5
SAMPLES_WITHIN_S = 10.0
SAMPLES_IN_MEMORY = 1000
SAMPLES_PER_MESSAGE = 100
SNAPSHOT_EVERY = 2000
"""Entries after which a snapshot is due."""
SNAPSHOTS_KEPT = 2
SEEN_KEPT = 100_000
"""Ids of messages that are remembered at least, whatever was pruned."""
WAL_BYTES = 8 << 20
"""The write-ahead log is copied back when it is a quarter of this long and nobody waits, and at this length anyhow."""
SAMPLES_SHARE = 10
"""Waiting samples take at most this part of the journal's size, then they are thinned."""
IDLE_S = 0.2
PRUNE_ROWS = 2000
ROW_BYTES = 24
"""What a row costs beside its content."""
PAGE_BYTES = 4096

INSERT = "INSERT INTO entries VALUES (?, ?)"


class Replay(NamedTuple):
    """From what the state is built: a snapshot, if there is one, and every entry behind it in log order."""

    snapshot: bytes | None
    entries: Iterator[Entry]


class _Waiting(NamedTuple):
    batch: Batch
    done: Done
    size: int


class Journal:
    """See the module. Made by `Journal.open`; every method may be called from any thread."""

    @classmethod
    def open(
        cls, state_dir: Path, *, max_bytes: int, retain_days: int, confirm: Literal["broker", "cloud"] = "broker"
    ) -> Journal:
        """Lock the state directory, check the database, recover it if it is damaged, and start the writer.

        `confirm` says whose word `confirm_through` carries; the journal only shows it. Raises `JournalError`.
        """
        return cls(state_dir, max_bytes=max_bytes, retain_days=retain_days, confirm=confirm)

    def __init__(
        self, state_dir: Path, *, max_bytes: int, retain_days: int, confirm: Literal["broker", "cloud"]
    ) -> None:
        self._directory = state_dir
        self._path = state_dir / "journal.db"
        self._reserve_path = state_dir / "journal.reserve"
        self._suspect_path = state_dir / "journal.suspect"
        self._max_bytes = max_bytes
        self._retain_days = retain_days
        self.confirm = confirm

        self._submit = threading.Lock()
        self._queue: SimpleQueue[_Waiting | Callable[[], None] | None] = SimpleQueue()
        self._submitted_bytes = 0
        self._settled_bytes = 0
        self._pending_ids: set[str] = set()
        self._closed = False
        self._broken: JournalError | None = None
        self._full = False

        self._samples: deque[tuple[str, bytes]] = deque()
        self._samples_due: float | None = None
        self._sent: set[int] = set()
        self._cursor_due: float | None = None
        self._wipe = False
        self._wal_bytes = 0
        self._wal_limit = min(WAL_BYTES, max_bytes // 8)
        self._rest: list[tuple[int, Batch]] = []
        self._thinned_to = 0

        self._readers = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._generation = 0

        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = Lock(state_dir)
        except OSError as fault:
            raise JournalError(
                f"the state directory {state_dir} can not be used ({fault}): check that it exists and may be written"
            ) from fault
        try:
            self._load()
        except BaseException:
            self._lock.release()
            raise
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)
        self._writer.start()

    # ------------------------------------------------------------------ opening

    def _load(self) -> None:
        """Open the database, or make it anew out of what a damaged one still holds; take over what it says."""
        try:
            self._database, contents = recovery.open_database(
                self._path, self._reserve_path, thorough=self._suspect_path.exists()
            )
            self._take_over(contents)
            self._suspect_path.unlink(missing_ok=True)
        except sqlite3.Error as fault:
            raise self._fault("can not be opened", fault) from fault
        except OSError as fault:
            raise JournalError(f"{self._directory}: the journal can not be opened ({fault}): check the disk") from fault

    def _take_over(self, contents: Contents) -> None:
        database = self._database
        self._item_ids = dict(contents.ids)
        self._position = contents.position
        self._sequence = contents.sequence
        anchor = contents.json("anchor") or {"sequence": 0, "hash": GENESIS}
        self._anchor = Head(anchor["sequence"], anchor["hash"])
        self._holes: list[list[int]] = contents.json("holes") or []
        self._keys = {
            name.removeprefix("key/"): content for name, content in contents.items.items() if name.startswith("key/")
        }
        self._thinned = self._thinned_stored = contents.number("thinned")
        declared = contents.json("recovery")
        self._recovered = None
        self._head = Head(contents.sequence, contents.hash)
        if declared and contents.sequence < declared["next_sequence"]:
            self._recovered = Recovery(**declared)
            self._head = Head(self._recovered.next_sequence - 1, self._recovered.last_hash)
            self._sequence = self._head.sequence
            self._position = max(self._position, self._sequence << SHIFT)
        self._confirmed = min(contents.number("confirmed"), self._head.sequence)
        self._since_snapshot = contents.since_snapshot
        places = sorted((place, slot) for slot, place in contents.snapshot_places().items())
        self._covered = tuple(place for place, _ in places)
        self._snapshot_slot = places[-1][1] + 1 if places else 0
        reserve = Reserve.read(self._reserve_path) if self._reserve_path.exists() else None
        packed = database.execute("SELECT max(sequence) FROM telemetry").fetchone()[0] or 0
        self._telemetry_sequence = max(packed, contents.number("telemetry_sequence"))
        self._telemetry_count = database.execute("SELECT count(*) FROM telemetry").fetchone()[0]
        self._sample_rows, self._sample_bytes = database.execute(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM samples"
        ).fetchone()
        self._seen_count = database.execute("SELECT count(*) FROM seen").fetchone()[0]
        if self._recovered and reserve:
            self._telemetry_sequence = max(self._telemetry_sequence, reserve.telemetry)
        self._reserve = reserve or Reserve(0, 0)
        self._extend_reserve(self._sequence, self._telemetry_sequence)
        self._checkpoint("TRUNCATE")

    def _extend_reserve(self, sequence: int, telemetry: int) -> None:
        """Keep the reserve at least half a thousand ahead; two fsyncs every few hundred events."""
        events_left, telemetry_left = self._reserve.events - sequence, self._reserve.telemetry - telemetry
        if events_left < AHEAD // 2 or telemetry_left < AHEAD // 2:
            reserve = Reserve(sequence + AHEAD, telemetry + AHEAD)
            reserve.write(self._reserve_path)
            self._reserve = reserve

    # ------------------------------------------------------------------ what others ask

    @property
    def head(self) -> Head:
        """Where the chain goes on, as of the last commit."""
        return self._head

    @property
    def recovered(self) -> Recovery | None:
        """Set until the first event behind a recovery is written: what that event must declare."""
        return self._recovered

    @property
    def snapshot_due(self) -> bool:
        """Whether the next batch should bring a snapshot."""
        return self._since_snapshot >= SNAPSHOT_EVERY

    @property
    def confirmed(self) -> int:
        """Up to here events need not be sent again."""
        return self._confirmed

    @property
    def oldest_sequence(self) -> int:
        """Of the oldest event that is still kept."""
        return self._anchor.sequence + 1

    def keys(self) -> dict[str, bytes]:
        """The wrapped key of each scope."""
        return dict(self._keys)

    def seen(self, message_id: str) -> bool:
        """Whether this message is in the log or on its way into it."""
        if message_id in self._pending_ids:
            return True
        return bool(self._read("SELECT 1 FROM seen WHERE message_id = ?", (message_id,)))

    def replay(self, *, from_start: bool = False) -> Replay:
        """The newest snapshot and the entries behind it. `from_start` leaves snapshots aside: every entry kept."""
        position, snapshot = 0, None
        if not from_start:
            contents = self._call(lambda: read_items(self._database)).snapshot()
            if contents:
                position, snapshot = contents
        connection = self._reader()
        return Replay(snapshot, (read_row(*row) for row in rows_after(connection, position)))

    def events_after(self, sequence: int, limit: int, max_bytes: int = 1 << 20) -> list[EventEntry]:
        """The next events behind a sequence number: at most `limit`, at most `max_bytes` of payload, at least one."""
        return self.events_between(sequence + 1, self._sequence, limit, max_bytes)

    def events_between(self, first: int, last: int, limit: int, max_bytes: int = 1 << 20) -> list[EventEntry]:
        """The events from one sequence number to another, both included."""
        events: list[EventEntry] = []
        size = 0
        with self._reading() as connection:
            cursor = connection.execute(
                "SELECT position >> 20, content FROM entries "
                "WHERE position BETWEEN ? AND ? AND position & 1048575 = 0 ORDER BY position LIMIT ?",
                (first << SHIFT, last << SHIFT, limit),
            )
            for sequence, payload in cursor:
                size += len(payload)
                if size > max_bytes and events:
                    break
                events.append(entry_of(sequence, payload))
            cursor.close()
        return events

    def status(self) -> dict[str, Any]:
        """What the store holds and how much of it still waits."""
        sequence, confirmed = self._head.sequence, self._confirmed
        missing = sum(last - max(first, confirmed + 1) + 1 for first, last in self._holes if last > confirmed)
        if self._recovered:
            missing = 0
            sequence = self._recovered.last_sequence
        return {
            "sequence": self._head.sequence,
            "confirmed": confirmed,
            "confirm": self.confirm,
            "oldest_sequence": self.oldest_sequence,
            "backlog": {
                "events": max(sequence - confirmed - missing, 0),
                "telemetry": self._telemetry_count + self._sample_rows,
                "media": 0,
            },
            "bytes": self._bytes + self._wal_bytes,
            "max_bytes": self._max_bytes,
            "waiting_bytes": self._submitted_bytes - self._settled_bytes,
            "full": self._full,
            "dropped": self._thinned,
            "recovered": self._recovered is not None,
        }

    # ------------------------------------------------------------------ what others hand in

    def write(self, batch: Batch, done: Done) -> None:
        """Queue a batch. `done(None)` is called in the writer thread after the commit, `done(fault)` if it failed."""
        size = sum(len(entry[-1]) for entry in batch.entries) + len(batch.snapshot or b"")
        with self._submit:
            if self._closed:
                raise JournalError("the journal is closed: nothing more can be written")
            for entry in batch.entries:
                if not isinstance(entry, EventEntry):
                    self._pending_ids.add(entry.message_id)
            self._since_snapshot = 0 if batch.snapshot is not None else self._since_snapshot + len(batch.entries)
            self._submitted_bytes += size
            self._queue.put(_Waiting(batch, done, size))

    def reload(self) -> Head:
        """After a failure: forget what was not written, look again at what is on disk, and accept batches again."""
        return self._call(self._reload)

    def confirm_through(self, sequence: int) -> None:
        """Everything up to here has arrived. Only forward; written with the next commit or within half a second."""
        sequence = min(sequence, self._sequence)
        if sequence > self._confirmed:
            self._confirmed = sequence
            self._cursor_moved()

    def sample(self, stream: Literal["position", "health"], sample: Mapping[str, Any]) -> None:
        """Keep a telemetry sample; written with the next commit or within ten seconds."""
        try:
            text = json.dumps(sample, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError) as fault:
            raise JournalError(f"telemetry {stream}: a sample can not be written as JSON ({fault})") from fault
        self._samples.append((stream, text))
        if len(self._samples) > SAMPLES_IN_MEMORY:
            with contextlib.suppress(IndexError):
                self._samples.popleft()
                self._thinned += 1
        if self._samples_due is None:
            self._samples_due = time.monotonic() + SAMPLES_WITHIN_S
            self._queue.put(None)

    def pack_telemetry(
        self, build: Callable[[int, str, list[dict[str, Any]]], bytes], limit: int
    ) -> list[TelemetryEntry]:
        """Make messages out of waiting samples, at most `limit`, and store them; `build(sequence, stream, samples)`."""
        return self._call(lambda: self._pack(build, limit))

    def telemetry_waiting(self, limit: int) -> list[TelemetryEntry]:
        """Messages that were made and not yet done, the oldest first."""
        sent = self._sent
        rows = self._read(
            "SELECT sequence, stream, content FROM telemetry ORDER BY sequence LIMIT ?", (limit + len(sent),)
        )
        return [TelemetryEntry(*row) for row in rows if row[0] not in sent][:limit]

    def telemetry_done(self, sequences: Iterable[int]) -> None:
        """These messages have arrived; they are dropped with the next commit or within half a second."""
        with self._submit:
            self._sent = self._sent | set(sequences)
        self._cursor_moved()

    def close(self) -> None:
        """Write what waits, leave one tidy file behind and let the next agent in."""
        with self._submit:
            if self._closed:
                return
            self._closed = True
            self._queue.put(self._finish)
        self._writer.join()
        for connection in self._reader_connections:
            connection.close()
        self._lock.release()

    # ------------------------------------------------------------------ reading

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection for reading."""
        found: tuple[int, sqlite3.Connection] | None = getattr(self._readers, "connection", None)
        if found is None or found[0] != self._generation:
            found = self._generation, connect(self._path, writable=False)
            self._readers.connection = found
            self._reader_connections.append(found[1])
        return found[1]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._reader()
        except sqlite3.Error as fault:
            raise self._fault("can not be read", fault) from fault

    def _read(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(statement, arguments).fetchall()

    def _fault(self, what: str, fault: sqlite3.Error) -> JournalError:
        """SQLite's complaint in our words; damage is remembered, so that the next opening checks everything."""
        if is_damage(fault):
            with contextlib.suppress(OSError):
                self._suspect_path.touch()
            return JournalError(
                f"{self._path} {what} ({fault}): it is damaged; starting again recovers what is readable"
            )
        if getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return JournalFull(f"{self._path} {what}: the disk is full; free space on it")
        return JournalError(f"{self._path} {what} ({fault}): check the disk and the rights of its files")

    # ------------------------------------------------------------------ the writer thread

    def _call(self, work: Callable[[], T]) -> T:
        """Do something in the writer thread, behind what already waits, and wait for its answer."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except sqlite3.Error as fault:
                answer.set_exception(self._fault("can not be written", fault))
            except BaseException as fault:  # noqa: BLE001 (the caller gets it)
                answer.set_exception(fault)

        with self._submit:
            if self._closed:
                raise JournalError("the journal is closed: nothing more can be asked of it")
            self._queue.put(run)
        return answer.result()

    def _cursor_moved(self) -> None:
        if self._cursor_due is None:
            self._cursor_due = time.monotonic() + CURSOR_WITHIN_S
            self._queue.put(None)

    def _run(self) -> None:
        queue = self._queue
        while not (self._closed and queue.empty() and self._finished):
            try:
                job = queue.get(True, self._patience())
            except Empty:
                self._keep_house()
                continue
            while job is not None:
                if not isinstance(job, _Waiting):
                    job()
                    job = None
                    continue
                group = [job]
                size = job.size
                job = None
                while size < GROUP_BYTES and len(group) < GROUP_BATCHES and not queue.empty():
                    job = queue.get()
                    if isinstance(job, _Waiting):
                        group.append(job)
                        size += job.size
                        job = None
                    elif job is not None:
                        break
                self._settle(group, size)
            if self._wal_bytes > self._wal_limit:
                self._keep_house()

    _finished = False

    def _patience(self) -> float | None:
        """How long the writer may wait for work before it looks after the house."""
        due = [moment for moment in (self._cursor_due, self._samples_due) if moment is not None]
        if self._wal_bytes > self._wal_limit // 4 or self._wipe:
            due.append(time.monotonic() + IDLE_S)
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _settle(self, group: list[_Waiting], size: int) -> None:
        """Commit a group and tell those who wait for it, in their order."""
        fault: JournalError | None = self._broken
        if fault is None and self._submitted_bytes - self._settled_bytes > QUEUE_BYTES + size:
            fault = JournalError(f"more than {QUEUE_BYTES >> 20} MiB wait for the disk: it is too slow or it hangs")
            self._broken = fault
        if fault is None:
            try:
                self._commit(group, size)
            except JournalError as found:
                self._broken = fault = found
            except sqlite3.Error as found:
                self._broken = fault = self._fault("could not be written", found)
            except Exception as found:  # whatever it is, nobody may wait for ever
                log.exception("the journal's writer failed")
                self._broken = fault = JournalError(f"{self._path} could not be written ({found})")
            if fault is not None:
                self._full = isinstance(fault, JournalFull)
                self._rest.clear()
        self._settled_bytes += size
        if fault is not None:
            for waiting in group:
                self._pending_ids.difference_update(
                    entry.message_id for entry in waiting.batch.entries if not isinstance(entry, EventEntry)
                )
        for waiting in group:
            try:
                waiting.done(fault)
            except Exception:
                log.exception("a caller of the journal failed at its own answer")
        if self._wipe and fault is None:
            self._keep_house()

    def _commit(self, group: list[_Waiting], size: int) -> None:
        position, sequence = self._position, self._sequence
        rows: list[tuple[int, bytes]] = []
        seen: list[tuple[str, int]] = []
        last: bytes | None = None
        plain = True
        for waiting in group:
            batch = waiting.batch
            for entry in batch.entries:
                if isinstance(entry, EventEntry):
                    if entry.sequence != sequence + 1:
                        raise JournalError(
                            f"event {entry.sequence} ({entry.type}) does not follow {sequence}: "
                            "build the chain on the head that reload() gives"
                        )
                    sequence = entry.sequence
                    position = sequence << SHIFT
                    last = entry.payload
                    rows.append((position, last))
                else:
                    position += 1
                    rows.append((position, inbox_row(entry)))
                    seen.append((entry.message_id, position))
            if batch.keys or batch.forget or batch.snapshot is not None:
                plain = False
                self._rest.append((position, batch))
        if rows:
            self._make_room(size + len(rows) * ROW_BYTES)
        if sequence > self._reserve.events:
            self._extend_reserve(sequence, self._telemetry_sequence)
        database = self._database
        if plain and len(rows) == 1 and not seen and self._cursor_due is None and not self._samples:
            database.execute(INSERT, rows[0])
        else:
            with self._transaction():
                database.executemany(INSERT, rows)
                if seen:
                    database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", seen)
                while self._rest:
                    self._write_rest(*self._rest.pop(0))
        self._position, self._sequence = position, sequence
        self._grown(size + len(rows) * ROW_BYTES)
        if last is not None:
            self._head = Head(sequence, own_hash(last))
            self._recovered = None
        if rows:
            self._full = False
        if seen:
            self._pending_ids.difference_update(message_id for message_id, _ in seen)
            self._seen_count += len(seen)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit, together with the cursor and the samples that wait for one."""
        cursor_due, samples = self._cursor_due, list(self._samples)
        self._cursor_due = self._samples_due = None
        sent, thinned = self._sent, self._thinned
        try:
            self._database.execute("BEGIN IMMEDIATE")
            if cursor_due is not None:
                self._put("confirmed", b"%d" % self._confirmed)
                self._database.executemany("DELETE FROM telemetry WHERE sequence = ?", [(number,) for number in sent])
            if samples:
                self._write_samples(samples)
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._cursor_due = time.monotonic() + CURSOR_WITHIN_S
            self._thinned = thinned
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise
        for _ in samples:
            self._samples.popleft()
        if cursor_due is not None:
            with self._submit:
                self._sent = self._sent - sent
            self._telemetry_count = max(self._telemetry_count - len(sent), 0)

    def _write_rest(self, position: int, batch: Batch) -> None:
        """Keys and snapshot of a batch."""
        for scope, wrapped in batch.keys.items():
            self._put(f"key/{scope}", wrapped)
            self._keys[scope] = wrapped
        for scope in batch.forget:
            if self._keys.pop(scope, None) is not None:
                self._database.execute("DELETE FROM items WHERE id = ?", (self._item_ids.pop(f"key/{scope}"),))
                self._wipe = True
        if batch.snapshot is not None:
            slot = f"snapshot/{self._snapshot_slot % SNAPSHOTS_KEPT}"
            self._put(slot, b"%d\n" % position + batch.snapshot)
            self._snapshot_slot += 1
            self._covered = (*self._covered, position)[-SNAPSHOTS_KEPT:]

    def _put(self, name: str, content: bytes) -> None:
        id_ = self._item_ids.setdefault(name, max(self._item_ids.values(), default=0) + 1)
        self._database.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (id_, name, sealed(name, content)))

    def _grown(self, size: int) -> None:
        self._bytes += size
        self._wal_bytes += size + PAGE_BYTES

    def _reload(self) -> Head:
        self._generation += 1
        confirmed = self._confirmed
        self._database.close()
        self._load()
        self._confirmed = max(self._confirmed, min(confirmed, self._sequence))
        self._broken = None
        return self._head

    def _finish(self) -> None:
        self._finished = True
        with contextlib.suppress(sqlite3.Error):
            if self._cursor_due is not None or self._samples:
                with self._transaction():
                    pass
        with contextlib.suppress(sqlite3.Error):
            self._checkpoint("TRUNCATE")
        self._database.close()

    # ------------------------------------------------------------------ room

    def _measure(self) -> None:
        pages, free = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        self._bytes = (pages - free) * PAGE_BYTES

    def _make_room(self, size: int) -> None:
        """Raise `JournalFull` unless this much more fits; old confirmed events and waiting telemetry go first."""
        limit = self._max_bytes - self._wal_limit
        if self._bytes + size <= limit:
            return
        self._full = True
        for last_resort in (self._measure, self._prune, self._drop_samples):
            last_resort()
            self._measure()
            if self._bytes + size <= limit:
                return
        raise JournalFull(
            f"the journal is full: {self._bytes + self._wal_limit} of {self._max_bytes} bytes (journal.max_bytes) "
            f"are in use and {self.status()['backlog']['events']} events still wait to be confirmed; "
            "connect the unit so that they can be sent, or raise journal.max_bytes"
        )

    def _drop_samples(self) -> None:
        if self._sample_rows:
            for (content,) in self._database.execute("SELECT content FROM samples").fetchall():
                self._thinned += len(json.loads(content))
            with self._transaction():
                self._database.execute("DELETE FROM samples")
                self._put("thinned", b"%d" % self._thinned)
            self._sample_rows = self._sample_bytes = 0

    def _keep_house(self) -> None:
        """What waits for no one: the cursor, samples, the checkpoint, dropping what need not be kept."""
        now = time.monotonic()
        try:
            if any(due is not None and due <= now for due in (self._cursor_due, self._samples_due)):
                with self._transaction():
                    pass
                self._grown(0)
            if self._wipe:
                self._wipe = not self._checkpoint("TRUNCATE")
            elif self._wal_bytes > self._wal_limit // 4:
                self._checkpoint("PASSIVE")
                self._prune()
        except sqlite3.Error as fault:
            log.warning("%s", self._fault("could not be tidied", fault))
            self._cursor_due = now + IDLE_S + CURSOR_WITHIN_S if self._cursor_due is not None else None
            self._samples_due = now + SAMPLES_WITHIN_S if self._samples else None
            self._wal_bytes = 0

    def _checkpoint(self, mode: str) -> bool:
        busy, _, _ = self._database.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._wal_bytes = 0
        self._measure()
        self._extend_reserve(self._sequence, self._telemetry_sequence)
        return not busy

    def _prune(self) -> None:
        """Drop the oldest events that are confirmed, covered by a snapshot and older than the retention.

        Age is counted on the log's own clock: from the newest event with a trusted time. An event of an untrusted
        clock is as old as the next trusted one behind it.
        """
        covered = (self._covered[-1] if self._full else self._covered[0]) if self._covered else 0
        until = min(covered >> SHIFT, self._confirmed)
        while until > self._anchor.sequence:
            newest = self._database.execute(
                "SELECT content FROM entries WHERE position & ? = 0 ORDER BY position DESC LIMIT 200", (BETWEEN,)
            )
            now = next((time_ for (payload,) in newest if (time_ := trusted_time(payload))), None)
            if now is None:
                return
            limit = (datetime.fromisoformat(now) - timedelta(days=self._retain_days)).isoformat(timespec="milliseconds")
            last: tuple[int, bytes] | None = None
            rows = self._database.execute(
                "SELECT position, content FROM entries WHERE position <= ? AND position & ? = 0 "
                "ORDER BY position LIMIT ?",
                (until << SHIFT, BETWEEN, PRUNE_ROWS),
            ).fetchall()
            for position, payload in rows:
                time_ = trusted_time(payload)
                if time_ and time_ < limit:
                    last = position, payload
                elif time_:
                    break
            if last is None:
                return
            anchor = Head(last[0] >> SHIFT, own_hash(last[1]))
            with self._transaction():
                self._database.execute("DELETE FROM entries WHERE position <= ?", (last[0],))
                self._put("anchor", json.dumps(anchor._asdict()).encode())
                if self._seen_count > SEEN_KEPT * 11 // 10:
                    self._forget_ids()
            self._anchor = anchor
            self._wal_bytes += len(rows) * 1000
            if not self._queue.empty() and not self._full:
                return

    def _forget_ids(self) -> None:
        self._database.execute(
            "DELETE FROM seen WHERE position < (SELECT position FROM seen ORDER BY position DESC LIMIT 1 OFFSET ?)",
            (SEEN_KEPT,),
        )
        self._seen_count = SEEN_KEPT

    # ------------------------------------------------------------------ telemetry

    def _write_samples(self, samples: list[tuple[str, bytes]]) -> None:
        for stream in dict.fromkeys(stream for stream, _ in samples):
            content = b"[" + b",".join(text for name, text in samples if name == stream) + b"]"
            self._database.execute("INSERT INTO samples (stream, content) VALUES (?, ?)", (stream, content))
            self._sample_rows += 1
            self._sample_bytes += len(content)
        if self._sample_bytes > self._max_bytes // SAMPLES_SHARE:
            self._thin()
        if self._thinned != self._thinned_stored:
            self._put("thinned", b"%d" % self._thinned)
            self._thinned_stored = self._thinned

    def _thin(self) -> None:
        """Every second sample of some rows goes; each time the next rows, so that no stretch of the way gets empty."""
        rows = self._database.execute(
            "SELECT id, content FROM samples WHERE id > ? ORDER BY id LIMIT 200", (self._thinned_to,)
        ).fetchall()
        self._thinned_to = rows[-1][0] if len(rows) == 200 else 0
        for id_, content in rows:
            samples = json.loads(content)
            kept = samples[::2] if len(samples) > 1 else samples[id_ % 2 :]
            self._thinned += len(samples) - len(kept)
            text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
            self._sample_bytes -= len(content) - len(text) if kept else len(content)
            if kept:
                self._database.execute("UPDATE samples SET content = ? WHERE id = ?", (text, id_))
            else:
                self._database.execute("DELETE FROM samples WHERE id = ?", (id_,))
                self._sample_rows -= 1

    def _pack(self, build: Callable[[int, str, list[dict[str, Any]]], bytes], limit: int) -> list[TelemetryEntry]:
        made: list[TelemetryEntry] = []
        used: list[tuple[int]] = []
        sequence = self._telemetry_sequence
        if sequence + limit > self._reserve.telemetry:
            self._extend_reserve(self._sequence, sequence + limit)
        with self._transaction():
            waiting: dict[str, list[tuple[int, bytes]]] = {}
            for id_, stream, content in self._database.execute(
                "SELECT id, stream, content FROM samples ORDER BY id LIMIT ?", (limit * SAMPLES_PER_MESSAGE,)
            ):
                waiting.setdefault(stream, []).append((id_, content))
            for stream, rows in waiting.items():
                samples: list[dict[str, Any]] = []
                for index, (id_, content) in enumerate(rows):
                    if len(made) == limit:
                        break
                    samples += json.loads(content)
                    used.append((id_,))
                    self._sample_bytes -= len(content)
                    if len(samples) >= SAMPLES_PER_MESSAGE or index == len(rows) - 1:
                        sequence += 1
                        made.append(TelemetryEntry(sequence, stream, build(sequence, stream, samples)))
                        samples = []
            self._database.executemany("INSERT INTO telemetry VALUES (?, ?, ?)", made)
            self._database.executemany("DELETE FROM samples WHERE id = ?", used)
            self._put("telemetry_sequence", b"%d" % sequence)
        self._telemetry_sequence = sequence
        self._telemetry_count += len(made)
        self._sample_rows -= len(used)
        self._grown(sum(len(entry.payload) for entry in made))
        return made
