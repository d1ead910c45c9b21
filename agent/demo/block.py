"""The block that the demo drives: a station, some stops around it, and parcels with every common fate.

Labels come in the forms a driver really meets: Amazon, SSCC, UPS, USPS and postal numbers, some read by the handheld
scanner and some held in front of the camera.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Fate = Literal["deliver", "absent", "refuse", "missing", "damaged"]

STATION = (52.0860, 5.1000)
METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Label:
    """One parcel as the driver holds it."""

    parcel_id: str
    stop_id: str
    tracking_number: str
    printed: str
    """What a scanner sends when it reads the label."""
    fate: Fate
    by_camera: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the cloud sends and what the driver will find."""

    block_id: str
    message: dict[str, Any]
    labels: tuple[Label, ...]
    stray: str
    """A parcel of another route that was put on the wrong trolley."""
    places: dict[str, tuple[float, float]]
    """Latitude and longitude of each stop and of the station ("T0")."""


def _mod10(digits: str) -> str:
    """GS1's check digit: weights 3 and 1 from the right."""
    total = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def _amazon(rng: random.Random) -> tuple[str, str]:
    number = f"TBA{rng.randrange(10**12):012d}"
    return number, number


def _sscc(rng: random.Random) -> tuple[str, str]:
    body = f"0034043416{rng.randrange(10**7):07d}"
    number = body + _mod10(body)
    return number, f"]C100{number}"


def _s10(rng: random.Random) -> tuple[str, str]:
    serial = f"{rng.randrange(10**8):08d}"
    check = 11 - sum(int(digit) * weight for digit, weight in zip(serial, (8, 6, 4, 2, 3, 5, 9, 7), strict=True)) % 11
    number = f"RR{serial}{ {10: 0, 11: 5}.get(check, check) }NL"
    return number, number


def _ups(rng: random.Random) -> tuple[str, str]:
    body = f"{rng.randrange(10**6):06d}03{rng.randrange(10**7):07d}"
    odd, even = sum(int(digit) for digit in body[0::2]), sum(int(digit) for digit in body[1::2])
    number = f"1Z{body}{-(odd + 2 * even) % 10}"
    return number, f"]C0{number}"


def _usps(rng: random.Random) -> tuple[str, str]:
    body = f"94001{rng.randrange(10**16):016d}"
    number = body + _mod10(body)
    return number, f"]C142090210{number}"


KINDS: tuple[Callable[[random.Random], tuple[str, str]], ...] = (_amazon, _sscc, _s10, _ups, _usps)

FATES: tuple[tuple[Fate, ...], ...] = (
    ("deliver", "deliver"),
    ("deliver",),
    ("absent",),
    ("deliver", "refuse"),
    ("deliver", "missing"),
    ("deliver",),
    ("damaged", "deliver", "deliver"),
    ("deliver",),
)
"""One row a stop: what will come of each of its parcels."""


def _offset(metres_north: float, metres_east: float) -> tuple[float, float]:
    latitude, longitude = STATION
    return (
        round(latitude + metres_north / METRES_PER_DEGREE, 6),
        round(longitude + metres_east / (METRES_PER_DEGREE * 0.614), 6),
    )


def _location(place: tuple[float, float]) -> dict[str, float]:
    return {"latitude": place[0], "longitude": place[1]}


def make_plan(seed: int, now: datetime | None = None) -> Plan:
    """A block that starts now; the same seed gives the same parcels."""
    rng = random.Random(seed)
    now = now or datetime.now(UTC)
    block_id = f"B{seed:04d}"
    places = {"T0": STATION}
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    labels: list[Label] = []
    parcels: list[dict[str, Any]] = []
    for index, fates in enumerate(FATES, start=1):
        stop_id = f"T{index}"
        places[stop_id] = _offset(450.0 * ((index + 1) // 2), 420.0 * (index % 4 - 1.5))
        stops.append(
            {
                "stop_id": stop_id,
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
                "location": _location(places[stop_id]),
            }
        )
        for fate in fates:
            number, printed = KINDS[len(labels) % len(KINDS)](rng)
            plain = "]C1" not in printed
            label = Label(
                f"P{len(labels) + 1}", stop_id, number, printed, fate, by_camera=plain and len(labels) % 3 == 0
            )
            labels.append(label)
            parcels.append(
                {
                    "parcel_id": label.parcel_id,
                    "tracking_number": number,
                    "pickup_stop_id": "T0",
                    "point_id": "G4",
                    "stop_id": stop_id,
                    "return_to": "S1",
                    "section": str(1 + index % 3),
                    "weight_g": rng.randrange(200, 6000),
                    "requirements": {"photo": index == 2, "signature": False, "otp_hmac": None, "minimum_age": None},
                    "instruction": {"kind": "front_door", "text": "", "access_codes": ["#2580"] if index == 4 else []},
                }
            )
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
                "location": _location(STATION),
                "radius_m": 150,
                "pickup_points": [{"point_id": "G4", "name": "Lane 4", "floor": None, "code": None, "ready": True}],
            }
        ],
        "stops": stops,
        "parcels": parcels,
    }
    message = {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "source": "/dispatch",
        "type": "org.kerbside.block.assigned.v1",
        "data": data,
    }
    return Plan(block_id, message, tuple(labels), _amazon(rng)[0], places)


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
