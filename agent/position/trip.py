"""The trip of a block: the points that tell its way, and how far it was, over restarts.

`Trip` follows the vehicle from one fix to the next while a block is active, and at no other time. The count of metres
is kept in a file: after a restart, or a power cut, it goes on from at most half a minute ago, and the way since then
counts as a straight line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from agent.files import LazyFile, read
from drivers.fixes import believed, distance_m
from drivers.readings import Doubt, Fix
from drivers.track import Odometer, Track

SAVE_EVERY_S: Final = 30.0
RESTART_GAP_M: Final = 2_000.0
"""A way longer than this between the last place that was kept and the first one after a restart is not counted."""
BLOCK_KEY: Final = "purpose"
"""Under which the file holds the block: files of older versions have this name too."""


class Trip:
    """The way of the active block, if there is one.

    :param file: where the count is kept; it is there only while a trip is under way
    """

    def __init__(self, file: Path) -> None:
        self.here: Fix | None = None
        """Where the vehicle is believed to be: a fix with a position, its stamp that of the last report that holds."""
        self._file = LazyFile(file, "the odometer")
        self._track = Track()
        self._block_id: str | None = None
        self._odometer = Odometer()
        self._from: Fix | None = None
        if (kept := read(file, _kept, "the odometer begins anew")) is not None:
            self._block_id, self._odometer, self._from = kept
        self._saved_ns: int | None = None

    def metres(self, block_id: str | None) -> float | None:
        """How far the block has come; ``None`` when it is not the one that is followed."""
        return self._odometer.metres if block_id is not None and block_id == self._block_id else None

    def follow(self, block_id: str | None) -> list[Fix]:
        """From now on this block is active, or none; returns the points that end the way so far."""
        if block_id == self._block_id:
            return []
        self._block_id, self._odometer, self._from, self._saved_ns = block_id, Odometer(), None, None
        self._file.remove()
        return self._track.end()

    def take(self, fix: Fix, block_id: str | None) -> list[Fix]:
        """Follow one more fix, with its doubts; returns the points of the way that are certain by it.

        :param block_id: the active block; ``None`` while there is none, and positions may not be recorded
        """
        points = self.follow(block_id)
        self.here = believed(self.here, fix)
        if block_id is None:
            return points
        if self._from is not None and not fix.doubts:
            if distance_m(self._from, fix) <= RESTART_GAP_M:
                self._odometer.take(self._from)
            self._from = None
        self._odometer.take(fix)
        if self.here is not None and fix.doubts in ((), (Doubt.STANDING,)):
            points += self._track.take(self.here)
        if self._saved_ns is None or fix.monotonic_ns - self._saved_ns >= SAVE_EVERY_S * 1e9:
            self._saved_ns = fix.monotonic_ns
            self.save()
        return points

    def save(self) -> None:
        """Keep the count. Never fails: a disk that is full costs no more than the count."""
        if self._block_id is None or self.here is None:
            return
        kept = {
            BLOCK_KEY: self._block_id,
            "metres": round(self._odometer.metres, 1),
            "latitude": self.here.latitude,
            "longitude": self.here.longitude,
        }
        self._file.write(json.dumps(kept).encode())


def _kept(content: bytes) -> tuple[str, Odometer, Fix]:
    """Block, count and last place of a trip that was under way."""
    kept = json.loads(content)
    metres, latitude, longitude = (float(kept[name]) for name in ("metres", "latitude", "longitude"))
    return str(kept[BLOCK_KEY]), Odometer(metres), Fix("", 0, 3, latitude=latitude, longitude=longitude)
