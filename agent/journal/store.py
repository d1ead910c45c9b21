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
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple, TypeVar

from agent.journal import recovery, retention
from agent.journal.database import (
    BUSY_MS,
    INSERT,
    MESSAGE_BITS,
    PAGE_BYTES,
    SCOPE,
    SHIFT,
    Contents,
    Damage,
    Items,
    connect,
    inbox_row,
    is_damage,
    read_event,
    read_items,
    read_row,
    rows_after,
)
from agent.journal.directory import Lock, Reserve
from agent.journal.entries import (
    Arrived,
    Batch,
    Entry,
    EventEntry,
    Head,
    JournalError,
    JournalFull,
    Recovery,
    TelemetryEntry,
)
from agent.journal.envelope import own_hash
from agent.journal.telemetry import Build, Telemetry

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
SNAPSHOT_EVERY = 2000
"""Entries after which a snapshot is due."""
SNAPSHOTS_KEPT = 2
WAL_BYTES = 8 << 20
"""The write-ahead log is copied back when it is a quarter of this long and it is quiet, and at this length anyhow."""
QUIET_S = 2.0
"""So long after the last batch it is quiet: between two scans of a driver who loads lies less."""
SAMPLES_SHARE = 10
"""Waiting samples take at most this part of the journal's size, then they are thinned."""
WIPE_AGAIN_S = 0.2
CHECK_ROOM_S = 1.0
ROW_BYTES = 24
"""What a row costs beside its content."""
MARGIN_BYTES = 64 << 10
"""With less room than this the journal is called full."""


class Replay(NamedTuple):
    """From what the state is built: a snapshot, if there is one, and every entry behind it in log order."""

    snapshot: bytes | None
    entries: Iterator[Entry]


class _Waiting(NamedTuple):
    batch: Batch
    done: Done
    size: int


