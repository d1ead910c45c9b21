"""Opening a database that may be damaged or gone: what is readable is carried into a new one, and the gap is declared.

The damaged file is moved aside, never deleted; the new one is complete before it takes the old one's place, so a power
cut in between leaves one or the other. The chain goes on above the reserve.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.files import FileError, sync_directory
from agent.journal.database import (
    MESSAGE_BITS,
    SCHEMA,
    SHIFT,
    Contents,
    Damage,
    checked_content,
    connect,
    examine,
    is_damage,
    read_row,
    rows_after,
    with_checksum,
)
from agent.journal.directory import Reserve
from agent.journal.entries import EventEntry, Head, JournalError, Recovery
from agent.journal.envelope import own_hash, previous_hash
from agent.journal.salvage import commits_behind, rows

log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """A sound database."""

    connection: sqlite3.Connection
    contents: Contents
    reserve: Reserve


def open_database(path: Path, reserve_path: Path, *, thorough: bool) -> Opened:
    """The database, sound, and what it holds.

    :raises JournalError: the disk or the layout is at fault
    :raises sqlite3.Error: it cannot be used, and not because it is damaged
    :raises OSError: a file beside it cannot be used
    """
    rebuilt = path.with_suffix(".rebuilt")
    if rebuilt.exists():
        _put_in_place(rebuilt, path)
    reserve = _read_reserve(reserve_path)
    if not path.exists() and reserve is None:
        _create(path)
    reason = "the database is missing"
    if path.exists():
        try:
            with _wal_kept(path):
                connection, contents = _opened(path, thorough=thorough)
            return Opened(connection, contents, reserve or Reserve(0, 0))
        except Damage as fault:
            reason = str(fault)
    log.error("%s: %s; what is readable is carried into a new one", path, reason)
    _rebuild(path, rebuilt, reserve, reason)
    connection = connect(path, writable=True)
    try:
        return Opened(connection, examine(connection, thorough=True), reserve or Reserve(0, 0))
    except Damage as fault:
        connection.close()
        raise JournalError(
            f"{path} was written anew and reads wrong ({fault}): the disk cannot be trusted; replace it"
        ) from fault


def _opened(path: Path, *, thorough: bool) -> tuple[sqlite3.Connection, Contents]:
    """:raises Damage: the database is damaged"""
    try:
        connection = connect(path, writable=True)
    except sqlite3.Error as fault:
        if is_damage(fault):
            raise Damage(str(fault)) from fault
        raise
    try:
        _check_wal(path, connection)
        return connection, examine(connection, thorough=thorough)
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def _wal_kept(path: Path) -> Iterator[None]:
    """Keep the write-ahead log of a damaged database: SQLite deletes it on closing, understood or not."""
    wal, second = path.with_name(path.name + "-wal"), path.with_suffix(".kept")
    if second.exists() and not (wal.exists() and wal.stat().st_size):
        second.replace(wal)
    second.unlink(missing_ok=True)
    if wal.exists():
        with contextlib.suppress(OSError):  # a file system without links: then only what SQLite understood is left
            second.hardlink_to(wal)
    try:
        yield
    except BaseException:
        if second.exists():
            second.replace(wal)
        raise
    second.unlink(missing_ok=True)


def _read_reserve(path: Path) -> Reserve | None:
    try:
        return Reserve.read(path)
    except FileError as fault:
        if not fault.damaged:
            raise
        # Nobody knows how far numbers were used: go where no unit that writes an event a second ever comes.
        beyond = Reserve(int(time.time()), int(time.time()))
        log.error("%s; it is set to %d", fault.finding, beyond.events)  # noqa: TRY400 (the sentence says it all)
        beyond.write(path)
        return beyond


def _check_wal(path: Path, connection: sqlite3.Connection) -> None:
    """Look for commits behind the point where SQLite stopped reading the write-ahead log.

    One may be there: it was under way when the power went, and nobody was told of it. Two were durable once.

    :raises Damage: there are two or more
    """
    try:
        _, readable, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as fault:
        if is_damage(fault):
            raise Damage(str(fault)) from fault
        raise
    behind = commits_behind(path, max(readable, 0))
    if behind > 1:
        raise Damage(f"the write-ahead log is broken after {readable} pages, {behind} commits lie behind")


def _create(path: Path) -> None:
    """An empty database, complete before it has its name."""
    with _draft(path) as connection:
        connection.execute("COMMIT")
    path.with_suffix(".draft").replace(path)
    sync_directory(path.parent)


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[sqlite3.Connection]:
    """A new database under another name, inside a transaction; durable when it is left."""
    draft = path.with_suffix(".draft")
    _remove(draft)
    connection = connect(draft, writable=True)
    try:
        # Nobody needs it before it is complete: no log ahead, which would want as much space again.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
        yield connection
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    with draft.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def damaged_copies(path: Path) -> list[Path]:
    """The files that were moved aside."""
    return sorted(path.parent.glob(path.stem + ".damaged*"))


def _put_in_place(rebuilt: Path, path: Path) -> None:
    """Move the damaged file aside and the new one to its place; may be interrupted anywhere and done again."""
    aside = path.with_name(f"{path.stem}.damaged.db")
    if path.exists():
        path.replace(aside)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        wal.replace(aside.with_name(aside.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    rebuilt.replace(path)
    sync_directory(path.parent)


def _rebuild(path: Path, rebuilt: Path, reserve: Reserve | None, reason: str) -> None:
    """Carry every row that proves itself into a new database, and note in it what has to be declared."""
    with _draft(path) as connection:
        items, damaged = _carry_over(path, connection)
        _note_gap(connection, items, damaged, reserve or Reserve(0, 0), reason)
        for id_, (name, content) in enumerate(items.items(), start=1):
            connection.execute("INSERT INTO items VALUES (?, ?, ?)", (id_, name, with_checksum(name, content)))
        connection.execute("COMMIT")
    path.with_suffix(".draft").replace(rebuilt)
    sync_directory(path.parent)
    _put_in_place(rebuilt, path)


def _carry_over(path: Path, connection: sqlite3.Connection) -> tuple[dict[str, bytes], set[int]]:
    """Everything but the items goes straight into the new database; also gives the positions of damaged messages."""
    items: dict[str, bytes] = {}
    damaged: set[int] = set()
    for rowid, values, latest in rows(path):
        match rowid, values:
            case int(), (None, bytes(content)) if rowid > 0:
                try:
                    entry = read_row(rowid, content)
                except Damage:
                    if rowid & MESSAGE_BITS and latest:
                        damaged.add(rowid)
                    continue
                connection.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", (rowid, content))
                if not isinstance(entry, EventEntry):
                    connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (entry.message_id, rowid))
            case int(), (None, str(name), bytes(content)) if latest:
                table = {b"[": "samples", b"{": "telemetry"}.get(content[:1])
                if table is not None:
                    with contextlib.suppress(ValueError):
                        json.loads(content)
                        connection.execute(
                            f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)",  # noqa: S608 (one of two words)
                            (rowid, name, content),
                        )
                else:
                    try:
                        items[name] = checked_content(name, content)
                    except Damage:
                        continue
            case None, (str(message_id), int(position)):
                connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (message_id, position))
            case _:
                continue
    return items, damaged


def _note_gap(
    connection: sqlite3.Connection, items: dict[str, bytes], damaged: set[int], reserve: Reserve, reason: str
) -> None:
    """Work out which numbers are missing, and where the chain goes on."""
    known = Contents(items)
    last, last_hash = known.anchor
    connection.execute("DELETE FROM entries WHERE position <= ?", (last << SHIFT,))
    holes: list[list[int]] = []
    before = last << SHIFT
    for position, content in rows_after(connection, 0):
        sequence = position >> SHIFT
        if position & MESSAGE_BITS:
            damaged.update(range(max(before, sequence << SHIFT) + 1, position))
            damaged.discard(position)
        elif "anchor" not in items and not before:
            # Nobody knows whether there was something before: what is there is where the log begins.
            items["anchor"] = json.dumps(Head(sequence - 1, previous_hash(content))._asdict()).encode()
            last, last_hash = sequence, own_hash(content)
        elif sequence == last + 1 and previous_hash(content) != last_hash:
            # A version of a page that was never committed: the chain does not know this event.
            connection.execute("DELETE FROM entries WHERE position = ?", (position,))
            continue
        else:
            if sequence != last + 1:
                holes.append([last + 1, sequence - 1])
            last, last_hash = sequence, own_hash(content)
        before = position
    following = max(reserve.events, last) + 1
    messages = len(damaged)
    declared = {first: end for first, end in known.holes}  # noqa: C416 (typed)
    lost_events = [hole for hole in holes if declared.get(hole[0]) != hole[1]]
    earlier = known.json("recovery")
    if earlier and earlier["next_sequence"] > last:  # recovered before, and not declared yet
        lost_events = sorted([*lost_events, *earlier["lost"]["events"]])
        messages += earlier["lost"]["messages"]
    lost = {
        "reason": reason,
        "events": lost_events,
        "messages": messages,
        "snapshot": last > 0 and not known.snapshot_positions(),
    }
    if following > last + 1:
        holes.append([last + 1, following - 1])
    items["recovery"] = json.dumps(Recovery(last, last_hash, following, lost)._asdict()).encode()
    items["holes"] = json.dumps(holes).encode()
