"""The database file itself: its tables, how a row is read back, and the check that each opening makes.

A row proves itself: an event carries its hash, everything else a checksum. So damage that SQLite does not notice is
found before anybody acts on it, and a salvage can tell a good row from a bad one without asking the tree around it.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from agent.delivery.model.scopes import ROSTER, scope_of_block
from agent.journal.entries import Arrived, Entry, EventEntry, Head, InboxEntry, JournalError, Recovery
from agent.journal.envelope import chained, own_hash, previous_hash
from contract.canonical import GENESIS

INSERT = "INSERT INTO entries VALUES (?, ?)"
PAGE_BYTES = 4096
BUSY_MS = 2000
"""How long the writer waits for somebody else's lock: only a tool that looks at the store can have one."""
SHIFT = 20
"""An event's position in the log is its sequence number shifted left by this; messages take positions in between."""
MESSAGE_BITS = (1 << SHIFT) - 1
LAYOUT = 1
IN_EACH_BYTE = 0x01010101
"""The layout stands in each byte of `user_version`, so that a flipped bit does not look like another layout."""
APPLICATION = 0x4B455242

SCHEMA = f"""
CREATE TABLE entries (position INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE seen (message_id TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE samples (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE telemetry (sequence INTEGER PRIMARY KEY, stream TEXT NOT NULL, content BLOB NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {LAYOUT * IN_EACH_BYTE};
"""

TABLES: Final = frozenset(re.findall(r"CREATE TABLE [^;]+", SCHEMA))
"""How each table was made, as SQLite keeps it."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_DAMAGE_EXTENDED = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}


class Damage(Exception):  # noqa: N818 (an answer inside this package, never shown)
    """The database cannot be trusted: says what is wrong with it."""


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether SQLite's complaint is about the file's content, not about access, space or a passing fault."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF in _DAMAGE or code in _DAMAGE_EXTENDED)


def with_checksum(name: str, content: bytes) -> bytes:
    """An item's bytes with a checksum over its name and content."""
    return b"%08x" % crc32(content, crc32(name.encode())) + content


def checked_content(name: str, stored: bytes) -> bytes:
    """An item's content.

    :raises Damage: the checksum is wrong
    """
    if stored[:8] != b"%08x" % crc32(stored[8:], crc32(name.encode())):
        raise Damage(f'the item "{name}" does not match its checksum')
    return stored[8:]


def inbox_row(entry: InboxEntry) -> bytes:
    """A message as it is stored: checksum, one line that describes it, its body."""
    head = json.dumps([entry.message_id, entry.kind, entry.type, entry.received], ensure_ascii=False).encode()
    content = head + b"\n" + entry.body
    return b"%08x" % crc32(content) + content


def read_event(position: int, content: bytes) -> EventEntry:
    """The event at a position of the log.

    :raises Damage: it is not the one that was written there
    """
    sequence = position >> SHIFT
    try:
        found = chained(content)
    except JournalError as fault:
        raise Damage(f"at sequence {sequence}: {fault}") from fault
    if found.sequence != sequence:
        raise Damage(f"event {found.sequence} stands at the position of {sequence}")
    return EventEntry(sequence, found.id, found.type, content)


def read_row(position: int, content: bytes) -> Entry:
    """The entry at a position of the log.

    :raises Damage: it is not the one that was written there
    """
    if position & MESSAGE_BITS == 0:
        return read_event(position, content)
    if content[:8] != b"%08x" % crc32(content[8:]):
        raise Damage(f"a message after sequence {position >> SHIFT} does not match its checksum")
    head, _, body = content[8:].partition(b"\n")
    message_id, kind, type_, received = json.loads(head)
    return InboxEntry(message_id, kind, type_, received, body)


class _Connection(sqlite3.Connection):
    """SQLite quotes names of a damaged schema; where one is no text, Python fails on the words of the error."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as fault:
            damaged = sqlite3.DatabaseError("the database holds what is no text where a name belongs")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged from fault


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """A connection in autocommit that any thread may use, one at a time. A new file is readable by its owner only."""
    if writable:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    # A name that is no text any more is another name: it is missed, or does not match its checksum.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        # The header is read first: a file that is no database must say so here.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA trusted_schema = OFF")
        if writable:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            # Checkpoints are made by the writer when nobody waits, not inside a commit that somebody waits for.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -2048")
        else:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -1024")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


SCOPE: Final = "scope/"
"""Begins the name of an item that holds the wrapped key of a scope."""


@dataclass(slots=True)
class Contents:
    """What a database holds, as found by `examine`."""

    items: dict[str, bytes] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    """Row of each item."""
    position: int = 0
    """Of the last entry."""
    sequence: int = 0
    """Of the last event."""
    hash: str = GENESIS
    """Of the last event."""
    since_snapshot: int = 0
    """Entries after the snapshot."""

    def number(self, name: str) -> int:
        """An item that is a number; 0 when it was never set."""
        return int(self.items.get(name, b"0"))

    def json(self, name: str) -> Any:
        """An item that is JSON; ``None`` when it was never set."""
        content = self.items.get(name)
        return None if content is None else json.loads(content)

    def snapshot_positions(self) -> dict[int, int]:
        """Slot of the snapshot at each position of the log."""
        return {
            int(content[:20].split(b"\n", 1)[0]): int(name[len("snapshot/") :])
            for name, content in self.items.items()
            if name.startswith("snapshot/")
        }

    def snapshot(self) -> tuple[int, bytes] | None:
        """Position in the log and bytes of the newest snapshot."""
        positions = self.snapshot_positions()
        if not positions:
            return None
        position, slot = max(positions.items())
        return position, self.items[f"snapshot/{slot}"].split(b"\n", 1)[1]

    @property
    def arrived(self) -> Arrived:
        """Which events have arrived where the broker's word counts."""
        found = self.json("arrived")
        return Arrived(found[0], tuple(found[1])) if found else Arrived()

    @property
    def anchor(self) -> Head:
        """Of the prefix that was dropped."""
        anchor = self.json("anchor")
        return Head(**anchor) if anchor else Head(0, GENESIS)

    @property
    def holes(self) -> list[list[int]]:
        """First and last of each run of numbers that stand for no event: lost, or skipped by a recovery."""
        return self.json("holes") or []

    @property
    def recovery(self) -> Recovery | None:
        """A recovery that no event has declared yet."""
        found = self.json("recovery")
        return Recovery(**found) if found and found["next_sequence"] > self.sequence else None

    def keys(self) -> dict[str, bytes]:
        """The wrapped key of each scope."""
        return {name.removeprefix(SCOPE): content for name, content in self.items.items() if name.startswith(SCOPE)} | {
            scope: self.items[name] for name, scope in self.earlier_keys().items()
        }

    def earlier_keys(self) -> dict[str, str]:
        """Items that hold keys as an earlier version named them, and the scopes that those are of.

        It wrote the key of a block under the bare id, in one namespace with the roster's.
        """
        bare = {name: name.removeprefix("key/") for name in self.items if name.startswith("key/")}
        return {name: id_ if id_ == ROSTER else scope_of_block(id_) for name, id_ in bare.items()}


