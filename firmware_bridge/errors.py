"""The bridge's one exception: which line or file, what happened, and what to do next; `cause` is for programs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

_TRANSIENT: Final = frozenset({2, 4, 10})
"""Of SMP itself: no memory, no time, busy."""


class Cause(StrEnum):
    """Why something could not be done, in one word."""

    TIMEOUT = "timeout"
    """The server did not answer in time."""
    GARBLED = "garbled"
    """What came was no answer: bad checksums, no SMP, or a payload that is no CBOR map."""
    REFUSED = "refused"
    """The server answered with an error: see `BridgeError.rc` and `BridgeError.group`."""
    UNSUPPORTED = "unsupported"
    """The server does not have this group or command."""
    GONE = "gone"
    """The line is not plugged in, or went away."""
    BUSY = "busy"
    """Another program has the line."""
    LINE = "line"
    """The port cannot be used: no serial port, no permission, a rate it does not take."""
    INVALID = "invalid"
    """What was given cannot be used: an image, a message too long for the server."""


class BridgeError(Exception):
    """Something could not be done with the microcontroller or its image; the message says what to do."""

    def __init__(self, message: str, cause: Cause, *, rc: int | None = None, group: int | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.rc = rc
        """The server's error code; for `Cause.REFUSED` and `Cause.UNSUPPORTED`."""
        self.group = group
        """The group whose code `rc` is; ``None`` for a code of SMP itself (``MGMT_ERR_…``)."""

    @property
    def transient(self) -> bool:
        """The server refused for want of room or time: it may do the same thing in a moment."""
        return self.cause is Cause.REFUSED and self.group is None and self.rc in _TRANSIENT
