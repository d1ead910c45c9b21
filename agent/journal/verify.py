"""Walks the chain of a store or of an export and tells where it is not whole.

An event that is missing, comes twice, was changed or does not follow the one before it is a finding; so is a gap that
the unit itself declared after a recovery, as its own kind. The walk only reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from agent.journal.entries import Head, JournalError
from agent.journal.envelope import Chained, chained
from contract.canonical import GENESIS, content_hash
from contract.topics import short_type

RECOVERED = "unit.journal_recovered"
FINDINGS_KEPT = 100

Kind = Literal["unreadable", "break", "gap", "duplicate", "recovery"]


class Finding(NamedTuple):
    """One place where the chain is not whole."""

    kind: Kind
    sequence: int | None
    """Of the event at which it shows; for a gap of the first that is missing."""
    place: str
    """Where in the input: ``line 7``, or empty for a store."""
    message: str


@dataclass(slots=True)
class Verdict:
    """What the walk found."""

    events: int = 0
    first: int | None = None
    last: int | None = None
    hash: str | None = None
    """Of the last event."""
    findings: list[Finding] = field(default_factory=list)
    """The first hundred, in their order."""
    finding_count: int = 0

    @property
    def whole(self) -> bool:
        """Whether there is nothing to tell."""
        return self.finding_count == 0


def verify_export(lines: Iterable[bytes]) -> Verdict:
    """Walk the JSON lines of an export."""
    numbered = ((f"line {number}", line.strip()) for number, line in enumerate(lines, start=1))
    return verify((place, line) for place, line in numbered if line)


def verify(events: Iterable[tuple[str, bytes]], start: Head | None = None) -> Verdict:
    """Walk events given as (place, JSON) in the order they stand; `start` is what the first one must follow.

    Lines of the telemetry lane are passed over.
    """
    verdict = Verdict()
    gaps: list[tuple[int, int, int]] = []
    last = start

    def tell(kind: Kind, sequence: int | None, place: str, message: str) -> None:
        verdict.finding_count += 1
        if len(verdict.findings) < FINDINGS_KEPT:
            verdict.findings.append(Finding(kind, sequence, place, message))

    for place, payload in events:
        try:
            found = _chained(payload)
        except JournalError as fault:
            tell("unreadable", None, place, str(fault))
            continue
        if found is None:
            continue
        sequence = found.sequence
        if last is None and sequence == 1:
            last = Head(0, GENESIS)
        verdict.events += 1
        verdict.first = sequence if verdict.first is None else verdict.first
        declared = _declaration(found, payload)
        if last is not None and sequence <= last.sequence:
            tell("duplicate", sequence, place, f"event {sequence} comes again after {last.sequence}")
            continue
        if last is not None and sequence == last.sequence + 1 and found.previous_hash != last.hash:
            tell(
                "break",
                sequence,
                place,
                f"event {sequence} does not follow {last.sequence}: its previoushash is {found.previous_hash}, "
                f"the hash before it is {last.hash}",
            )
        if last is not None and sequence > last.sequence + 1:
            missing = f"events {last.sequence + 1} to {sequence - 1} are missing"
            if declared and declared["last_sequence"] == last.sequence and declared["last_hash"] == last.hash:
                tell("recovery", last.sequence + 1, place, f"{missing}: declared by the recovery in event {sequence}")
            else:
                gaps.append((last.sequence + 1, sequence - 1, len(verdict.findings)))
                tell("gap", last.sequence + 1, place, missing)
        if declared:
            _explain(verdict, gaps, declared, sequence)
        last = Head(sequence, found.hash)
        verdict.last, verdict.hash = sequence, found.hash
    return verdict


def _chained(payload: bytes) -> Chained | None:
    """Of an event with the right hash, in canonical form or not; ``None`` for telemetry.

    :raises JournalError: it is no event, or its content does not match its hash
    """
    try:
        return chained(payload)
    except JournalError:
        pass
    try:
        # JSON knows one kind of number, and its canonical form is that of a double.
        event = json.loads(payload, parse_int=float)
        if event["lane"] != "events":
            return None
        claimed = event["hash"]
        found = Chained(
            int(event["sequence"]),
            event["id"],
            short_type(event["type"]),
            event["previoushash"],
            claimed,
        )
        digest = content_hash(event)
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        raise JournalError(f"this is not an event of the unit ({type(fault).__name__}: {fault})") from fault
    if digest != claimed:
        raise JournalError(f"event {found.sequence}: its content does not match its hash")
    return found


def _declaration(found: Chained, payload: bytes) -> dict[str, Any] | None:
    """What an event after a recovery says about the gap before it."""
    if found.type != RECOVERED:
        return None
    data = json.loads(payload)["data"]
    complete = isinstance(data, dict) and data.keys() >= {"last_sequence", "last_hash", "next_sequence", "lost"}
    return data if complete and found.previous_hash == data["last_hash"] else None


def _explain(verdict: Verdict, gaps: list[tuple[int, int, int]], declared: dict[str, Any], sequence: int) -> None:
    """Gaps met before that this event declares are no longer unexplained."""
    lost = declared["lost"].get("events", []) if isinstance(declared["lost"], dict) else []
    for first, last, index in gaps:
        if index < len(verdict.findings) and any(pair[0] <= first and last <= pair[1] for pair in lost):
            verdict.findings[index] = verdict.findings[index]._replace(
                kind="recovery",
                message=f"events {first} to {last} are missing: declared by the recovery in event {sequence}",
            )
