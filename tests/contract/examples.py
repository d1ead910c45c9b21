"""One valid message of every type, as the cloud sends it."""

from __future__ import annotations

import json
from typing import Any

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def block(**changes: Any) -> dict[str, Any]:
    return {
        "block_id": "B7",
        "kind": "station",
        "starts_at": "2026-11-21T09:00:00Z",
        "ends_at": "2026-11-21T13:00:00Z",
        "timezone": "Europe/Amsterdam",
        "driver_id": "D1",
        "manifest_version": 1,
        "pay": {"amount": "84.00", "currency": "EUR"},
        "otp_key": KEY,
        "service_radius_m": None,
        "fallback_site_id": None,
        "vehicle": {"max_weight_g": 400000, "max_volume_l": 2500},
        "travel": {"stop_ids": ["T0", "T1"], "seconds": [[0, 300], [310, 0]]},
        "elsewhere": [{"tracking_number": "TBA300000000099", "unit": "u2"}],
        "sites": [
            {
                "site_id": "S1",
                "name": "Station DUT2",
                "kind": "station",
                "location": {"latitude": 52.09, "longitude": 5.12},
                "radius_m": 150,
                "pickup_points": [
                    {"point_id": "G4", "name": "Lane 4", "floor": None, "code": None, "ready": True, "hours": None}
                ],
            }
        ],
        "stops": [
            {"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0},
            {
                "stop_id": "T1",
                "kind": "delivery",
                "sequence": 1,
                "service_s": 90,
                "zone": "A-2.1A",
                "priority": 0,
                "address": {"line1": "Oudegracht 12", "house_number": "12", "city": "Utrecht", "country": "NL"},
                "location": {"latitude": 52.0907, "longitude": 5.1214},
                "window": {"from": "2026-11-21T10:00:00Z", "to": "2026-11-21T11:00:00Z"},
                "recipient": {"name": "somebody", "phone": "+31 30 000 00 00"},
            },
        ],
        "parcels": [
            {
                "parcel_id": "P1",
                "tracking_number": "TBA123456789012",
                "aliases": ["00340434161094042557"],
                "pickup_stop_id": "T0",
                "point_id": "G4",
                "stop_id": "T1",
                "return_to": "S1",
                "merchant_id": None,
                "state": None,
                "section": "2",
                "weight_g": 900,
                "size": {"length_mm": 300, "width_mm": 200, "height_mm": 120},
                "requirements": {"photo": True, "signature": False, "otp_hmac": "0" * 64, "minimum_age": None},
                "instruction": {
                    "kind": "front_door",
                    "text": "behind the planter",
                    "neighbour": None,
                    "access_codes": ["#1234", "B 77"],
                    "preferences": None,
                },
            }
        ],
        **changes,
    }


def large_block(parcels: int) -> dict[str, Any]:
    """A block with a door for each parcel, and everything that the example says of one."""
    data = block()
    pickup, stop = data["stops"]
    parcel = data["parcels"][0]
    data["stops"] = [pickup, *({**stop, "stop_id": f"T{n}", "sequence": n} for n in range(1, parcels + 1))]
    data["parcels"] = [
        {**parcel, "parcel_id": f"P{n}", "tracking_number": f"TBA{n:012d}", "stop_id": f"T{n}"}
        for n in range(1, parcels + 1)
    ]
    return data


def message(type_: str, data: Any, /, **changes: Any) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": "M-1",
        "source": "/dispatch",
        "type": f"org.kerbside.{type_}.v1",
        "data": data,
        **changes,
    }
    return json.dumps({name: value for name, value in envelope.items() if value is not ...}).encode()


EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "offer.made": (
        "offer",
        {
            "offer_id": "O1",
            "block_id": "B7",
            "kind": "retail",
            "place": "Hoog Catharijne",
            "location": {"latitude": 52, "longitude": 5},
            "distance_m": 1200.5,
            "starts_at": "2026-11-21T09:00:00+01:00",
            "ends_at": "2026-11-21T13:00:00+01:00",
            "pay": {"amount": "84", "currency": "EUR"},
            "expires_at": "2026-11-21T08:00:00.5Z",
        },
    ),
    "offer.confirmed": ("offer", {"block_id": "B7"}),
    "offer.refused": ("offer", {"block_id": "B7", "reason": "TAKEN"}),
    "block.assigned": ("block", block()),
    "block.cancelled": ("block", {"block_id": "B7", "reason": "NO_ROUTE"}),
    "block.revised": ("revision", block(manifest_version=2)),
    "parcel.recalled": ("recall", {"parcel_ids": ["P1"], "reason": "SHIPPER"}),
    "roster.replaced": (
        "roster",
        {
            "key": KEY,
            "drivers": [
                {
                    "driver_id": "D1",
                    "name": "one",
                    "badge_hmac": "a" * 64,
                    "pin_hmac": "b" * 64,
                    "approved": True,
                    "reason": None,
                }
            ],
        },
    ),
    "advisory.issued": (
        "advisory",
        {
            "advisory_id": "A1",
            "format": "wzdx",
            "content": {"features": []},
            "valid_from": "2026-11-21T09:00:00Z",
            "valid_to": "2026-11-22T09:00:00Z",
        },
    ),
    "message.sent": ("message", {"message_id": "N1", "text": "Lane 5 today", "needs_ack": True}),
    "feedback.given": ("feedback", {"feedback_id": "F1", "parcel_id": "P1", "rating": 5, "text": "fine"}),
    "earnings.stated": ("earnings", {"block_id": "B7", "base": "84.00", "tips": "3.50", "currency": "EUR"}),
    "settings.changed": ("settings", {"delivery.photo_retakes": 1, "gps.stale_after_s": 4.5}),
    "command.requested": ("command", {"command_id": "C1", "command": "replay", "from_sequence": 3, "to_sequence": 9}),
}
