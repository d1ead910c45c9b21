"""At the pickup site: the check-in, and the pickup stops at which the vehicle stands or was last."""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.state import Block, Stop
from agent.delivery.model.times import Instant
from agent.delivery.rules.out_of_date import check_date
from agent.delivery.rules.transaction import Refused, Transaction


def check_in(tx: Transaction, a: dict[str, Any]) -> None:
    """At the pickup site: the block begins."""
    block, reason = tx.block, a.get("reason")
    if block.state != "ACCEPTED":
        if any(other.state == "ACCEPTED" for other in tx.state.blocks.values()):
            raise Refused("BLOCK_ACTIVE", block_id=block.block_id)
        raise Refused("WRONG_TIME", action="check_in", block_state=block.state, expected=["ACCEPTED"])
    opens = check_in_from(block, tx.state.policy.check_in_early_s)
    confirmed = check_date(tx, block, opens)
    # A clock that nobody has set cannot say that it is too early.
    if opens is not None and tx.moment.wall_ms < opens.unix_ms and tx.moment.is_trusted:
        raise Refused("TOO_EARLY", check_in_from=opens.text)
    pickup = next(block.open_stops("pickup"), None)
    data: dict[str, Any] = {}
    if pickup is not None:
        sight = geofence.sight(block, pickup, tx.here, tx.state.policy, tx.moment)
        data = sight.data
        if sight.tier == 3:
            if reason is None:
                raise Refused("REASON_NEEDED", stop_id=pickup.stop_id, distance_m=sight.distance_m, why=sight.why)
            override(tx, pickup, sight, reason)
            data |= {"reason": reason, "override": True}
    tx.on_block("block.checked_in", block, **data, **({"date_confirmed": True} if confirmed else {}))
    tx.momentary(distance_m=None)
    if pickup is not None:
        tx.on_stop("stop.arrived", pickup, method="check_in", **data)


def check_in_from(block: Block, early_s: float) -> Instant | None:
    """When the check-in window opens."""
    return None if block.starts_at is None else Instant.of(block.starts_at.unix_ms - round(early_s * 1000))


def override(tx: Transaction, stop: Stop, sight: geofence.Sight, reason: str) -> None:
    """The driver says to be there although the position does not."""
    members = {"block_id": tx.block.block_id, "stop_id": stop.stop_id, "reason": reason, "why": sight.why, **sight.data}
    tx.add("geofence.overridden", f"stop/{stop.stop_id}", members)


def stand_at_pickup(tx: Transaction) -> None:
    """The manifest of a block may come after the check-in: then the vehicle stands at its first pickup already."""
    block = tx.block
    pickup = next(block.open_stops("pickup"), None)
    if block.state in {"CHECKED_IN", "LOADING"} and pickup is not None and block.current_stop_id is None:
        tx.on_stop("stop.arrived", pickup, method="manifest")


def open_pickups(block: Block) -> list[Stop]:
    """The pickup stops at which the vehicle stands."""
    return [stop for stop in block.stops.values() if stop.kind == "pickup" and stop.state == "ARRIVED"]


def last_pickup(block: Block) -> Stop | None:
    """The pickup stop at which the vehicle was last."""
    return block.stops[block.last_pickup_id] if block.last_pickup_id is not None else None
