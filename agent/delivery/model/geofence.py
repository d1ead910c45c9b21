"""How far the vehicle is from where it should be: a hint, never a gate (the scan at the door is the check).

A fence has two radii around a place; a fix falls into tier 1 (here), 2 (ask once) or 3 (a reason is needed) by its
distance less its accuracy, of which no more than 60 m count.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import Any, Literal

from agent.delivery.model.inputs import Located, Moment
from agent.delivery.model.manifest import Place
from agent.delivery.model.state import Block, Here, Policy, Stop

EARTH_RADIUS_M = 6_371_000.0
ACCURACY_COUNTS_M = 60.0
FIX_IS_OLD_MS = 30_000
SLOW_MPS = 2.0
ARRIVES_AFTER_MS = 5_000
FAST_MPS = 5.0
LEAVES_AFTER_MS = 10_000

Tier = Literal[1, 2, 3]


@dataclass(frozen=True, slots=True)
class Sight:
    """How a fix stands to a place. Without a tier the place has no position to compare with."""

    tier: Tier | None
    distance_m: float | None = None
    accuracy_m: float | None = None
    why: str | None = None
    """For tier 3: ``FAR``, ``OLD_FIX`` or ``NO_FIX``."""

    @property
    def data(self) -> dict[str, Any]:
        """Members for an event; what is unknown is absent."""
        members = {"tier": self.tier, "distance_m": self.distance_m, "accuracy_m": self.accuracy_m}
        return {name: value for name, value in members.items() if value is not None}


def distance_m(a: Place, b: Place) -> float:
    """Great-circle distance."""
    p, q = radians(a.latitude), radians(b.latitude)
    h = sin((q - p) / 2) ** 2 + cos(p) * cos(q) * sin(radians(b.longitude - a.longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(h)))


def place_of(block: Block, stop: Stop) -> Place | None:
    """Where a stop is: its own position, else its site's."""
    if stop.plan.location is not None or stop.plan.site_id is None:
        return stop.plan.location
    site = block.sites.get(stop.plan.site_id)
    return site.location if site is not None else None


def fence_of(block: Block, stop: Stop, policy: Policy) -> tuple[float, float]:
    """Inner and outer radius in metres; a site may be larger than a door."""
    site = block.sites.get(stop.plan.site_id) if stop.plan.site_id is not None else None
    inner = policy.geofence_inner_m
    if site is not None and site.radius_m is not None:
        inner = site.radius_m
    return inner, inner + max(0.0, policy.geofence_outer_m - policy.geofence_inner_m)


def last_fix(here: Here, moment: Moment, oldest_ms: int | None = FIX_IS_OLD_MS) -> Located | None:
    """The last fix, unless it is older than `oldest_ms`; with ``None`` no fix is too old."""
    fix = here.fix
    return fix if fix is not None and (oldest_ms is None or moment.uptime_ms - fix.uptime_ms <= oldest_ms) else None


def sight(block: Block, stop: Stop, here: Here, policy: Policy, moment: Moment) -> Sight:
    """How the vehicle stands to a stop now."""
    place = place_of(block, stop)
    if place is None:
        return Sight(None)
    fix = last_fix(here, moment)
    if fix is None or fix.latitude is None or fix.longitude is None:
        return Sight(3, why="NO_FIX" if here.fix is None else "OLD_FIX")
    distance = distance_m(Place(fix.latitude, fix.longitude), place)
    inner, outer = fence_of(block, stop, policy)
    if fix.source == "handheld":
        # A handheld stands at the door itself, so less will do.
        inner, outer = min(inner, 50.0), min(outer, 100.0)
    beyond = distance - min(fix.accuracy_m or 0.0, ACCURACY_COUNTS_M)
    tier: Tier = 1 if beyond <= inner else 2 if beyond <= outer else 3
    return Sight(tier, round(distance, 1), fix.accuracy_m, "FAR" if tier == 3 else None)


def where(here: Here, moment: Moment, oldest_ms: int | None = FIX_IS_OLD_MS) -> dict[str, Any] | None:
    """The member `where` of an event; ``None`` when the position is unknown or older than `oldest_ms`."""
    fix = last_fix(here, moment, oldest_ms)
    if fix is None or fix.latitude is None or fix.longitude is None:
        return None
    members: dict[str, Any] = {"latitude": round(fix.latitude, 7), "longitude": round(fix.longitude, 7)}
    if fix.accuracy_m is not None:
        members["accuracy_m"] = round(fix.accuracy_m, 1)
    return members | {"age_s": max(0, moment.uptime_ms - fix.uptime_ms) / 1000, "source": fix.source}
