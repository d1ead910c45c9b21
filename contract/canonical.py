"""The bytes and the hash of an event: canonical JSON (RFC 8785), SHA-256, and where a chain of hashes begins.

>>> canonical({"b": 1.0, "a": "ü"}).decode()
'{"a":"ü","b":1}'
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import rfc8785

GENESIS: Final = "0" * 64
"""`previoushash` of a unit's first event."""


def canonical(value: Any) -> bytes:
    """Canonical JSON.

    :raises ValueError: JSON has no such value, or a number is beyond what a 64-bit float keeps exactly
    :raises RecursionError: it is nested too deeply
    """
    return rfc8785.dumps(value)


def content_hash(event: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of an event without its `hash`, in lower-case hex.

    :raises ValueError: as `canonical`
    """
    return sha256(canonical({name: value for name, value in event.items() if name != "hash"})).hexdigest()
