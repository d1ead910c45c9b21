"""Events that wait for the broker: real envelopes in a real journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from agent.delivery.fold.snapshot import dump
from agent.delivery.model.inputs import Moment
from agent.delivery.model.state import State
from agent.journal.entries import Batch, EventEntry
from agent.journal.envelope import Chain
from agent.journal.store import Journal

BATCH_EVENTS = 500


def now() -> Moment:
    """This moment, of a boot that never was."""
    return Moment(
        time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000, "00000000-0000-0000-0000-000000000000", "ntp"
    )


def backlog(count: int, fleet: str, unit: str) -> list[EventEntry]:
    """The first events of a unit's chain, about 600 bytes each."""
    chain = Chain(f"/{fleet}/{unit}", 0, "0" * 64)
    data: dict[str, Any] = {"block_id": "B7", "stop_id": "T1", "driver_id": "D1", "handover": "front_door"}
    where = {"latitude": 52.0907, "longitude": 5.1214, "accuracy_m": 4.1, "age_s": 0.4, "source": "vehicle"}
    return [
        chain.add("parcel.delivered", f"parcel/P{n}", {**data, "parcel_id": f"P{n}", "where": where}, now())
        for n in range(count)
    ]


def fill(journal: Journal, events: Sequence[EventEntry]) -> None:
    """Write them, and a snapshot of a unit that has no block, so that a start need not read them."""
    written = threading.Semaphore(0)
    batches = [Batch(tuple(events[start : start + BATCH_EVENTS])) for start in range(0, len(events), BATCH_EVENTS)]
    batches.append(Batch((), snapshot=dump(State())))
    for batch in batches:
        journal.write(batch, lambda _fault: written.release())
    for _ in batches:
        written.acquire()
