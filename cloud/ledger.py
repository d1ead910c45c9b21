"""What has arrived, kept once and checked: the consumer's own store.

One SQLite file holds every envelope by its `id`. Whatever the order of arrival, the account is made by `sequence` per
unit and lane: gaps are losses unless a `unit.journal_recovered` declares them, and each event's hash must be that of
its content (RFC 8785, SHA-256) and continue the hash of the event before.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contract.canonical import GENESIS, content_hash
from contract.topics import short_type
from contract.vocabulary import PARCEL_BEGINS, PARCEL_TRANSITIONS

_SHOWN_GAPS: Final = 20

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, unit TEXT NOT NULL, lane TEXT NOT NULL, sequence INTEGER NOT NULL, type TEXT NOT NULL,
    previous TEXT, hash TEXT, sound INTEGER NOT NULL, payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sequence ON events (unit, lane, sequence);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
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


def _without(span: tuple[int, int], declared: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a span of sequence numbers once the declared ones are taken out."""
    left = []
    start, end = span
    for first, last in declared:
        if last < start or first > end:
            continue
        if first > start:
            left.append((start, first - 1))
        start = last + 1
    return [*left, (start, end)] if start <= end else left


class Ledger:
    """The store. One process writes; others may read at the same time."""

    def __init__(self, path: Path, *, from_sequence: int = 1) -> None:
        self._first = from_sequence
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, payloads: Iterable[bytes]) -> set[str]:
        """Keep what is new, in one transaction; gives the units that it came from.

        When this returns, everything is durable and may be acknowledged.
        """
        units: set[str] = set()
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for payload in payloads:
                unit = self._add(payload)
                if unit is not None:
                    units.add(unit)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return units

    def _add(self, payload: bytes) -> str | None:
        try:
            # JSON has one kind of number, and so has the hash: canonical JSON writes 1e16 as a whole number, which
            # `strict_json` refuses.
            envelope = json.loads(payload, parse_int=float)
            row = (
                str(envelope["id"]),
                str(envelope["source"]),
                str(envelope["lane"]),
                int(envelope["sequence"]),
                short_type(envelope["type"]),
                envelope.get("previoushash"),
                envelope.get("hash"),
                envelope["lane"] != "events" or content_hash(envelope) == envelope.get("hash"),
                payload,
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            self._count("unreadable")
            return None
        known = self._database.execute("SELECT payload FROM events WHERE id = ?", row[:1]).fetchone()
        if known is None:
            self._database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        else:
            self._count("duplicates_removed")
            if known[0] != payload:
                self._count("altered")
        return row[1]

    def _count(self, name: str) -> None:
        self._database.execute(
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
        )

    def units(self) -> list[str]:
        """Every unit that has sent events, as its source ``/{fleet}/{unit}``."""
        rows = self._database.execute("SELECT DISTINCT unit FROM events WHERE lane = 'events' ORDER BY unit")
        return [unit for (unit,) in rows]

    def account(self, unit: str, lane: str = "events", *, after: int | None = None) -> Account:
        """Gaps and chain of one unit, by sequence; `after` leaves out what an earlier account found complete."""
        start = self._first - 1 if after is None else after
        account = Account(last_sequence=start)
        declared = self._recoveries(unit) if lane == "events" else {}
        account.declared = sorted({gap for recovery in declared.values() for gap in recovery.gaps if gap[0] <= gap[1]})
        start_hash = self._hash_of(unit, start)
        before = None if start_hash is None else (start, start_hash)
        for sequence, previous, digest, sound in self._database.execute(
            "SELECT sequence, previous, hash, sound FROM events WHERE unit = ? AND lane = ? AND sequence > ? "
            "ORDER BY sequence",
            (unit, lane, start),
        ):
            account.received += 1
            if lane == "events":
                self._check(account, unit, before, (sequence, previous, digest, sound), declared.get(sequence))
            account.missing += _without((account.last_sequence + 1, sequence - 1), account.declared)
            account.last_sequence = sequence
            before = (sequence, digest)
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
        event: tuple[int, str, str, int],
        recovery: _Recovery | None,
    ) -> None:
        sequence, previous, digest, sound = event
        if not sound:
            account.breaks.append(f"{unit}: event {sequence} does not match its hash")
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
            "SELECT hash FROM events WHERE unit = ? AND lane = 'events' AND sequence = ?", (unit, sequence)
        ).fetchone()
        return None if row is None else str(row[0])

    def _recoveries(self, unit: str) -> dict[int, _Recovery]:
        rows = self._database.execute(
            "SELECT sequence, payload FROM events "
            "WHERE unit = ? AND lane = 'events' AND type = 'unit.journal_recovered'",
            (unit,),
        )
        found = {}
        for sequence, payload in rows:
            recovery = _Recovery.read(json.loads(payload).get("data"))
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
            "missing": missing[:_SHOWN_GAPS],
            "declared_gaps": [[unit, *gap] for unit, account in accounts.items() for gap in account.declared],
            "breaks": breaks[:_SHOWN_GAPS],
            "telemetry_received": telemetry,
            "unreadable": counts.get("unreadable", 0),
            "units": units,
        }

    def _parcels(self) -> dict[str, int]:
        """How many parcels are in each state, by the events alone."""
        states: dict[tuple[str, str], str] = {}
        for unit, type_, payload in self._database.execute(
            "SELECT unit, type, payload FROM events WHERE lane = 'events' AND type LIKE 'parcel.%' "
            "ORDER BY unit, sequence"
        ):
            envelope = json.loads(payload)
            parcel = (unit, envelope["subject"])
            state = parcel_state(type_, states.get(parcel))
            if type_ == "parcel.manifested":
                state = (envelope.get("data") or {}).get("state") or state
            if state is not None:
                states[parcel] = state
        return dict(sorted(Counter(states.values()).items()))


@dataclass(frozen=True)
class _Recovery:
    """What a `unit.journal_recovered` declares."""

    last_sequence: int
    last_hash: str
    next_sequence: int
    gaps: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, data: Any) -> _Recovery | None:
        try:
            last, following = int(data["last_sequence"]), int(data["next_sequence"])
            lost = data.get("lost") or {}
            pairs = lost.get("events") if isinstance(lost, dict) else None
            gaps = [(int(first), int(end)) for first, end in pairs or ()]
            return cls(last, str(data["last_hash"]), following, (*gaps, (last + 1, following - 1)))
        except (KeyError, TypeError, ValueError):
            return None
