"""What the cloud sends, as the demo, the tests and the benchmarks send it: CloudEvents with a block at the station."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contract.topics import full_type

STATION = (52.0860, 5.1000)
"""Latitude and longitude of the station."""
PICKUP = {"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}


def envelope(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the cloud sends it."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/dispatch",
        "type": full_type(type_),
        "data": dict(data),
    }


def location(place: tuple[float, float]) -> dict[str, float]:
    """Latitude and longitude as messages hold them."""
    return {"latitude": place[0], "longitude": place[1]}


def delivery_stop(index: int, place: tuple[float, float]) -> dict[str, Any]:
    """The stop ``T{index}``, one house after the other in one street."""
    return {
        "stop_id": f"T{index}",
        "kind": "delivery",
        "sequence": index,
        "service_s": 60,
        "address": {
            "line1": f"Lindelaan {2 * index}",
            "house_number": str(2 * index),
            "city": "Utrecht",
            "postal_code": "3500 AA",
            "country": "NL",
        },
        "location": location(place),
    }


def parcel(parcel_id: str, number: str, stop_id: str, **changes: Any) -> dict[str, Any]:
    """A parcel from the station to a stop that needs no proof but its scan."""
    return {
        "parcel_id": parcel_id,
        "tracking_number": number,
        "pickup_stop_id": "T0",
        "point_id": "G4",
        "stop_id": stop_id,
        "return_to": "S1",
        "section": "2",
        "requirements": {"photo": False, "signature": False, "otp_hmac": None, "minimum_age": None},
        "instruction": {"kind": "front_door"},
        **changes,
    }


def assignment(
    block_id: str, stops: Sequence[Mapping[str, Any]], parcels: Sequence[Mapping[str, Any]], **changes: Any
) -> dict[str, Any]:
    """A station block that begins now."""
    now = datetime.now(UTC)
    data = {
        "block_id": block_id,
        "kind": "station",
        "starts_at": _rfc3339(now),
        "ends_at": _rfc3339(now + timedelta(hours=4)),
        "timezone": "Europe/Amsterdam",
        "driver_id": "D1",
        "manifest_version": 1,
        "pay": {"amount": "84.00", "currency": "EUR"},
        "sites": [
            {
                "site_id": "S1",
                "name": "Station DUT2",
                "kind": "station",
                "location": location(STATION),
                "radius_m": 150,
                "pickup_points": [{"point_id": "G4", "name": "Lane 4", "floor": None, "code": None, "ready": True}],
            }
        ],
        "stops": [PICKUP, *stops],
        "parcels": list(parcels),
        **changes,
    }
    return envelope("block.assigned", data)


def block_of(numbers: Sequence[str], *, per_stop: int = 4, block_id: str = "B1", **changes: Any) -> dict[str, Any]:
    """A block of plain parcels ``P0``, ``P1`` … with these tracking numbers, so many a stop."""
    stops = [delivery_stop(index, (52.09 + index / 500, 5.11)) for index in range(1, -(-len(numbers) // per_stop) + 1)]
    parcels = [parcel(f"P{index}", number, f"T{index // per_stop + 1}") for index, number in enumerate(numbers)]
    return assignment(block_id, stops, parcels, **changes)


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