class Items:
    """Writes items, each in one row."""

    def __init__(self, database: sqlite3.Connection, contents: Contents) -> None:
        self._database = database
        self._ids = dict(contents.ids)

    def put(self, name: str, content: bytes) -> None:
        """Set an item."""
        id_ = self._ids.setdefault(name, max(self._ids.values(), default=0) + 1)
        self._database.execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (id_, name, with_checksum(name, content))
        )

    def drop(self, name: str) -> None:
        """Remove an item."""
        self._database.execute("DELETE FROM items WHERE id = ?", (self._ids.pop(name),))


def read_items(connection: sqlite3.Connection) -> Contents:
    """The items.

    :raises Damage: one does not match its checksum
    """
    contents = Contents()
    for id_, name, stored in connection.execute("SELECT id, name, content FROM items"):
        contents.items[name] = checked_content(name, stored)
        contents.ids[name] = id_
    return contents


def rows_after(connection: sqlite3.Connection, position: int, chunk: int = 500) -> Iterator[tuple[int, bytes]]:
    """The rows behind a position, in order, read in chunks so that no transaction stays open between them."""
    while True:
        rows = connection.execute(
            "SELECT position, content FROM entries WHERE position > ? ORDER BY position LIMIT ?", (position, chunk)
        ).fetchall()
        yield from rows
        if len(rows) < chunk:
            return
        position = rows[-1][0]


def examine(connection: sqlite3.Connection, *, thorough: bool) -> Contents:
    """Check what will be acted on: every item, and every entry behind the snapshot or not yet confirmed.

    `thorough` checks the whole file.

    :raises Damage: something is not as it was written
    :raises JournalError: the database has another layout, or cannot be read
    """
    try:
        application, layout = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise Damage(f"application id {application:#x} where {APPLICATION:#x} was expected")
        if layout % IN_EACH_BYTE or not layout:
            raise Damage(f"layout {layout:#x} where {LAYOUT * IN_EACH_BYTE:#x} was expected")
        if layout != LAYOUT * IN_EACH_BYTE:
            raise JournalError(
                f"the journal has layout {layout // IN_EACH_BYTE}, this agent knows {LAYOUT}: "
                "install the newer agent that wrote it"
            )
        if missing := TABLES - {made for (made,) in connection.execute("SELECT sql FROM sqlite_master")}:
            raise Damage(f"there is no table as by {min(missing)}")
        if thorough and (fault := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise Damage(fault)
        contents = read_items(connection)
        replayed_from = max(contents.snapshot_positions(), default=0)
        start = 0 if thorough else min(replayed_from, contents.number("confirmed") << SHIFT)
        holes: dict[int, int] = {first: last for first, last in contents.holes}  # noqa: C416 (typed)
        contents.sequence, contents.hash = contents.anchor
        contents.position = contents.sequence << SHIFT
        before = connection.execute(
            "SELECT position, content FROM entries WHERE position <= ? AND position & ? = 0 "
            "ORDER BY position DESC LIMIT 1",
            (start, MESSAGE_BITS),
        ).fetchone()
        if before:
            contents.sequence = before[0] >> SHIFT
            contents.hash = chained(before[1]).hash
        contents.position = max(
            contents.position, connection.execute("SELECT max(position) FROM entries").fetchone()[0] or 0
        )
        for position, content in rows_after(connection, start):
            entry = read_row(position, content)
            if isinstance(entry, EventEntry):
                expected = contents.sequence + 1
                after_hole = holes.get(expected, contents.sequence) + 1
                if entry.sequence != after_hole:
                    raise Damage(f"event {after_hole} is missing, {entry.sequence} was found")
                if after_hole == expected and previous_hash(content) != contents.hash:
                    raise Damage(f"event {entry.sequence} is not chained to the one before it")
                contents.sequence, contents.hash = entry.sequence, own_hash(content)
            contents.position = position
            contents.since_snapshot += position > replayed_from
    except sqlite3.Error as fault:
        if is_damage(fault):
            raise Damage(str(fault)) from fault
        raise JournalError(
            f"the journal cannot be read ({fault}): check the disk and the rights of its files"
        ) from fault
    except (ValueError, LookupError, TypeError) as fault:
        raise Damage(f"what it holds cannot be understood ({fault})") from fault
    return contents
