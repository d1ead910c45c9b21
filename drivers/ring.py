"""The last seconds of a camera, in memory only: the camera's own JPEG bytes, bounded in time and in bytes.

What is older than the time, or does not fit, is forgotten; nothing is ever written to a disk from here. Any thread may
call.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import takewhile
from typing import Final, NamedTuple

from drivers.jpeg import Data

MAX_BYTES: Final = 32 * 1024 * 1024
"""Ten seconds of 1280x720 at ten pictures a second take 10 to 20 MB."""


class Shot(NamedTuple):
    """One picture of the ring."""

    monotonic_ns: int
    data: Data
    """A whole JPEG."""


class Ring:
    """The pictures of the last `seconds`, at most `max_bytes` of them; 0 seconds: none."""

    def __init__(self, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.bytes = 0
        """What the pictures take."""
        self.short_s: float | None = None
        """How many seconds it held when it last had to forget pictures for want of room; ``None``: it never had to."""
        self._shots: deque[Shot] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._shots)

    def add(self, monotonic_ns: int, data: Data) -> None:
        """Keep a picture that is newer than all before."""
        with self._lock:
            self._shots.append(Shot(monotonic_ns, data))
            self.bytes += len(data)
            self._forget(monotonic_ns)
            if self.bytes > self.max_bytes:
                while self.bytes > self.max_bytes:
                    self._drop()
                self.short_s = (monotonic_ns - self._shots[0].monotonic_ns) / 1e9 if self._shots else 0.0

    def forget(self, now_ns: int) -> None:
        """Forget what is too old by now; needed where no more pictures come."""
        with self._lock:
            self._forget(now_ns)

    def since(self, monotonic_ns: int) -> list[Shot]:
        """The pictures of that instant and after, oldest first."""
        with self._lock:
            newer = list(takewhile(lambda shot: shot.monotonic_ns >= monotonic_ns, reversed(self._shots)))
        newer.reverse()
        return newer

    def _forget(self, now_ns: int) -> None:
        oldest_ns = now_ns - round(self.seconds * 1e9)
        while self._shots and self._shots[0].monotonic_ns <= oldest_ns:
            self._drop()

    def _drop(self) -> None:
        self.bytes -= len(self._shots.popleft().data)
