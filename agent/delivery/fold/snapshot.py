"""The lasting part of the state as bytes and back: what a restart begins from instead of the whole log.

The momentary part and the settings are not in it. Sealed tokens stay tokens. Once the entries that a snapshot covers
have left the log it is the only source, so a snapshot of an older version is brought up to date, never put aside.
"""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.delivery.fold.messages import read_advisory, read_earnings, read_feedback, read_roster
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import ParcelPlan, StopPlan
from agent.delivery.model.numbers import codes_of, index_codes
from agent.delivery.model.reading import (
    read_pay,
    read_sealed,
    read_size,
    read_travel,
    read_vehicle,
    read_window,
)
from agent.delivery.model.state import Block, Policy, State, replace
from agent.delivery.model.times import read_instant

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SNAPSHOT_VERSION = 3
"""Grows when a snapshot of an older version can no longer be read as it is, also when the default of a member, which is
left out, becomes another."""


@cache
def _adapter() -> TypeAdapter[State]:
    from pydantic import TypeAdapter

    return TypeAdapter(State)


def dump(state: State) -> bytes:
    """The lasting part of the state, JSON."""
    left_out: Any = {"here": True, "policy": True, "blocks": {"__all__": {"codes"}}}
    lasting = _adapter().dump_json(state, exclude=left_out, exclude_defaults=True)
    return b'{"version":%d,"state":%b}' % (SNAPSHOT_VERSION, lasting)


def load(data: bytes, policy: Policy) -> State:
    """The state of a snapshot under these settings.

    :raises DeliveryError: it cannot be read, or a newer version wrote it
    """
    try:
        content = json.loads(data)
        version = content["version"]
        if version not in range(1, SNAPSHOT_VERSION + 1):
            raise DeliveryError(f"snapshot: version {version!r}; expected at most {SNAPSHOT_VERSION}, of this release")
        lasting = content["state"]
        if version < 2:
            _from_version_1(lasting)
        if version < 3:
            _from_version_2(lasting)
        state: State = _adapter().validate_python(lasting)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise DeliveryError(f"snapshot: {type(fault).__name__}; expected what dump() wrote") from fault
    blocks = {name: replace(block, codes=_codes(block)) for name, block in state.blocks.items()}
    return replace(state, blocks=blocks, policy=policy)


def _codes(block: Block) -> dict[str, tuple[str, ...]]:
    return index_codes({name: codes_of(parcel.plan) for name, parcel in block.parcels.items()})


def _from_version_1(lasting: dict[str, Any]) -> None:
    """Version 1 kept parts of messages as the cloud had sent them, and whole advisories."""
    for block in lasting["blocks"].values():
        block["pay"] = read_pay(block["pay"])
        block["vehicle"] = read_vehicle(block["vehicle"])
        block["travel"] = read_travel(block["travel"])
        for stop in block["stops"].values():
            stop["window"] = read_window(stop["window"])
        for parcel in block["parcels"].values():
            parcel["size"] = read_size(parcel["size"])
    for offer in lasting["offers"].values():
        offer["pay"] = read_pay(offer["pay"])
    lasting["roster"] = None if lasting["roster"] is None else read_roster(lasting["roster"])
    lasting["advisories"] = {name: read_advisory(known, None) for name, known in lasting["advisories"].items()}
    lasting["feedback"] = [read_feedback(known) for known in lasting["feedback"]]
    lasting["earnings"] = {name: read_earnings(known) for name, known in lasting["earnings"].items()}


def _from_version_2(lasting: dict[str, Any]) -> None:
    """Up to version 2 what the manifest says stood among the other members of stops and parcels, and nothing told at
    which pickup stop the vehicle was last."""
    for block in lasting["blocks"].values():
        arrived = {
            stop["stop_id"]: at
            for stop in block["stops"].values()
            if stop["kind"] == "pickup" and (at := read_instant(stop["arrived_at"])) is not None
        }
        block["last_pickup_id"] = max(arrived, key=arrived.__getitem__, default=None)
        for stop in block["stops"].values():
            stop["is_business"] = bool((stop["address"] or {}).get("business"))
            stop["address"] = read_sealed(stop["address"])
            stop["recipient"] = read_sealed({"name": stop["recipient_name"], "phone": stop["recipient_phone"]})
            stop["plan"] = {name: stop.pop(name) for name in _PLANNED_OF_STOP}
        for parcel in block["parcels"].values():
            parcel["plan"] = {name: parcel.pop(name) for name in _PLANNED_OF_PARCEL} | {"stop_id": parcel["stop_id"]}


_PLANNED_OF_STOP = [member.name for member in fields(StopPlan)]
_PLANNED_OF_PARCEL = [member.name for member in fields(ParcelPlan) if member.name != "stop_id"]
