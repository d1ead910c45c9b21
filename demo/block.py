"""The block that the demo drives: a station, some stops around it, and parcels with every common fate.

Labels come in the forms a driver really meets: Amazon, SSCC, UPS, USPS and postal numbers, some read by the handheld
scanner and some held in front of the camera.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from demo.messages import STATION, assignment, delivery_stop, parcel

Fate = Literal["deliver", "absent", "refuse", "missing", "damaged"]

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


def make_plan(seed: int) -> Plan:
    """A block that starts now; the same seed gives the same parcels."""
    rng = random.Random(seed)
    block_id = f"B{seed:04d}"
    places = {"T0": STATION}
    labels: list[Label] = []
    stops: list[dict[str, Any]] = []
    parcels: list[dict[str, Any]] = []
    for index, fates in enumerate(FATES, start=1):
        stop_id = f"T{index}"
        places[stop_id] = _offset(450.0 * ((index + 1) // 2), 420.0 * (index % 4 - 1.5))
        stops.append(delivery_stop(index, places[stop_id]))
        for fate in fates:
            number, printed = KINDS[len(labels) % len(KINDS)](rng)
            by_camera = "]C1" not in printed and len(labels) % 3 == 0
            label = Label(f"P{len(labels) + 1}", stop_id, number, printed, fate, by_camera)
            labels.append(label)
            parcels.append(
                parcel(
                    label.parcel_id,
                    number,
                    stop_id,
                    section=str(1 + index % 3),
                    weight_g=rng.randrange(200, 6000),
                    requirements={"photo": index == 2, "signature": False, "otp_hmac": None, "minimum_age": None},
                    instruction={"kind": "front_door", "access_codes": ["#2580"] if index == 4 else []},
                )
            )
    return Plan(block_id, assignment(block_id, stops, parcels), tuple(labels), _amazon(rng)[0], places)
