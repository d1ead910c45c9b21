"""What the receiver driver makes of recordings of real receivers, each replayed through a real gpsd.

Every recording goes over a pseudo-terminal of its own into a gpsd of its own; the driver, its filter and the clock of a
unit that no network sets take what comes out. To be seen: that nothing fails, that no position is (0, 0), that no time
is taken before three consecutive 3D fixes, that a lost fix is told within five seconds, and that there was a report at
all. Exits 1 when one is not so.

    KERBSIDE_SHARED=../shared .venv/bin/python benchmarks/receiver_logs.py [FILE_OR_FOLDER ...] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _verdict import Goal, conclude

from agent import clock
from agent.clock import Clock
from agent.position.trip import Trip
from drivers.fixes import unix_s
from drivers.gps import Gps
from drivers.readings import Condition, Fix, PartState
from drivers.simulated import Gpsd
from drivers.simulated.receiver import replay
from drivers.simulated.terminal import Terminal
from drivers.supervisor import Supervisor

LOSS_GOAL_S = 5.0
ROW = 3
AT_ONCE = 4
TRIES = 3
"""gpsd now and then throws away all of a short recording while it looks for the receiver's speed."""
NEAR_ZERO_DEG = 0.001


@dataclass
class Outcome:
    """What came of one recording."""

    name: str
    reports: int = 0
    positions: int = 0
    doubts: Counter[str] = field(default_factory=Counter)
    zero_positions: int = 0
    moved_by_doubt: int = 0
    """How often a doubted fix moved the vehicle."""
    trusted_after: int | None = None
    """3D fixes in a row before the receiver's time was taken."""
    before_trust: int = 0
    """How often a time was taken too early, or one that cannot be."""
    last_time: str | None = None
    loss_seen_s: float | None = None
    """The longest from the last position to word of the loss."""
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all that must be so is so."""
        lost = self.positions == 0 or (self.loss_seen_s is not None and self.loss_seen_s <= LOSS_GOAL_S)
        wrong = self.zero_positions or self.before_trust or self.moved_by_doubt or self.faults
        return self.reports > 0 and lost and not wrong


class _Listener:
    """Judges fixes and states as they come."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._clock = Clock()
        self._offset_ms = self._clock.now().wall_ms - self._clock.now().uptime_ms
        self._trip = Trip(Path(os.devnull) / "trip")
        self._row: list[str] = []
        self._first: tuple[float, int] | None = None
        self.placed_at: float | None = None
        self.lost = asyncio.Event()

    def fix(self, fix: Fix) -> None:
        outcome = self._outcome
        outcome.reports += 1
        outcome.doubts.update(doubt.value for doubt in fix.doubts)
        outcome.last_time = fix.time or outcome.last_time
        before = self._trip.here
        self._trip.take(fix, None)
        for each in (fix, self._trip.here):
            if each is not None and each.latitude is not None and each.longitude is not None:
                outcome.zero_positions += max(abs(each.latitude), abs(each.longitude)) < NEAR_ZERO_DEG
        here = self._trip.here
        if fix.doubts and before is not None and here is not None:
            outcome.moved_by_doubt += (before.latitude, before.longitude) != (here.latitude, here.longitude)
        if fix.latitude is not None:
            outcome.positions += 1
            self.placed_at = time.monotonic()
            self.lost.clear()
        self._time(fix)

    def _time(self, fix: Fix) -> None:
        """The clock is asked as if the recording came as slowly as it was made: that is when it may trust most."""
        if fix.mode != 3:
            self._row.clear()
        elif fix.time is not None and fix.time not in self._row:
            self._row.append(fix.time)
        arrived_ns, told_s = fix.monotonic_ns, unix_s(fix.time)
        if told_s is not None:
            self._first = self._first or (told_s, arrived_ns)
            arrived_ns = max(0, self._first[1] + round((told_s - self._first[0]) * 1e9))
        self._clock.fix(fix.mode, fix.time, arrived_ns)
        moment = self._clock.now()
        if moment.trust == "gps":
            if self._outcome.trusted_after is None:
                self._outcome.trusted_after = len(self._row)
                self._outcome.before_trust += len(self._row) < ROW
        else:
            # Without trust the label is the system's, and not the recording's.
            self._outcome.before_trust += abs(moment.wall_ms - moment.uptime_ms - self._offset_ms) > 5_000

    def state(self, _name: str, state: PartState) -> None:
        if "unexpectedly" in state.reason or (state.condition is Condition.FAULTY and state.reason):
            self._outcome.faults.append(state.reason)
        lost = state.condition in (Condition.STALE, Condition.ABSENT) or state.reason == "no fix"
        if lost and self.placed_at is not None and not self.lost.is_set():
            seen_s = time.monotonic() - self.placed_at
            self._outcome.loss_seen_s = round(max(self._outcome.loss_seen_s or 0.0, seen_s), 2)
            self.lost.set()


