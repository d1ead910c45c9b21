"""Whether the broker keeps a session for us, remembered over restarts.

A broker that has forgotten the session has dropped what it held for us: that becomes an event, and until this event has
been acknowledged the loss is not forgotten, whatever happens in between.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Literal

from agent.files import FileError, read, write_durably

log = logging.getLogger(__name__)

SESSION_FILE: Final = "uplink.session"
SESSION_RESET: Final = "unit.session_reset"


class SessionRecord:
    """The file says ``established``, or ``lost`` while that still has to arrive as an event. Used by one thread."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / SESSION_FILE
        self._lost_at: int | None = None

    def connected(self, *, session_present: bool, head: int) -> bool:
        """Whether the broker has lost our session, now or earlier without the event about it having arrived.

        :param head: the newest event; only a later one can tell of this loss
        """
        known = self._read()
        if known not in {"established", "lost"} or (known == "established" and session_present):
            return False
        if known != "lost":
            self._write("lost")
        self._lost_at = head
        return True

    def subscribed(self) -> None:
        """The broker keeps a session from now on."""
        if self._read() is None:
            self._write("established")

    def told(self, sequence: int) -> None:
        """An event about a lost session has arrived."""
        if self._lost_at is not None and sequence > self._lost_at:
            self._lost_at = None
            self._write("established")

    def _read(self) -> str | None:
        return read(self._path, lambda content: content.decode("ascii").strip(), "the session counts as new")

    def _write(self, state: Literal["established", "lost"]) -> None:
        try:
            write_durably(self._path, f"{state}\n".encode())
        except FileError as error:
            log.warning("uplink: %s", error)
