"""Switching the unit off with the vehicle: when the ignition has been off for long, or the supply is low."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from drivers.readings import Panel
from firmware_bridge.power import Power

log = logging.getLogger(__name__)

REASONS: Final = {"ignition": "the ignition has been off for long", "supply": "the supply is low ({:.1f} V)"}


class PowerOff:
    """Asks once for the unit to be shut down, by `stop`."""

    def __init__(self, shutdown_after_s: float, stop: Callable[[], None]) -> None:
        self._power = Power(shutdown_after_s)
        self._stop = stop
        self.reason: str | None = None
        """Why the unit is being shut down: ``ignition`` or ``supply``; ``None`` while it is not."""

    def take(self, panel: Panel) -> None:
        """Judge one more reading."""
        if (reason := self._power.take(panel)) and self.reason is None:
            log.warning("shutting down: %s", REASONS[reason].format(panel.supply_mv / 1000))
            self.reason = reason
            self._stop()
