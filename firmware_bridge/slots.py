"""What a server tells of the images that it holds, and what it can be told to do with them.

Follows Zephyr's "Application/software image management group" (SMP group 1). Servers differ in how much they say: a
flag that is left out is not set, and a server without this group raises `Cause.UNSUPPORTED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.link import CommandId, GroupId, Link, is_number

IMAGE: Final = GroupId.IMAGE_MANAGEMENT
STATE: Final = CommandId.ImageManagement.STATE
SLOT_INFO: Final = 6
MODES: Final = {
    0: "single slot",
    1: "swap using scratch",
    2: "overwrite only",
    3: "swap using move",
    4: "direct execution",
    5: "direct execution with revert",
    6: "load to RAM",
    7: "firmware loader",
    8: "single slot, load to RAM",
    9: "swap using offset",
}
"""Of MCUboot, by the numbers of its ``enum mcuboot_mode``."""
WITHOUT_RETURN: Final = frozenset({0, 2, 4, 6, 7, 8})
"""Modes in which the boot loader cannot take back an image that it has started."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot and the image in it."""

    image: int
    """Which of the firmware's images, where it is made of several."""
    slot: int
    """0 primary, 1 secondary."""
    version: str
    hash: bytes | None
    """The image's own hash; not every boot loader tells it."""
    active: bool
    """It runs."""
    confirmed: bool
    """It stays; an active image that is not confirmed is taken back at the next restart."""
    pending: bool
    """It is started at the next restart."""
    permanent: bool
    """And then stays, whatever happens."""
    bootable: bool


@dataclass(frozen=True, slots=True)
class BootLoader:
    """What the firmware knows of its boot loader."""

    name: str
    mode: int | None
    """MCUboot's, see `MODES`."""


@dataclass(frozen=True, slots=True)
class Server:
    """All that a server tells of itself and its images."""

    name: str | None
    """Operating system, version and board."""
    boot_loader: BootLoader | None
    slots: tuple[Slot, ...] | None
    """``None``: it has no image management."""
    sizes: Mapping[tuple[int, int], int]
    """How many bytes an image may have, by image and slot, where it says so."""

    @property
    def running(self) -> Slot | None:
        """The image that runs; ``None`` where none does, or none that is told."""
        return next((slot for slot in self.slots or () if slot.active and slot.image == 0), None)


def look(link: Link) -> Server:
    """Ask a server for everything.

    :raises BridgeError: as `Link.request`
    """
    try:
        slots = read_slots(link)
    except BridgeError as error:
        if error.cause is not Cause.UNSUPPORTED:
            raise
        return Server(read_name(link), read_boot_loader(link), None, {})
    return Server(read_name(link), read_boot_loader(link), slots, read_sizes(link))


def read_slots(link: Link) -> tuple[Slot, ...]:
    """The images that the server holds; an empty slot is not among them.

    :raises BridgeError: as `Link.request`; unsupported where there is no image management
    """
    return _slots(link, link.read(IMAGE, STATE))


def read_sizes(link: Link) -> dict[tuple[int, int], int]:
    """How many bytes an image may have, by image and slot; empty where the server does not say.

    :raises BridgeError: as `Link.request`
    """
    answer = _optional(link, IMAGE, SLOT_INFO)
    sizes: dict[tuple[int, int], int] = {}
    for image in _maps(answer.get("images")):
        for slot in _maps(image.get("slots")):
            size = min(_number(slot.get("size")) or 0, _number(image.get("max_image_size")) or 1 << 32)
            if size:
                sizes[_number(image.get("image")) or 0, _number(slot.get("slot")) or 0] = size
    return sizes


def read_boot_loader(link: Link) -> BootLoader | None:
    """The boot loader; ``None`` where the server does not say.

    :raises BridgeError: as `Link.request`
    """
    info = CommandId.OSManagement.BOOTLOADER_INFO
    name = _optional(link, GroupId.OS_MANAGEMENT, info).get("bootloader")
    if not isinstance(name, str):
        return None
    return BootLoader(
        _printable(name), _number(_optional(link, GroupId.OS_MANAGEMENT, info, {"query": "mode"}).get("mode"))
    )


def read_name(link: Link) -> str | None:
    """Operating system, version and board of the firmware, in one line; ``None`` where the server does not say.

    :raises BridgeError: as `Link.request`
    """
    command = CommandId.OSManagement.OS_APPLICATION_INFO
    output = _optional(link, GroupId.OS_MANAGEMENT, command, {"format": "svi"}).get("output")
    return _printable(output) if isinstance(output, str) and output else None


def try_next(link: Link, hash_: bytes) -> tuple[Slot, ...]:
    """Have the boot loader start this image at the next restart, for once.

    :raises BridgeError: as `Link.request`; unsupported where the boot loader knows no trial
    """
    return _slots(link, link.write(IMAGE, STATE, {"hash": hash_, "confirm": False}))


def confirm(link: Link) -> tuple[Slot, ...]:
    """Keep the image that runs.

    :raises BridgeError: as `Link.request`
    """
    # Without a hash, which would make another image the next one if the mount has just gone back to it.
    return _slots(link, link.write(IMAGE, STATE, {"confirm": True}))


def _slots(link: Link, answer: Mapping[str, Any]) -> tuple[Slot, ...]:
    slots = []
    images = answer.get("images")
    for entry in _maps(images):
        number, version, hash_ = _number(entry.get("slot")), entry.get("version"), entry.get("hash")
        if number is None or not isinstance(version, str) or not isinstance(hash_, bytes | None):
            break
        flags = ("active", "confirmed", "pending", "permanent", "bootable")
        slots.append(
            Slot(
                _number(entry.get("image")) or 0,
                number,
                _printable(version),
                hash_,
                *(entry.get(flag) is True for flag in flags),
            )
        )
    if not isinstance(images, list) or len(slots) != len(images):
        raise BridgeError(
            f"the microcontroller at {link.port} lists its images in a way that cannot be read: expected slot, "
            "version and hash of each; is it an SMP server?",
            Cause.GARBLED,
        )
    return tuple(slots)


def _optional(link: Link, group: int, command: int, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a server answers that may not know the question."""
    try:
        return link.read(group, command, payload)
    except BridgeError as error:
        if error.cause in (Cause.UNSUPPORTED, Cause.REFUSED):
            return {}
        raise


def _printable(text: str) -> str:
    """What a server says, fit for a terminal: it may not move the cursor there."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _maps(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if is_number(value) and value >= 0 else None
