"""Section `[broker]`: the MQTT broker and how to talk to it."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from agent.settings.addresses import is_loopback
from agent.settings.section import MisplacedError, OptionalPath, OptionalText, Section, Text

_LEAST_BUDGET_BYTES: Final = 1_000_000
"""Of a month: connecting, status and a few hundred events. Less is a number of megabytes."""


def _topic_root(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", text):
        raise ValueError('expected one to three topic levels of letters, digits, ".", "_" or "-"')
    return text


def _broker_url(text: str) -> str:
    expected = 'expected "mqtts://host:8883"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected}: user name and password belong in username and password_file")
    if parts.scheme not in {"mqtt", "mqtts"} or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(expected)
    if parts.scheme == "mqtt" and not is_loopback(host):
        raise ValueError("expected mqtts:// (mqtt:// is not encrypted, and allowed only to this unit itself)")
    return text


def _budget(value: int) -> int:
    if 0 < value < _LEAST_BUDGET_BYTES:
        raise ValueError(f"expected 0 (no budget) or at least {_LEAST_BUDGET_BYTES} bytes")
    return value


class BrokerSettings(Section):
    """The MQTT broker and how to talk to it."""

    url: Annotated[Text, AfterValidator(_broker_url)] = "mqtt://127.0.0.1:1883"
    """`mqtts://host:8883`; `mqtt://` only to this unit itself."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto` is MQTT 5, and 3.1.1 where the broker refuses it."""
    ca_file: OptionalPath = None
    """The authorities that may have signed the broker's certificate (PEM); unset: those of the system."""
    cert_file: OptionalPath = None
    """The unit's own certificate (PEM)."""
    key_file: OptionalPath = None
    """The private key of that certificate (PEM)."""
    username: OptionalText = None
    """User name, for a broker that asks for one."""
    password_file: OptionalPath = None
    """The file whose first line is the password."""
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    """A silent connection is found dead after twice this time."""
    max_inflight: Annotated[int, Field(ge=1, le=1000)] = 100
    """Messages under way before the first is acknowledged; the broker's Receive Maximum bounds it further."""
    max_packet_bytes: Annotated[int, Field(ge=16_384, le=16_777_216)] = 131_072
    """The largest MQTT packet to send or take."""
    topic_root: Annotated[Text, AfterValidator(_topic_root)] = "kerbside"
    """What every topic begins with."""
    monthly_bytes: Annotated[int, Field(ge=0, le=1_000_000_000_000), AfterValidator(_budget)] = 0
    """The budget of a metered link; 0 is no budget."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port, by default that of the scheme."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if self.cert_file is not None and self.key_file is None:
            raise MisplacedError("key_file", "expected the private key of cert_file, got none: set both, or neither")
        if self.key_file is not None and self.cert_file is None:
            raise MisplacedError("cert_file", "expected the certificate of key_file, got none: set both, or neither")
        if self.password_file is not None and self.username is None:
            raise MisplacedError("username", "expected a name with password_file, got none: set both, or neither")
        return self
