"""The mount of the settings as a part of the agent: its panel is read, and buzzer and lamp give every feedback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.clock import Clock
from agent.mount.panel import MountPanel
from agent.parts import Fitted
from agent.settings import SIMULATED, Settings
from agent.unit import Unit
from drivers.readings import Panel

if TYPE_CHECKING:
    from drivers.simulated.mount import SimulatedMount
    from firmware_bridge.link import Link
    from firmware_bridge.mount import Mount


def mount(
    settings: Settings,
    unit: Unit,
    clock: Clock,
    panel: MountPanel,
    *,
    speed_mps: Callable[[], float | None],
    ending: Callable[[], bool],
) -> Iterator[Fitted[Panel]]:
    """The part, where a port is named.

    :param speed_mps: of the vehicle, as far as it is known: the firmware of a moving one is left alone
    :param ending: whether the agent ends
    """
    port = settings.mount.port
    if not port:
        return
    driver: Mount | SimulatedMount
    if port == SIMULATED:
        from drivers.simulated.mount import SimulatedMount

        driver = SimulatedMount()
    else:
        from firmware_bridge.mount import Mount

        opened = _see_update_through(settings, unit, speed_mps, ending)
        driver = Mount(port, settings.mount.baud, now=lambda: _trusted_time(clock), opened=opened)
    signal, on_state = driver.signal, panel.part_changed
    yield Fitted(driver, panel.take, signal=signal, signals_all=True, on_state=on_state, device=port)


def _see_update_through(
    settings: Settings, unit: Unit, speed_mps: Callable[[], float | None], ending: Callable[[], bool]
) -> Callable[[Link], None]:
    """What is called in the mount's thread whenever its line has been opened, before the first reading."""
    loop = asyncio.get_running_loop()

    async def record(event: str, data: Mapping[str, Any]) -> None:
        unit.record(event, data)
        await unit.settle()

    def write(event: str, data: Mapping[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(record(event, data), loop).result()

    def opened(link: Link) -> None:
        from agent.mount import updates

        updates.see_through(
            link,
            settings.unit.state_dir,
            write,
            may_restart=lambda: updates.objection(unit.state.blocks.values(), speed_mps()),
            confirm_after_s=settings.mount.confirm_after_s,
            ending=ending,
        )

    return opened


def _trusted_time(clock: Clock) -> datetime | None:
    """What the mount's own clock may be set by."""
    moment = clock.now()
    return datetime.fromtimestamp(moment.wall_ms / 1000, UTC) if moment.trust in ("gps", "ntp") else None
