"""What only shows or tells something may fail without harm: the fault is contained, counted, logged and told.

A fault stays known until the same piece of work succeeds again. It is told as the part `screen`, and `/healthz` says no
as long as it lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from drivers.limited_log import LimitedLog
from drivers.readings import Condition, PartState

_log: Final = logging.getLogger(__name__)

PART: Final = "screen"
"""The part that it is told as, while something fails."""
LOGGED_EVERY: Final = 1000
"""A fault that comes back with each drawing is logged at its first time, and then this seldom."""

T = TypeVar("T")
Item = TypeVar("Item")
Instead = TypeVar("Instead")


class Containment:
    """Attempts pieces of work that nothing else may depend on. Belongs to the loop; `state` may be read anywhere."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """How often each place has failed since the start."""
        self.failing: tuple[str, ...] = ()
        """The places that failed when they were tried last."""
        self.state: PartState | None = None
        """What is wrong, as a part of the unit; ``None`` while nothing is."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when other places fail than before."""
        self._log = LimitedLog(_log, "what could not be shown or told")

    def attempt(self, place: str, work: Callable[[], T], instead: Instead) -> T | Instead:
        """What the work gives; something instead where it fails.

        :param place: what the work is for, a name in the code
        """
        try:
            given = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends here
            self._failed(place, error)
            return instead
        self._succeeded(place)
        return given

    def attempt_each(self, place: str, items: Iterable[Item], work: Callable[[Item], T]) -> list[T]:
        """What the work gives for each item; those for which it fails are left out."""
        given, failed = [], False
        for item in items:
            try:
                given.append(work(item))
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends here
                failed = True
                self._failed(place, error)
        if not failed:
            self._succeeded(place)
        return given

    def _succeeded(self, place: str) -> None:
        if place in self.failing:
            self._now_failing(known for known in self.failing if known != place)

    def _failed(self, place: str, error: Exception) -> None:
        count = self.counts[place] = self.counts.get(place, 0) + 1
        if count % LOGGED_EVERY == 1:
            self._log.line(
                logging.ERROR,
                "%s failed, for the %d. time (%s); the rest goes on",
                place,
                count,
                type(error).__name__,
                fault=error,
            )
        if place not in self.failing:
            self._now_failing((*self.failing, place))

    def _now_failing(self, places: Iterable[str]) -> None:
        self.failing = tuple(places)
        reason = f"fault in {', '.join(self.failing)}: see the agent's log, `journalctl -u kerbside`"
        self.state = PartState.now(Condition.FAULTY, reason) if self.failing else None
        try:
            self.on_change()
        except Exception as error:  # noqa: BLE001 - the work goes on
            self._log.warning("who is told of faults failed (%s)", type(error).__name__, fault=error)
