"""What is plugged in, by the name that stays the same, and the settings block that would use it.

Everything is read from sysfs, from the links that udev makes and from /proc; no device is opened, so that nothing is
disturbed.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Final

from agent.settings import Settings
from drivers import hotplug
from drivers.gps import udev_rule
from drivers.hotplug import Holder, Numbers

_HONEYWELL: Final = "0c2e"
_ZEBRA: Final = "05e0"
_U_BLOX: Final = "1546"
_RECEIVER_NAMES: Final = re.compile(r"\b(gnss|gps)\b|u-blox", re.IGNORECASE)
_ADAPTERS: Final = {"0403", "067b", "10c4", "1a86"}
"""FTDI, Prolific, Silicon Labs, WCH: their numbers say nothing of what is behind the adapter."""
_KINDS: Final[dict[hotplug.Subsystem, str]] = {
    "tty": "serial",
    "video4linux": "camera",
    "input": "keyboard",
    "hidraw": "hidpos",
}


@dataclass(frozen=True, slots=True)
class Device:
    """One thing that is plugged in."""

    kind: str
    """``serial``, ``receiver``, ``camera``, ``keyboard`` or ``hidpos``."""
    path: str
    """What to write into the settings: a path that stays, or numbers where udev made none."""
    node: str
    """The path that the kernel gave."""
    name: str
    usb: str | None
    """``vendor:product`` in hexadecimal."""
    serial_number: str | None
    settings: str
    """The block of the settings file that would use it."""
    note: str | None = None
    rule: str | None = None
    """For a receiver: the udev rule that hands it to gpsd whenever it is plugged in."""
    used_by: list[str] = field(default_factory=list)
    """The settings that mean it, such as ``scanner[0]``."""
    held_by: list[Holder] = field(default_factory=list)
    """The processes that have it open, as far as this user may see them."""


def plugged_in(
    settings: Settings | None = None, sys: Path = Path("/sys"), dev: Path = Path("/dev")
) -> Iterator[Device]:
    """Every device of this machine that a unit could use."""
    found = [device for subsystem in _KINDS for device in hotplug.devices(subsystem, sys, dev)]
    found.sort(key=lambda device: device.vendor is None)  # what was plugged in before what is on the board
    names = _Names(found, dev)
    held = hotplug.holders(device.node for device in found)
    taken = {scanner.name for scanner in settings.scanner} if settings else set()
    for device in found:
        path, note = names.of(device)
        used_by = list(_used_by(device, settings)) if settings else []
        holders = held.get(device.node, [])
        receiver = device.subsystem == "tty" and (
            device.vendor == _U_BLOX
            or _RECEIVER_NAMES.search(device.name or "") is not None
            or "gps.device" in used_by
            or any(holder.command == "gpsd" for holder in holders)
        )
        notes = [note, *_notes(device, path, sys, receiver=receiver)]
        if receiver:
            block = f"[gps]\ndevice = {json.dumps(path, ensure_ascii=False)}"
        elif device.subsystem == "video4linux":
            block = f"[camera]\nsource = {json.dumps(path, ensure_ascii=False)}"
        else:
            block = _scanner(device, path, settings, taken)
        yield Device(
            kind="receiver" if receiver else _KINDS[device.subsystem],
            path=path,
            node=device.node,
            name=device.name or ("serial line of the board" if device.subsystem == "tty" else "device"),
            usb=f"{device.vendor}:{device.product}" if device.vendor else None,
            serial_number=device.serial_number,
            settings=block,
            note="\n".join(filter(None, notes)) or None,
            rule=_rule(device) if receiver and device.vendor else None,
            used_by=used_by,
            held_by=holders,
        )


class _Names:
    """The lasting names of nodes, best first: of our own rules, by identity, by port, by numbers."""

    def __init__(self, found: list[hotplug.Device], dev: Path) -> None:
        self._own = hotplug.links(hotplug.OUR_OWN, dev)
        self._by_id = hotplug.links(hotplug.BY_ID, dev)
        self._by_path = hotplug.links(hotplug.BY_PATH, dev)
        self._ids = Counter(map(_identity, found))
        self._found = found

    def of(self, device: hotplug.Device) -> tuple[str, str | None]:
        """What to write into the settings for a device, and what to know about it."""
        real = os.path.realpath(device.node)
        if own := self._own.get(real):
            return own, None
        alone = self._ids[_identity(device)] == 1
        if device.vendor is None or (alone and (device.serial_number or device.subsystem != "tty")):
            if path := self._by_id.get(real) or self._by_path.get(real):
                return path, None
        elif path := self._by_path.get(real):
            if not alone:
                return path, "Another device has the same numbers: only the USB port tells them apart. Keep it there."
            note = "It has no serial number: this path belongs to its USB port. Keep it there"
            by_numbers = f', or use any port and set "{_numbers(device)}" while there is only one of its kind'
            return path, f"{note}{by_numbers if self._numbers_find(device) else ''}."
        if device.vendor is None:
            return device.node, None
        if self._numbers_find(device):
            return _numbers(device), "udev has made no lasting path; its numbers find it."
        return device.node, "Others have the same numbers, and udev has made no lasting path: they may be taken for it."

    def _numbers_find(self, device: hotplug.Device) -> bool:
        """Whether its numbers mean nothing else."""
        return [each for each in self._found if _means(_numbers(device), device.subsystem, each)] == [device]


def _identity(device: hotplug.Device) -> tuple[str | None, ...]:
    """What udev makes a name by identity of."""
    return device.subsystem, _numbers(device), device.usb_interface


def _numbers(device: hotplug.Device) -> str:
    """As the settings take them; of what has none, the node."""
    numbers = ":".join(filter(None, (device.vendor, device.product, device.serial_number)))
    return numbers if device.vendor else device.node


def _notes(device: hotplug.Device, path: str, sys: Path, *, receiver: bool) -> Iterator[str]:
    match device.subsystem:
        case "tty" if receiver and device.vendor is None:
            yield "A receiver on the board: name it in DEVICES of /etc/default/gpsd."
        case "tty" if receiver:
            yield "A receiver: gpsd reads it, and the udev rule hands it to gpsd whenever it is plugged in."
        case "tty" if device.vendor is None:
            yield "If a scanner is wired to it; set baud as the scanner is set."
            active = hotplug.text(sys / "class/tty/console/active") or ""
            if Path(device.node).name in active.split():
                yield "The system's console is on it now: take that away first (console= of the kernel's command line)."
        case "tty" if device.vendor in _ADAPTERS:
            yield "An adapter: set baud as the scanner behind it is set. If a receiver is behind it, it is instead:"
            yield f"  [gps]\n  device = {json.dumps(path, ensure_ascii=False)}"
            yield from (f"  {line}" for line in _rule(device).splitlines())
        case "tty" if device.vendor == _ZEBRA:
            yield 'Where it is set to SSI, kind = "ssi" lets it beep with the answer.'
        case "input":
            yield "If it is a scanner, it types; better let it read the code of its manual for USB serial (CDC)."
            yield "With this block nobody else hears it any more: leave a keyboard for people alone."
        case "hidraw":
            yield "A scanner in HID POS mode."


def _scanner(device: hotplug.Device, path: str, settings: Settings | None, taken: set[str]) -> str:
    """The block of a scanner: as the settings have it already, else with a name that no other has."""
    kind = {"tty": "line", "input": "hid", "hidraw": "hidpos"}[device.subsystem]
    if kind == "line" and device.vendor == _HONEYWELL:
        kind = "honeywell"
    for scanner in settings.scanner if settings else ():
        if scanner.subsystem == device.subsystem and _means(scanner.port, scanner.subsystem, device):
            name, kind = scanner.name, scanner.kind
            break
    else:
        numbered = (f"scanner{number}" for number in count(2))
        name = next(name for name in chain(["scanner"], numbered) if name not in taken)
        taken.add(name)
    return f'[[scanner]]\nname = "{name}"\nkind = "{kind}"\nport = {json.dumps(path, ensure_ascii=False)}'


def _rule(device: hotplug.Device) -> str:
    return udev_rule(device.vendor or "", device.product or "", device.serial_number, device.usb_port)


def _used_by(device: hotplug.Device, settings: Settings) -> Iterator[str]:
    """The keys that mean this device."""
    for index, scanner in enumerate(settings.scanner):
        if _means(scanner.port, scanner.subsystem, device):
            yield f'scanner[{index}] "{scanner.name}"'
    for key, match, subsystem in (
        ("gps.device", settings.gps.device, "tty"),
        ("camera.source", settings.camera.source, "video4linux"),
        ("mount.port", settings.mount.port, "tty"),
    ):
        if match and _means(match, subsystem, device):
            yield key


def _means(match: str, subsystem: str, device: hotplug.Device) -> bool:
    if numbers := Numbers.parse(match):
        return device.subsystem == subsystem and numbers.fit(device)
    return os.path.realpath(match) == os.path.realpath(device.node)
