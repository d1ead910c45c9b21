"""Names on the wire: the topics of a unit, and the types of what is sent on them.

>>> topics = Topics("kerbside", "demo", "u1")
>>> topics.event("parcel.delivered")
'kerbside/demo/u1/events/parcel/delivered'
>>> topics.inbox_kind("kerbside/demo/u1/inbox/block")
'block'
>>> Topics.sender("kerbside", "kerbside/demo/u1/events/parcel/delivered")
Sender(source='/demo/u1', channel='events')
>>> short_type(full_type("parcel.delivered"))
'parcel.delivered'
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

PREFIX: Final = "org.kerbside."
SUFFIX: Final = ".v1"

SOURCE: Final = r"^/[^/+#\x00-\x1f\x7f]{1,128}/[^/+#\x00-\x1f\x7f]{1,128}$"
"""The `source` of what a unit sends: ``/{fleet}/{unit}``, each of them a level that a topic can have."""


class Sender(NamedTuple):
    """Whose topic it is, and what comes on it."""

    source: str
    """``/{fleet}/{unit}``."""
    channel: str
    """The level below the unit: ``events``, ``telemetry``, ``status`` …"""


def full_type(name: str) -> str:
    """The CloudEvents type of a name such as ``parcel.delivered``."""
    return f"{PREFIX}{name}{SUFFIX}"


def short_type(type_: str) -> str:
    """``parcel.delivered`` of ``org.kerbside.parcel.delivered.v1``; what is none of our types stays as it is."""
    return type_.removeprefix(PREFIX).rpartition(".v")[0] or type_


class Topics:
    """The topics of one unit; with ``+`` for the unit these are filters for a whole fleet."""

    def __init__(self, topic_root: str, fleet: str, unit: str) -> None:
        self.root: Final = f"{topic_root}/{fleet}/{unit}"
        self.status: Final = f"{self.root}/status"
        self.replies: Final = f"{self.root}/replies"
        self.all_events: Final = f"{self.root}/events/#"
        self.all_telemetry: Final = f"{self.root}/telemetry/#"
        self.all_inboxes: Final = f"{self.root}/inbox/+"

    @classmethod
    def of_source(cls, topic_root: str, source: str) -> Topics:
        """The topics of the unit that an event's `source`, ``/{fleet}/{unit}``, names."""
        fleet, _, unit = source.removeprefix("/").partition("/")
        return cls(topic_root, fleet, unit)

    @staticmethod
    def sender(topic_root: str, topic: str) -> Sender | None:
        """Who speaks on a topic; ``None`` where it is not below a unit's."""
        below = topic.removeprefix(f"{topic_root}/")
        fleet, unit, channel, *_ = [*below.split("/", 3), "", "", ""]
        source = f"/{fleet}/{unit}"
        return Sender(source, channel) if below != topic and channel and re.fullmatch(SOURCE, source) else None

    def event(self, name: str) -> str:
        """Where an event such as ``parcel.delivered`` is published."""
        return f"{self.root}/events/{name.replace('.', '/')}"

    def telemetry(self, stream: str) -> str:
        """Where samples of a stream are published."""
        return f"{self.root}/telemetry/{stream}"

    def media_part(self, sha256: str, index: int) -> str:
        """Where one part of a photo or signature is published."""
        return f"{self.root}/media/{sha256}/{index}"

    def media_manifest(self, sha256: str) -> str:
        """Where it is said what the parts of a photo or signature come to."""
        return f"{self.root}/media/{sha256}/manifest"

    def inbox(self, kind: str) -> str:
        """Where messages of a kind reach the unit."""
        return f"{self.root}/inbox/{kind}"

    def inbox_kind(self, topic: str) -> str | None:
        """The kind of message that came on a topic; ``None`` where it is not one of the unit's inboxes."""
        kind = topic.removeprefix(f"{self.root}/inbox/")
        return kind if kind != topic and "/" not in kind else None
