"""All sections together. A new one is a module of its own, its import and a line of `Settings`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from agent.settings.allowed import AllowedSettings
from agent.settings.broker import BrokerSettings
from agent.settings.camera import CameraSettings
from agent.settings.console import ConsoleSettings
from agent.settings.delivery import DeliverySettings
from agent.settings.gps import GpsSettings
from agent.settings.journal import JournalSettings
from agent.settings.mount import SIMULATED, MountSettings
from agent.settings.route import RouteSettings
from agent.settings.scanner import ScannerSettings
from agent.settings.section import MisplacedError, Section
from agent.settings.unit import UnitSettings
from drivers.hotplug import Numbers


class Settings(Section):
    """All settings of a unit (contract §3)."""

    unit: UnitSettings = UnitSettings()
    broker: BrokerSettings = BrokerSettings()
    gps: GpsSettings = GpsSettings()
    scanner: Annotated[tuple[ScannerSettings, ...], Field(max_length=16)] = ()
    camera: CameraSettings = CameraSettings()
    mount: MountSettings = MountSettings()
    console: ConsoleSettings = ConsoleSettings()
    delivery: DeliverySettings = DeliverySettings()
    journal: JournalSettings = JournalSettings()
    route: RouteSettings = RouteSettings()
    allowed: AllowedSettings = AllowedSettings()

    @model_validator(mode="after")
    def _scanner_names_differ(self) -> Self:
        first: dict[str, int] = {}
        for index, scanner in enumerate(self.scanner):
            if (before := first.setdefault(scanner.name, index)) != index:
                message = f"expected a name of its own, got {json.dumps(scanner.name)}, which scanner[{before}] has"
                raise MisplacedError(f"scanner[{index}].name", f"{message}: give it another")
        return self

    @model_validator(mode="after")
    def _each_part_has_its_own_device(self) -> Self:
        first: dict[str, str] = {}
        for key, match in self.devices():
            if (before := first.setdefault(spelled_alike(match), key)) != key:
                raise MisplacedError(
                    key,
                    f"expected a device of its own, got {json.dumps(match)}, which {before} has: correct one of them",
                )
        return self

    def devices(self) -> Iterator[tuple[str, str]]:
        """Every key that names a device, with what it says."""
        for index, scanner in enumerate(self.scanner):
            yield f"scanner[{index}].port", scanner.port
        if self.mount.port is not None and self.mount.port != SIMULATED:
            yield "mount.port", self.mount.port
        if self.gps.device is not None:
            yield "gps.device", self.gps.device
        source = self.camera.source
        if source is not None and (source.startswith("/dev/") or Numbers.parse(source)):
            yield "camera.source", source


def spelled_alike(match: str) -> str:
    """One spelling of what means the same device, as far as the text alone tells."""
    if (numbers := Numbers.parse(match)) is not None:
        return ":".join(filter(None, numbers))
    return os.path.normpath(match)
