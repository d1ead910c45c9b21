"""What has arrived, kept once and checked: the consumer's own store.

One SQLite file holds every envelope by its unit, lane and `id`. Whatever the order of arrival, the account is made by
`sequence` per unit and lane: gaps are losses unless a `unit.journal_recovered` declares them, and each event's hash
must be that of its content (RFC 8785, SHA-256) and continue the hash of the event before. An event that does not match
its hash is shown as a break and is owed as long as the one that does has not come.

What could not be read is counted, and the newest of it is kept aside for whoever looks for the reason.
"""

from __future__ import annotations

import re
import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from cloud.intake import Message, Unreadable
from contract import strict_json
from contract.canonical import GENESIS
from contract.topics import SOURCE
from contract.vocabulary import PARCEL_BEGINS, PARCEL_TRANSITIONS, ParcelState

MAX_KEPT_ASIDE: Final = 200
"""The newest of what could not be read; what is older is only counted."""
_SHOWN: Final = 20
"""Gaps, breaks and unreadable messages that a report names."""
_MAX_SEQUENCE: Final = strict_json.SAFE_INTEGER
_PARCEL_STATES: Final = get_args(ParcelState)

VERSION: Final = 1
"""Of the tables; in version 0 an id was unique among all units, so that one unit could take the id of another's."""
SCHEMA: Final = f"""
CREATE TABLE events (
    id TEXT NOT NULL, unit TEXT NOT NULL, lane TEXT NOT NULL, sequence INTEGER NOT NULL, type TEXT NOT NULL,
    previous TEXT, hash TEXT, sound INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (unit, lane, id)
) WITHOUT ROWID;
CREATE INDEX by_unit_and_sequence ON events (unit, lane, sequence);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE kept_aside (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, reason TEXT NOT NULL, size INTEGER NOT NULL,
    excerpt BLOB NOT NULL
);
PRAGMA user_version = {VERSION};
"""


_OUTCOMES: Final[dict[str, dict[str, str]]] = {}
"""Event of a parcel → the state before → the state that follows."""
for (_before, _event), _after in PARCEL_TRANSITIONS.items():
    _OUTCOMES.setdefault(_event, {})[_before] = _after


def parcel_state(event: str, before: str | None) -> str | None:
    """The state that an event leads to; most lead to one state only, and count even if what came before is missing."""
    if event in PARCEL_BEGINS:
        return PARCEL_BEGINS[event]
    outcomes = _OUTCOMES.get(event, {})
    states = {*outcomes.values()}
    return states.pop() if len(states) == 1 else outcomes.get(before or "")


