"""Which fixes may move the vehicle: a filter that flags and never deletes.

`Filter` says of each fix what is to be doubted: nothing there, held up, too poor, a jump that no vehicle makes, or the
wandering of a position while the vehicle stands. Whatever it doubts stays in the fix as the receiver gave it. It can
not hold a position back for ever: a new place that reports agree on is believed after `JUMP_HELD_S`, and after
`HELD_BACK_S` with nothing but doubts any position is. Pure: time is what the fixes carry.

>>> doubted = Filter()
>>> first = doubted.take(Fix("receiver", 0, 3, latitude=52.09, longitude=5.12))
>>> doubted.take(Fix("receiver", 10**9, 3, latitude=52.19, longitude=5.12)).doubts
(<Doubt.JUMP: 'jump'>,)
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from drivers.readings import Doubt, Fix

POOR_M: Final = 100.0
"""A horizontal error (95 %) beyond this is too poor to tell one street from another."""
OLD_S: Final = 5.0
SLOWEST: Final = 3.0
JUMP_HELD_S: Final = 4.0
"""So long must reports agree on another place before the vehicle is believed to be there."""
HELD_BACK_S: Final = 30.0
"""The longest that doubts may hold a position back."""
TOP_SPEED_MPS: Final = 60.0
"""No delivery vehicle is faster, unless the receiver has measured that it is."""
TOP_MEASURED_MPS: Final = 1_000.0
"""A greater speed is no measurement: civil receivers stop at about half of it, simulated ones in fast motion do not."""
MEASURED_SPREAD: Final = 1.5
"""A vehicle may have been faster between two reports than at either, by this factor."""
SLOW_MPS: Final = 1.0
GOES_MPS: Final = 1.5
"""At this measured speed a vehicle that stood is under way."""
STANDS_AFTER_S: Final = 5.0
STANDS_WITHIN_M: Final = 10.0
DRIFTS_WITHIN_M: Final = 25.0
"""How far the position of a standing vehicle may wander, or as far as its error if that is more."""
USUAL_ERROR_M: Final = 15.0
"""Of a fix whose error is not told."""
MIN_ERROR_M: Final = 10.0
MAX_ERROR_M: Final = 60.0
GAP_COUNTS_S: Final = 10.0
EARTH_RADIUS_M: Final = 6_371_000.0


def distance_m(a: Fix, b: Fix) -> float:
    """Great-circle distance of two fixes that have positions."""
    if a.latitude is None or a.longitude is None or b.latitude is None or b.longitude is None:
        raise ValueError("a distance needs two positions: ask only about fixes that have one")
    p, q = math.radians(a.latitude), math.radians(b.latitude)
    h = (
        math.sin((q - p) / 2) ** 2
        + math.cos(p) * math.cos(q) * math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


def elapsed_s(a: Fix, b: Fix) -> float:
    """Time from `a` to `b`: what passed here, or what passed for the receiver where that is more.

    The receiver's own time counts because reports may have waited on their way, and no more than `GAP_COUNTS_S`.
    """
    here_s = max(0.0, (b.monotonic_ns - a.monotonic_ns) / 1e9)
    before, after = unix_s(a.time), unix_s(b.time)
    there_s = 0.0 if before is None or after is None else after - before
    return max(here_s, min(there_s, GAP_COUNTS_S))


def measured_mps(fix: Fix) -> float | None:
    """The speed, where the receiver measured it.

    gpsd works a speed out from two positions when the receiver gives none, and then knows no heading; such a speed
    says of a jump only that it is one. Receivers leave out the heading of a vehicle that hardly moves.
    """
    speed = fix.speed_mps
    if speed is None or speed > TOP_MEASURED_MPS or (fix.heading is None and speed >= SLOW_MPS):
        return None
    return speed


def believed(before: Fix | None, fix: Fix) -> Fix | None:
    """Where the vehicle is, after a fix with its doubts: there, where it stood all the time, or where it was."""
    if not fix.doubts:
        return fix
    if fix.doubts == (Doubt.STANDING,) and before is not None:
        return replace(before, monotonic_ns=fix.monotonic_ns, mode=fix.mode, time=fix.time, speed_mps=fix.speed_mps)
    return before


class Filter:
    """Doubts about one receiver's fixes, taken in the order in which they came."""

    def __init__(self) -> None:
        self._believed: Fix | None = None
        self._doubted_since_ns: int | None = None
        self._elsewhere: Fix | None = None
        """The last of the reports that agree on another place."""
        self._elsewhere_s = 0.0
        self._slow_from: Fix | None = None
        self._stands = False
        self._ahead_s: float | None = None
        """By how much the receiver's time is ahead of ours when reports come without delay."""
        self._told: tuple[float, float] | None = None
        """The receiver's last time, and ours."""

    def take(self, fix: Fix) -> Fix:
        """The fix with its doubts."""
        old = self._is_old(fix)
        if fix.latitude is None or fix.longitude is None or fix.mode < 2:
            return replace(fix, doubts=(Doubt.NO_FIX,))
        doubt = self._doubt(fix, old=old)
        if doubt in (None, Doubt.STANDING):
            self._doubted_since_ns = None
        elif self._doubted_since_ns is None:
            self._doubted_since_ns = fix.monotonic_ns
        elif fix.monotonic_ns - self._doubted_since_ns >= HELD_BACK_S * 1e9:
            if doubt is Doubt.OLD:
                self._ahead_s = None
            self._elsewhere, self._stands = None, False
            doubt = None
        judged = fix if doubt is None else replace(fix, doubts=(doubt,))
        self._believed = believed(self._believed, judged)
        if doubt is None:
            self._watch_standing(fix)
        return judged

    def _doubt(self, fix: Fix, *, old: bool) -> Doubt | None:
        if old:
            return Doubt.OLD
        if fix.accuracy_m is not None and fix.accuracy_m > POOR_M:
            return Doubt.POOR
        if (measured_mps(fix) or 0.0) >= GOES_MPS:
            self._stands = False
        if self._has_jumped(fix):
            return Doubt.JUMP
        if self._stands and self._believed is not None and distance_m(self._believed, fix) > 0:
            return Doubt.STANDING
        return None

    def _has_jumped(self, fix: Fix) -> bool:
        if self._believed is None or self._near(fix, self._believed):
            self._elsewhere = None
            return False
        before, self._elsewhere = self._elsewhere, fix
        if before is None or distance_m(before, fix) > _reach_m(before, fix):
            self._elsewhere_s = 0.0
            return True
        self._elsewhere_s += elapsed_s(before, fix)
        if self._elsewhere_s < JUMP_HELD_S:
            return True
        self._elsewhere, self._stands = None, False
        return False

    def _near(self, fix: Fix, before: Fix) -> bool:
        way_m = distance_m(before, fix)
        if self._stands:
            return way_m <= max(DRIFTS_WITHIN_M, min(fix.accuracy_m or 0.0, MAX_ERROR_M))
        return way_m <= _reach_m(before, fix)

    def _watch_standing(self, fix: Fix) -> None:
        """The vehicle stands once it has been slow at one place for a while."""
        start = self._slow_from
        slow = (measured_mps(fix) or 0.0) < SLOW_MPS
        if not slow or start is None or distance_m(start, fix) > STANDS_WITHIN_M:
            self._slow_from = fix if slow else None
            self._stands = False
        elif elapsed_s(start, fix) >= STANDS_AFTER_S:
            self._stands = True

    def _is_old(self, fix: Fix) -> bool:
        """Whether the receiver's time has fallen behind ours since reports came without delay.

        A time that goes back is the receiver's clock being set: that begins anew. One that runs slow, as in a recording
        that is played slowly, is allowed for: reports that had piled up come at once.
        """
        there_s, here_s = unix_s(fix.time), fix.monotonic_ns / 1e9
        if there_s is None:
            return False
        told, self._told = self._told, (there_s, here_s)
        ahead_s = there_s - here_s
        if told is None or self._ahead_s is None or there_s < told[0]:
            self._ahead_s = ahead_s
            return False
        self._ahead_s = max(ahead_s, self._ahead_s - min(SLOWEST * (there_s - told[0]), here_s - told[1]))
        return self._ahead_s - ahead_s > OLD_S


def _reach_m(before: Fix, fix: Fix) -> float:
    """How far from a fix another one may be at most, by the time between them, their speeds and their errors."""
    speeds = [speed for speed in (measured_mps(before), measured_mps(fix)) if speed is not None]
    top_mps = max(TOP_SPEED_MPS, MEASURED_SPREAD * max(speeds, default=0.0))
    return top_mps * elapsed_s(before, fix) + _error_m(before) + _error_m(fix)


def _error_m(fix: Fix) -> float:
    error_m = USUAL_ERROR_M if fix.accuracy_m is None else fix.accuracy_m
    return min(max(error_m, MIN_ERROR_M), MAX_ERROR_M)


def unix_s(text: str | None) -> float | None:
    """A receiver's time in seconds; ``None`` when it is no time."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
