"""Whether the vehicle's power says that the unit is to be shut down: the ignition is off for long, or the supply low.

Judges readings of the panel one by one and keeps no clock of its own: while the panel says nothing, nothing is decided.
"""

from __future__ import annotations

from typing import Final, Literal

from drivers.readings import Panel

LOW_MV: Final = 11_000
"""Of a 12 V system: below this its battery is all but empty. Twice as much in a 24 V system."""
SOUND_MV: Final = 11_800
"""The supply must have been this good before it can be found low: what is fed otherwise is not judged."""
TWENTY_FOUR_VOLT_MV: Final = 18_000
"""A supply that has been above this is that of a 24 V system."""
LOW_FOR_S: Final = 3.0
"""A starting engine pulls the supply down for a second or two."""
ALARMING: Final = frozenset({"brownout", "watchdog", "cpu_lockup"})
"""Causes of a reset that are no ordinary start of the mount, in the words of Zephyr's hwinfo."""


class Power:
    """Keeps what the readings so far have shown; `shutdown_after_s` is counted from the ignition's going off."""

    def __init__(self, shutdown_after_s: float) -> None:
        self._shutdown_after_s = shutdown_after_s
        self._off_since_ns: int | None = None
        self._low_since_ns: int | None = None
        self._highest_mv = 0

    def take(self, panel: Panel) -> Literal["ignition", "supply"] | None:
        """Why the unit is to be shut down now; ``None`` while it may stay up."""
        now_ns = panel.monotonic_ns
        self._off_since_ns = None if panel.ignition else self._off_since_ns or now_ns
        self._highest_mv = max(self._highest_mv, panel.supply_mv)
        times = 2 if self._highest_mv > TWENTY_FOUR_VOLT_MV else 1
        low = 0 < panel.supply_mv < LOW_MV * times and self._highest_mv >= SOUND_MV * times
        self._low_since_ns = (self._low_since_ns or now_ns) if low else None
        if self._low_since_ns is not None and now_ns - self._low_since_ns >= LOW_FOR_S * 1e9:
            return "supply"
        if self._off_since_ns is not None and now_ns - self._off_since_ns >= self._shutdown_after_s * 1e9:
            return "ignition"
        return None
