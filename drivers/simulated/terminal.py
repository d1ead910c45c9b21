"""A pseudo-terminal behind a path that stays the same when it is unplugged and plugged in again."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import tempfile
import time
import tty
from pathlib import Path
from typing import Self

from drivers.hotplug import holders


class Terminal:
    """A serial device of ours: we hold the master, the driver opens `port`.

    Use as a context manager, or call `plug` and `unplug`.
    """

    def __init__(self, name: str) -> None:
        # Beside nothing of the caller's: gpsd drops its rights and must still reach the path.
        self._folder = Path(tempfile.mkdtemp(prefix=f"kerbside-{name}-"))
        self._folder.chmod(0o755)
        self.port = str(self._folder / name)
        self.master: int | None = None
        self._slave: int | None = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plug(self) -> None:
        """Create the terminal, raw and open to everybody, and point `port` at it."""
        if self.master is not None:
            return
        self.master, self._slave = _terminal_of_nobody()
        # A terminal in cooked mode would echo what we send before the driver has opened it.
        tty.setraw(self._slave)
        path = os.ttyname(self._slave)
        Path(path).chmod(0o666)  # gpsd runs as its own user
        os.set_blocking(self.master, False)
        link = self._folder / "new"
        link.symlink_to(path)
        link.replace(self.port)

    def unplug(self) -> None:
        """Let the terminal vanish, with its path, as a pulled USB plug does."""
        if self.master is None or self._slave is None:
            return
        Path(self.port).unlink()
        os.close(self._slave)
        os.close(self.master)
        self.master = self._slave = None

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, data: bytes, timeout_s: float = 10.0) -> int:
        """Send all of `data`; returns `time.monotonic_ns()` right after the last byte.

        :raises TimeoutError: when nobody reads for `timeout_s`.
        :raises OSError: when the terminal is not plugged in.
        """
        if self.master is None:
            raise OSError(f"{self.port} is not plugged in")
        view = memoryview(data)
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self.master, view) :]
            if view and not select.select([], [self.master], [], timeout_s)[1]:
                raise TimeoutError(f"nobody reads {self.port}: {len(view)} of {len(data)} bytes are left")
        return time.monotonic_ns()


def _terminal_of_nobody() -> tuple[int, int]:
    """A new pseudo-terminal under a number that no other program still has open from one that was pulled.

    The kernel gives numbers anew at once, and gpsd leaves alone what looks as if another program had it.
    """
    passed_over = []
    try:
        while True:
            ends = os.openpty()
            node = os.ttyname(ends[1])
            if not holders([node])[node]:
                return ends
            passed_over.append(ends)
    finally:
        for end in itertools.chain(*passed_over):
            os.close(end)
