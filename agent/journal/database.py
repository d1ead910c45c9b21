"""The database file itself: its tables, how a row is read back, and the check that each opening makes.

A row proves itself: an event carries its hash, everything else a checksum. So damage that SQLite does not notice is
found before anybody acts on it, and a salvage can tell a good row from a bad one without asking the tree around it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from agent.journal.entries import Entry, EventEntry, InboxEntry, JournalError
from agent.journal.envelope import GENESIS, entry_of, link, own_hash, previous_hash

SHIFT = 20
"""An event's place in the log is its sequence number shifted left by this; messages take the places in between."""
BETWEEN = (1 << SHIFT) - 1
LAYOUT = 1
APPLICATION = 0x4B455242

SCHEMA = f"""
CREATE TABLE entries (position INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE seen (message_id TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE samples (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE telemetry (sequence INTEGER PRIMARY KEY, stream TEXT NOT NULL, content BLOB NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {LAYOUT};
"""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_DAMAGE_EXTENDED = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}


class Damage(Exception):  # noqa: N818 (an answer inside this package, never shown)
    """The database can not be trusted: says what is wrong with it."""


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether SQLite's complaint is about the file's content, not about access, space or a passing fault."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF in _DAMAGE or code in _DAMAGE_EXTENDED)


def sealed(name: str, content: bytes) -> bytes:
    """An item's bytes with a checksum over its name and content."""
    return b"%08x" % crc32(content, crc32(name.encode())) + content


def unsealed(name: str, stored: bytes) -> bytes:
    """An item's content; raises `Damage` when the checksum is wrong."""
    if stored[:8] != b"%08x" % crc32(stored[8:], crc32(name.encode())):
        raise Damage(f'the item "{name}" does not match its checksum')
    return stored[8:]


def inbox_row(entry: InboxEntry) -> bytes:
    """A message as it is stored: checksum, one line that describes it, its body."""
    head = json.dumps([entry.message_id, entry.kind, entry.type, entry.received], ensure_ascii=False).encode()
    content = head + b"\n" + entry.body
    return b"%08x" % crc32(content) + content


def read_row(position: int, content: bytes) -> Entry:
    """The entry at a place of the log, checked; raises `Damage`."""
    if position & BETWEEN == 0:
        sequence = position >> SHIFT
        try:
            found = link(content)
        except JournalError as fault:
            raise Damage(f"at sequence {sequence}: {fault}") from fault
        if found.sequence != sequence:
            raise Damage(f"event {found.sequence} stands at the place of {sequence}")
        return entry_of(sequence, content)
    if content[:8] != b"%08x" % crc32(content[8:]):
        raise Damage(f"a message after sequence {position >> SHIFT} does not match its checksum")
    head, _, body = content[8:].partition(b"\n")
    message_id, kind, type_, received = json.loads(head)
    return InboxEntry(message_id, kind, type_, received, body)


def connect(path: Path, *, writable: bool, timeout_s: float = 5.0) -> sqlite3.Connection:
    """A connection in autocommit that any thread may use, one at a time."""
    mode = "rwc" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # The header is read first: a file that is no database must say so here.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA trusted_schema = OFF")
        if writable:
            connection.execute("PRAGMA page_size = 4096")
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

    def snapshot_places(self) -> dict[int, int]:
        """Place in the log of the snapshot in each slot."""
        return {
            int(name[len("snapshot/") :]): int(content.split(b"\n", 1)[0])
            for name, content in self.items.items()
            if name.startswith("snapshot/")
        }

    def snapshot(self) -> tuple[int, bytes] | None:
        """Place in the log and bytes of the newest snapshot."""
        found = [content.split(b"\n", 1) for name, content in self.items.items() if name.startswith("snapshot/")]
        return max(((int(place), body) for place, body in found), key=lambda pair: pair[0], default=None)


def read_items(connection: sqlite3.Connection) -> Contents:
    """The items, each checked; raises `Damage`."""
    contents = Contents()
    for id_, name, stored in connection.execute("SELECT id, name, content FROM items"):
        contents.items[name] = unsealed(name, stored)
        contents.ids[name] = id_
    return contents


def rows_after(connection: sqlite3.Connection, position: int, chunk: int = 500) -> Iterator[tuple[int, bytes]]:
    """The rows behind a place, in order, read in chunks so that no transaction stays open between them."""
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

    `thorough` checks the whole file. Raises `Damage`, or `JournalError` for a database of another layout.
    """
    try:
        application, layout = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise Damage(f"application id {application:#x} where {APPLICATION:#x} was expected")
        if layout > LAYOUT:
            raise JournalError(
                f"the journal has layout {layout}, this agent knows {LAYOUT}: install the newer agent that wrote it"
            )
        if thorough and (fault := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise Damage(fault)
        contents = read_items(connection)
        anchor = contents.json("anchor") or {"sequence": 0, "hash": GENESIS}
        snapshot = contents.snapshot()
        replayed_from = snapshot[0] if snapshot else 0
        start = min(replayed_from, contents.number("confirmed") << SHIFT)
        start = 0 if thorough else start
        holes = dict(contents.json("holes") or ())
        contents.sequence, contents.hash = anchor["sequence"], anchor["hash"]
        contents.position = contents.sequence << SHIFT
        before = connection.execute(
            "SELECT position, content FROM entries WHERE position <= ? AND position & ? = 0 "
            "ORDER BY position DESC LIMIT 1",
            (start, BETWEEN),
        ).fetchone()
        if before:
            contents.sequence = before[0] >> SHIFT
            contents.hash = link(before[1]).hash
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
            f"the journal can not be read ({fault}): check the disk and the rights of its files"
        ) from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise Damage(f"what it holds can not be understood ({fault})") from fault
    return contents
