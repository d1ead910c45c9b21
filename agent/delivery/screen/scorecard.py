"""How a block went: each figure with its numerator and denominator, so that the driver can see what is behind it."""

from __future__ import annotations

from collections.abc import Iterable

from agent.delivery.model.state import Block, Parcel
from contract.vocabulary import REASONS, STOP_ENDED


def _share(good: int, of: int) -> dict[str, int]:
    return {"numerator": good, "denominator": of}


def scorecard(block: Block) -> dict[str, dict[str, int]]:
    """Counts behind the block's figures, each with what it is a share of."""
    parcels = list(block.parcels.values())
    aboard = [
        p for p in parcels if p.loaded_at is not None or p.state in {"DELIVERED", "OUT_FOR_DELIVERY", "ATTEMPTED"}
    ]
    dispatched = [parcel for parcel in aboard if parcel.reason != "RECALLED"]
    delivered = [parcel for parcel in dispatched if parcel.state == "DELIVERED"]
    ended = [parcel for parcel in aboard if parcel.state in {"DELIVERED", "RETURNED"}]
    scanned = [parcel for parcel in ended if parcel.entry in {"scan", "camera"}]
    attempts = [attempt for parcel in parcels for attempt in parcel.attempts]
    asked = [attempt for attempt in attempts if attempt.made and _asks_contact(attempt.reason)]
    arrived = [stop for stop in block.stops.values() if stop.arrived_at is not None]
    return {
        "delivery_completion": _share(len(delivered), len(dispatched)),
        "on_time": _on_time(block, parcels),
        "scan_compliance": _share(len(scanned), len(ended)),
        "contact_compliance": _share(sum(attempt.contacted for attempt in asked), len(asked)),
        "load_accuracy": _share(block.loads, block.loads + block.rejected_scans),
        "geofence_overrides": _share(block.overrides, len(arrived)),
        "stops_ended": _share(sum(stop.state in STOP_ENDED for stop in block.stops.values()), len(block.stops)),
    }


def _asks_contact(code: str) -> bool:
    reason = REASONS.get(code)
    return reason is not None and reason.asks_contact


def _on_time(block: Block, parcels: Iterable[Parcel]) -> dict[str, int]:
    """Delivered or attempted inside the window, of the parcels with one that were delivered or attempted."""
    good = of = 0
    for parcel in parcels:
        stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
        if stop is None or stop.plan.window is None:
            continue
        tried = parcel.attempts[0].time if parcel.attempts else parcel.since if parcel.state == "DELIVERED" else None
        if tried is None or stop.plan.window.to is None:
            continue
        of += 1
        good += tried <= stop.plan.window.to and (stop.plan.window.from_ is None or stop.plan.window.from_ <= tried)
    return _share(good, of)
