"""`kerbside devices`: what is plugged in, by the path that stays the same, and the settings block that would use it.

Everything is read from sysfs and from the links that udev makes; no device is opened, so that nothing is disturbed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import typer

from agent.cli import JsonOption, print_json

_HONEYWELL: Final = "0c2e"
_RECEIVERS: Final = {"1546"}
"""u-blox. Others can not be told from a scanner by their numbers."""
_HID_POS: Final = b"\x05\x8c"
"""A HID report descriptor that begins with the usage page of bar code scanners."""


@dataclass(frozen=True, slots=True)
class Device:
    """One thing that is plugged in."""

    kind: str
    """``serial``, ``camera``, ``keyboard`` or ``hidpos``."""
    path: str
    """The path to write into the settings: one that stays, where udev made one."""
    node: str
    """The path that the kernel gave."""
    name: str
    usb: str | None
    """``vendor:product`` in hexadecimal."""
    serial_number: str | None
    settings: str | None
    """The block of the settings file that would use it."""
    note: str | None = None


def devices(as_json: JsonOption = False) -> None:
    """List what is plugged in, and the settings that would use it."""
    found = list(plugged_in())
    if as_json:
        print_json({"devices": [asdict(device) for device in found]})
        return
    for device in found:
        number = f" serial {device.serial_number}" if device.serial_number else ""
        typer.echo(f"{device.path}\n  {device.name} ({device.usb or device.kind}{number}), {device.node}")
        for line in (device.note or "").splitlines():
            typer.echo(f"  {line}")
        for line in (device.settings or "").splitlines():
            typer.echo(f"    {line}")
        typer.echo()
    if not found:
        typer.echo("Nothing is plugged in that a unit could use: no serial line, no camera, no scanner.")


def plugged_in(sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> Iterator[Device]:
    """Every device of this machine that a unit could use."""
    links = _stable_links(dev)
    yield from _serial_lines(sys, dev, links)
    yield from _cameras(sys, dev, links)
    yield from _keyboards(sys, dev, links)
    yield from _hid_scanners(sys, dev, links)


def _serial_lines(sys: Path, dev: Path, links: dict[Path, str]) -> Iterator[Device]:
    for entry in sorted((sys / "class/tty").glob("tty[A-Z]*")):
        # A line that exists only as a possibility has no driver, or an 8250 without a chip (type 0).
        if not (entry / "device/driver").exists() or _text(entry / "type") == "0":
            continue
        usb = _Usb.above(entry / "device")
        node = dev / entry.name
        path = links.get(node.resolve(), str(node))
        name = usb.name if usb else "serial line of the board"
        note = None
        if usb and usb.vendor in _RECEIVERS:
            settings = f"[gps]\ndevice = {json.dumps(path)}"
            note = "A receiver: gpsd serves it, and is handed it by config/udev/70-kerbside.rules."
        else:
            kind = "honeywell" if usb and usb.vendor == _HONEYWELL else "line"
            settings = f'[[scanner]]\nname = "scanner"\nkind = "{kind}"\nport = {json.dumps(path)}'
            if usb is None:
                note = "If a scanner is wired to it; set baud as the scanner is set."
        yield _device("serial", path, node, name, usb, settings, note)


def _cameras(sys: Path, dev: Path, links: dict[Path, str]) -> Iterator[Device]:
    for entry in sorted((sys / "class/video4linux").glob("video*")):
        # The other nodes of a camera carry metadata, not pictures.
        if _text(entry / "index") not in {None, "0"}:
            continue
        node = dev / entry.name
        path = links.get(node.resolve(), str(node))
        name = _text(entry / "name") or "camera"
        yield _device(
            "camera", path, node, name, _Usb.above(entry / "device"), f"[camera]\nsource = {json.dumps(path)}"
        )


def _keyboards(sys: Path, dev: Path, links: dict[Path, str]) -> Iterator[Device]:
    for entry in sorted((sys / "class/input").glob("event*")):
        node = dev / "input" / entry.name
        path = links.get(node.resolve())
        # udev names a keyboard's node so; the node of a mouse or a button ends otherwise.
        if path is None or not path.endswith("-event-kbd"):
            continue
        name = _text(entry / "device/name") or "keyboard"
        note = (
            "If this is a scanner: it types like a keyboard. Let it read the code of its manual for USB serial (CDC)."
        )
        yield _device("keyboard", path, node, name, _Usb.above(entry / "device"), None, note)


def _hid_scanners(sys: Path, dev: Path, links: dict[Path, str]) -> Iterator[Device]:
    for entry in sorted((sys / "class/hidraw").glob("hidraw*")):
        try:
            descriptor = (entry / "device/report_descriptor").read_bytes()
        except OSError:
            continue
        if not descriptor.startswith(_HID_POS):
            continue
        node = dev / entry.name
        usb = _Usb.above(entry / "device")
        note = "A scanner in HID POS mode. Let it read the code of its manual for USB serial (CDC)."
        name = usb.name if usb else "scanner"
        yield _device("hidpos", links.get(node.resolve(), str(node)), node, name, usb, None, note)


def _device(
    kind: str, path: str, node: Path, name: str, usb: _Usb | None, settings: str | None, note: str | None = None
) -> Device:
    numbers = f"{usb.vendor}:{usb.product}" if usb else None
    return Device(kind, path, str(node), name, numbers, usb.serial_number if usb else None, settings, note)


@dataclass(frozen=True, slots=True)
class _Usb:
    """What a USB device says of itself."""

    vendor: str
    product: str
    name: str
    serial_number: str | None

    @classmethod
    def above(cls, place: Path) -> _Usb | None:
        """The USB device that a place in sysfs belongs to; ``None`` for one of the board."""
        place = place.resolve()
        for folder in (place, *place.parents):
            vendor, product = _text(folder / "idVendor"), _text(folder / "idProduct")
            if vendor and product:
                words = [text for part in ("manufacturer", "product") if (text := _text(folder / part))]
                return cls(vendor, product, " ".join(words) or "USB device", _text(folder / "serial"))
        return None


def _stable_links(dev: Path) -> dict[Path, str]:
    """The best lasting name of each node: of our own rules, else by identity, else by the port it is plugged into."""
    links: dict[Path, str] = {}
    for folder in (
        "kerbside",
        "serial/by-id",
        "v4l/by-id",
        "input/by-id",
        "serial/by-path",
        "v4l/by-path",
        "input/by-path",
    ):
        for link in sorted((dev / folder).glob("*")):
            links.setdefault(link.resolve(), str(link))
    return links


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
