"""The mount's panel without its microcontroller: ignition, supply, buttons; buzzer and lamp are remembered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from drivers.readings import Condition, Panel, PartState

SIGNALS_KEPT = 100


class Signalled(NamedTuple):
    """What the buzzer and the lamp were told, and when."""

    tone: str
    monotonic_ns: int


class SimulatedMount:
    """The part ``mount``: a `Panel` every ``1 / rate_hz`` seconds, made from the public attributes."""

    def __init__(self, name: str = "mount", rate_hz: float = 2.0) -> None:
        self.name = name
        self.ignition = True
        self.supply_mv = 13_800
        self.buttons = 0
        self.acceleration_mg = (0, 0, 1000)
        self.reset_cause = "power"
        self.plugged = True
        """False lets the panel vanish: the part goes absent until it is True again."""
        self.signals: deque[Signalled] = deque(maxlen=SIGNALS_KEPT)
        self._period_s = 1 / rate_hz
        self._start_ns = time.monotonic_ns()

    def signal(self, tone: Literal["good", "repeat", "bad", "attention"]) -> None:
        """Sound the buzzer and light the lamp."""
        self.signals.append(Signalled(tone, time.monotonic_ns()))

    async def run(self, out: Callable[[Panel], None], report: Callable[[PartState], None]) -> None:
        """Give readings until cancelled."""
        while True:
            if self.plugged:
                report(PartState.now(Condition.READY))
                out(self.read())
            else:
                report(PartState.now(Condition.ABSENT, f"{self.name} is not plugged in"))
            await asyncio.sleep(self._period_s)

    def read(self) -> Panel:
        """The panel as it is now."""
        now_ns = time.monotonic_ns()
        return Panel(
            self.name,
            now_ns,
            self.ignition,
            self.supply_mv,
            self.buttons,
            self.acceleration_mg,
            self.reset_cause,
            (now_ns - self._start_ns) // 1_000_000,
        )
