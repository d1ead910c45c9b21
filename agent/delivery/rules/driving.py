"""Between the stops: which one is next, when the vehicle has arrived, when it has left, and breaks.

The fence never blocks: near enough is taken silently, farther away is asked once, and beyond that a reason is enough.
"""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.decision import Refusal
from agent.delivery.model.inputs import Located
from agent.delivery.model.open_work import can_start, next_stop, waiting
from agent.delivery.model.state import Block, Place, Question, Stop, replace
from agent.delivery.model.times import unix_ms
from agent.delivery.rules.follow_ups import end_stop
from agent.delivery.rules.loading import last_pickup, leave_site, override
from agent.delivery.rules.transaction import Draft, refuse
from contract.vocabulary import STOP_ENDED


def start_stop(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Drive to another stop than the one under way."""
    block, stop = d.block, d.block.stops.get(a["stop_id"])
    if stop is None:
        return refuse("UNKNOWN_STOP", stop_id=a["stop_id"])
    if stop.state in STOP_ENDED:
        return refuse("STOP_ENDED", stop_id=stop.stop_id, stop_state=stop.state)
    if stop.state == "ARRIVED":
        return refuse("ALREADY_ARRIVED", stop_id=stop.stop_id)
    if stop.state == "EN_ROUTE":
        return None
    if not can_start(block, stop):
        return refuse("NOTHING_TO_DO", stop_id=stop.stop_id)
    current, expected = block.current_stop, next_stop(block)
    if current is not None:
        expected = current if current.state == "EN_ROUTE" else expected
        _leave_for_another(d, current)
    out_of_order = expected is not None and expected.stop_id != stop.stop_id
    d.on_stop("stop.started", stop, **({"out_of_order": True} if out_of_order else {}))
    d.start_next = False
    d.momentary(near_since_ms=None, away_since_ms=None, question=None)
    if expected is not None and out_of_order and (current is None or current.state == "EN_ROUTE"):
        d.tell("OUT_OF_ORDER", "attention", stop_id=stop.stop_id, expected_stop_id=expected.stop_id)
    return None


def _leave_for_another(d: Draft, current: Stop) -> None:
    if current.state == "EN_ROUTE":
        d.on_stop("stop.skipped", current, reason="CHOSE_ANOTHER", keeps_place=True)
    elif current.kind == "break":
        end_stop(d, current)
    else:
        leave_open(d, current, reason="CHOSE_ANOTHER")


def leave_open(d: Draft, stop: Stop, **data: Any) -> None:
    """The vehicle has left a stop although parcels are unresolved: it says so, and the stop stays to be done."""
    ids = [parcel.parcel_id for parcel in waiting(d.block, stop)]
    d.on_stop("stop.departed_open", stop, parcel_ids=ids, **data)
    d.tell("STOP_LEFT_OPEN", "attention", stop_id=stop.stop_id, parcel_ids=ids)
    d.momentary(near_since_ms=None, away_since_ms=None)


def skip_stop(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Not now: the stop goes to the end of the route."""
    stop = d.block.current_stop
    if stop is None:
        return refuse("NO_STOP")
    if stop.state == "ARRIVED":
        return refuse("ALREADY_ARRIVED", stop_id=stop.stop_id)
    d.on_stop("stop.skipped", stop, reason=a["reason"])
    d.start_next = True
    return None


def arrive(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver says to be there."""
    return _arrive(d, a.get("reason"), confirmed=False)


def confirm_location(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver answers the question whether this is the place."""
    return _arrive(d, None, confirmed=True)


def _arrive(d: Draft, reason: str | None, *, confirmed: bool) -> Refusal | None:
    stop = d.block.current_stop or next_stop(d.block)
    if stop is None:
        return refuse("NO_STOP")
    if stop.state == "ARRIVED":
        return refuse("NOTHING_TO_CONFIRM") if confirmed else refuse("ALREADY_ARRIVED", stop_id=stop.stop_id)
    sight = geofence.sight(d.block, stop, d.here, d.state.policy, d.moment)
    if sight.tier == 3 and reason is None:
        return refuse("REASON_NEEDED", stop_id=stop.stop_id, distance_m=sight.distance_m, why=sight.why)
    asked = d.here.question
    confirmed = confirmed or (asked is not None and asked.kind == "location" and asked.stop_id == stop.stop_id)
    if sight.tier == 2 and reason is None and not confirmed:
        d.momentary(question=Question("location", stop.stop_id, sight.distance_m))
        d.tell("CONFIRM_LOCATION", "attention", stop_id=stop.stop_id, distance_m=sight.distance_m)
        return refuse("CONFIRM_LOCATION", stop_id=stop.stop_id, distance_m=sight.distance_m)
    data: dict[str, Any] = {}
    if sight.tier == 2:
        data["confirmed"] = True
    if reason is not None:
        data["reason"] = reason
    if sight.tier == 3 and reason is not None:
        override(d, stop, sight, reason)
        data["override"] = True
    arrive_at(d, stop, "driver", **sight.data, **data)
    return None


def arrive_at(d: Draft, stop: Stop, method: str, **data: Any) -> None:
    """The vehicle stands at a stop."""
    d.on_stop("stop.arrived", stop, method=method, **data)
    d.momentary(question=None, near_since_ms=None, away_since_ms=None)
    if stop.kind == "pickup":
        d.on_block("block.extra_pickup_started", d.block, stop_id=stop.stop_id)
    d.tell("ARRIVED", "good", stop_id=stop.stop_id, sequence=stop.sequence, address=stop.address)


def pause(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A break begins."""
    d.on_block("block.paused", d.block)
    return None


def resume(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A break ends, and with it a planned one."""
    since_ms = unix_ms(d.block.since)
    paused_s = 0.0 if since_ms is None else max(0.0, (d.moment.wall_ms - since_ms) / 1000)
    d.on_block("block.resumed", d.block, paused_s=round(paused_s, 1))
    stop = d.block.current_stop
    if stop is not None and stop.kind == "break" and stop.state == "ARRIVED":
        end_stop(d, stop)
    return None


def located(d: Draft, fix: Located) -> None:
    """The receiver reports: arriving, leaving a stop and leaving the site follow after some seconds."""
    if fix.distance_m != d.here.distance_m:
        d.momentary(distance_m=fix.distance_m)
    if fix.latitude is None or fix.longitude is None or fix.mode < 2:
        return
    speed_mps = _speed_mps(d.here.fix, fix)
    d.here = replace(d.here, fix=fix)
    block = d.state.block
    if block is None or block.state not in {"LOADED", "ON_ROUTE", "RETURNING"}:
        _reset(d)
        return
    stop = last_pickup(block) if block.state == "LOADED" else block.current_stop
    if stop is None:
        _reset(d)
        return
    tier = geofence.sight(block, stop, d.here, d.state.policy, d.moment).tier
    if stop.state == "EN_ROUTE":
        if tier != 1 or speed_mps is None or speed_mps >= geofence.SLOW_MPS:
            _reset(d)
        elif d.here.near_since_ms is None:
            d.momentary(near_since_ms=fix.uptime_ms)
        elif fix.uptime_ms - d.here.near_since_ms >= geofence.ARRIVES_AFTER_MS:
            sight = geofence.sight(block, stop, d.here, d.state.policy, d.moment)
            arrive_at(d, stop, "geofence", **sight.data)
        return
    if not _is_away(block, stop, tier, speed_mps):
        _reset(d)
    elif d.here.away_since_ms is None:
        d.momentary(away_since_ms=fix.uptime_ms)
    elif fix.uptime_ms - d.here.away_since_ms >= geofence.LEAVES_AFTER_MS:
        d.momentary(away_since_ms=None)
        if block.state == "LOADED":
            leave_site(d, "geofence")
        elif stop.kind == "break":
            end_stop(d, stop)
        else:
            leave_open(d, stop)


def _reset(d: Draft) -> None:
    if d.here.near_since_ms is not None or d.here.away_since_ms is not None:
        d.momentary(near_since_ms=None, away_since_ms=None)


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
