"""The state directory: one agent at a time in it, and the reserve.

The reserve says, beside the database, up to which sequence number the unit may have used numbers: when the database is
lost, the chain goes on above it and no number ever stands for two events.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from agent.files import read_strictly, remove_drafts, write_durably
from agent.journal.entries import JournalError


class Lock:
    """Holds a state directory for this process; the kernel lets go of it when the process ends, however it ends.

    :raises JournalError: naming the process that has the directory
    """

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / "agent.lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise JournalError(
                f"{state_dir} is in use by another agent (process {holder}): stop that one first, "
                "or give this one a state_dir of its own"
            ) from fault
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        remove_drafts(state_dir)

    def release(self) -> None:
        """Let the next agent in."""
        os.close(self._descriptor)


class Reserve(NamedTuple):
    """Up to here, numbers of each lane may have been used."""

    events: int
    telemetry: int

    def write(self, path: Path) -> None:
        """Store it durably.

        :raises FileError: it cannot be written
        """
        body = json.dumps({"events": self.events, "telemetry": self.telemetry})
        write_durably(path, f"{crc32(body.encode()):08x} {body}\n".encode())

    @classmethod
    def read(cls, path: Path) -> Reserve | None:
        """What the file says; ``None`` without a file.

        :raises FileError: it cannot be read or understood
        """
        return read_strictly(path, cls._parse)

    @classmethod
    def _parse(cls, content: bytes) -> Reserve:
        check, _, body = content.rstrip(b"\n").partition(b" ")
        if check != b"%08x" % crc32(body):
            raise ValueError(f"expected a checksum and a JSON object, found {content[:80]!r}")
        numbers = json.loads(body)
        return cls(numbers["events"], numbers["telemetry"])
