"""Which device node a setting means, who has it, and word of devices that come and go.

A setting names a device by a path, or by its numbers as ``vendor:product`` or ``vendor:product:serial``; `resolve`
finds the node by what the kernel says in sysfs, with or without a running udevd, and opens nothing. `claim` keeps two
parts of the agent off one device. `Watch` tells when something was plugged in, so that nobody has to wait for a poll.

>>> Numbers.parse("0C2E:0b6a:20253A4711")
Numbers(vendor='0c2e', product='0b6a', serial_number='20253A4711')
>>> Numbers.parse("/dev/ttyACM0") is None
True
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from drivers.limited_log import printable
from drivers.readings import Condition, DriverError

log = logging.getLogger(__name__)

Subsystem = Literal["tty", "input", "hidraw", "video4linux"]

SUBSYSTEMS: Final[tuple[Subsystem, ...]] = ("tty", "input", "hidraw", "video4linux")
PATHS_EVERY_S: Final = 0.25
"""How often paths that udev knows nothing of are looked for."""
SETTLED_MS: Final = 3000
"""After this time a USB device has all the nodes that it will have."""
HID_POS_DESCRIPTOR: Final = b"\x05\x8c"
"""How the report descriptor of a bar code scanner begins: usage page 0x8C."""

_PATTERNS: Final = {"tty": "tty[A-Z]*", "input": "event*", "hidraw": "hidraw*", "video4linux": "video*"}
_NOUNS: Final = {
    "tty": "serial line",
    "input": "keyboard",
    "hidraw": "HID POS scanner",
    "video4linux": "camera",
}
_MODES: Final = {
    "tty": "USB serial (CDC)",
    "input": "USB keyboard",
    "hidraw": "USB HID POS",
}
_PS2: Final = "0011"
_PTMX: Final = os.makedev(5, 2)
"""The other end of every pseudo-terminal."""
# KEY_1 to KEY_0: what types no digit is no keyboard that a scanner could be.
_DIGIT_KEYS: Final = 0b1111111111 << 2


class Numbers(NamedTuple):
    """A device by its numbers, in lower-case hexadecimal, and its serial number where it matters."""

    vendor: str
    product: str
    serial_number: str | None = None

    @classmethod
    def parse(cls, match: str) -> Numbers | None:
        """The numbers that a setting gives; ``None`` when it is not of that form."""
        parts = re.fullmatch(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?", match)
        return parts and cls(parts[1].lower(), parts[2].lower(), parts[3])

    def fit(self, device: Device) -> bool:
        """Whether a device has these numbers. udev's spelling of a serial number counts as well as the device's own."""
        if (device.vendor, device.product) != (self.vendor, self.product):
            return False
        number = device.serial_number
        return self.serial_number is None or (
            number is not None and self.serial_number in (number, _as_udev_writes(number))
        )


@dataclass(frozen=True, slots=True)
class Device:
    """One device node, and what the device behind it says of itself."""

    subsystem: Subsystem
    node: str
    """The path that the kernel gave."""
    name: str | None = None
    vendor: str | None = None
    product: str | None = None
    serial_number: str | None = None
    usb_port: str | None = None
    """Where it is plugged in, as the kernel counts: ``1-1.2``."""
    usb_interface: str | None = None
    """Which of the functions of one USB device it is, such as ``00``."""
    sysfs: Path = Path()
    """Its folder below ``/sys/class``."""

    @property
    def place(self) -> Path:
        """The folder of what it hangs on."""
        return (self.sysfs / "device").resolve()


def devices(subsystem: Subsystem, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> list[Device]:
    """What is there of a kind, by node: real serial lines, keyboards that can type digits and are not the PC's own, HID
    devices that are scanners, the nodes of cameras that give pictures."""
    folder = sys / "class" / subsystem
    entries = sorted(folder.glob(_PATTERNS[subsystem]), key=lambda entry: (len(entry.name), entry.name))
    return [_device(subsystem, entry, dev) for entry in entries if _CHECKS[subsystem](entry)]


def device_at(path: str, subsystem: Subsystem, sys: Path = Path("/sys")) -> Device | None:
    """What the kernel says of the device of a kind that a path leads to; ``None`` when it knows none."""
    node = Path(os.path.realpath(path))
    entry = sys / "class" / subsystem / node.name
    return (
        _device(subsystem, entry, node.parent.parent if subsystem == "input" else node.parent)
        if entry.exists()
        else None
    )


def resolve(
    match: str, subsystem: Subsystem, who: str = "", *, sys: Path = Path("/sys"), dev: Path = Path("/dev")
) -> str:
    """The node that a setting means; a path is its own node. `who` begins the messages.

    :raises DriverError: ``ABSENT`` when no device has the numbers; ``FAULTY`` naming the candidates when several do,
        or when the device is there and is not of this kind
    """
    numbers = Numbers.parse(match)
    if numbers is None:
        return match
    thing = f"{who} ({match})" if who else match
    found = [device for device in devices(subsystem, sys, dev) if numbers.fit(device)]
    if len(found) == 1:
        return found[0].node
    if found:
        raise DriverError(f"{thing} fits {len(found)} devices: {_told_apart(found, dev)}")
    if subsystem in _MODES and (other := _plugged_in(numbers, sys)):
        if int(text(other / "power/connected_duration") or SETTLED_MS) < SETTLED_MS:
            raise DriverError(f"{thing} was plugged in this moment: the kernel still sets it up", Condition.ABSENT)
        raise DriverError(
            f"{thing} is plugged in (USB port {other.name}) and is no {_NOUNS[subsystem]}: let it read the code of its "
            f"manual for {_MODES[subsystem]}, or set another kind (`kerbside devices` shows what it is)"
        )
    raise DriverError(
        f"{thing} is not plugged in: plug it in, or correct the setting (`kerbside devices` lists what is there)",
        Condition.ABSENT,
    )


_claims: dict[tuple[str, object], str] = {}
_claiming = threading.Lock()


@contextlib.contextmanager
def claim(node: str, who: str) -> Iterator[None]:
    """Keep the device at `node` for `who`, such as ``scanner hand``, while the block runs.

    :raises DriverError: another part of this process has it
    """
    key = _real(node)
    with _claiming:
        holder = _claims.get(key)
        if holder is None:
            _claims[key] = who
    if holder == who:
        raise DriverError(f"{who} at {node} is still being put down: it is tried again")
    if holder is not None:
        raise DriverError(
            f"{who} at {node} is the same device as {holder}: two settings match one device; give each its own "
            "(`kerbside devices` lists them), or remove one"
        )
    try:
        yield
    finally:
        with _claiming:
            del _claims[key]


class Watch:
    """Calls `plugged` on the loop when a device may have come: at once where the kernel or udev tells it.

    `paths` are those of the settings. One outside of ``/dev`` may lead to what udev does not know, and is looked for a
    few times a second; so are all of them where nobody tells of devices.
    """

    def __init__(self, plugged: Callable[[], None], paths: Iterable[str] = ()) -> None:
        self._plugged = plugged
        self._paths = tuple(path for path in paths if path.startswith("/"))

    async def run(self) -> None:
        """Watch until cancelled. Never fails: without a monitor the paths alone are watched."""
        loop = asyncio.get_running_loop()
        monitor = _monitor()
        if monitor:
            loop.add_reader(monitor.fileno(), self._hear, monitor)
        try:
            paths = [path for path in self._paths if monitor is None or not path.startswith("/dev/")]
            known = {path: _target(path) for path in paths}
            if not paths:
                await asyncio.Event().wait()
            while True:
                await asyncio.sleep(PATHS_EVERY_S)
                there = {path: _target(path) for path in paths}
                if any(target and target != known[path] for path, target in there.items()):
                    self._plugged()
                known = there
        finally:
            if monitor:
                loop.remove_reader(monitor.fileno())

    def _hear(self, monitor: Any) -> None:
        came = False
        try:
            while (device := monitor.poll(timeout=0)) is not None:
                came |= device.action != "remove"
        except OSError:
            came = True  # more was told than fits: look at everything
        if came:
            self._plugged()


def _monitor() -> Any:
    try:
        import pyudev  # type: ignore[import-untyped]  # late: a question of a technician needs none

        # What udevd passes on has its links and its group already; without udevd only the kernel speaks.
        source = "udev" if Path("/run/udev/control").exists() else "kernel"
        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source)
        for subsystem in SUBSYSTEMS:
            monitor.filter_by(subsystem)
        monitor.start()
    except (ImportError, OSError) as error:
        log.info("nobody tells of devices that are plugged in (%s): they are looked for instead", error)
        return None
    return monitor


def _target(path: str) -> tuple[int, int, int] | None:
    """What is behind a path, so that another thing at the same path is noticed."""
    try:
        status = os.stat(path)  # noqa: PTH116 - four times a second: without the detour
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def _real(node: str) -> tuple[str, object]:
    with contextlib.suppress(OSError):
        status = Path(node).stat()
        if stat.S_ISCHR(status.st_mode):
            return "device", status.st_rdev
    return "path", os.path.realpath(node)


def _device(subsystem: Subsystem, entry: Path, dev: Path) -> Device:
    node = dev / "input" / entry.name if subsystem == "input" else dev / entry.name
    device = Device(subsystem, str(node), sysfs=entry)
    for folder in (device.place, *device.place.parents):
        if device.vendor is None:
            device = _identified(device, folder)
        if number := text(folder / "bInterfaceNumber"):
            device = replace(device, usb_interface=number)
        if text(folder / "idVendor"):
            # A wireless keyboard has the numbers of the keyboard, and hangs on a port by those of its radio.
            if (text(folder / "idVendor"), text(folder / "idProduct")) == (device.vendor, device.product):
                number = device.serial_number or text(folder / "serial")
                device = replace(device, serial_number=number, usb_port=folder.name)
            break
    if subsystem == "video4linux":
        device = replace(device, name=printable(text(entry / "name") or "") or device.name)
    return device


def _identified(device: Device, folder: Path) -> Device:
    """The device with what a folder above it says: an input device, a HID device or a USB device."""
    if vendor := text(folder / "idVendor"):
        words = [word for part in ("manufacturer", "product") if (word := text(folder / part))]
        return replace(
            device,
            name=printable(" ".join(words)) or "USB device",
            vendor=vendor.lower(),
            product=(text(folder / "idProduct") or "").lower(),
            serial_number=text(folder / "serial"),
        )
    if vendor := text(folder / "id/vendor"):
        return replace(
            device,
            name=printable(text(folder / "name") or "") or None,
            vendor=vendor.lower(),
            product=(text(folder / "id/product") or "").lower(),
            serial_number=text(folder / "uniq"),
        )
    said = dict(line.partition("=")[::2] for line in (text(folder / "uevent") or "").splitlines())
    if identity := re.fullmatch(r"[0-9A-F]{4}:0000([0-9A-F]{4}):0000([0-9A-F]{4})", said.get("HID_ID", "")):
        return replace(
            device,
            name=printable(said.get("HID_NAME", "")) or None,
            vendor=identity[1].lower(),
            product=identity[2].lower(),
            serial_number=said.get("HID_UNIQ") or None,
        )
    return device


def _is_serial_line(entry: Path) -> bool:
    # A line that exists only as a possibility has no driver, or an 8250 without a chip (type 0).
    return (entry / "device/driver").exists() and text(entry / "type") != "0"


def _types_digits(entry: Path) -> bool:
    if text(entry / "device/id/bustype") == _PS2:
        return False
    # Words of the machine's size, the highest first: only the last one matters here.
    words = (text(entry / "device/capabilities/key") or "0").split()
    with contextlib.suppress(ValueError):
        return int(words[-1], 16) & _DIGIT_KEYS == _DIGIT_KEYS
    return False


def _is_pos_scanner(entry: Path) -> bool:
    with contextlib.suppress(OSError):
        return (entry / "device/report_descriptor").read_bytes().startswith(HID_POS_DESCRIPTOR)
    return False


def _gives_pictures(entry: Path) -> bool:
    # The other nodes of a camera carry metadata.
    return text(entry / "index") in {None, "0"}


_CHECKS: Final[dict[Subsystem, Callable[[Path], bool]]] = {
    "tty": _is_serial_line,
    "input": _types_digits,
    "hidraw": _is_pos_scanner,
    "video4linux": _gives_pictures,
}


def _plugged_in(numbers: Numbers, sys: Path) -> Path | None:
    """The folder of the USB device with these numbers, whatever it is."""
    for folder in sorted((sys / "bus/usb/devices").glob("*")):
        if vendor := text(folder / "idVendor"):
            device = Device("tty", "", vendor=vendor, product=text(folder / "idProduct"))
            device = replace(device, serial_number=text(folder / "serial"))
            if numbers.fit(device):
                return folder
    return None


def _told_apart(found: list[Device], dev: Path) -> str:
    numbers = [device.serial_number for device in found]
    if None not in numbers and len(set(numbers)) == len(numbers):
        listed = ", ".join(f"{device.node} ({device.serial_number})" for device in found)
        one = f"{found[0].vendor}:{found[0].product}:{found[0].serial_number}"
        return f'{listed}; add the serial number of the one you mean, such as "{one}"'
    by_port = links(BY_PATH, dev)
    paths = ", ".join(by_port.get(os.path.realpath(device.node), device.node) for device in found)
    return f"{paths}; their numbers do not tell them apart: set the path of the one you mean, which stays with its port"


OUR_OWN: Final = ("kerbside",)
BY_ID: Final = ("serial/by-id", "v4l/by-id", "input/by-id", "kerbside/by-id")
BY_PATH: Final = ("serial/by-path", "v4l/by-path", "input/by-path", "kerbside/by-path")


def links(folders: Iterable[str], dev: Path = Path("/dev")) -> dict[str, str]:
    """The name that udev has made in one of these folders of ``/dev`` for each node, by the node's real path."""
    found: dict[str, str] = {}
    for folder in folders:
        for link in sorted((dev / folder).glob("*")):
            found.setdefault(os.path.realpath(link), str(link))
    return found


