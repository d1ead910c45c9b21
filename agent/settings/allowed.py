"""Section `[allowed]`: what a message of the cloud may set beyond what the rest of the file names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from agent.settings.addresses import place_of
from agent.settings.section import Paths, Section, Words, valid_device


def _hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [entry for entry in entries if place_of(entry) is None]:
        raise ValueError(f'expected hosts such as "10.0.0.7" or "camera.local:554", not "{wrong[0]}"')
    return entries


def _devices(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(valid_device, entries))


class AllowedSettings(Section):
    """What a message of the cloud may set, beyond what this file names itself. No message can change it."""

    hosts: Annotated[Words, AfterValidator(_hosts)] = ()
    """Hosts of cameras and of gpsd, as `host` (any port) or `host:port`."""
    folders: Paths = ()
    """Folders of pictures and of road tiles: what lies in them, wherever their links lead, may be set."""
    devices: Annotated[Words, AfterValidator(_devices)] = ()
    """Devices, by path or numbers, as `camera.source` and `gps.device` name them."""
