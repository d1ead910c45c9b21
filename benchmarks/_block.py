"""The block that the benchmarks load: as many parcels as asked for, ten a stop."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any


def block_message(numbers: list[str]) -> dict[str, Any]:
    """A station block with one delivery stop for every ten parcels."""
    now = datetime.now(UTC)
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    stops += [
        {
            "stop_id": f"T{index}",
            "kind": "delivery",
            "sequence": index,
            "address": {"line1": f"Lindelaan {index}", "house_number": str(index), "city": "Utrecht", "country": "NL"},
            "location": {"latitude": 52.09, "longitude": 5.1 + index / 1000},
        }
        for index in range(1, (len(numbers) + 9) // 10 + 1)
    ]
    parcels = [
        {
            "parcel_id": f"P{index}",
            "tracking_number": number,
            "pickup_stop_id": "T0",
            "point_id": "G1",
            "stop_id": f"T{index // 10 + 1}",
            "return_to": "S1",
            "section": "2",
            "requirements": {"photo": False, "signature": False, "otp_hmac": None, "minimum_age": None},
            "instruction": {"kind": "front_door"},
        }
        for index, number in enumerate(numbers)
    ]
    data = {
        "block_id": "B1",
        "kind": "station",
        "starts_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ends_at": (now + timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timezone": "UTC",
        "driver_id": "D1",
        "manifest_version": 1,
        "sites": [
            {
                "site_id": "S1",
                "name": "Station",
                "kind": "station",
                "location": {"latitude": 52.09, "longitude": 5.1},
                "radius_m": 150,
                "pickup_points": [{"point_id": "G1", "name": "Lane 1"}],
            }
        ],
        "stops": stops,
        "parcels": parcels,
    }
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/dispatch",
        "type": "org.kerbside.block.assigned.v1",
        "data": data,
    }
