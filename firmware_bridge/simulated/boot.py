"""Two slots of flash and a boot loader that swaps them, by the rules that MCUboot documents.

What one relies on when a mount is updated is modelled: an image is run only when its hash, signature and board are
right; an image on trial that nobody confirms is swapped back at the next start; an image that may not run is erased;
and a swap that loses its power goes on where it was. Every step that flash does at once asks `power`, which may raise
`PowerCut`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

MAGIC: Final = 0x96F3B83D
ERASED: Final = 0xFF
SECTOR_BYTES: Final = 4096
WRITE_BYTES: Final = 64
"""What one step of writing flash takes."""

_HEADER: Final = struct.Struct("<IIHHIIBBHI4x")
_TLV: Final = struct.Struct("<HH")
_AREAS: Final = (0x6908, 0x6907)
_KEY_HASH: Final = 0x01
_SHA256: Final = 0x10
_HASHES: Final = {_SHA256: "sha256", 0x11: "sha384", 0x12: "sha512"}
_ECDSA, _ED25519 = 0x22, 0x24
_BOARD: Final = (0x74, 0x75)


class PowerCut(Exception):  # noqa: N818 - not an error: what a test asked for
    """The power has gone away in the middle of something."""


class Swap(Enum):
    """Why the slots change places."""

    TEST = "test"
    PERMANENT = "permanent"
    REVERT = "revert"


class Found(NamedTuple):
    """An image in a slot, as far as it can be read."""

    version: tuple[int, int, int, int]
    hash: bytes
    hash_name: str
    signed: bytes
    tlvs: tuple[tuple[int, bytes], ...]
    body: bytes
    bootable: bool

    @property
    def version_text(self) -> str:
        """As servers write it."""
        major, minor, revision, build = self.version
        return f"{major}.{minor}.{revision}" + (f".{build}" if build else "")


@dataclass(slots=True)
class Slot:
    """One slot and the trailer in which the boot loader keeps its marks."""

    data: bytearray
    magic: bool = False
    image_ok: bool = False
    copy_done: bool = False

    def clear_marks(self) -> None:
        """As after erasing the trailer."""
        self.magic = self.image_ok = self.copy_done = False

    @property
    def image(self) -> Found | None:
        """What lies in it."""
        return find(self.data)


@dataclass(slots=True)
class Flash:
    """A primary slot, from which images run, and a secondary, into which they are written."""

    slot_bytes: int = 256 * 1024
    keys: Sequence[bytes] = ()
    """Public keys (PEM) whose images run; with none, an image needs only its hash."""
    board: tuple[bytes, bytes] | None = None
    """Vendor and class id of this board (16 bytes each), which an image must name then."""
    allow_older: bool = True
    power: Callable[[], None] = field(default=lambda: None)
    primary: Slot = field(init=False)
    secondary: Slot = field(init=False)
    swapping: Swap | None = None
    swapped: int = 0
    """Sectors that have changed places already."""
    refused: list[str] = field(default_factory=list)
    """Why the boot loader did not run an image that it was to run."""

    def __post_init__(self) -> None:
        self.primary, self.secondary = (Slot(bytearray([ERASED]) * self.slot_bytes) for _ in range(2))

    def install(self, image: bytes) -> None:
        """Put an image into the primary slot, confirmed, as the factory does."""
        self.primary.data[:] = image + bytes([ERASED]) * (self.slot_bytes - len(image))
        self.primary.clear_marks()

    @property
    def next_swap(self) -> Swap | None:
        """What the next start will do."""
        if self.secondary.magic:
            return Swap.PERMANENT if self.secondary.image_ok else Swap.TEST
        if self.primary.magic and self.primary.copy_done and not self.primary.image_ok:
            return Swap.REVERT
        return None

    def write(self, offset: int, data: bytes) -> None:
        """Write into the secondary slot: bits only ever go from one to zero."""
        for at in range(0, len(data), WRITE_BYTES):
            self.power()
            for index, byte in enumerate(data[at : at + WRITE_BYTES], offset + at):
                self.secondary.data[index] &= byte

    def erase(self, size: int | None = None) -> int:
        """Erase the secondary slot and its marks, or as much as `size` bytes need; gives the number of sectors."""
        count = -(-(self.slot_bytes if size is None else size) // SECTOR_BYTES)
        self.power()
        self.secondary.clear_marks()
        for sector in range(count):
            self.power()
            at = sector * SECTOR_BYTES
            blank = bytes([ERASED]) * min(SECTOR_BYTES, self.slot_bytes - at)
            self.secondary.data[at : at + SECTOR_BYTES] = blank
        return count

    def request(self, *, permanent: bool) -> None:
        """Mark the secondary image to be swapped in."""
        self.power()
        self.secondary.magic = True
        if permanent:
            self.power()
            self.secondary.image_ok = True

    def confirm(self) -> None:
        """Let the running image stay."""
        self.power()
        self.primary.image_ok = True

    def boot(self) -> Found | None:
        """Start: the image that runs now, ``None`` when there is none that may."""
        if self.swapping is None and (wanted := self.next_swap):
            fault = self.fault(self.secondary)
            if fault is None:
                self.power()
                self.swapping, self.swapped = wanted, 0
            else:
                self.refused.append(fault)
                self.erase()
                self.primary.magic = self.primary.copy_done = self.primary.image_ok = True
        if self.swapping is not None:
            self._swap(self.swapping)
        return None if self.fault(self.primary, installed=True) else self.primary.image

    def _swap(self, kind: Swap) -> None:
        sectors = self.slot_bytes // SECTOR_BYTES
        while self.swapped < sectors:
            self.power()
            at = slice(self.swapped * SECTOR_BYTES, (self.swapped + 1) * SECTOR_BYTES)
            self.primary.data[at], self.secondary.data[at] = self.secondary.data[at], self.primary.data[at]
            self.swapped += 1
        self.power()
        self.secondary.clear_marks()
        self.primary.magic = self.primary.copy_done = True
        self.primary.image_ok = kind is not Swap.TEST
        self.swapping = None

    def fault(self, slot: Slot, *, installed: bool = False) -> str | None:
        """Why the boot loader would not run what is in a slot."""
        image = slot.image
        if image is None:
            return "no image"
        if not image.bootable:
            return "not bootable"
        if hashlib.new(image.hash_name, image.signed).digest() != image.hash:
            return "hash"
        if self.keys and not any(_signed_by(image, key) for key in self.keys):
            return "signature"
        if self.board and [value for number, value in image.tlvs if number in _BOARD] != list(self.board):
            return "board"
        running = self.primary.image
        if not installed and not self.allow_older and running and image.version < running.version:
            return "older"
        return None


def make(version: tuple[int, int, int, int], body: bytes, header_size: int = 512) -> bytes:
    """An image without a signature: for a boot loader that asks for none."""
    header = _HEADER.pack(MAGIC, 0, header_size, 0, len(body), 0, *version).ljust(header_size, b"\0")
    digest = hashlib.sha256(header + body).digest()
    tlv = _TLV.pack(_SHA256, len(digest)) + digest
    return header + body + _TLV.pack(_AREAS[1], _TLV.size + len(tlv)) + tlv


def find(data: bytes | bytearray) -> Found | None:
    """The image at the begin of these bytes; ``None`` when there is none with a hash."""
    if len(data) < _HEADER.size:
        return None
    magic, _, header_size, protected_size, body_size, flags, *version = _HEADER.unpack_from(data)
    end = header_size + body_size
    if magic != MAGIC or end > len(data):
        return None
    try:
        tlvs = [tlv for area in _AREAS for tlv in _area(data, area, end, protected_size)]
    except struct.error:
        return None
    hashes = [(number, value) for number, value in tlvs if number in _HASHES]
    if len(hashes) != 1:
        return None
    ((number, value),) = hashes
    signed = bytes(data[: end + protected_size])
    major, minor, revision, build = version
    body = bytes(data[header_size:end])
    return Found((major, minor, revision, build), value, _HASHES[number], signed, tuple(tlvs), body, not flags & 0x10)


def _area(data: bytes | bytearray, area: int, end: int, protected_size: int) -> Iterator[tuple[int, bytes]]:
    if area == _AREAS[0]:
        if not protected_size:
            return
        at = end
    else:
        at = end + protected_size
    magic, size = _TLV.unpack_from(data, at)
    if magic != area:
        return
    stop, at = at + size, at + _TLV.size
    while at + _TLV.size <= stop:
        number, length = _TLV.unpack_from(data, at)
        at += _TLV.size
        yield number, bytes(data[at : at + length])
        at += length


def _signed_by(image: Found, pem: bytes) -> bool:
    # Only a simulator whose boot loader knows keys needs it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key: Any = serialization.load_pem_public_key(pem)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    named = dict(image.tlvs).get(_KEY_HASH)
    if named not in (hashlib.sha256(der).digest(), hashlib.new(image.hash_name, der).digest()):
        return False
    for number, signature in image.tlvs:
        try:
            if number == _ED25519 and isinstance(key, Ed25519PublicKey):
                key.verify(signature, image.hash)
                return True
            if number == _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, image.hash, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
                return True
        except (InvalidSignature, ValueError):
            continue
    return False
