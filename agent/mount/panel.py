"""Readings of the mount's panel: to the core, to the screen, and to who watches over restarts and power."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from agent.delivery.model import inputs
from agent.mount.power import PowerOff
from agent.mount.restarts import Restarts
from agent.unit import Unit
from drivers.readings import Condition, Panel, PartState

log = logging.getLogger(__name__)


class MountPanel:
    """Takes the panel's readings, in the loop."""

    def __init__(self, unit: Unit, restarts: Restarts, power: PowerOff) -> None:
        self._unit = unit
        self._restarts = restarts
        self._power = power
        self._last: Panel | None = None
        self._is_ready = False

    def take(self, panel: Panel) -> None:
        """One reading."""
        before, self._last = self._last, panel
        if self._restarts.take(panel):
            log.warning("the mount's microcontroller has restarted: %s", panel.reset_cause)
            self._unit.record(
                "firmware.restarted",
                {"reason": panel.reset_cause, "uptime_ms": panel.uptime_ms, "supply_mv": panel.supply_mv},
            )
            asyncio.get_running_loop().run_in_executor(None, self._restarts.keep, panel)
        self._unit.take(inputs.Panel(panel.ignition, panel.buttons, panel.supply_mv, panel.uptime_ms))
        if before is None or (before.ignition, before.buttons) != (panel.ignition, panel.buttons):
            self._unit.changed()
        self._power.take(panel)

    def part_changed(self, state: PartState) -> None:
        """The mount was plugged in, fell silent, or was pulled out."""
        self._is_ready = state.condition is Condition.READY

    def shown(self) -> dict[str, Any] | None:
        """What the panel shows, while it does."""
        if (panel := self._last) is None or not self._is_ready:
            return None
        return {
            "ignition": panel.ignition,
            "supply_mv": panel.supply_mv,
            "buttons": panel.buttons,
            "reset_cause": panel.reset_cause,
        }
