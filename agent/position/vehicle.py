"""Follows the vehicle: from the receiver's fixes to the clock, the way of the block, samples and the core's input.

Positions are recorded only while a block is active, from check-in to close. A fix that is doubted moves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.clock import Clock, Synchronized
from agent.delivery.model.inputs import Located
from agent.journal.store import Journal
from agent.position.trip import Trip
from agent.unit import Unit
from contract.vocabulary import BLOCK_ACTIVE
from drivers.readings import Condition, Doubt, Fix, PartState

TRIP_FILE = "trip.json"


class Vehicle:
    """Where the vehicle is, and how far it has come. Belongs to the loop.

    :param clock_changed: called when the clock has become better, after its event, and when the receiver's time is
        doubted or is so no more
    """

    def __init__(
        self, unit: Unit, clock: Clock, journal: Journal, state_dir: Path, clock_changed: Callable[[], None]
    ) -> None:
        self._unit = unit
        self._clock = clock
        self._journal = journal
        self._trip = Trip(state_dir / TRIP_FILE)
        self._clock_changed = clock_changed
        self._reported: Fix | None = None

    def start(self) -> None:
        """The count of metres goes on before the first fix comes, and also where none does."""
        self._lost()

    def stop(self) -> None:
        """Record the way so far and keep the count."""
        self._sample(self._trip.follow(self._active_block()))
        self._trip.save()

    def tick(self) -> None:
        """Called each second: the clock may have become better, the block may have ended."""
        with contextlib.suppress(OSError):
            self._tell(self._clock.tick())
        self._sample(self._trip.follow(self._active_block()))

    def take(self, fix: Fix) -> None:
        """The receiver reports."""
        self._reported = fix
        mode = 0 if Doubt.OLD in fix.doubts else fix.mode  # nor does its time tell what time it is
        doubt = self.time_doubt
        self._tell(self._clock.fix(mode, fix.time, fix.monotonic_ns))
        if self.time_doubt != doubt:
            self._clock_changed()
        block_id = self._active_block()
        self._sample(self._trip.take(fix, block_id))
        here = self._trip.here
        if here is None or here.monotonic_ns != fix.monotonic_ns:
            self._unit.changed()  # what the receiver says is shown, and moves nothing
            return
        self._unit.take(
            Located(
                uptime_ms=here.monotonic_ns // 1_000_000,
                mode=here.mode,
                latitude=here.latitude,
                longitude=here.longitude,
                accuracy_m=here.accuracy_m,
                speed_mps=here.speed_mps,
                heading=here.heading,
                distance_m=self._trip.metres(block_id),
            )
        )

    def receiver_changed(self, state: PartState) -> None:
        """What the receiver has lost is no position any more."""
        if state.condition is not Condition.READY or state.reason:
            self._lost()

    @property
    def time_doubt(self) -> str | None:
        """Why the receiver's time is not believed, and what to do."""
        return self._clock.doubt

    @property
    def speed_mps(self) -> float | None:
        """As the receiver last reported it."""
        return self._reported.speed_mps if self._reported else None

    def reported(self) -> dict[str, Any] | None:
        """The receiver's last report for the screen, as it is, with what is doubted about it."""
        if (fix := self._reported) is None:
            return None
        return {
            "mode": fix.mode,
            "latitude": fix.latitude,
            "longitude": fix.longitude,
            "accuracy_m": fix.accuracy_m,
            "doubts": [doubt.value for doubt in fix.doubts],
            "age_s": max(0, self._clock.now().uptime_ms - fix.monotonic_ns // 1_000_000) / 1000,
        }

    def _lost(self) -> None:
        self._unit.take(Located(self._clock.now().uptime_ms, 0, distance_m=self._trip.metres(self._active_block())))

    def _active_block(self) -> str | None:
        block = self._unit.state.block
        return block.block_id if block is not None and block.state in BLOCK_ACTIVE else None

    def _sample(self, points: Iterable[Fix]) -> None:
        now = self._clock.now()
        for point in points:
            sample = {
                "time": now.at(point.monotonic_ns // 1_000_000).time,
                "latitude": point.latitude,
                "longitude": point.longitude,
                "accuracy_m": point.accuracy_m,
                "speed_mps": point.speed_mps,
                "heading": point.heading,
            }
            self._journal.sample("position", sample)

    def _tell(self, told: Synchronized | None) -> None:
        if told:
            moment = self._clock.now()
            self._unit.record(
                "unit.clock_synchronized",
                {"uptimems": str(moment.uptime_ms), "time": moment.time, "previous_trust": told.previous_trust},
            )
            self._clock_changed()
