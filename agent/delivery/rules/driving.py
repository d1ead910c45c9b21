"""Between the stops: which one is next, when the vehicle has arrived, when it has left, and breaks.

The fence never blocks: near enough is taken silently, farther away is asked once, and beyond that a reason is enough.
"""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.inputs import Located
from agent.delivery.model.manifest import Place
from agent.delivery.model.open_work import can_start, next_stop, waiting
from agent.delivery.model.state import Block, Question, Stop, replace
from agent.delivery.rules.follow_ups import end_stop
from agent.delivery.rules.loading import leave_site
from agent.delivery.rules.pickup import last_pickup, override
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import STOP_ENDED


def start_stop(tx: Transaction, a: dict[str, Any]) -> None:
    """Drive to another stop than the one under way."""
    block, stop = tx.block, tx.block.stops.get(a["stop_id"])
    if stop is None:
        raise Refused("UNKNOWN_STOP", stop_id=a["stop_id"])
    if stop.state in STOP_ENDED:
        raise Refused("STOP_ENDED", stop_id=stop.stop_id, stop_state=stop.state)
    if stop.state == "ARRIVED":
        raise Refused("ALREADY_ARRIVED", stop_id=stop.stop_id)
    if stop.state == "EN_ROUTE":
        raise Refused("ALREADY_UNDER_WAY", stop_id=stop.stop_id)
    if not can_start(block, stop):
        raise Refused("NOTHING_TO_DO", stop_id=stop.stop_id)
    current, expected = block.current_stop, next_stop(block)
    if current is not None:
        expected = current if current.state == "EN_ROUTE" else expected
        _leave_for_another(tx, current)
    out_of_order = expected is not None and expected.stop_id != stop.stop_id
    tx.on_stop("stop.started", stop, **({"out_of_order": True} if out_of_order else {}))
    tx.start_next = False
    tx.momentary(near_since_ms=None, away_since_ms=None, question=None)
    if expected is not None and out_of_order and (current is None or current.state == "EN_ROUTE"):
        tx.tell("OUT_OF_ORDER", "attention", stop_id=stop.stop_id, expected_stop_id=expected.stop_id)


def _leave_for_another(tx: Transaction, current: Stop) -> None:
    if current.state == "EN_ROUTE":
        tx.on_stop("stop.skipped", current, reason="CHOSE_ANOTHER", keeps_place=True)
    elif current.kind == "break":
        end_stop(tx, current)
    else:
        leave_open(tx, current, reason="CHOSE_ANOTHER")


def leave_open(tx: Transaction, stop: Stop, **data: Any) -> None:
    """The vehicle has left a stop although parcels are unresolved: it says so, and the stop stays to be done."""
    ids = [parcel.parcel_id for parcel in waiting(tx.block, stop)]
    tx.on_stop("stop.departed_open", stop, parcel_ids=ids, **data)
    tx.tell("STOP_LEFT_OPEN", "attention", stop_id=stop.stop_id, parcel_ids=ids)
    tx.momentary(near_since_ms=None, away_since_ms=None)


def skip_stop(tx: Transaction, a: dict[str, Any]) -> None:
    """Not now: the stop goes to the end of the route."""
    stop = tx.stop_under_way()
    if stop.state == "ARRIVED":
        raise Refused("ALREADY_ARRIVED", stop_id=stop.stop_id)
    tx.on_stop("stop.skipped", stop, reason=a["reason"])
    tx.start_next = True


