"""The state directory: one agent at a time in it, small files that are written whole or not at all, and the reserve.

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

from agent.journal.entries import JournalError


def sync_directory(path: Path) -> None:
    """Make the names in this directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file: after a power cut it holds the old content or the new one. Mode 0600."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    sync_directory(path.parent)


class Lock:
    """Holds a state directory for this process; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        """Raises `JournalError` naming the process that has the directory."""
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

    def release(self) -> None:
        """Let the next agent in."""
        os.close(self._descriptor)


class Reserve(NamedTuple):
    """Up to here, numbers of each lane may have been used."""

    events: int
    telemetry: int

    def write(self, path: Path) -> None:
        """Store it durably."""
        body = json.dumps({"events": self.events, "telemetry": self.telemetry})
        write_durably(path, f"{crc32(body.encode()):08x} {body}\n".encode())

    @classmethod
    def read(cls, path: Path) -> Reserve | None:
        """What the file says; ``None`` without a file. Raises `JournalError` when it can not be understood."""
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            return None
        check, _, body = text.rstrip("\n").partition(" ")
        if check != f"{crc32(body.encode()):08x}":
            raise JournalError(f"{path} is damaged: expected a checksum and a JSON object, found {text[:80]!r}")
        numbers = json.loads(body)
        return cls(numbers["events"], numbers["telemetry"])
