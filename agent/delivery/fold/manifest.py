"""A block message becomes a Block.

The message has passed its model and its references (`contract.models`, `contract.references`) before it comes here, so
every stop, site and parcel that it names exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from agent.delivery.fold.codes import index_codes, normal
from agent.delivery.model.manifest import (
    NO_INSTRUCTION,
    NO_REQUIREMENTS,
    Address,
    Instruction,
    Pay,
    PickupPoint,
    Place,
    Requirements,
    Site,
    Size,
    Travel,
    Vehicle,
    Window,
)
from agent.delivery.model.open_work import outcome
from agent.delivery.model.state import Block, DeliveryError, Parcel, Stop, replace
from agent.delivery.model.times import read_instant
from contract.vocabulary import STOP_ENDED, ParcelState


def read_place(data: Any) -> Place | None:
    """A position of a message; ``None`` where there is none."""
    return Place(data["latitude"], data["longitude"]) if data else None


def read_pay(data: Mapping[str, Any] | None) -> Pay | None:
    """What a message says that a block pays; ``None`` where it says nothing."""
    return Pay(data["amount"], data["currency"]) if data else None


def read_address(data: Mapping[str, Any] | None) -> Address | None:
    """An address of a message; ``None`` where there is none."""
    if not data:
        return None
    return Address(
        line1=data.get("line1"),
        line2=data.get("line2"),
        house_number=data.get("house_number"),
        city=data.get("city"),
        postal_code=data.get("postal_code"),
        region=data.get("region"),
        country=data.get("country"),
        business=data.get("business"),
    )


def read_window(data: Mapping[str, Any] | None) -> Window | None:
    """A time window of a message; ``None`` where there is none."""
    return Window(read_instant(data.get("from")), read_instant(data.get("to"))) if data else None


def read_size(data: Mapping[str, Any] | None) -> Size | None:
    """The dimensions of a parcel in a message; ``None`` where they are not told."""
    return Size(data["length_mm"], data["width_mm"], data["height_mm"]) if data else None


def read_vehicle(data: Mapping[str, Any] | None) -> Vehicle | None:
    """What a vehicle may carry by a message; ``None`` where it does not say."""
    return Vehicle(data.get("max_weight_g"), data.get("max_volume_l")) if data else None


def read_travel(data: Mapping[str, Any] | None) -> Travel | None:
    """The travel times of a message; ``None`` where there are none."""
    return Travel(tuple(data["stop_ids"]), tuple(map(tuple, data["seconds"]))) if data else None


def _read_site(data: Mapping[str, Any]) -> Site:
    points = {
        point["point_id"]: PickupPoint(
            point["point_id"],
            point.get("name"),
            point.get("floor"),
            point.get("code"),
            point.get("ready"),
            point.get("hours"),
        )
        for point in data.get("pickup_points") or ()
    }
    return Site(
        site_id=data["site_id"],
        name=data.get("name"),
        kind=data.get("kind"),
        location=read_place(data.get("location")),
        radius_m=data.get("radius_m"),
        points=points,
    )


def _read_requirements(data: Mapping[str, Any] | None) -> Requirements:
    if not data:
        return NO_REQUIREMENTS
    return Requirements(
        photo=bool(data.get("photo")),
        signature=bool(data.get("signature")),
        otp_hmac=data.get("otp_hmac"),
        minimum_age=data.get("minimum_age"),
    )


def _read_instruction(data: Mapping[str, Any] | None) -> Instruction:
    if not data:
        return NO_INSTRUCTION
    return Instruction(
        kind=data.get("kind") or "none",
        text=data.get("text"),
        neighbour=data.get("neighbour"),
        access_codes=tuple(data.get("access_codes") or ()),
        preferences=data.get("preferences"),
    )


# A block has hundreds of these. Copying one takes less than half the time of the constructor of a frozen class with
# twenty-five members.
_PARCEL: Final = Parcel(parcel_id="", tracking_number="")
_STOP: Final = Stop(stop_id="", kind="delivery")


def _read_parcel(data: Mapping[str, Any], only_pickup: str | None, known: Block | None) -> Parcel:
    """The plan of the message; of a parcel that is known, its history stays."""
    state, stop_id = data.get("state") or "MANIFESTED", data.get("stop_id")
    old = known.parcels.get(data["parcel_id"]) if known is not None else None
    if known is not None and old is not None:
        state = old.state
        at = known.stops.get(old.stop_id) if old.stop_id is not None else None
        stop_id = old.stop_id if at is not None and at.added else stop_id
    return replace(
        old or _PARCEL,
        parcel_id=data["parcel_id"],
        tracking_number=data["tracking_number"],
        state=state,
        aliases=tuple(data.get("aliases") or ()),
        pickup_stop_id=data.get("pickup_stop_id") or only_pickup,
        point_id=data.get("point_id"),
        stop_id=stop_id,
        return_to=data.get("return_to"),
        merchant_id=data.get("merchant_id"),
        section=data.get("section"),
        weight_g=data.get("weight_g"),
        size=read_size(data.get("size")),
        requirements=_read_requirements(data.get("requirements")),
        instruction=_read_instruction(data.get("instruction")),
        provisional=False,
    )


def _read_stop(data: Mapping[str, Any], parcel_ids: tuple[str, ...], old: Stop | None) -> Stop:
    """The plan of the message; of a stop that is known, its history stays."""
    recipient = data.get("recipient") or {}
    return replace(
        old or _STOP,
        stop_id=data["stop_id"],
        kind=data["kind"],
        sequence=data.get("sequence"),
        site_id=data.get("site_id"),
        location=read_place(data.get("location")),
        address=read_address(data.get("address")),
        window=read_window(data.get("window")),
        recipient_name=recipient.get("name"),
        recipient_phone=recipient.get("phone"),
        service_s=data.get("service_s"),
        zone=data.get("zone"),
        priority=data.get("priority"),
        parcel_ids=parcel_ids,
    )


def read_block(data: Mapping[str, Any], known: Block | None = None) -> Block:
    """The block of an assignment, OFFERED; or the known one after a newer manifest, whose history stays.

    What the newer manifest leaves out is still there; events say what became of it.

    :raises DeliveryError: the data is no block
    """
    try:
        sites = {site["site_id"]: _read_site(site) for site in data.get("sites") or ()}
        listed = {stop["stop_id"]: stop for stop in sorted(data.get("stops") or (), key=_sequence)}
        pickups = [stop_id for stop_id, stop in listed.items() if stop["kind"] == "pickup"]
        only_pickup = pickups[0] if len(pickups) == 1 else None
        parcels = {} if known is None else dict(known.parcels)
        for item in data.get("parcels") or ():
            parcels[item["parcel_id"]] = _read_parcel(item, only_pickup, known)
        stops = _read_stops(listed, known, parcels)
        if seeds := {item["parcel_id"]: item["state"] for item in data.get("parcels") or () if item.get("state")}:
            _end_stops(stops, known, parcels, seeds)
        return replace(
            known or Block(data["block_id"]),
            kind=data.get("kind") or "station",
            starts_at=read_instant(data.get("starts_at")),
            ends_at=read_instant(data.get("ends_at")),
            timezone=data.get("timezone"),
            driver_id=data.get("driver_id") or (known.driver_id if known is not None else None),
            manifest_version=data["manifest_version"],
            pay=read_pay(data.get("pay")),
            otp_key=data.get("otp_key"),
            service_radius_m=data.get("service_radius_m"),
            fallback_site_id=data.get("fallback_site_id"),
            vehicle=read_vehicle(data.get("vehicle")),
            travel=read_travel(data.get("travel")),
            elsewhere={normal(item["tracking_number"]): item["unit"] for item in data.get("elsewhere") or ()},
            sites=sites if known is None else known.sites | sites,
            stops=stops,
            parcels=parcels,
            codes=index_codes(parcels),
            route=tuple(listed) if known is None else _route(known, listed, stops),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DeliveryError(f"block: {type(fault).__name__} {fault}; expected the members of a block") from fault


def _sequence(stop: Mapping[str, Any]) -> int:
    return stop.get("sequence") or 0


def _read_stops(
    listed: Mapping[str, Mapping[str, Any]], known: Block | None, parcels: Mapping[str, Parcel]
) -> dict[str, Stop]:
    at_stop: dict[str, list[str]] = {}
    for parcel in parcels.values():
        for stop_id in (parcel.pickup_stop_id, parcel.stop_id):
            if stop_id is not None:
                at_stop.setdefault(stop_id, []).append(parcel.parcel_id)
    stops = {} if known is None else {name: _kept(stop, at_stop.get(name, ())) for name, stop in known.stops.items()}
    for stop_id, item in listed.items():
        old = stops.get(stop_id)
        if old is None or not (old.added or old.state in STOP_ENDED):
            stops[stop_id] = _read_stop(item, tuple(at_stop.get(stop_id, ())), old)
    return stops


def _kept(stop: Stop, parcel_ids: Sequence[str]) -> Stop:
    """A known stop with the parcels that are to be handled there now."""
    if stop.added and stop.state not in STOP_ENDED:
        return stop
    ever = stop.parcel_ids if stop.state in STOP_ENDED else ()
    ids = tuple(dict.fromkeys((*ever, *parcel_ids)))
    return stop if ids == stop.parcel_ids else replace(stop, parcel_ids=ids)


def _end_stops(
    stops: dict[str, Stop], known: Block | None, parcels: Mapping[str, Parcel], seeds: Mapping[str, ParcelState]
) -> None:
    """A unit that was replaced in the middle of a block had ended stops; the states of their parcels say so."""
    for stop in list(stops.values()):
        if known is not None and stop.stop_id in known.stops:
            continue
        states = [seeds.get(parcel_id, "MANIFESTED") for parcel_id in stop.parcel_ids]
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
