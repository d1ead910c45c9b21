"""The receiver of the settings as a part of the agent."""

from __future__ import annotations

from collections.abc import Iterator

from agent.parts import Fitted
from agent.position.vehicle import Vehicle
from agent.settings import GpsSettings
from drivers.gps import Gps
from drivers.readings import Fix


def receiver(settings: GpsSettings, vehicle: Vehicle) -> Iterator[Fitted[Fix]]:
    """The part, where a gpsd is named."""
    if settings.gpsd:
        driver = Gps(settings.gpsd, settings.stale_after_s, settings.device)
        yield Fitted(
            driver,
            vehicle.take,
            on_state=vehicle.receiver_changed,
            remark=lambda: vehicle.time_doubt,
            device=settings.device,
        )
