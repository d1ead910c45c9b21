"""The other end of a serial line in the hands of a test: it answers whatever the test says, or anything at all."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import cbor2
from smp import packet

from drivers.simulated.terminal import Terminal

HEADER = struct.Struct("!BBHHBB")
Request = tuple[int, int, int, int, dict[str, Any]]
"""Operation, group, sequence number, command and payload."""


def answer_to(request: Request, payload: Any, **changes: int) -> bytes:
    """The message that answers a request, or nearly: `changes` are other header fields."""
    op, group, sequence, command, _ = request
    data = payload if isinstance(payload, bytes) else cbor2.dumps(payload)
    fields = {"op": op + 1, "length": len(data), "group": group, "sequence": sequence, "command": command, **changes}
    header = (fields["op"] | 8, 0, fields["length"], fields["group"], fields["sequence"] & 255, fields["command"])
    return HEADER.pack(*header) + data


def framed(message: bytes) -> bytes:
    """A message as the lines that carry it, by the `smp` package."""
    return b"".join(packet.encode(message, line_length=128))


class Stranger:
    """Gives each request to `react`, and sends what it gives back: bytes as they are.

    MCUmgr parameters are answered properly, unless `bare`.
    """

    def __init__(self, react: Callable[[Request], Iterable[bytes]], *, bare: bool = False) -> None:
        self.requests: list[Request] = []
        self.arrived: list[tuple[float, int]] = []
        """When frames came, and how long each was."""
        self.deaf = False
        """It does not read any more."""
        self._react = react
        self._bare = bare
        self._terminal = Terminal("stranger")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> str:
        return self._terminal.port

    def __enter__(self) -> Self:
        self._terminal.plug()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._terminal.close()

    def send(self, data: bytes) -> None:
        """Send bytes of its own accord."""
        with contextlib.suppress(TimeoutError, OSError):
            self._terminal.write(data, timeout_s=0.5)

    def unplug(self) -> None:
        self._terminal.unplug()

    def plug(self) -> None:
        self._terminal.plug()

    def _run(self) -> None:
        line, decoder = bytearray(), None
        while not self._stop.is_set():
            master = self._terminal.master
            if master is None or self.deaf:
                time.sleep(0.01)
                continue
            try:
                if not select.select([master], [], [], 0.02)[0]:
                    continue
                data = os.read(master, 4096)
            except (OSError, ValueError):
                continue
            for byte in data:
                line.append(byte)
                if byte != ord("\n"):
                    continue
                frame = bytes(line)
                line.clear()
                self.arrived.append((time.monotonic(), len(frame)))
                if frame[:2] == packet.START_DELIMITER:
                    decoder = packet.decode()
                    next(decoder)
                if decoder is None:
                    continue
                try:
                    decoder.send(frame)
                except StopIteration as done:
                    decoder = None
                    self._take(done.value)

    def _take(self, message: bytes) -> None:
        first, _, _, group, sequence, command = HEADER.unpack_from(message)
        request = first & 7, group, sequence, command, cbor2.loads(message[HEADER.size :])
        self.requests.append(request)
        if not self._bare and (group, command) == (0, 6):
            self.send(framed(answer_to(request, {"buf_size": 384, "buf_count": 4})))
            return
        for data in self._react(request):
            self.send(data)