class Holder(NamedTuple):
    """A process that has a device open."""

    process: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.process})"


def holders(nodes: Iterable[str]) -> dict[str, list[Holder]]:
    """Which other processes have each of these devices open, as far as this user may see them.

    Whoever has the other end of a pseudo-terminal is what is plugged in, and holds nothing.
    """
    numbers: dict[str, int] = {}
    for node in nodes:
        with contextlib.suppress(OSError):
            numbers[node] = os.stat(node).st_rdev  # noqa: PTH116
    held: dict[int, list[Holder]] = {number: [] for number in numbers.values()}
    for process in Path("/proc").glob("[0-9]*"):
        if held and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                for number in held.keys() & _open_devices(process):
                    held[number].append(Holder(int(process.name), printable(text(process / "comm") or "a program")))
    return {node: held[number] for node, number in numbers.items()}


def in_use(node: str) -> str:
    """What to say of a device that another program has, by its name where that can be seen, and what to do."""
    if others := holders([node]).get(node):
        return f"in use by {' and '.join(map(str, others))}: stop that program"
    return f"in use by another program: stop that one (`fuser {node}` names it)"


def _open_devices(process: Path) -> set[int]:
    """The device numbers that a process has open, but for pseudo-terminals of which it has the other end, too."""
    opened: set[int] = set()
    made: set[int | None] = set()
    with os.scandir(process / "fd") as descriptors:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                status = descriptor.stat()
                if status.st_rdev == _PTMX:
                    made.add(_terminal(process / "fdinfo" / descriptor.name))
                elif stat.S_ISCHR(status.st_mode):
                    opened.add(status.st_rdev)
    return opened - made


def _terminal(master: Path) -> int | None:
    """The device number of the pseudo-terminal of which this descriptor is the other end."""
    said = re.search(r"^tty-index:\s*(\d+)", text(master) or "", re.MULTILINE)
    return said and os.makedev(136 + (int(said[1]) >> 8), int(said[1]) & 0xFF)


def subsystem_of(node: str, sys: Path = Path("/sys")) -> str | None:
    """What kind of device the kernel says is at a path; ``None`` for a pseudo-terminal or no device at all."""
    with contextlib.suppress(OSError, ValueError):
        number = os.stat(node).st_rdev  # noqa: PTH116
        return (sys / f"dev/char/{os.major(number)}:{os.minor(number)}/subsystem").resolve(strict=True).name
    return None


def _as_udev_writes(number: str) -> str:
    return re.sub(r"[^0-9A-Za-z#+\-.:=@_/]", "_", re.sub(r"\s+", "_", number.strip()))


def text(path: Path) -> str | None:
    """The content of a file of sysfs; ``None`` when it is not there or empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
