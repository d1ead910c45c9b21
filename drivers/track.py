"""The way of a vehicle from its fixes: the few points that tell it, and how long it is.

`Track` keeps as few points as can tell the way with a stated error: nowhere was the vehicle believed to be farther than
`TOLERANCE_M` from the line through them. `Odometer` counts metres that were driven: what a standing vehicle's position
wanders, and what it jumps, is none. Both are pure; they take flagged fixes and where the vehicle is believed to be.
"""

from __future__ import annotations

import math
from typing import Final

from drivers.fixes import MEASURED_SPREAD, POOR_M, distance_m, elapsed_s, measured_mps
from drivers.readings import Doubt, Fix

TOLERANCE_M: Final = 10.0
MAX_GAP_S: Final = 30.0
MAX_GAP_M: Final = 500.0
"""Between two points of a vehicle that drives, whatever way it drives."""
STANDING_EVERY_S: Final = 300.0
RESTS_AFTER_S: Final = 3.0
"""At one place for so long, the vehicle has come to rest there."""
STAY_COUNTS_S: Final = 60.0
"""A stay of this length has an end worth telling."""
MAX_WINDOW: Final = 256
STEP_M: Final = 10.0
"""The odometer counts in steps, so that the noise of a slow vehicle does not add up."""
METRES_PER_DEGREE: Final = 111_195.0


class Track:
    """Chooses points of the way as it is driven, the last one at most `MAX_GAP_S` late.

    A point is kept where the vehicle would otherwise have been off the line, where it came to rest and went on after a
    stay, every `MAX_GAP_S` or `MAX_GAP_M` of driving, and every `STANDING_EVERY_S` of standing.
    """

    def __init__(self, tolerance_m: float = TOLERANCE_M) -> None:
        self._tolerance_m = tolerance_m
        self._kept: Fix | None = None
        self._open: list[Fix] = []
        """Different places since the last kept point; a straight line to the last of them passes all closely enough."""
        self._stay: Fix | None = None
        """The latest fix at the last of these places."""

    def take(self, fix: Fix) -> list[Fix]:
        """Where the vehicle is believed to be now, each time; returns the points that are certain by it, in order."""
        kept = self._kept
        if kept is None:
            self._kept = fix
            return [fix]
        last = self._open[-1] if self._open else kept
        if (last.latitude, last.longitude) == (fix.latitude, fix.longitude):
            return self._stands(kept, last, fix)
        points: list[Fix] = []
        stay, self._stay = self._stay, None
        if stay is not None and self._open:
            self._open[-1] = last = stay
        elif stay is not None and elapsed_s(kept, stay) >= STAY_COUNTS_S:
            points.append(stay)
            self._kept = kept = stay
        if self._open and (self._is_due(kept, fix) or not self._passes(kept, fix)):
            points.append(self._keep(last))
        self._open.append(fix)
        return points

    def end(self) -> list[Fix]:
        """The way ends here: what is left of it. The next fix begins another."""
        kept, stay, left = self._kept, self._stay, self._open[-1:]
        if kept is not None and stay is not None and (left or elapsed_s(kept, stay) >= STAY_COUNTS_S):
            left = [stay]
        self._kept, self._open, self._stay = None, [], None
        return left

    def _stands(self, kept: Fix, last: Fix, fix: Fix) -> list[Fix]:
        self._stay = fix
        if self._open and elapsed_s(last, fix) >= RESTS_AFTER_S and distance_m(kept, last) > self._tolerance_m:
            return [self._keep(last)]
        if elapsed_s(kept, fix) >= STANDING_EVERY_S:
            return [self._keep(fix)]
        return []

    def _keep(self, point: Fix) -> Fix:
        self._kept, self._open = point, []
        return point

    def _is_due(self, kept: Fix, fix: Fix) -> bool:
        way_m, gap_s = distance_m(kept, fix), elapsed_s(kept, fix)
        return (
            way_m > MAX_GAP_M
            or (gap_s > MAX_GAP_S and way_m > self._tolerance_m)
            or gap_s > STANDING_EVERY_S
            or len(self._open) >= MAX_WINDOW
        )

    def _passes(self, kept: Fix, fix: Fix) -> bool:
        """Whether the line to a fix passes all that lies between closely enough."""
        end = _offset_m(kept, fix)
        return all(_off_line_m(_offset_m(kept, between), end) <= self._tolerance_m for between in self._open)


class Odometer:
    """Metres driven, from flagged fixes.

    :param metres: what was counted before
    """

    def __init__(self, metres: float = 0.0) -> None:
        self.metres = metres
        self._last: Fix | None = None
        self._jumped = False

    def take(self, fix: Fix) -> None:
        """Count the way to a fix, as far as it was driven."""
        if Doubt.JUMP in fix.doubts:
            self._jumped = True
        if fix.doubts or (fix.accuracy_m is not None and fix.accuracy_m > POOR_M):
            return
        last, jumped = self._last, self._jumped
        self._jumped = False
        if last is None:
            self._last = fix
            return
        way_m = distance_m(last, fix)
        if jumped and way_m > _driven_at_most_m(last, fix):
            self._last = fix
        elif way_m >= STEP_M:
            self.metres += way_m
            self._last = fix


def _driven_at_most_m(before: Fix, fix: Fix) -> float:
    """The way that measured speeds account for; a place that came to be believed by repetition has none."""
    top_mps = max(measured_mps(before) or 0.0, measured_mps(fix) or 0.0)
    return STEP_M + MEASURED_SPREAD * top_mps * elapsed_s(before, fix)


def _offset_m(origin: Fix, fix: Fix) -> tuple[float, float]:
    """East and north of `origin`, on the plane that touches the earth there: good for the length of a `MAX_GAP_M`."""
    if origin.latitude is None or origin.longitude is None or fix.latitude is None or fix.longitude is None:
        raise ValueError("a way needs positions: take only fixes that have one")
    east = (fix.longitude - origin.longitude + 180) % 360 - 180
    return (
        east * METRES_PER_DEGREE * math.cos(math.radians(origin.latitude)),
        (fix.latitude - origin.latitude) * METRES_PER_DEGREE,
    )


def _off_line_m(point: tuple[float, float], end: tuple[float, float]) -> float:
    """Distance of a point from the line from the origin to `end`."""
    length_2 = end[0] ** 2 + end[1] ** 2
    along = 0.0 if length_2 == 0 else min(1.0, max(0.0, (point[0] * end[0] + point[1] * end[1]) / length_2))
    return math.hypot(point[0] - along * end[0], point[1] - along * end[1])
