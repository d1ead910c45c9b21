"""Whether the vehicle's power says that the unit is to be shut down: the ignition is off for long, or the supply low.

Judges readings of the panel one by one and keeps no clock of its own: while the panel says nothing, nothing is decided.
A supply may be low from the first reading on; one that no vehicle's battery gives is not judged.
"""

from __future__ import annotations

from typing import Final, Literal

from drivers.readings import Panel

LOW_MV: Final = 11_000
"""Of a 12 V system: below this its battery is all but empty. Twice as much in a 24 V system."""
BATTERY_MV: Final = 6_000
"""No battery of a 12 V system that still feeds a unit is below this: what is, is fed otherwise and is not judged."""
SOUND_MV: Final = 11_800
"""A supply that has been this good once is a battery, and is judged at any reading. Twice as much in a 24 V system."""
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
        low = is_low(panel.supply_mv, self._highest_mv)
        self._low_since_ns = (self._low_since_ns or now_ns) if low else None
        if self._low_since_ns is not None and now_ns - self._low_since_ns >= LOW_FOR_S * 1e9:
            return "supply"
        if self._off_since_ns is not None and now_ns - self._off_since_ns >= self._shutdown_after_s * 1e9:
            return "ignition"
        return None


def is_low(supply_mv: int, highest_mv: int) -> bool:
    """Whether a supply that has been as high as `highest_mv` is low; 0 is not measured, and never low."""
    times = 2 if highest_mv > TWENTY_FOUR_VOLT_MV else 1
    if highest_mv >= SOUND_MV * times:
        return 0 < supply_mv < LOW_MV * times
    return BATTERY_MV <= supply_mv < LOW_MV
