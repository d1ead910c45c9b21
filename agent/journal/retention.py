"""What may leave the log: events that are confirmed, covered by a snapshot and older than the retention.

Age is counted on the log's own clock, back from its newest event with a trusted time, so that a wrong wall clock drops
nothing. An event of an untrusted clock is as old as the next trusted one behind it.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from agent.journal.database import MESSAGE_BITS, SHIFT, Items, rows_after
from agent.journal.entries import Head
from agent.journal.envelope import own_hash, trusted_time
from contract.times import unix_ms

DAY_MS: Final = 86_400_000
EVENTS_AT_A_TIME = 2000
SEEN_KEPT = 100_000
"""Ids of messages that are remembered at least, whatever was dropped."""


def droppable(database: sqlite3.Connection, anchor: int, until: int, retain_days: int) -> Head | None:
    """The last event, at most `until`, up to which the log may be dropped now; ``None`` if nothing may go."""
    if until <= anchor:
        return None
    newest = database.execute(
        "SELECT content FROM entries WHERE position & ? = 0 ORDER BY position DESC LIMIT 200", (MESSAGE_BITS,)
    )
    now_ms = next((time_ms for (payload,) in newest if (time_ms := _trusted_ms(payload)) is not None), None)
    if now_ms is None:
        return None
    oldest_ms = now_ms - retain_days * DAY_MS
    found: bytes | None = None
    last = anchor
    for position, payload in rows_after(database, anchor << SHIFT):
        sequence = position >> SHIFT
        if sequence > until:
            break
        time_ms = None if position & MESSAGE_BITS else _trusted_ms(payload)
        if time_ms is not None:
            if time_ms >= oldest_ms:
                break
            found, last = payload, sequence
            if sequence - anchor >= EVENTS_AT_A_TIME:
                break
    return Head(last, own_hash(found)) if found is not None else None


def _trusted_ms(payload: bytes) -> int | None:
    text = trusted_time(payload)
    return None if text is None else unix_ms(text)


def drop(database: sqlite3.Connection, items: Items, anchor: Head) -> None:
    """Drop the log up to this event, which becomes the anchor; inside a transaction."""
    database.execute("DELETE FROM entries WHERE position <= ?", (anchor.sequence << SHIFT,))
    items.put("anchor", json.dumps(anchor._asdict()).encode())
    if database.execute("SELECT count(*) FROM seen").fetchone()[0] > SEEN_KEPT * 11 // 10:
        database.execute(
            "DELETE FROM seen WHERE position <= (SELECT position FROM seen ORDER BY position DESC LIMIT 1 OFFSET ?)",
            (SEEN_KEPT,),
        )
