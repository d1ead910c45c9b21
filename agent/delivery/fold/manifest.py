"""A block message becomes a Block, and a newer one changes the block that is known.

The message has passed its model and its references (`contract.models`, `contract.references`) before it comes here, so
every stop, site and parcel that it names exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from unicodedata import category

from agent.delivery.model.manifest import (
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
from contract.vocabulary import STOP_ENDED, ParcelState, StopKind, StopState

_NOT_COUNTED = dict.fromkeys([*range(0x20), ord(" "), ord("-"), 0x7F])


def normal(code: str) -> str:
    """The form under which a code is looked up: case, spaces, hyphens, control and format characters do not count."""
    if code.isascii():
        return (code if code.isalnum() else code.translate(_NOT_COUNTED)).upper()
    return "".join(each for each in code.translate(_NOT_COUNTED) if category(each)[0] not in "ZC").upper()


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
    return Window(data.get("from"), data.get("to")) if data else None


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


def _read_parcel(data: Mapping[str, Any], only_pickup: str | None) -> Parcel:
    wanted = data.get("requirements") or {}
    asked = data.get("instruction") or {}
    return Parcel(
        parcel_id=data["parcel_id"],
        tracking_number=data["tracking_number"],
        state=cast("ParcelState", data.get("state") or "MANIFESTED"),
        aliases=tuple(data.get("aliases") or ()),
        pickup_stop_id=data.get("pickup_stop_id") or only_pickup,
        point_id=data.get("point_id"),
        stop_id=data.get("stop_id"),
        return_to=data.get("return_to"),
        merchant_id=data.get("merchant_id"),
        section=data.get("section"),
        weight_g=data.get("weight_g"),
        size=read_size(data.get("size")),
        requirements=Requirements(
            photo=bool(wanted.get("photo")),
            signature=bool(wanted.get("signature")),
            otp_hmac=wanted.get("otp_hmac"),
            minimum_age=wanted.get("minimum_age"),
        ),
        instruction=Instruction(
            kind=asked.get("kind") or "none",
            text=asked.get("text"),
            neighbour=asked.get("neighbour"),
            access_codes=tuple(asked.get("access_codes") or ()),
            preferences=asked.get("preferences"),
        ),
    )


def _read_stop(data: Mapping[str, Any], parcel_ids: list[str]) -> Stop:
    recipient = data.get("recipient") or {}
    return Stop(
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
        parcel_ids=tuple(parcel_ids),
    )


def index_codes(parcels: Mapping[str, Parcel]) -> dict[str, tuple[str, ...]]:
    """Normal form of each tracking number and alias → the parcels that carry it."""
    codes: dict[str, tuple[str, ...]] = {}
    for parcel in parcels.values():
        for code in {normal(parcel.tracking_number), *map(normal, parcel.aliases)}:
            codes[code] = (*codes.get(code, ()), parcel.parcel_id)
    return codes


def _ended_before(kind: StopKind, parcels: list[Parcel]) -> bool:
    """Whether a unit that was replaced in the middle of a block had ended a stop."""
    open_states = {"MANIFESTED"} if kind == "pickup" else {"MANIFESTED", "LOADED", "OUT_FOR_DELIVERY"}
    return bool(parcels) and all(parcel.state not in open_states for parcel in parcels)


def read_block(data: Mapping[str, Any]) -> Block:
    """The block of an assignment or revision, OFFERED.

    :raises DeliveryError: the data is no block
    """
    try:
        sites = {site["site_id"]: _read_site(site) for site in data.get("sites") or ()}
        pickups = [stop["stop_id"] for stop in data.get("stops") or () if stop["kind"] == "pickup"]
        only_pickup = pickups[0] if len(pickups) == 1 else None
        parcels = {parcel["parcel_id"]: _read_parcel(parcel, only_pickup) for parcel in data.get("parcels") or ()}
        at_stop: dict[str, list[str]] = {}
        for parcel in parcels.values():
            for stop_id in (parcel.pickup_stop_id, parcel.stop_id):
                if stop_id is not None:
                    at_stop.setdefault(stop_id, []).append(parcel.parcel_id)
        stops = {}
        listed = sorted(data.get("stops") or (), key=lambda stop: stop.get("sequence") or 0)
        for item in listed:
            stop = _read_stop(item, at_stop.get(item["stop_id"], []))
            here = [parcels[parcel_id] for parcel_id in stop.parcel_ids]
            if _ended_before(stop.kind, here):
                stop = replace(stop, state=cast("StopState", outcome(stop.kind, here)))
            stops[stop.stop_id] = stop
        return Block(
            block_id=data["block_id"],
            kind=data.get("kind") or "station",
            starts_at=data.get("starts_at"),
            ends_at=data.get("ends_at"),
            timezone=data.get("timezone"),
            driver_id=data.get("driver_id"),
            manifest_version=data["manifest_version"],
            pay=read_pay(data.get("pay")),
            otp_key=data.get("otp_key"),
            service_radius_m=data.get("service_radius_m"),
            fallback_site_id=data.get("fallback_site_id"),
            vehicle=read_vehicle(data.get("vehicle")),
            travel=read_travel(data.get("travel")),
            elsewhere={normal(item["tracking_number"]): item["unit"] for item in data.get("elsewhere") or ()},
            sites=sites,
            stops=stops,
            parcels=parcels,
            codes=index_codes(parcels),
            route=tuple(stops),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DeliveryError(f"block: {type(fault).__name__} {fault}; expected the members of a block") from fault


def merge(known: Block, new: Block) -> Block:
    """The known block after a newer manifest: what has happened stays, what is planned is replaced.

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
        codes=index_codes(parcels),
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
    """The plan of the new, the history of the old."""
    at = block.stops.get(old.stop_id) if old.stop_id is not None else None
    stop_id = old.stop_id if at is not None and at.added else new.stop_id
    return replace(
        old,
        tracking_number=new.tracking_number,
        aliases=new.aliases,
        pickup_stop_id=new.pickup_stop_id,
        point_id=new.point_id,
        stop_id=stop_id,
        return_to=new.return_to,
        merchant_id=new.merchant_id,
        section=new.section,
        weight_g=new.weight_g,
        size=new.size,
        requirements=new.requirements,
        instruction=new.instruction,
        provisional=False,
    )


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
