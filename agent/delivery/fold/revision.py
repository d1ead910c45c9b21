"""A newer manifest changes the block that is known: what has happened stays, what is planned is replaced."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from agent.delivery.model.state import Block, Parcel, Stop, replace
from contract.vocabulary import STOP_ENDED


def merge(known: Block, new: Block) -> Block:
    """The known block after a newer manifest, without its index of codes.

    What the new manifest leaves out is still there; events say what became of it.
    """
    parcels = dict(known.parcels)
    for parcel in new.parcels.values():
        old = known.parcels.get(parcel.parcel_id)
        parcels[parcel.parcel_id] = parcel if old is None else _merge_parcel(known, old, parcel)
    at_stop: dict[str, dict[str, None]] = {}
    for parcel in parcels.values():
        for stop_id in (parcel.pickup_stop_id, parcel.stop_id):
            if stop_id is not None:
                at_stop.setdefault(stop_id, {})[parcel.parcel_id] = None
    stops = {
        stop.stop_id: _merge_stop(known.stops.get(stop.stop_id, stop), stop, tuple(at_stop.get(stop.stop_id, ())))
        for stop in (known.stops | new.stops).values()
    }
    # The device's own stops keep their place in front of what they stood in front of.
    route = [stop_id for stop_id in known.route if stop_id not in new.stops] + list(new.route)
    returns = [stop_id for stop_id in route if stops[stop_id].added and stops[stop_id].kind == "return"]
    route = [stop_id for stop_id in route if stop_id not in returns] + returns
    return replace(
        new,
        state=known.state,
        stops=stops,
        parcels=parcels,
        sites=known.sites | new.sites,
        route=tuple(route),
        driver_id=new.driver_id or known.driver_id,
        current_stop_id=known.current_stop_id,
        since=known.since,
        reason=known.reason,
        checked_in_at=known.checked_in_at,
        departed_at=known.departed_at,
        ended_at=known.ended_at,
        paused_s=known.paused_s,
        loads=known.loads,
        unexpected=known.unexpected,
        rejected_scans=known.rejected_scans,
        overrides=known.overrides,
        recalls=known.recalls,
        obligation=known.obligation,
    )


def _merge_parcel(block: Block, old: Parcel, new: Parcel) -> Parcel:
    """The plan of the new, the history of the old; the old one itself where the plan is the same."""
    if _plan_of(old) == _plan_of(new):
        return old
    at = block.stops.get(old.stop_id) if old.stop_id is not None else None
    plan = dict(zip(_PLAN, _plan_of(new), strict=False))
    return replace(old, **plan, stop_id=old.stop_id if at is not None and at.added else new.stop_id)


_PLAN: Final = (
    "tracking_number",
    "aliases",
    "pickup_stop_id",
    "point_id",
    "return_to",
    "merchant_id",
    "section",
    "weight_g",
    "size",
    "requirements",
    "instruction",
    "provisional",
)
"""What a manifest says about a parcel, but for where it goes; none that it names is provisional."""
_plan_of = attrgetter(*_PLAN, "stop_id")


def _merge_stop(old: Stop, new: Stop, parcel_ids: tuple[str, ...]) -> Stop:
    """The plan of the new, the history of the old; the same stop twice where only one manifest has it."""
    if old.state in STOP_ENDED:
        return replace(old, parcel_ids=tuple(dict.fromkeys((*old.parcel_ids, *parcel_ids))))
    if old.added:
        return old
    return replace(
        new,
        parcel_ids=parcel_ids,
        state=old.state,
        since=old.since,
        arrived_at=old.arrived_at,
        reason=old.reason,
        left_open=old.left_open,
        overridden=old.overridden,
        contacts=old.contacts,
        tags=old.tags,
    )