def arrive(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver says to be there."""
    return _arrive(tx, a.get("reason"), confirmed=False)


def confirm_location(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver answers the question whether this is the place."""
    return _arrive(tx, None, confirmed=True)


def _arrive(tx: Transaction, reason: str | None, *, confirmed: bool) -> None:
    stop = tx.block.current_stop or next_stop(tx.block)
    if stop is None:
        raise Refused("NO_STOP")
    if stop.state == "ARRIVED":
        raise Refused("NOTHING_TO_CONFIRM") if confirmed else Refused("ALREADY_ARRIVED", stop_id=stop.stop_id)
    sight = geofence.sight(tx.block, stop, tx.here, tx.state.policy, tx.moment)
    if sight.tier == 3 and reason is None:
        raise Refused("REASON_NEEDED", stop_id=stop.stop_id, distance_m=sight.distance_m, why=sight.why)
    asked = tx.here.question
    confirmed = confirmed or (asked is not None and asked.kind == "location" and asked.stop_id == stop.stop_id)
    if sight.tier == 2 and reason is None and not confirmed:
        tx.momentary(question=Question("location", stop.stop_id, sight.distance_m))
        tx.tell("CONFIRM_LOCATION", "attention", stop_id=stop.stop_id, distance_m=sight.distance_m)
        raise Refused("CONFIRM_LOCATION", stop_id=stop.stop_id, distance_m=sight.distance_m)
    data: dict[str, Any] = {}
    if sight.tier == 2:
        data["confirmed"] = True
    if reason is not None:
        data["reason"] = reason
    if sight.tier == 3 and reason is not None:
        override(tx, stop, sight, reason)
        data["override"] = True
    arrive_at(tx, stop, "driver", **sight.data, **data)


def arrive_at(tx: Transaction, stop: Stop, method: str, **data: Any) -> None:
    """The vehicle stands at a stop."""
    tx.on_stop("stop.arrived", stop, method=method, **data)
    tx.momentary(question=None, near_since_ms=None, away_since_ms=None)
    if stop.kind == "pickup":
        tx.on_block("block.extra_pickup_started", tx.block, stop_id=stop.stop_id)
    tx.tell("ARRIVED", "good", stop_id=stop.stop_id, sequence=stop.plan.sequence, address=stop.plan.address)


def pause(tx: Transaction, a: dict[str, Any]) -> None:
    """A break begins."""
    tx.on_block("block.paused", tx.block)


def resume(tx: Transaction, a: dict[str, Any]) -> None:
    """A break ends, and with it a planned one."""
    since = tx.block.since
    paused_s = 0.0 if since is None else max(0.0, (tx.moment.wall_ms - since.unix_ms) / 1000)
    tx.on_block("block.resumed", tx.block, paused_s=round(paused_s, 1))
    stop = tx.block.current_stop
    if stop is not None and stop.kind == "break" and stop.state == "ARRIVED":
        end_stop(tx, stop)


def located(tx: Transaction, fix: Located) -> None:
    """The receiver reports: arriving, leaving a stop and leaving the site follow after some seconds."""
    if fix.distance_m != tx.here.distance_m:
        tx.momentary(distance_m=fix.distance_m)
    if fix.latitude is None or fix.longitude is None or fix.mode < 2:
        tx.momentary(is_lost=True)
        return
    speed_mps = _speed_mps(tx.here.fix, fix)
    tx.here = replace(tx.here, fix=fix, is_lost=False)
    block = tx.state.block
    if block is None or block.state not in {"LOADED", "ON_ROUTE", "RETURNING"}:
        _reset(tx)
        return
    stop = last_pickup(block) if block.state == "LOADED" else block.current_stop
    if stop is None:
        _reset(tx)
        return
    tier = geofence.sight(block, stop, tx.here, tx.state.policy, tx.moment).tier
    if stop.state == "EN_ROUTE":
        if tier != 1 or speed_mps is None or speed_mps >= geofence.SLOW_MPS:
            _reset(tx)
        elif tx.here.near_since_ms is None:
            tx.momentary(near_since_ms=fix.uptime_ms)
        elif fix.uptime_ms - tx.here.near_since_ms >= geofence.ARRIVES_AFTER_MS:
            sight = geofence.sight(block, stop, tx.here, tx.state.policy, tx.moment)
            arrive_at(tx, stop, "geofence", **sight.data)
        return
    if not _is_away(block, stop, tier, speed_mps):
        _reset(tx)
    elif tx.here.away_since_ms is None:
        tx.momentary(away_since_ms=fix.uptime_ms)
    elif fix.uptime_ms - tx.here.away_since_ms >= geofence.LEAVES_AFTER_MS:
        tx.momentary(away_since_ms=None)
        if block.state == "LOADED":
            leave_site(tx, "geofence")
        elif stop.kind == "break":
            end_stop(tx, stop)
        else:
            leave_open(tx, stop)


def _reset(tx: Transaction) -> None:
    if tx.here.near_since_ms is not None or tx.here.away_since_ms is not None:
        tx.momentary(near_since_ms=None, away_since_ms=None)


def _is_away(block: Block, stop: Stop, tier: geofence.Tier | None, speed_mps: float | None) -> bool:
    if block.state == "LOADED":
        return tier in {2, 3}
    fast = speed_mps is not None and speed_mps > geofence.FAST_MPS
    # Where the driver arrived against the position, being far from the pin says nothing.
    return fast or (tier == 3 and not stop.overridden)


def _speed_mps(before: Located | None, fix: Located) -> float | None:
    """The reported speed; else what two fixes give, when they are not far apart in time."""
    if fix.speed_mps is not None or before is None or before.latitude is None or before.longitude is None:
        return fix.speed_mps
    elapsed_ms = fix.uptime_ms - before.uptime_ms
    if not 0 < elapsed_ms <= geofence.LEAVES_AFTER_MS or fix.latitude is None or fix.longitude is None:
        return None
    way_m = geofence.distance_m(Place(before.latitude, before.longitude), Place(fix.latitude, fix.longitude))
    return way_m / elapsed_ms * 1000