@dataclass
class Account:
    """One unit's events, by sequence."""

    received: int = 0
    last_sequence: int = 0
    through: int = 0
    """Everything up to here has arrived, or is declared lost."""
    missing: list[tuple[int, int]] = field(default_factory=list)
    declared: list[tuple[int, int]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    """Where the chain does not hold."""


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in ascending spans that do not touch each other."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] <= span[1]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _without(span: tuple[int, int], declared: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a span of sequence numbers once the declared ones, which are merged, are taken out."""
    left = []
    start, end = span
    for index in range(bisect_left(declared, start, key=lambda each: each[1]), len(declared)):
        first, last = declared[index]
        if first > end:
            break
        if first > start:
            left.append((start, first - 1))
        start = last + 1
    return [*left, (start, end)] if start <= end else left


class LedgerError(Exception):
    """The store cannot be used: says which file, and what to do."""


class Ledger:
    """The store. One process writes; others may read at the same time.

    :raises LedgerError: the file is no store of a consumer, or cannot be opened
    """

    def __init__(self, path: Path, *, from_sequence: int = 1) -> None:
        self._first = from_sequence
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._bring_up_to_date()
        except sqlite3.Error as error:
            raise LedgerError(f"{path}: expected the store of a consumer ({error}); name another file") from error

    def _bring_up_to_date(self) -> None:
        if self._version() == VERSION:
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            if self._version() == 0:
                earlier = self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone()
                if earlier:
                    self._database.execute("ALTER TABLE events RENAME TO earlier")
                for statement in SCHEMA.split(";"):
                    self._database.execute(statement)
                if earlier:
                    self._database.execute("INSERT INTO events SELECT * FROM earlier")
                    self._database.execute("DROP TABLE earlier")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        if self._version() != VERSION:
            raise sqlite3.DatabaseError(f"its tables are those of version {self._version()}, which is newer")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, arrived: Iterable[Message | Unreadable]) -> set[str]:
        """Keep what is new, in one transaction; gives the units that it came from.

        When this returns, everything is durable and may be acknowledged.
        """
        units: set[str] = set()
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for each in arrived:
                if isinstance(each, Message):
                    self._add(each)
                    units.add(each.unit)
                else:
                    self._keep_aside(each)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return units

    def _add(self, message: Message) -> None:
        key = (message.unit, message.lane, message.id)
        known = self._database.execute(
            "SELECT payload, sound FROM events WHERE unit = ? AND lane = ? AND id = ?", key
        ).fetchone()
        if known is not None:
            self._count("duplicates_removed")
            if known[0] == message.payload:
                return
            self._count("altered")
            if known[1] or not message.sound:
                return
        self._database.execute(
            "INSERT OR REPLACE INTO events (id, unit, lane, sequence, type, previous, hash, sound, payload) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.id,
                message.unit,
                message.lane,
                message.sequence,
                message.type,
                message.previous,
                message.hash,
                message.sound,
                message.payload,
            ),
        )

    def _keep_aside(self, unreadable: Unreadable) -> None:
        self._count("unreadable")
        number = self._database.execute(
            "INSERT INTO kept_aside (topic, reason, size, excerpt) VALUES (?, ?, ?, ?)",
            (unreadable.topic, unreadable.reason, unreadable.size, unreadable.excerpt),
        ).lastrowid
        self._database.execute("DELETE FROM kept_aside WHERE number <= ?", ((number or 0) - MAX_KEPT_ASIDE,))

    def _count(self, name: str) -> None:
        self._database.execute(
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
        )

    def units(self) -> list[str]:
        """Every unit that has sent events, as its source ``/{fleet}/{unit}``."""
        rows = self._database.execute("SELECT DISTINCT unit FROM events WHERE lane = 'events' ORDER BY unit")
        return [unit for (unit,) in rows if re.fullmatch(SOURCE, unit)]

    def account(self, unit: str, lane: str = "events", *, after: int | None = None) -> Account:
        """Gaps and chain of one unit, by sequence; `after` leaves out what an earlier account found complete."""
        start = self._first - 1 if after is None else after
        account = Account(last_sequence=start)
        declared = self._recoveries(unit) if lane == "events" else {}
        account.declared = _merged(gap for recovery in declared.values() for gap in recovery.gaps)
        start_hash = self._hash_of(unit, start)
        before = None if start_hash is None else (start, start_hash)
        highest = start
        for sequence, previous, digest, sound in self._database.execute(
            "SELECT sequence, previous, hash, sound FROM events WHERE unit = ? AND lane = ? AND sequence > ? "
            "ORDER BY sequence",
            (unit, lane, start),
        ):
            account.received += 1
            highest = max(highest, sequence)
            if not sound:
                account.breaks.append(f"{unit}: event {sequence} does not match its hash")
                continue
            if lane == "events":
                self._check(account, unit, before, (sequence, previous, digest), declared.get(sequence))
            account.missing += _without((account.last_sequence + 1, sequence - 1), account.declared)
            account.last_sequence = sequence
            before = (sequence, digest)
        account.missing += _without((account.last_sequence + 1, highest), account.declared)
        account.through = account.missing[0][0] - 1 if account.missing else account.last_sequence
        return account

    def complete(self, sequence: int) -> bool:
        """Whether one of the units has sent everything up to here."""
        highest = self._database.execute("SELECT max(sequence) FROM events WHERE lane = 'events'").fetchone()[0]
        return (
            highest is not None
            and highest >= sequence
            and any(self.account(u).through >= sequence for u in self.units())
        )

    def _check(
        self,
        account: Account,
        unit: str,
        before: tuple[int, str] | None,
        event: tuple[int, str, str],
        recovery: _Recovery | None,
    ) -> None:
        sequence, previous, digest = event
        if before is not None and sequence == before[0]:
            if digest != before[1]:
                account.breaks.append(f"{unit}: two events have the sequence {sequence}")
        elif recovery is not None:
            base = self._hash_of(unit, recovery.last_sequence)
            if previous != recovery.last_hash or base not in {None, recovery.last_hash}:
                account.breaks.append(f"{unit}: event {sequence} does not continue event {recovery.last_sequence}")
        elif before is not None and sequence == before[0] + 1 and previous != before[1]:
            account.breaks.append(f"{unit}: event {sequence} does not continue event {before[0]}")

    def _hash_of(self, unit: str, sequence: int) -> str | None:
        if sequence == 0:
            return GENESIS
        row = self._database.execute(
            "SELECT hash FROM events WHERE unit = ? AND lane = 'events' AND sequence = ? AND sound", (unit, sequence)
        ).fetchone()
        return None if row is None else str(row[0])

    def _recoveries(self, unit: str) -> dict[int, _Recovery]:
        rows = self._database.execute(
            "SELECT sequence, payload FROM events "
            "WHERE unit = ? AND lane = 'events' AND type = 'unit.journal_recovered' AND sound",
            (unit,),
        )
        found = {}
        for sequence, payload in rows:
            recovery = _Recovery.read(_envelope(payload).get("data"))
            if recovery is not None and recovery.next_sequence == sequence:
                found[sequence] = recovery
        return found

    def report(self) -> dict[str, Any]:
        """The account of all units together."""
        units = self.units()
        accounts = {unit: self.account(unit) for unit in units}
        counts = dict(self._database.execute("SELECT name, value FROM counts"))
        by_type = dict(
            self._database.execute(
                "SELECT type, count(*) FROM events WHERE lane = 'events' GROUP BY type ORDER BY type"
            )
        )
        telemetry = self._database.execute("SELECT count(*) FROM events WHERE lane = 'telemetry'").fetchone()[0]
        breaks = [text for account in accounts.values() for text in account.breaks]
        if counts.get("altered"):
            breaks.append(f"{counts['altered']} messages came again with the same id and other bytes")
        missing = [[unit, *gap] for unit, account in accounts.items() for gap in account.missing]
        return {
            "events_received": sum(account.received for account in accounts.values()),
            "duplicates_removed": counts.get("duplicates_removed", 0),
            "gaps": len(missing),
            "chain_intact": not breaks,
            "last_sequence": max((account.last_sequence for account in accounts.values()), default=0),
            "parcels": self._parcels(),
            "by_type": by_type,
            "missing": missing[:_SHOWN],
            "declared_gaps": [[unit, *gap] for unit, account in accounts.items() for gap in account.declared],
            "breaks": breaks[:_SHOWN],
            "telemetry_received": telemetry,
            "unreadable": counts.get("unreadable", 0),
            "kept_aside": [
                {"topic": topic, "reason": reason, "bytes": size}
                for topic, reason, size in self._database.execute(
                    "SELECT topic, reason, size FROM kept_aside ORDER BY number DESC LIMIT ?", (_SHOWN,)
                )
            ],
            "units": units,
        }

    def _parcels(self) -> dict[str, int]:
        """How many parcels are in each state, by the events alone."""
        states: dict[tuple[str, str], str] = {}
        for unit, type_, payload in self._database.execute(
            "SELECT unit, type, payload FROM events WHERE lane = 'events' AND type LIKE 'parcel.%' "
            "ORDER BY unit, sequence"
        ):
            envelope = _envelope(payload)
            parcel = (unit, str(envelope.get("subject")))
            state = parcel_state(type_, states.get(parcel))
            data = envelope.get("data")
            if type_ == "parcel.manifested" and isinstance(data, dict) and data.get("state") in _PARCEL_STATES:
                state = data["state"]
            if state is not None:
                states[parcel] = state
        return dict(sorted(Counter(states.values()).items()))


def _envelope(payload: bytes) -> dict[str, Any]:
    """What was kept, which an earlier version did not check; nothing where it cannot be read."""
    try:
        envelope = strict_json.parse(bytes(payload))
    except (strict_json.StrictJsonError, TypeError):
        return {}
    return envelope if isinstance(envelope, dict) else {}


@dataclass(frozen=True)
class _Recovery:
    """What a `unit.journal_recovered` declares."""

    last_sequence: int
    last_hash: str
    next_sequence: int
    gaps: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, data: Any) -> _Recovery | None:
        """What the event's data declare; ``None`` where they do not say it in the form that the contract has."""
        match data:
            case {"last_sequence": last, "last_hash": str(last_hash), "next_sequence": following}:
                lost = data.get("lost")
                pairs = lost.get("events") if isinstance(lost, dict) else None
                gaps = [tuple(pair) for pair in pairs if isinstance(pair, list)] if isinstance(pairs, list) else []
                numbers = [last, following, *(number for gap in gaps for number in gap)]
                if all(map(_is_sequence, numbers)) and all(len(gap) == 2 for gap in gaps):
                    return cls(last, last_hash, following, (*gaps, (last + 1, following - 1)))
        return None


def _is_sequence(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_SEQUENCE