class Journal:
    """Made by `Journal.open`; every method may be called from any thread."""

    @classmethod
    def open(
        cls, state_dir: Path, *, max_bytes: int, retain_days: int, confirm: Literal["broker", "cloud"] = "broker"
    ) -> Journal:
        """Lock the state directory, check the database, recover it if it is damaged, and start the writer.

        `confirm` says whose word `confirm_through` carries; the journal only shows it.

        :raises JournalError: it cannot be opened, or another agent has it
        """
        return cls(state_dir, max_bytes, retain_days, confirm)

    def __init__(self, state_dir: Path, max_bytes: int, retain_days: int, confirm: Literal["broker", "cloud"]) -> None:
        self._path = state_dir / "journal.db"
        self._reserve_path = state_dir / "journal.reserve"
        self._suspect_path = state_dir / "journal.suspect"
        self._max_bytes = max_bytes
        self._retain_days = retain_days
        self._confirm = confirm

        self._submit = threading.Lock()
        self._queue: SimpleQueue[_Waiting | Callable[[], None] | None] = SimpleQueue()
        self._submitted_bytes = self._settled_bytes = 0
        self._pending_ids: set[str] = set()
        self._closed = self._finished = False
        self._broken: JournalError | None = None
        self._full = False

        self._telemetry = Telemetry(max_bytes // SAMPLES_SHARE)
        self._confirmed = 0
        self._arrived = self._arrived_written = Arrived()
        self._settled_s = 0.0
        """When the last batch was settled."""
        self._cursor_due: float | None = None
        self._samples_due: float | None = None
        self._wipe = False
        self._bytes = self._wal_bytes = 0
        self._wal_limit = min(WAL_BYTES, max_bytes // 8)

        self._readers = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._generation = 0

        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = Lock(state_dir)
        except OSError as fault:
            raise JournalError(
                f"the state directory {state_dir} cannot be used ({fault}): check that it exists and may be written"
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
            opened = recovery.open_database(self._path, self._reserve_path, thorough=self._suspect_path.exists())
            self._database = opened.connection
            try:
                self._adopt(opened.contents, opened.reserve)
                self._suspect_path.unlink(missing_ok=True)
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as fault:
            suspected = self._suspect_path.exists()
            error = self._fault("cannot be opened", fault)
            if is_damage(fault) and not suspected:
                self._load()  # what a quick look has missed is looked at thoroughly, and recovered
            else:
                raise error from fault
        except OSError as fault:
            raise JournalError(f"{self._path} cannot be opened ({fault}): check the disk") from fault

    def _adopt(self, contents: Contents, reserve: Reserve) -> None:
        self._items = Items(self._database, contents)
        self._anchor = contents.anchor
        self._holes = contents.holes
        self._recovered = contents.recovery
        self._position = contents.position
        self._sequence = contents.sequence
        self._head = Head(contents.sequence, contents.hash)
        if self._recovered is not None:
            self._head = Head(self._recovered.next_sequence - 1, self._recovered.last_hash)
            self._sequence = self._head.sequence
            self._position = self._sequence << SHIFT
        self._confirmed = min(max(contents.number("confirmed"), self._confirmed), self._sequence)
        self._arrived_written = contents.arrived
        if self._confirm == "broker":
            self._arrived = max(self._arrived, self._arrived_written)
        self._keys = contents.keys()
        for name, scope in contents.earlier_keys().items():
            self._items.put(SCOPE + scope, self._keys[scope])
            self._items.drop(name)
        slots = contents.snapshot_positions()
        self._snapshot_positions = sorted(slots)
        self._snapshot_slot = slots[self._snapshot_positions[-1]] + 1 if slots else 0
        self._since_snapshot = contents.since_snapshot
        self._telemetry.load(
            self._database,
            max(contents.number("telemetry_sequence"), reserve.telemetry if self._recovered else 0),
            contents.number("thinned"),
        )
        self._reserve = reserve
        self._extend_reserve(self._sequence, self._telemetry.sequence)
        self._checkpoint("TRUNCATE")

    def _extend_reserve(self, sequence: int, telemetry: int) -> None:
        """Keep the reserve at least half a thousand ahead: two fsyncs every few hundred events."""
        if min(self._reserve.events - sequence, self._reserve.telemetry - telemetry) < AHEAD // 2:
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
        return self._since_snapshot >= SNAPSHOT_EVERY or (self._full and self._snapshot_would_help())

    @property
    def confirmed(self) -> int:
        """Up to here events need not be sent again."""
        return self._confirmed

    @property
    def oldest_sequence(self) -> int:
        """Of the oldest event that is still kept."""
        return self._anchor.sequence + 1

    @property
    def full(self) -> bool:
        """Whether a batch must be expected to be refused for want of room."""
        return self._full

    def keys(self) -> dict[str, bytes]:
        """The wrapped key of each scope."""
        return dict(self._keys)

    def seen(self, message_id: str) -> bool:
        """Whether this message is in the log or on its way into it; remembered for the last 100,000 messages."""
        if message_id in self._pending_ids:
            return True
        return bool(self._read("SELECT 1 FROM seen WHERE message_id = ?", (message_id,)))

    def replay(self, *, from_start: bool = False) -> Replay:
        """The newest snapshot and the entries behind it; `from_start` leaves the snapshot aside: every entry kept."""
        position, snapshot = 0, None
        if not from_start:
            with self._reading() as connection:
                position, snapshot = read_items(connection).snapshot() or (0, None)
        return Replay(snapshot, self._entries_after(position))

    def _entries_after(self, position: int) -> Iterator[Entry]:
        with self._reading() as connection:
            for row in rows_after(connection, position):
                yield read_row(*row)

    def events_after(self, sequence: int, limit: int, max_bytes: int = 1 << 20) -> list[EventEntry]:
        """The next events behind a sequence number: at most `limit`, at most `max_bytes` of payload, at least one."""
        return self.events_between(sequence + 1, self._sequence, limit, max_bytes)

    def events_between(self, first: int, last: int, limit: int, max_bytes: int = 1 << 20) -> list[EventEntry]:
        """The events from one sequence number to another, both included; each is checked against its hash."""
        events: list[EventEntry] = []
        size = 0
        if first > self._sequence:  # such a number may be too large for the store's key
            return events
        with self._reading() as connection:
            cursor = connection.execute(
                "SELECT position, content FROM entries WHERE position BETWEEN ? AND ? AND position & ? = 0 "
                "ORDER BY position LIMIT ?",
                (first << SHIFT, min(last, self._sequence) << SHIFT, MESSAGE_BITS, limit),
            )
            for position, payload in cursor:
                size += len(payload)
                if size > max_bytes and events:
                    break
                events.append(read_event(position, payload))
            cursor.close()
        return events

    def status(self) -> dict[str, Any]:
        """What the store holds and how much of it still waits."""
        sequence, confirmed, arrived = self._head.sequence, self._confirmed, self._arrived
        through = max(confirmed, arrived.through)
        missing = sum(max(min(last, sequence) - max(first, through + 1) + 1, 0) for first, last in self._holes)
        kept = sum(each > confirmed for each in arrived.kept)
        return {
            "sequence": sequence,
            "confirmed": confirmed,
            "confirm": self._confirm,
            "oldest_sequence": self.oldest_sequence,
            "backlog": {
                "events": sequence - through - missing + kept,
                "telemetry": self._telemetry.backlog,
                "media": 0,
            },
            "bytes": self._bytes + self._wal_bytes,
            "max_bytes": self._max_bytes,
            "waiting_bytes": self._submitted_bytes - self._settled_bytes,
            "full": self._full,
            "set_aside": kept,
            "dropped": self._telemetry.thinned,
            "recovered": self._recovered is not None,
        }

    # ------------------------------------------------------------------ what others hand in

    def write(self, batch: Batch, done: Done) -> None:
        """Queue a batch. `done(None)` is called in the writer thread after the commit, `done(fault)` if it failed."""
        # The last member of either kind of entry is its bytes.
        size = sum(len(entry[-1]) for entry in batch.entries) + len(batch.snapshot or b"")
        with self._submit:
            if self._closed:
                raise JournalError("the journal is closed: nothing more can be written")
            if self._submitted_bytes - self._settled_bytes > QUEUE_BYTES:
                self._queue.put(lambda: self._refuse(done))
                return
            for entry in batch.entries:
                if not isinstance(entry, EventEntry):
                    self._pending_ids.add(entry.message_id)
            self._since_snapshot = 0 if batch.snapshot is not None else self._since_snapshot + len(batch.entries)
            self._submitted_bytes += size
            self._queue.put(_Waiting(batch, done, size))

    def reload(self) -> Head:
        """After a failure: forget what was not written, look again at what is on disk, and accept batches again.

        :raises JournalError: it still cannot be used; one that is damaged is recovered: look at `recovered` again
        """
        return self._call(self._reload)

    def confirm_through(self, sequence: int) -> None:
        """Everything up to here has arrived. Only forward; written with the next commit or within half a second."""
        sequence = min(sequence, self._head.sequence)
        if sequence > self._confirmed:
            self._confirmed = sequence
            self._cursor_moved()

    @property
    def arrived(self) -> Arrived:
        """Which events have arrived where the broker's word counts, as `arrived_through` was told last."""
        return self._arrived

    def arrived_through(self, arrived: Arrived) -> None:
        """What has arrived where the broker's word counts; written as `confirm_through`, and together with it.

        The cursor stays before the first event that is kept. What has arrived behind it need not be sent again after a
        restart; if this is lost, it is.
        """
        if arrived != self._arrived and self._confirm == "broker":
            self._arrived = arrived
            self._confirmed = max(self._confirmed, min(arrived.unbroken, self._head.sequence))
            self._cursor_moved()

    def sample(self, stream: Literal["position", "health"], sample: Mapping[str, Any]) -> None:
        """Keep a telemetry sample; written with the next commit or within ten seconds."""
        self._telemetry.add(stream, sample)
        if self._samples_due is None:
            self._samples_due = time.monotonic() + SAMPLES_WITHIN_S
            self._queue.put(None)

    def pack_telemetry(self, build: Build, limit: int, stream: str | None = None) -> list[TelemetryEntry]:
        """Make messages out of waiting samples, at most `limit`, and store them; `build(sequence, stream, samples)`.

        `build` is called in the writer thread.

        :param stream: which samples; by default all
        """
        return self._call(lambda: self._pack(build, limit, stream))

    def split_telemetry(self, sequence: int, build: Build) -> list[TelemetryEntry]:
        """Make two messages out of one that is too large to be sent; none of a single sample, which is dropped."""
        return self._call(lambda: self._split(sequence, build))

    def telemetry_waiting(self, limit: int, stream: str | None = None) -> list[TelemetryEntry]:
        """Messages that were made, of one stream or of all, and have not arrived; the oldest first."""
        chosen = "SELECT * FROM telemetry WHERE stream = coalesce(?, stream) ORDER BY sequence LIMIT ?"
        return self._telemetry.waiting(lambda count: self._read(chosen, (stream, count)), limit)

    def telemetry_done(self, sequences: Iterable[int]) -> None:
        """These messages have arrived; they are dropped with the next commit or within half a second."""
        self._telemetry.done(sequences)
        self._cursor_moved()

    def close(self) -> None:
        """Write what waits, copy the write-ahead log back into the database and let the next agent in."""
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

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's own connection for reading; what SQLite or a row's own check says becomes a `JournalError`."""
        try:
            generation, connection = getattr(self._readers, "connection", (-1, None))
            if connection is None or generation != self._generation:
                if connection is not None:
                    self._reader_connections.remove(connection)
                    connection.close()
                    del self._readers.connection
                generation = self._generation
                connection = connect(self._path, writable=False)
                self._readers.connection = generation, connection
                self._reader_connections.append(connection)
            yield connection
        except sqlite3.Error as fault:
            raise self._fault("cannot be read", fault) from fault
        except Damage as fault:
            raise self._damaged("cannot be read", fault) from fault

    def _read(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(statement, arguments).fetchall()

    def _fault(self, what: str, fault: sqlite3.Error) -> JournalError:
        """SQLite's complaint in our words."""
        if is_damage(fault):
            return self._damaged(what, fault)
        if getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return JournalFull(f"{self._path} {what}: the disk is full; free space on it")
        return JournalError(f"{self._path} {what} ({fault}): check the disk and the rights of its files")

    def _damaged(self, what: str, fault: Exception) -> JournalError:
        """Damage is remembered in a file, so that the next opening looks at everything."""
        with contextlib.suppress(OSError):
            self._suspect_path.touch()
        return JournalError(f"{self._path} {what} ({fault}): it is damaged; a new start recovers what is readable")

    # ------------------------------------------------------------------ the writer thread

    def _call(self, work: Callable[[], T]) -> T:
        """Do something in the writer thread, behind what already waits, and wait for its answer."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except sqlite3.Error as fault:
                answer.set_exception(self._fault("cannot be written", fault))
            except BaseException as fault:  # noqa: BLE001 (whoever asked gets it)
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
        while not self._finished:
            try:
                job = queue.get(True, self._wait_limit_s())
            except Empty:
                self._maintain()
                continue
            if isinstance(job, _Waiting):
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
            if job is not None:
                job()
            if self._wal_bytes > self._wal_limit:
                self._maintain()

    def _wait_limit_s(self) -> float | None:
        """How long the writer may wait for work before something else is due; ``None`` for ever."""
        due = [moment for moment in (self._cursor_due, self._samples_due) if moment is not None]
        if self._wipe:
            due.append(time.monotonic() + WIPE_AGAIN_S)
        if self._wal_bytes > self._wal_limit // 4:
            due.append(max(self._settled_s + QUIET_S, time.monotonic()))
        if self._full:
            due.append(time.monotonic() + CHECK_ROOM_S)
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _settle(self, group: list[_Waiting], size: int) -> None:
        """Commit a group and tell those who wait for it, in their order."""
        fault = self._broken
        if fault is None:
            try:
                self._commit(group, size)
            except JournalError as found:
                fault = found
            except sqlite3.Error as found:
                fault = self._fault("could not be written", found)
            except OSError as found:
                fault = JournalError(f"{self._path.parent} could not be written ({found}): check the disk")
            except Exception as found:  # whatever it is, nobody may wait for ever
                log.exception("the journal's writer failed")
                fault = JournalError(f"{self._path} could not be written ({found})")
            if fault is not None:
                self._broken = fault
                self._full = isinstance(fault, JournalFull)
        self._settled_bytes += size
        self._settled_s = time.monotonic()
        if fault is not None:
            for waiting in group:
                self._pending_ids.difference_update(
                    entry.message_id for entry in waiting.batch.entries if not isinstance(entry, EventEntry)
                )
        for waiting in group:
            _answer(waiting.done, fault)
        if self._wipe or self._full:
            self._maintain()

    def _refuse(self, done: Done) -> None:
        self._broken = self._broken or JournalError(
            f"more than {QUEUE_BYTES >> 20} MiB wait to be written: the disk is too slow or hangs; check it"
        )
        _answer(done, self._broken)

    def _commit(self, group: list[_Waiting], size: int) -> None:
        position, sequence = self._position, self._sequence
        rows: list[tuple[int, bytes]] = []
        seen: list[tuple[str, int]] = []
        rest: list[tuple[int, Batch]] = []
        last: bytes | None = None
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
                rest.append((position, batch))
        written = size + len(rows) * ROW_BYTES
        if rows and self._bytes + written > self._max_bytes - self._wal_limit:
            self._make_room(written, with_snapshot=any(batch.snapshot is not None for _, batch in rest))
        if sequence > self._reserve.events:
            self._extend_reserve(sequence, self._telemetry.sequence)
        if len(rows) == 1 and not seen and not rest and not self._cursor_overdue() and not self._telemetry.in_memory:
            # What a scan waits for: one row, one statement, one fsync. The cursor has its own time: with every event it
            # would be one more page each.
            self._database.execute(INSERT, rows[0])
        else:
            with self._transaction():
                self._database.executemany(INSERT, rows)
                if seen:
                    self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", seen)
                for behind, batch in rest:
                    self._write_rest(behind, batch)
        self._position, self._sequence = position, sequence
        self._bytes += written
        self._wal_bytes += written + PAGE_BYTES
        if last is not None:
            self._head = Head(sequence, own_hash(last))
            self._recovered = None
        if self._full and rows:
            self._full = self._room() < MARGIN_BYTES
        if seen:
            self._pending_ids.difference_update(message_id for message_id, _ in seen)

    def _cursor_overdue(self) -> bool:
        return self._cursor_due is not None and time.monotonic() >= self._cursor_due

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit, together with the cursor and the telemetry that wait for one."""
        cursor_due, self._cursor_due, self._samples_due = self._cursor_due, None, None
        arrived = self._arrived_written
        try:
            self._database.execute("BEGIN IMMEDIATE")
            if cursor_due is not None:
                self._items.put("confirmed", b"%d" % self._confirmed)
                if (arrived := self._arrived) != self._arrived_written:
                    self._items.put("arrived", json.dumps(arrived).encode())
            self._telemetry.write(self._database, self._items)
            yield
            self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                self._telemetry.rolled_back(self._database)
            self._cursor_due = time.monotonic() + CURSOR_WITHIN_S
            raise
        self._arrived_written = arrived
        self._telemetry.committed()

    def _write_rest(self, position: int, batch: Batch) -> None:
        """Keys and snapshot of a batch. If the commit fails, `reload` reads all of it again."""
        for scope, wrapped in batch.keys.items():
            self._items.put(SCOPE + scope, wrapped)
            self._keys[scope] = wrapped
        for scope in batch.forget:
            if self._keys.pop(scope, None) is not None:
                self._items.drop(SCOPE + scope)
                self._wipe = True
        if batch.snapshot is not None:
            self._items.put(f"snapshot/{self._snapshot_slot % SNAPSHOTS_KEPT}", b"%d\n" % position + batch.snapshot)
            self._snapshot_slot += 1
            self._snapshot_positions = [*self._snapshot_positions, position][-SNAPSHOTS_KEPT:]

    def _reload(self) -> Head:
        if not isinstance(self._broken, JournalFull) or self._suspect_path.exists():
            self._generation += 1
            self._database.close()
            self._load()
        else:  # it was refused or rolled back: what is on disk is what the writer knows
            contents = read_items(self._database)
            self._items = Items(self._database, contents)
            self._keys = contents.keys()
            self._snapshot_positions = sorted(contents.snapshot_positions())
            self._since_snapshot = self._database.execute(
                "SELECT count(*) FROM entries WHERE position > ?", (max(self._snapshot_positions, default=0),)
            ).fetchone()[0]
        self._wipe = False
        self._broken = None
        return self._head

    def _finish(self) -> None:
        self._finished = True
        with contextlib.suppress(sqlite3.Error):
            if self._cursor_due is not None or self._telemetry.in_memory:
                with self._transaction():
                    pass
        with contextlib.suppress(sqlite3.Error, OSError):
            self._checkpoint("TRUNCATE")
        self._database.close()

    def _pack(self, build: Build, limit: int, stream: str | None) -> list[TelemetryEntry]:
        self._reserve_telemetry(limit)
        with self._transaction():
            made = self._telemetry.pack(self._database, self._items, build, limit, stream)
        self._telemetry.packed(self._database, made)
        self._wal_bytes += sum(len(entry.payload) for entry in made) + 2 * PAGE_BYTES
        return made

    def _split(self, sequence: int, build: Build) -> list[TelemetryEntry]:
        self._reserve_telemetry(1)
        with self._transaction():
            made = self._telemetry.split(self._database, self._items, sequence, build)
        self._telemetry.packed(self._database, made)
        return made

    def _reserve_telemetry(self, count: int) -> None:
        if (last := self._telemetry.sequence + count) > self._reserve.telemetry:
            self._extend_reserve(self._sequence, last)

    # ------------------------------------------------------------------ room and maintenance

    def _measure(self) -> None:
        pages, free = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        self._bytes = (pages - free) * PAGE_BYTES

    def _room(self) -> int:
        """Bytes that may still be written."""
        return self._max_bytes - self._wal_limit - self._bytes

    def _snapshot_would_help(self) -> bool:
        """Whether events are confirmed that only want a snapshot before they may be dropped."""
        return self._confirmed > (self._snapshot_positions[-1] >> SHIFT if self._snapshot_positions else 0)

    def _make_room(self, size: int, *, with_snapshot: bool) -> None:
        """Raise `JournalFull` unless this much fits; old confirmed events go first, then waiting samples."""
        self._full = True
        self._measure()
        if self._room() < size:
            self._prune()
        if self._room() < size and self._telemetry.backlog:
            with self._transaction():
                self._telemetry.drop_samples(self._database, self._items)
            self._measure()
        if self._room() < size and not (with_snapshot and self._snapshot_would_help()):
            raise JournalFull(
                f"the journal is full: {self._bytes + self._wal_limit} of {self._max_bytes} bytes (journal.max_bytes) "
                f"are in use and {self.status()['backlog']['events']} events wait to be confirmed; "
                "connect the unit so that they can be sent, or raise journal.max_bytes"
            )

    def _maintain(self) -> None:
        """What nobody waits for: the cursor, samples, the checkpoint, dropping what need not be kept."""
        now = time.monotonic()
        try:
            if any(due is not None and due <= now for due in (self._cursor_due, self._samples_due)):
                with self._transaction():
                    pass
                self._wal_bytes += 2 * PAGE_BYTES
            if self._wipe:
                self._wipe = not self._wipe_deleted_keys()
            elif self._wal_bytes > (self._wal_limit // 4 if now - self._settled_s >= QUIET_S else self._wal_limit):
                self._checkpoint("PASSIVE")
                self._prune()
            if self._full:
                self._prune()
                self._measure()
                disk = os.statvfs(self._path.parent)
                self._full = min(self._room(), disk.f_bavail * disk.f_frsize) < MARGIN_BYTES
        except (sqlite3.Error, OSError) as fault:
            log.warning("the journal could not be tidied, it is tried again: %s", fault)
            self._cursor_due = self._cursor_due and now + SAMPLES_WITHIN_S
            self._samples_due = now + SAMPLES_WITHIN_S if self._telemetry.in_memory else None
            self._wal_bytes = 0

    def _checkpoint(self, mode: Literal["PASSIVE", "TRUNCATE"]) -> bool:
        """Copy the write-ahead log back; whether nobody stood in the way."""
        busy, _, _ = self._database.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._wal_bytes = 0
        self._measure()
        self._extend_reserve(self._sequence, self._telemetry.sequence)
        return not busy

    def _wipe_deleted_keys(self) -> bool:
        """Overwrite what a deleted key left in the write-ahead log and in copies; false while a reader holds on."""
        for copy in recovery.damaged_copies(self._path):
            copy.unlink(missing_ok=True)
        self._database.execute("PRAGMA busy_timeout = 50")
        try:
            return self._checkpoint("TRUNCATE")
        finally:
            self._database.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _prune(self) -> None:
        """Drop what may be dropped, a few thousand events a commit, as long as nobody waits."""
        if not self._snapshot_positions:
            return
        covered = self._snapshot_positions[-1 if self._full else 0]
        until = min(covered >> SHIFT, self._confirmed)
        while anchor := retention.droppable(self._database, self._anchor.sequence, until, self._retain_days):
            with self._transaction():
                retention.drop(self._database, self._items, anchor)
            self._anchor = anchor
            self._checkpoint("PASSIVE")
            if not self._full and not self._queue.empty():
                return


def _answer(done: Done, fault: JournalError | None) -> None:
    try:
        done(fault)
    except Exception:
        log.exception("a caller of the journal failed at its own answer")
