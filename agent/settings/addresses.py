"""Addresses as settings write them, and whether one is the unit's own."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)$")
Place = tuple[str, int | None]
"""A host in one spelling, and its port; ``None``: any."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``.

    :raises ValueError: the text is not of that form; the message says what was expected
    """
    host, colon, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536) or ("[" in host or "]" in host):
        raise ValueError('expected "host:port"')
    if ":" in host and not address.startswith("["):
        raise ValueError('expected "host:port", an IPv6 address in brackets')
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host can only be this unit itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_in_one_spelling(host: str) -> str | None:
    """A host as it is compared: an address in its short form, a name in lower case; ``None`` for anything else.

    >>> host_in_one_spelling("::FFFF:10.0.0.7"), host_in_one_spelling("Camera.local.")
    ('10.0.0.7', 'camera.local')
    >>> host_in_one_spelling("2130706433") is host_in_one_spelling("0x7f.1") is None
    True
    """
    try:
        address = ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        # What ends in a number is an address to some resolvers, in one of many spellings.
        return name if _NAME.fullmatch(name) and not _NUMBER.match(name.rpartition(".")[2]) else None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    return str(address)


def place_of(entry: str) -> Place | None:
    """An entry of ``allowed.hosts``, ``host`` or ``host:port``; ``None`` when it is neither."""
    bare = entry[1:-1] if entry.startswith("[") and entry.endswith("]") else entry
    if (host := host_in_one_spelling(bare)) is not None:
        return host, None
    try:
        host, port = split_address(entry)
    except ValueError:
        return None
    spelled = host_in_one_spelling(host)
    return None if spelled is None else (spelled, port)