async def watch(path: Path) -> Outcome:
    """Replay one recording, and watch until its loss was told."""
    outcome = Outcome(path.name)
    listener = _Listener(outcome)
    with Terminal("recording") as line, Gpsd(line.port) as gpsd:
        supervisor = Supervisor(listener.state, first_delay_s=0.05)
        supervisor.add(Gps(gpsd.address), listener.fix)
        running = asyncio.create_task(supervisor.run())
        try:
            await asyncio.to_thread(replay, line, path.read_bytes())
            await asyncio.sleep(1.0)  # what gpsd has not told yet
            if listener.placed_at is not None:
                try:
                    async with asyncio.timeout(2 * LOSS_GOAL_S):
                        await listener.lost.wait()
                except TimeoutError:
                    outcome.loss_seen_s = None
        finally:
            running.cancel()
            await asyncio.wait([running])
    return outcome


async def watch_all(paths: list[Path]) -> list[Outcome]:
    """All of them, some at a time; what gpsd swallowed whole is tried again."""
    some = asyncio.Semaphore(AT_ONCE)

    async def one(path: Path) -> Outcome:
        for _ in range(TRIES):
            async with some:
                outcome = await watch(path)
            if outcome.reports:
                break
        return outcome

    return await asyncio.gather(*(one(path) for path in paths))


def recordings(given: list[Path]) -> Iterator[Path]:
    """The files that are named, and the ``.log`` files of the folders.

    :raises SystemExit: a file is not there, or a folder holds none
    """
    for path in given:
        found = sorted(path.glob("*.log")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            print(f"no recordings in {path}: name files or folders, or set KERBSIDE_SHARED", file=sys.stderr)
            raise SystemExit(2)
        yield from found


def goals(outcomes: list[Outcome]) -> list[Goal]:
    """What all recordings together have to show."""
    losses = [each.loss_seen_s for each in outcomes if each.positions]
    longest = None if None in losses else max(filter(None, losses), default=0.0)
    return [
        Goal("recordings without a report", sum(not each.reports for each in outcomes), at_most=0),
        Goal("faults", sum(len(each.faults) for each in outcomes), at_most=0),
        Goal("positions at (0, 0)", sum(each.zero_positions for each in outcomes), at_most=0),
        Goal("moves by a doubted fix", sum(each.moved_by_doubt for each in outcomes), at_most=0),
        Goal("times taken too early", sum(each.before_trust for each in outcomes), at_most=0),
        Goal("longest until a loss is told", longest, at_most=LOSS_GOAL_S, unit="s"),
    ]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true", help="JSON lines")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    given = options.recordings or [Path(os.environ.get("KERBSIDE_SHARED", "../shared")) / "data" / "gpsd"]
    paths = list(recordings(given))
    # A network would know better than any recording: without one the trust rule is on its own.
    clock.system_is_synchronised = lambda: False
    outcomes = asyncio.run(watch_all(paths))
    if options.json:
        for outcome in outcomes:
            print(json.dumps({**vars(outcome), "holds": outcome.holds}))
    else:
        doubts = "no_fix", "old", "poor", "jump", "standing"
        print(f"{'recording':38}{'reports':>8}{'placed':>7}" + "".join(f"{doubt:>9}" for doubt in doubts), end="")
        print(f"{'(0,0)':>6}{'trusted':>8}{'early':>6}{'loss s':>7}  last time")
        for each in outcomes:
            trusted = "-" if each.trusted_after is None else f"{each.trusted_after}"
            loss = "-" if each.loss_seen_s is None else f"{each.loss_seen_s:.1f}"
            print(
                f"{each.name:38}{each.reports:8}{each.positions:7}"
                + "".join(f"{each.doubts[doubt]:9}" for doubt in doubts)
                + f"{each.zero_positions:6}{trusted:>8}{each.before_trust:6}{loss:>7}  {each.last_time or '-'}"
                + ("" if each.holds else f"  DOES NOT HOLD {'; '.join(each.faults) or 'see the goals'}")
            )
    return conclude(goals(outcomes), sys.stderr if options.json else None)


if __name__ == "__main__":
    sys.exit(main())
