"""All sections together. A new one is a module of its own, its import and a line of `Settings`."""

from __future__ import annotations

import json
from typing import Self

from pydantic import model_validator

from agent.settings.broker import BrokerSettings
from agent.settings.camera import CameraSettings
from agent.settings.console import ConsoleSettings
from agent.settings.delivery import DeliverySettings
from agent.settings.gps import GpsSettings
from agent.settings.journal import JournalSettings
from agent.settings.mount import MountSettings
from agent.settings.route import RouteSettings
from agent.settings.scanner import ScannerSettings
from agent.settings.section import Section
from agent.settings.unit import UnitSettings


class Settings(Section):
    """All settings of a unit (contract §3)."""

    unit: UnitSettings = UnitSettings()
    broker: BrokerSettings = BrokerSettings()
    gps: GpsSettings = GpsSettings()
    scanner: tuple[ScannerSettings, ...] = ()
    camera: CameraSettings = CameraSettings()
    mount: MountSettings = MountSettings()
    console: ConsoleSettings = ConsoleSettings()
    delivery: DeliverySettings = DeliverySettings()
    journal: JournalSettings = JournalSettings()
    route: RouteSettings = RouteSettings()

    @model_validator(mode="after")
    def _scanner_names_differ(self) -> Self:
        names = [scanner.name for scanner in self.scanner]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected scanners of different names, got {json.dumps(name)} twice")
        return self
