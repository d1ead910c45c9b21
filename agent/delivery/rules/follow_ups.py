"""What follows by itself: stops that have ended, work that needs a stop, the next stop, the end of the route.

`settle` looks at the state, not at what was asked for, so that it makes no difference which scan, action or message
brought it about. `MOVES` lists what may follow, in the order in which it is tried; they are tried again until none of
them adds an event, so that a move need not know which others it brings about.

Why that ends, with no input from outside: a move acts only on what it finds undone, and leaves it done.

- A recall takes a parcel out of the states in which it can be recalled, and nothing here brings one back.
- A parcel without a stop gets one, at which it waits. Only stops at which nothing waits are ended or cancelled, so that
  stop stays. An ended stop stays ended.
- A block goes from ON_ROUTE to RETURNING once, and a parcel to RETURN_PENDING once.
- A stop is started only where none is under way, and nothing here interrupts one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.delivery.model.open_work import delivery_stop_of, has_future, home, next_stop, outcome, waiting
from agent.delivery.model.state import Block, Parcel, Stop
from agent.delivery.rules.transaction import Transaction
from contract.vocabulary import BLOCK_ACTIVE, STOP_ENDED

END_EVENTS: Final = {"COMPLETED": "stop.completed", "PARTIAL": "stop.partially_completed", "FAILED": "stop.failed"}
RECALLABLE: Final = frozenset({"MANIFESTED", "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED"})


def settle(tx: Transaction) -> None:
    """Add the events that follow from the state, where a block, stop or parcel has changed its state."""
    if not tx.changed:
        return
    settled_at = -1
    while settled_at != len(tx.events):
        settled_at = len(tx.events)
        for move, states in MOVES:
            block = tx.state.block
            if block is not None and block.state in states:
                move(tx)


def _recall(tx: Transaction) -> None:
    if tx.block.recalls:
        recall(tx, tx.block)


def recall(tx: Transaction, block: Block) -> list[Parcel]:
    """Take out what the cloud has recalled, now or before it turned up."""
    recalled = []
    for parcel_id, message_id in block.recalls.items():
        parcel = block.parcels.get(parcel_id)
        if parcel is not None and parcel.state in RECALLABLE:
            tx.of_parcel(block.block_id, "parcel.recalled", parcel, reason="RECALLED", message_id=message_id)
            recalled.append(parcel)
    return recalled


def end_stop(tx: Transaction, stop: Stop) -> None:
    """End a stop as its parcels say."""
    result = outcome(stop.kind, tx.block.parcels_of(stop))
    data = {} if result == "COMPLETED" else {"reasons": _reasons(tx.block, stop)}
    tx.on_stop(END_EVENTS[result], stop, **data)
    tx.start_next = True


def _reasons(block: Block, stop: Stop) -> dict[str, str]:
    """Why, for each parcel that was not resolved well."""
    good = {"DELIVERED", "RETURNED"} if stop.kind != "pickup" else {"LOADED", "OUT_FOR_DELIVERY"}
    return {
        parcel.parcel_id: parcel.reason or parcel.state for parcel in block.parcels_of(stop) if parcel.state not in good
    }


def _start_next(tx: Transaction) -> None:
    """Start the next stop where one has ended or the vehicle has departed, unless one is under way."""
    if tx.start_next and tx.block.current_stop_id is None:
        stop = next_stop(tx.block)
        if stop is not None:
            tx.on_stop("stop.started", stop)
            tx.momentary(near_since_ms=None, away_since_ms=None)


def new_stop_id(block: Block, base: str) -> str:
    """An id that the block does not have yet: ``T7-2``, ``return-S1``."""
    if base not in block.stops:
        return base
    number = 2
    while f"{base}-{number}" in block.stops:
        number += 1
    return f"{base}-{number}"


def add_delivery_stop(tx: Transaction, before: Stop, parcels: list[Parcel]) -> None:
    """The work of an ended stop goes on at a new one."""
    root = before
    while root.added and root.of_stop_id is not None:
        root = tx.block.stops[root.of_stop_id]
    _add_stop(tx, new_stop_id(tx.block, root.stop_id), "delivery", parcels, of_stop_id=before.stop_id)


def add_return_stop(tx: Transaction, site_id: str | None, parcels: list[Parcel]) -> str:
    """A stop at which parcels go back; its id."""
    stop_id = new_stop_id(tx.block, f"return-{site_id}" if site_id is not None else "return")
    _add_stop(tx, stop_id, "return", parcels, **({} if site_id is None else {"site_id": site_id}))
    return stop_id


def _add_stop(tx: Transaction, stop_id: str, kind: str, parcels: list[Parcel], **data: str) -> None:
    block = tx.block
    ids = [parcel.parcel_id for parcel in parcels]
    members = {"block_id": block.block_id, "stop_id": stop_id, "kind": kind, "parcel_ids": ids, **data}
    tx.add("stop.added", f"stop/{stop_id}", members)
    tx.changed = tx.start_next = True


def _give_stops(tx: Transaction) -> None:
    """A parcel that is out for delivery again, after its stop has ended, gets a new stop at the same door."""
    block = tx.block
    homeless: dict[str, list[Parcel]] = {}
    for parcel in block.parcels.values():
        if parcel.state == "OUT_FOR_DELIVERY" and parcel.stop_id is not None:
            stop = block.stops[parcel.stop_id]
            if stop.state in STOP_ENDED or stop.kind != "delivery":
                before = delivery_stop_of(block, parcel)
                if before is not None:
                    homeless.setdefault(before.stop_id, []).append(parcel)
    for stop_id, parcels in homeless.items():
        add_delivery_stop(tx, block.stops[stop_id], parcels)


def _end_current(tx: Transaction) -> None:
    stop = tx.block.current_stop
    if stop is None or stop.state != "ARRIVED" or stop.kind not in {"delivery", "return"}:
        return
    if not waiting(tx.block, stop):
        end_stop(tx, stop)


def _cancel_idle(tx: Transaction) -> None:
    """Nobody drives to a stop at which nothing is left to do."""
    for stop in list(tx.block.open_stops()):
        if stop.state != "ARRIVED" and not has_future(tx.block, stop):
            cancel_stop(tx, stop, "NO_WORK_LEFT")


def cancel_stop(tx: Transaction, stop: Stop, reason: str) -> None:
    """Cancel a stop that was not reached."""
    tx.on_stop("stop.cancelled", stop, reason=reason)
    if stop.state == "EN_ROUTE":
        tx.start_next = True


def _finish_route(tx: Transaction) -> None:
    """After the last delivery and pickup, what is left goes back; without an open stop the route is over."""
    if any(True for _ in tx.block.open_stops("delivery", "pickup")):
        return
    for parcel in tx.block.custody:
        if parcel.state in {"ATTEMPTED", "OUT_FOR_DELIVERY", "LOADED"}:
            tx.on_parcel("parcel.return_pending", parcel, reason=parcel.reason or "NO_STOP", action="return")
            tx.start_next = True
    for stop in list(tx.block.open_stops("return", "break")):
        if stop.state != "ARRIVED" and not waiting(tx.block, stop):
            cancel_stop(tx, stop, "NO_WORK_LEFT")
    if any(True for _ in tx.block.open_stops()):
        return
    if any(parcel.state == "RETURN_PENDING" for parcel in tx.block.parcels.values()):
        tx.on_block("block.stops_done", tx.block)


def _send_back(tx: Transaction) -> None:
    """Every parcel that goes back has an open stop to go back at."""
    for parcel in tx.block.custody:
        if parcel.state in {"ATTEMPTED", "LOADED"} or (
            parcel.state == "OUT_FOR_DELIVERY" and not _has_door(tx, parcel)
        ):
            tx.on_parcel("parcel.return_pending", parcel, reason=parcel.reason or "NO_STOP", action="return")
    block = tx.block
    covered = {parcel.parcel_id for stop in block.open_stops("return") for parcel in waiting(block, stop)}
    homeless: dict[str | None, list[Parcel]] = {}
    for parcel in block.parcels.values():
        if parcel.state == "RETURN_PENDING" and parcel.parcel_id not in covered:
            homeless.setdefault(home(block, parcel), []).append(parcel)
    for site_id, parcels in homeless.items():
        add_return_stop(tx, site_id, parcels)


def _has_door(tx: Transaction, parcel: Parcel) -> bool:
    stop = tx.block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    return stop is not None and stop.kind == "delivery" and stop.state not in STOP_ENDED


_ON_THE_ROAD: Final = frozenset({"ON_ROUTE", "RETURNING"})

MOVES: Final[tuple[tuple[Callable[[Transaction], None], frozenset[str]], ...]] = (
    (_recall, BLOCK_ACTIVE | {"ACCEPTED"}),
    (_give_stops, _ON_THE_ROAD),
    (_end_current, _ON_THE_ROAD),
    (_cancel_idle, _ON_THE_ROAD),
    (_finish_route, frozenset({"ON_ROUTE"})),
    (_send_back, frozenset({"RETURNING"})),
    (_start_next, _ON_THE_ROAD),
)
"""What may follow, and the states of the block in which it may."""
