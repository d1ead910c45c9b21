"""What may come into the core: readings, a driver's actions, messages of the cloud, results of workers, and the tick of
each second.

Everything is already parsed and verified by the edges: texts carry the identities that were found in them, messages
have passed their models, secrets are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal

from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import Manifest
from agent.delivery.model.reading import read_manifest
from contract.vocabulary import ClockTrust

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, written as "Z"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened: wall time is a label with a trust level, order comes from the uptime."""

    wall_ms: int
    """Unix time in milliseconds, the unit's best knowledge."""
    uptime_ms: int
    """Milliseconds on the monotonic clock of this boot."""
    boot_id: str
    trust: ClockTrust

    @property
    def time(self) -> str:
        """RFC 3339 UTC with milliseconds."""
        return (_EPOCH + timedelta(milliseconds=self.wall_ms)).isoformat(timespec="milliseconds") + "Z"

    @property
    def is_trusted(self) -> bool:
        """Whether the wall time may decide: satellites, the network or a battery clock stand for it."""
        return self.trust != "unsynced"

    def at(self, uptime_ms: int) -> Moment:
        """Another instant of this boot, by the same clock."""
        return replace(self, wall_ms=self.wall_ms + uptime_ms - self.uptime_ms, uptime_ms=uptime_ms)


@dataclass(frozen=True, slots=True)
class Tick:
    """A second has passed."""


NOT_PARCELS: Final = frozenset(
    {
        "gtin",
        "sgtin",
        "product",
        "gs1",
        "dhl_routing",
        "routing",
        "postage",
        "link",
        "contact",
        "calendar",
        "network",
        "payment",
        "document",
        "scanner_setup",
        "message",
    }
)
"""Kinds of codes that name no parcel: a product, a place to route to, a postage mark, a link, a set-up code …"""


@dataclass(frozen=True, slots=True)
class Scanned:
    """A code was read or typed."""

    text: str
    """As read, symbology identifier stripped."""
    codes: tuple[str, ...]
    """Every form under which a manifest may know it, the best first; never empty."""
    device: str
    entry: Literal["scan", "camera", "manual"] = "scan"
    carrier: str | None = None
    kind: str | None = None
    """Form of the number: ``sscc``, ``s10``, ``amazon_tba`` … ; ``None`` when the form is unknown."""
    fault: str | None = None
    """What is wrong with the text (a check digit, say); the manifest may still know the very text."""
    identifier: str | None = None
    symbology: str | None = None
    repeat: bool = False
    others: tuple[Scanned, ...] = ()
    """Other codes of the same view that may be meant as well: when the block knows several, the driver is asked."""


@dataclass(frozen=True, slots=True)
class NotRead:
    """A scanner has read a code, and beeped, and the code did not arrive."""


@dataclass(frozen=True, slots=True)
class Located:
    """The vehicle's position; `latitude` and `longitude` are ``None`` without a fix."""

    uptime_ms: int
    mode: int
    latitude: float | None = None
    longitude: float | None = None
    accuracy_m: float | None = None
    speed_mps: float | None = None
    heading: float | None = None
    source: Literal["vehicle", "handheld"] = "vehicle"
    distance_m: float | None = None
    """Driven since the check-in of the block under way."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A reading of the mount's panel (contract §7)."""

    ignition: bool
    buttons: int
    """One bit a button, 1 while it is held."""
    supply_mv: int
    uptime_ms: int
    """Milliseconds since the mount's last reset."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about an action before the decision; whatever was not asked for is absent."""

    scanned: Scanned | None = None
    """What a typed code is, for the action `scan`."""


@dataclass(frozen=True, slots=True)
class Acted:
    """The driver did something on the screen (contract §5)."""

    action: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts = Facts()


BLOCK_MESSAGES: Final = frozenset({"block.assigned", "block.revised"})
"""Types of messages that hold a manifest."""


@dataclass(frozen=True)
class InboxMessage:
    """A valid message of the cloud. It is an entry of the log itself, ahead of the events it causes."""

    message_id: str
    kind: str
    """The inbox topic's last level: ``block``, ``revision``, ``recall`` …"""
    type: str
    """Without prefix and version: ``block.assigned``."""
    data: Mapping[str, Any] = field(repr=False)
    """Validated; secret members replaced by sealed tokens."""

    @cached_property
    def manifest(self) -> Manifest:
        """What a block message says: its data, read once.

        :raises DeliveryError: the data is no block
        """
        return read_manifest(self.data)

    def prepare(self) -> None:
        """Read now what the loop would have to read otherwise. The data must be final."""
        if self.type in BLOCK_MESSAGES:
            with suppress(DeliveryError):  # the core meets it again, and refuses the message
                _ = self.manifest


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """A message of the cloud that is invalid; it is answered, and changes nothing."""

    message_id: str | None
    reason: str
    """``INVALID_JSON``, ``INVALID``, ``TOO_LARGE``, ``UNKNOWN_KIND`` …"""
    path: str | None = None
    expected: str = ""
    """What should have stood there; no value of the message is ever repeated."""


FAILURE: Final = "failure"


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker is done with what the effect `Work` of the same kind and key asked for, or has given up."""

    kind: str
    key: str
    result: Mapping[str, Any]
    """JSON values; what was not done has the member `FAILURE`: ``{"code": …, "message": …}``."""


Input = Tick | Scanned | NotRead | Located | Panel | Acted | InboxMessage | InvalidMessage | Finished
