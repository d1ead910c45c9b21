"""Addresses as settings write them, and whether one is the unit's own."""

from __future__ import annotations

from ipaddress import ip_address


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
