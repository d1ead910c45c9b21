"""A hand-held scanner on a pseudo-terminal: sends codes, hears its feedback, can be pulled and plugged in again."""

from __future__ import annotations

import asyncio
import os
import queue
import random
import select
import threading
import time
from typing import NamedTuple

from drivers.simulated.terminal import Terminal


class Signal(NamedTuple):
    """Bytes that came back to the scanner, and when."""

    data: bytes
    monotonic_ns: int


class SimulatedScanner(Terminal):
    """The driver opens `port`; `scan` is the trigger; what the driver writes back is collected with its time.

    A `deaf` one takes no feedback, which backs up in its line.
    """

    def __init__(self, name: str = "scanner", *, deaf: bool = False) -> None:
        super().__init__(name)
        self.signals: list[Signal] = []
        """All feedback since the start."""
        self._deaf = deaf
        self._waiting: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        self._listener: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None

    def plug(self) -> None:
        """As `Terminal.plug`, and listen for feedback."""
        if self.master is not None:
            return
        super().plug()
        if self._deaf:
            return
        assert self.master is not None  # noqa: S101 - plug has just opened it
        self._wake = os.pipe()
        self._listener = threading.Thread(
            target=self._listen, args=(self.master, self._wake[0]), name="simulated scanner", daemon=True
        )
        self._listener.start()

    def unplug(self) -> None:
        """As `Terminal.unplug`; feedback that comes later is lost, as on a real one."""
        if self._wake and self._listener:
            os.close(self._wake[1])
            self._listener.join()
            os.close(self._wake[0])
            self._wake = self._listener = None
        super().unplug()

    def scan(self, text: str, terminator: str = "\r") -> int:
        """Send one code; returns `time.monotonic_ns()` right after its last byte."""
        return self.write((text + terminator).encode())

    def noise(self, size: int = 256, seed: int = 0) -> int:
        """Send `size` bytes of line noise, the same for the same `seed`."""
        return self.write(random.Random(seed).randbytes(size))

    def next_signal(self, timeout_s: float = 5.0) -> Signal | None:
        """The next feedback that was not yet asked for, ``None`` when none comes in time."""
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None

    async def wait_signal(self, timeout_s: float = 5.0) -> Signal | None:
        """`next_signal` for a coroutine."""
        return await asyncio.to_thread(self.next_signal, timeout_s)

    def _listen(self, master: int, wake: int) -> None:
        while True:
            ready = select.select([master, wake], [], [])[0]
            if wake in ready:
                return
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            signal = Signal(data, time.monotonic_ns())
            self.signals.append(signal)
            self._waiting.put(signal)
