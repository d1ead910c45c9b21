"""What a message of the cloud may point the unit at: what the settings file names, and what its `[allowed]` adds.

A message may switch a receiver, camera or map off, may change what is asked of a host that the file names (the path of
a camera's URL, its user and password), and may choose among the files of a folder that the file names. Everything else
needs a line in `[allowed]`. Hosts are compared in one spelling, files where their links lead; what could be read in two
ways is refused. `BOUNDS` has an entry for each changeable key that is a text: a test holds that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agent.settings.addresses import Place, host_in_one_spelling, place_of
from agent.settings.whole import Settings, spelled_alike
from contract.faults import Fault
from drivers.hotplug import Numbers

_PORTS: Final = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
_URL: Final = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without space and backslash: readers of URLs differ about the rest."""


def out_of_bounds(file: Settings, changed: Settings, keys: Iterable[str]) -> Iterator[Fault]:
    """Each of these keys whose new value leads where the file does not allow. Values are not repeated.

    :param file: the settings as the file and the environment give them
    """
    for key in keys:
        if key not in BOUNDS:
            continue
        section, _, name = key.partition(".")
        value = getattr(getattr(changed, section), name)
        if value is not None and str(value) != str(getattr(getattr(file, section), name)):
            allows, what = BOUNDS[key]
            if not allows(file, str(value)):
                yield Fault(key, f"expected {what} that the unit's settings file names or allows in [allowed]")


def _address(file: Settings, value: str) -> bool:
    return _may_reach(file, place_of(value), file.gps.gpsd and place_of(file.gps.gpsd))


def _device(file: Settings, value: str) -> bool:
    return _is_named_device(file, value, file.gps.device)


def _camera(file: Settings, value: str) -> bool:
    own = file.camera.source
    if "://" in value:
        return _may_reach(file, _place_of_url(value), _place_of_url(own) if own and "://" in own else None)
    if Numbers.parse(value) or value.startswith("/dev/"):
        return _is_named_device(file, value, own)
    is_file = own is not None and "://" not in own and not Numbers.parse(own) and not own.startswith("/dev/")
    return _lies_within(file, value, Path(own) if own and is_file else None)


def _tiles(file: Settings, value: str) -> bool:
    return _lies_within(file, value, file.route.tiles)


def _place_of_url(url: str) -> Place | None:
    if not _URL.fullmatch(url):
        return None
    parts = urlsplit(url)
    host = host_in_one_spelling(parts.hostname or "")
    return None if host is None else (host, parts.port or _PORTS[parts.scheme])


def _may_reach(file: Settings, wanted: Place | None, own: Place | str | None) -> bool:
    if wanted is None:
        return False
    host, port = wanted
    allowed = {place_of(entry) for entry in file.allowed.hosts}
    return wanted == own or wanted in allowed or (port is not None and (host, None) in allowed)


def _is_named_device(file: Settings, value: str, own: str | None) -> bool:
    named = {spelled_alike(each) for each in (*file.allowed.devices, *filter(None, [own]))}
    return ".." not in value.split("/") and spelled_alike(value) in named


def _lies_within(file: Settings, value: str, own: Path | None) -> bool:
    if not value.startswith("/") or ".." in value.split("/"):
        return False
    place = Path(os.path.realpath(value))
    folders = (*file.allowed.folders, *filter(None, [own]))
    return any(place.is_relative_to(os.path.realpath(folder)) for folder in folders)


BOUNDS: Final[Mapping[str, tuple[Callable[[Settings, str], bool], str]]] = {
    "gps.gpsd": (_address, "a host and port"),
    "gps.device": (_device, "a device"),
    "camera.source": (_camera, "a host, device, file or folder"),
    "route.tiles": (_tiles, "a file or folder"),
}
"""Every changeable key that could lead elsewhere: what allows a value, and what it is called."""
