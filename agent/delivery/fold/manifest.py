"""A manifest makes a Block, or changes the one that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from agent.delivery.model.manifest import Manifest, ParcelPlan, Site, StopPlan
from agent.delivery.model.numbers import codes_of, index_codes
from agent.delivery.model.open_work import outcome, waiting
from agent.delivery.model.state import Block, Parcel, Stop, replace
from agent.delivery.model.weights import weight_of_parcel, weight_of_site, weight_of_stop
from contract.vocabulary import STOP_ENDED

# A block has hundreds of these. Copying one takes less than half the time of the constructor of a frozen class with
# fifteen members.
_PARCEL: Final = Parcel(parcel_id="", plan=ParcelPlan(tracking_number=""))
_STOP: Final = Stop(stop_id="", plan=StopPlan(kind="delivery"))


def with_manifest(known: Block | None, manifest: Manifest) -> Block:
    """The block of an assignment, OFFERED; or the known one after a newer manifest, whose history stays.

    What the newer manifest leaves out is still there; events say what became of it. What it says of the stop where the
    vehicle stands waits until that stop is left: the driver is at the door, and it must not become another one.
    """
    standing = known.standing if known is not None else None
    parcels = _parcels(known, manifest, standing)
    stops = _stops(known, manifest, parcels, standing)
    if manifest.states:
        _end_stops(stops, known, parcels, manifest)
    codes = manifest.codes
    if known is not None:
        codes = {
            name: manifest.codes[name] if parcel.plan is manifest.parcels.get(name) else codes_of(parcel.plan)
            for name, parcel in parcels.items()
        }
    sites, otp_key = manifest.sites, manifest.otp_key
    if known is not None:
        sites = known.sites | sites
        if standing is not None and standing.kind != "pickup":
            # The key belongs to the one-time codes that wait, too.
            otp_key = known.otp_key
            sites |= {name: site for name, site in known.sites.items() if name == standing.plan.site_id}
    return replace(
        known or Block(manifest.block_id),
        kind=manifest.kind,
        starts_at=manifest.starts_at,
        ends_at=manifest.ends_at,
        timezone=manifest.timezone,
        driver_id=manifest.driver_id or (known.driver_id if known is not None else None),
        manifest_version=manifest.version,
        held_back=None if standing is None else manifest,
        weight=manifest.weight * (1 if standing is None else 2) + _left_out(manifest, parcels, stops, sites),
        pay=manifest.pay,
        otp_key=otp_key,
        service_radius_m=manifest.service_radius_m,
        fallback_site_id=manifest.fallback_site_id,
        vehicle=manifest.vehicle,
        travel=manifest.travel,
        elsewhere=manifest.elsewhere,
        sites=sites,
        stops=stops,
        parcels=parcels,
        codes=index_codes(codes),
        route=tuple(manifest.stops) if known is None else _route(known, manifest.stops, stops),
    )


def _left_out(
    manifest: Manifest, parcels: Mapping[str, Parcel], stops: Mapping[str, Stop], sites: Mapping[str, Site]
) -> int:
    """How much the block takes of what the manifest does not name."""
    return (
        sum(weight_of_parcel(parcel.plan) for name, parcel in parcels.items() if name not in manifest.parcels)
        + sum(weight_of_stop(stop.plan) for name, stop in stops.items() if name not in manifest.stops)
        + sum(weight_of_site(site) for name, site in sites.items() if name not in manifest.sites)
    )


def _parcels(known: Block | None, manifest: Manifest, standing: Stop | None) -> dict[str, Parcel]:
    """The parcels by the manifest; of one that is known, its history stays."""
    here = standing.stop_id if standing is not None else None
    handled: set[str] = set()
    if known is not None and standing is not None and standing.kind != "pickup":
        handled = {parcel.parcel_id for parcel in waiting(known, standing)}
    parcels = {} if known is None else dict(known.parcels)
    added = set() if known is None else {stop.stop_id for stop in known.stops.values() if stop.added}
    for parcel_id, plan in manifest.parcels.items():
        old = parcels.get(parcel_id)
        if old is None:
            state = manifest.states.get(parcel_id, "MANIFESTED")
            parcel = replace(_PARCEL, parcel_id=parcel_id, plan=plan, state=state, stop_id=plan.stop_id)
        elif parcel_id in handled or (here is not None and here in {old.stop_id, plan.stop_id}):
            continue
        else:
            stop_id = old.stop_id if old.stop_id in added else plan.stop_id
            parcel = replace(old, plan=plan, stop_id=stop_id, provisional=False)
        parcels[parcel_id] = parcel
    return parcels


def _stops(
    known: Block | None, manifest: Manifest, parcels: Mapping[str, Parcel], standing: Stop | None
) -> dict[str, Stop]:
    """The stops by the manifest; of one that is known, its history stays, and one that has ended is as it was."""
    at_stop: dict[str, list[str]] = {}
    for parcel_id, parcel in parcels.items():
        for stop_id in (parcel.plan.pickup_stop_id, parcel.stop_id):
            if stop_id is not None:
                at_stop.setdefault(stop_id, []).append(parcel_id)
    stops = {} if known is None else {name: _kept(stop, at_stop.get(name, ())) for name, stop in known.stops.items()}
    for stop_id, plan in manifest.stops.items():
        old = stops.get(stop_id, _STOP)
        is_standing = standing is not None and standing.stop_id == stop_id
        if not (is_standing or old.added or old.state in STOP_ENDED):
            stops[stop_id] = replace(old, stop_id=stop_id, plan=plan, parcel_ids=tuple(at_stop.get(stop_id, ())))
    return stops


def _kept(stop: Stop, parcel_ids: Sequence[str]) -> Stop:
    """A known stop with the parcels that are to be handled there now."""
    if stop.added and stop.state not in STOP_ENDED:
        return stop
    ever = stop.parcel_ids if stop.state in STOP_ENDED else ()
    ids = tuple(dict.fromkeys((*ever, *parcel_ids)))
    return stop if ids == stop.parcel_ids else replace(stop, parcel_ids=ids)


def _end_stops(stops: dict[str, Stop], known: Block | None, parcels: Mapping[str, Parcel], manifest: Manifest) -> None:
    """A unit that was replaced in the middle of a block had ended stops; the states of their parcels say so."""
    for stop in list(stops.values()):
        if known is not None and stop.stop_id in known.stops:
            continue
        states = [manifest.states.get(parcel_id, "MANIFESTED") for parcel_id in stop.parcel_ids]
        still_open = _NOT_PICKED_UP if stop.kind == "pickup" else _NOT_HANDED_OVER
        if states and still_open.isdisjoint(states):
            here = [replace(parcels[name], state=state) for name, state in zip(stop.parcel_ids, states, strict=True)]
            stops[stop.stop_id] = replace(stop, state=outcome(stop.kind, here))


_NOT_PICKED_UP: Final = frozenset({"MANIFESTED"})
_NOT_HANDED_OVER: Final = frozenset({"MANIFESTED", "LOADED", "OUT_FOR_DELIVERY"})


def _route(known: Block, listed: Iterable[str], stops: Mapping[str, Stop]) -> tuple[str, ...]:
    """The device's own stops keep their place in front of what they stood in front of, and its returns end it."""
    planned = dict.fromkeys(listed)
    route = [*(stop_id for stop_id in known.route if stop_id not in planned), *planned]
    returns = [stop_id for stop_id in route if stops[stop_id].added and stops[stop_id].kind == "return"]
    return (*(stop_id for stop_id in route if stop_id not in returns), *returns)
