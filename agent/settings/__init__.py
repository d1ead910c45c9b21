"""Settings: one TOML file, every key of which an environment variable may override.

What `load` returns is complete and valid; otherwise `SettingsError` names every fault by its path, such as
``scanner[0].baud: expected a whole number, got "fast"``. Passwords and keys are named by the path of their file;
only the URL of a camera may hold a password, and `shown` leaves that out.

>>> load(None, {"KERBSIDE_DELIVERY__GEOFENCE_INNER_M": "60"}).delivery.geofence_inner_m
60.0
"""

from __future__ import annotations

from agent.settings.addresses import is_loopback, split_address
from agent.settings.broker import BrokerSettings
from agent.settings.camera import CameraSettings
from agent.settings.change import change
from agent.settings.console import ConsoleSettings
from agent.settings.delivery import DeliverySettings
from agent.settings.faults import SettingsError
from agent.settings.gps import GpsSettings
from agent.settings.journal import JournalSettings
from agent.settings.load import DEFAULT_PATH, default_path, load
from agent.settings.mount import SIMULATED, MountSettings
from agent.settings.opened import UnusableError
from agent.settings.route import RouteSettings
from agent.settings.scanner import ScannerSettings
from agent.settings.shown import schema, shown
from agent.settings.unit import UnitSettings
from agent.settings.whole import Settings

__all__ = [
    "DEFAULT_PATH",
    "SIMULATED",
    "BrokerSettings",
    "CameraSettings",
    "ConsoleSettings",
    "DeliverySettings",
    "GpsSettings",
    "JournalSettings",
    "MountSettings",
    "RouteSettings",
    "ScannerSettings",
    "Settings",
    "SettingsError",
    "UnitSettings",
    "UnusableError",
    "change",
    "default_path",
    "is_loopback",
    "load",
    "schema",
    "shown",
    "split_address",
]
