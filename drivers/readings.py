"""What devices say: readings, immutable and stamped on arrival.

A driver turns a device into these and knows nothing of deliveries. `monotonic_ns` is `time.monotonic_ns()` at the
moment the last byte arrived; a member that the device did not give is ``None``, never zero.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from drivers.jpeg import Data, Jpeg
from drivers.limited_log import printable

Encoding = Literal["utf-8", "windows-1252"]


@dataclass(frozen=True, slots=True)
class Scan:
    """One code read by a scanner or in a camera frame."""

    device: str
    """The scanner's name in the settings, or ``camera``."""
    text: str
    """The code's text without its symbology identifier. GS (U+001D) stands for FNC1."""
    monotonic_ns: int
    identifier: str | None = None
    """AIM symbology identifier such as ``]C1``, where the device sent one."""
    symbology: str | None = None
    """Name of the symbology, such as ``Code 128``, where it is known."""
    repeat: bool = False
    """The same code came from the same device within the last 1.5 s: marked, not swallowed."""
    others: tuple[Scan, ...] = ()
    """Codes that came into view at the same instant and may be meant as well as this one."""
    encoding: Encoding = "utf-8"
    """What its bytes were read as: any but UTF-8 is the scanner's older default, and a guess."""


@dataclass(frozen=True, slots=True)
class NotRead:
    """A scanner has read a code, and beeped, and what arrived is none: it is to be scanned again."""

    device: str
    monotonic_ns: int


class Doubt(StrEnum):
    """Why the position of a fix is not to be acted on."""

    NO_FIX = "no_fix"
    """The receiver gives none."""
    OLD = "old"
    """It was held up on its way, or the receiver repeats itself."""
    POOR = "poor"
    """By the receiver's own account it may be anywhere around."""
    JUMP = "jump"
    """No vehicle comes there so fast from where it was believed to be."""
    STANDING = "standing"
    """The vehicle stands, and only the reported position wanders."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One report of a GNSS receiver (gpsd's TPV), WGS 84: always as the receiver gave it, whatever is doubted."""

    device: str
    monotonic_ns: int
    mode: int
    """0 unknown, 1 no fix, 2 2D, 3 3D."""
    time: str | None = None
    """The receiver's time, RFC 3339 UTC."""
    latitude: float | None = None
    longitude: float | None = None
    accuracy_m: float | None = None
    """Horizontal, 95 %."""
    altitude_m: float | None = None
    """Above the ellipsoid."""
    speed_mps: float | None = None
    heading: float | None = None
    """Degrees from true north."""
    doubts: tuple[Doubt, ...] = ()
    """Empty: the vehicle is there. Otherwise it is believed to be where it was before."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a camera."""

    device: str
    monotonic_ns: int
    picture: Any
    """As it came: a `Jpeg`, or an array as in `image`."""
    origin: str | None = None
    """The file it came from, for a source of files."""

    @property
    def image(self) -> Any:
        """An array of shape (height, width, 3), 8-bit BGR, which is shared: not to be written to. A JPEG is decoded
        here, in the thread that asks first, once; ``None`` when it cannot be."""
        return self.picture.image if isinstance(self.picture, Jpeg) else self.picture

    @property
    def jpeg(self) -> Data | None:
        """The camera's own bytes, where it gives JPEGs."""
        return self.picture.data if isinstance(self.picture, Jpeg) else None


@dataclass(frozen=True, slots=True)
class Panel:
    """The mount's panel: what its microcontroller reports (contract §7)."""

    device: str
    monotonic_ns: int
    ignition: bool
    supply_mv: int
    buttons: int
    """One bit a button."""
    acceleration_mg: tuple[int, int, int]
    """Peak of each axis since the last reading."""
    reset_cause: str
    uptime_ms: int


Reading = Scan | NotRead | Fix | Frame | Panel


class Condition(StrEnum):
    """What a part is doing, in the words of the status topic."""

    ABSENT = "absent"
    OPENING = "opening"
    READY = "ready"
    STALE = "stale"
    FAULTY = "faulty"


MAX_REASON = 1000
"""Characters of it that are shown."""


@dataclass(frozen=True, slots=True)
class PartState:
    """A part's condition, why, and since when on the monotonic clock."""

    condition: Condition
    reason: str = ""
    since_ns: int = 0

    @classmethod
    def now(cls, condition: Condition, reason: str = "") -> PartState:
        """The condition as of this instant; what a device has put into the reason is shown, and moves no cursor."""
        return cls(condition, printable(reason, MAX_REASON), time.monotonic_ns())


class DriverError(Exception):
    """A device cannot be used: says which device, what happened and what to do.

    `condition` is what the part becomes by it: ``FAULTY``, or ``ABSENT`` where the device is simply not there.
    """

    def __init__(self, message: str, condition: Condition = Condition.FAULTY) -> None:
        super().__init__(message)
        self.condition = condition
