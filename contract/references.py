"""What refers to what inside a message: the one check that a model of single members cannot make.

The functions read the JSON of a message whose members are valid one by one (`contract.models`), and tell every fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from contract.faults import Fault
from contract.times import unix_ms
from contract.vocabulary import CHANGEABLE_SECTIONS, COMMAND_ARGUMENTS, SETTING_NAME, SETTING_NAME_LENGTH

_is_setting_name: Final = re.compile(SETTING_NAME.removesuffix("$")).fullmatch
_is_safe_name: Final = re.compile(r"[A-Za-z0-9_.]{1,60}").fullmatch
"""Of a name that may be repeated: it is the sender's, and might be anything."""


def reference_faults(type_: str, data: Mapping[str, Any]) -> Iterable[Fault]:
    """Every fault in what a message refers to; `data` fulfils the model of its type."""
    if type_ in {"block.assigned", "block.revised"}:
        return _block_references(data)
    if type_ == "command.requested":
        return _command_arguments(data)
    if type_ == "settings.changed":
        return _settings_names(data)
    if type_ == "roster.replaced":
        return _unique(data["drivers"], "drivers", "driver_id")
    if type_ == "offer.made":
        return _in_order(data, "starts_at", "ends_at")
    return ()


def _command_arguments(data: Mapping[str, Any]) -> Iterable[Fault]:
    member = COMMAND_ARGUMENTS.get(data["command"])
    if member is not None and data.get(member) is None:
        yield Fault(member, f"it must be there for the command {data['command']}")
    elif (
        data["command"] == "replay"
        and data.get("to_sequence") is not None
        and data["to_sequence"] < data["from_sequence"]
    ):
        yield Fault("to_sequence", "expected a number that is not below from_sequence")


def _settings_names(data: Mapping[str, Any]) -> Iterable[Fault]:
    for name in data:
        if len(name) > SETTING_NAME_LENGTH or not _is_setting_name(name):
            path = name if _is_safe_name(name) else ""
            yield Fault(path, "expected a name under " + ", ".join(f"{each}.*" for each in CHANGEABLE_SECTIONS))


def _unique(items: list[Mapping[str, Any]], path: str, member: str) -> Iterable[Fault]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        before = first.setdefault(item[member], index)
        if before != index:
            yield Fault(f"{path}[{index}].{member}", f"expected an id of its own, {path}[{before}] has the same")


def _in_order(data: Mapping[str, Any], start: str, end: str, prefix: str = "") -> Iterable[Fault]:
    first_ms, last_ms = unix_ms(data[start]), unix_ms(data[end])
    if first_ms is not None and last_ms is not None and first_ms > last_ms:
        yield Fault(f"{prefix}{end}", f"expected a time that is not before {start}")


def _block_references(block: Mapping[str, Any]) -> Iterable[Fault]:
    sites, stops, parcels = block["sites"], block["stops"], block["parcels"]
    yield from _in_order(block, "starts_at", "ends_at")
    yield from _unique(sites, "sites", "site_id")
    for index, site in enumerate(sites):
        yield from _unique(site.get("pickup_points", []), f"sites[{index}].pickup_points", "point_id")
    yield from _unique(stops, "stops", "stop_id")
    yield from _unique(parcels, "parcels", "parcel_id")
    yield from _unique(parcels, "parcels", "tracking_number")

    points = {site["site_id"]: {point["point_id"] for point in site.get("pickup_points", [])} for site in sites}
    by_id = {stop["stop_id"]: stop for stop in stops}
    pickups = [stop["stop_id"] for stop in stops if stop["kind"] == "pickup"]

    if (fallback := block.get("fallback_site_id")) is not None and fallback not in points:
        yield Fault("fallback_site_id", "expected the site_id of one of the sites")
    yield from _travel(block.get("travel"), by_id)
    for index, stop in enumerate(stops):
        yield from _stop_references(stop, f"stops[{index}]", points)
    for index, parcel in enumerate(parcels):
        yield from _parcel_references(parcel, f"parcels[{index}]", by_id, points, pickups, block.get("otp_key"))


def _travel(travel: Mapping[str, Any] | None, stops: Mapping[str, Any]) -> Iterable[Fault]:
    if travel is None:
        return
    size = len(travel["stop_ids"])
    for index, stop_id in enumerate(travel["stop_ids"]):
        if stop_id not in stops:
            yield Fault(f"travel.stop_ids[{index}]", "expected the stop_id of one of the stops")
    if len(travel["seconds"]) != size:
        yield Fault("travel.seconds", "expected one row for each of stop_ids")
    for index, row in enumerate(travel["seconds"]):
        if len(row) != size:
            yield Fault(f"travel.seconds[{index}]", "expected one number for each of stop_ids")


def _stop_references(stop: Mapping[str, Any], path: str, sites: Mapping[str, Any]) -> Iterable[Fault]:
    site_id = stop.get("site_id")
    if site_id is None and stop["kind"] in {"pickup", "return"}:
        yield Fault(f"{path}.site_id", f"it must be there for a {stop['kind']} stop")
    elif site_id is not None and site_id not in sites:
        yield Fault(f"{path}.site_id", "expected the site_id of one of the sites")
    if stop["kind"] == "delivery" and stop.get("location") is None and stop.get("address") is None:
        yield Fault(f"{path}.location", "expected a location or an address for a delivery stop")
    if stop.get("window") is not None:
        yield from _in_order(stop["window"], "from", "to", f"{path}.window.")


def _parcel_references(
    parcel: Mapping[str, Any],
    path: str,
    stops: Mapping[str, Any],
    points: Mapping[str, set[str]],
    pickups: list[str],
    otp_key: str | None,
) -> Iterable[Fault]:
    delivery = stops.get(parcel["stop_id"])
    if delivery is None:
        yield Fault(f"{path}.stop_id", "expected the stop_id of one of the stops")
    elif delivery["kind"] != "delivery":
        yield Fault(f"{path}.stop_id", f"expected a delivery stop, that one is a {delivery['kind']} stop")

    pickup_stop_id = parcel.get("pickup_stop_id")
    if pickup_stop_id is None and len(pickups) == 1:
        pickup_stop_id = pickups[0]
    pickup = stops.get(pickup_stop_id) if pickup_stop_id is not None else None
    if pickup_stop_id is None:
        yield Fault(f"{path}.pickup_stop_id", "it must be there unless the block has exactly one pickup stop")
    elif pickup is None:
        yield Fault(f"{path}.pickup_stop_id", "expected the stop_id of one of the stops")
    elif pickup["kind"] != "pickup":
        yield Fault(f"{path}.pickup_stop_id", f"expected a pickup stop, that one is a {pickup['kind']} stop")
    elif parcel.get("point_id") is not None and parcel["point_id"] not in points.get(pickup.get("site_id", ""), ()):
        yield Fault(f"{path}.point_id", "expected the point_id of a pickup point at the site of the pickup stop")

    if parcel.get("return_to") is not None and parcel["return_to"] not in points:
        yield Fault(f"{path}.return_to", "expected the site_id of one of the sites")
    requirements = parcel.get("requirements")
    if requirements is not None and requirements.get("otp_hmac") is not None and otp_key is None:
        yield Fault("otp_key", f"it must be there because {path} asks for a one-time code")
