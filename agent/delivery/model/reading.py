"""A block message, and parts of others, become the frozen data of `model.manifest`.

The message has passed its model and its references (`contract.models`, `contract.references`) before it comes here, so
every stop, site and parcel that it names exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import (
    NO_INSTRUCTION,
    NO_REQUIREMENTS,
    Instruction,
    Manifest,
    ParcelPlan,
    Pay,
    PickupPoint,
    Place,
    Requirements,
    Sealed,
    Site,
    Size,
    StopPlan,
    Travel,
    Vehicle,
    Window,
)
from agent.delivery.model.numbers import codes_of, normal
from agent.delivery.model.times import read_instant
from agent.delivery.model.weights import (
    weight_of_parcel,
    weight_of_site,
    weight_of_stop,
    weight_of_text,
    weight_of_travel,
)


def read_place(data: Any) -> Place | None:
    """A position of a message; ``None`` where there is none."""
    return Place(data["latitude"], data["longitude"]) if data else None


def read_pay(data: Mapping[str, Any] | None) -> Pay | None:
    """What a message says that a block pays; ``None`` where it says nothing."""
    return Pay(data["amount"], data["currency"]) if data else None


def read_sealed(data: Sealed) -> Sealed:
    """What is sealed is passed on; of what an earlier version kept open, only what there is."""
    return (
        {name: value for name, value in data.items() if value is not None} or None if isinstance(data, dict) else data
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
    codes = data.get("access_codes")
    return Instruction(
        kind=data.get("kind") or "none",
        text=data.get("text"),
        neighbour=data.get("neighbour"),
        access_codes=(codes,) if isinstance(codes, str) else tuple(codes or ()),
        preferences=data.get("preferences"),
    )


def _read_stop(data: Mapping[str, Any]) -> StopPlan:
    return StopPlan(
        kind=data["kind"],
        sequence=data.get("sequence"),
        site_id=data.get("site_id"),
        location=read_place(data.get("location")),
        address=read_sealed(data.get("address")),
        is_business=bool(data.get("is_business")),
        window=read_window(data.get("window")),
        recipient=read_sealed(data.get("recipient")),
        service_s=data.get("service_s"),
        zone=data.get("zone"),
        priority=data.get("priority"),
    )


def _read_parcel(data: Mapping[str, Any], only_pickup: str | None) -> ParcelPlan:
    return ParcelPlan(
        tracking_number=data["tracking_number"],
        aliases=tuple(data.get("aliases") or ()),
        pickup_stop_id=data.get("pickup_stop_id") or only_pickup,
        point_id=data.get("point_id"),
        stop_id=data.get("stop_id"),
        return_to=data.get("return_to"),
        merchant_id=data.get("merchant_id"),
        section=data.get("section"),
        weight_g=data.get("weight_g"),
        size=read_size(data.get("size")),
        requirements=_read_requirements(data.get("requirements")),
        instruction=_read_instruction(data.get("instruction")),
    )


def read_manifest(data: Mapping[str, Any]) -> Manifest:
    """What a block message says.

    :raises DeliveryError: the data is no block
    """
    try:
        stops = {stop["stop_id"]: _read_stop(stop) for stop in sorted(data.get("stops") or (), key=_sequence)}
        pickups = [stop_id for stop_id, stop in stops.items() if stop.kind == "pickup"]
        only_pickup = pickups[0] if len(pickups) == 1 else None
        listed = data.get("parcels") or ()
        parcels = {parcel["parcel_id"]: _read_parcel(parcel, only_pickup) for parcel in listed}
        sites = {site["site_id"]: _read_site(site) for site in data.get("sites") or ()}
        travel = read_travel(data.get("travel"))
        elsewhere = {normal(item["tracking_number"]): item["unit"] for item in data.get("elsewhere") or ()}
        return Manifest(
            block_id=data["block_id"],
            version=data["manifest_version"],
            kind=data.get("kind") or "station",
            starts_at=read_instant(data.get("starts_at")),
            ends_at=read_instant(data.get("ends_at")),
            timezone=data.get("timezone"),
            driver_id=data.get("driver_id"),
            pay=read_pay(data.get("pay")),
            otp_key=data.get("otp_key"),
            service_radius_m=data.get("service_radius_m"),
            fallback_site_id=data.get("fallback_site_id"),
            vehicle=read_vehicle(data.get("vehicle")),
            travel=travel,
            elsewhere=elsewhere,
            sites=sites,
            stops=stops,
            parcels=parcels,
            states={parcel["parcel_id"]: parcel["state"] for parcel in listed if parcel.get("state")},
            codes={parcel_id: codes_of(plan) for parcel_id, plan in parcels.items()},
            weight=sum(
                (
                    sum(weight_of_text(stop_id) * 2 + weight_of_stop(plan) for stop_id, plan in stops.items()),
                    sum(weight_of_text(parcel_id) * 3 + weight_of_parcel(plan) for parcel_id, plan in parcels.items()),
                    sum(map(weight_of_site, sites.values())),
                    weight_of_travel(travel),
                    sum(6 + weight_of_text(code) + weight_of_text(unit) for code, unit in elsewhere.items()),
                )
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DeliveryError(f"block: {type(fault).__name__} {fault}; expected the members of a block") from fault


def _sequence(stop: Mapping[str, Any]) -> int:
    return stop.get("sequence") or 0
