"""A scanner that speaks SSI: the same protocol as the driver's with the roles turned round.

`Decoder` is pure, so that a test can run thousands of exchanges over a bad line in no time; `SimulatedSsiScanner` puts
it behind a pseudo-terminal. Both send a message again that is not acknowledged, and give it up as a real one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from drivers.scanner.ssi import MAX_DATA_BYTES, Opcode, Packet, Source, SsiLine, Status
from drivers.simulated.scanner import Signal
from drivers.simulated.terminal import Terminal

RESPONSE_NS = 2_000_000_000
"""As scanners are delivered."""
CODE_128 = 0x03


class Decoder:
    """The scanner's end of the line. Times are of one monotonic clock, in nanoseconds."""

    def __init__(self, response_ns: int = RESPONSE_NS) -> None:
        self.beeps: list[int] = []
        """Codes of the beeps that it was told, each once."""
        self.lamp = False
        self.parameters: list[bytes] = []
        """What it was set to, without the beep."""
        self.transmit_errors = 0
        """Messages that it gave up."""
        self._link = SsiLine(Source.DECODER, response_ns, insists=True)
        self._packets: deque[Packet] = deque()
        self._telling = Packet(Opcode.EVENT)

    @property
    def idle(self) -> bool:
        """Whether everything was told, or given up."""
        return self._link.idle and not self._packets

    @property
    def due_ns(self) -> int | None:
        """When `wake` is to be called."""
        return self._link.due_ns

    def scan(self, data: bytes, now_ns: int, symbology: int = CODE_128) -> None:
        """Read a code: one packet, or as many as it takes."""
        size = MAX_DATA_BYTES - 1
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for number, part in enumerate(parts, 1):
            status = Status.CONTINUATION if number < len(parts) else 0
            self._packets.append(Packet(Opcode.DECODE_DATA, bytes([symbology]) + part, status))
        self._tell(now_ns)

    def send(self, packet: Packet, now_ns: int) -> None:
        """Send any other message."""
        self._packets.append(packet)
        self._tell(now_ns)

    def feed(self, data: bytes, now_ns: int) -> None:
        """Hear the host."""
        self._hear(self._link.feed(data, now_ns))
        self._tell(now_ns)

    def wake(self, now_ns: int) -> None:
        """Do what is due."""
        self._hear(self._link.wake(now_ns))
        self._tell(now_ns)

    def to_send(self) -> bytes:
        """The bytes for the host."""
        return self._link.to_send()

    def _tell(self, now_ns: int) -> None:
        if self._link.unanswered > self.transmit_errors:
            self.transmit_errors = self._link.unanswered
            while self._telling.continues and self._packets:
                self._telling = self._packets.popleft()
        while self._packets and self._link.idle:
            self._telling = self._packets.popleft()
            self._link.send(self._telling, now_ns)

    def _hear(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            match packet.opcode:
                case Opcode.BEEP:
                    self.beeps.append(packet.data[0])
                case Opcode.LED_ON | Opcode.LED_OFF:
                    self.lamp = packet.opcode == Opcode.LED_ON
                case Opcode.PARAM_SEND:
                    self.parameters.append(packet.data[1:])


class SimulatedSsiScanner(Terminal):
    """The driver opens `port`; `scan` is the trigger; what it was told is collected as it comes.

    `line` is what becomes of the bytes on their way, in both directions: it gives the pieces that arrive.
    """

    def __init__(
        self,
        name: str = "scanner",
        *,
        response_ns: int = RESPONSE_NS,
        line: Callable[[bytes], Iterable[bytes]] = lambda data: [data],
    ) -> None:
        super().__init__(name)
        self.decoder = Decoder(response_ns)
        self._line = line
        self._lock = threading.Lock()
        self._beeps: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        self._told = 0
        self._wake: tuple[int, int] | None = None
        self._runner: threading.Thread | None = None

    def plug(self) -> None:
        """As `Terminal.plug`, and talk."""
        if self.master is not None:
            return
        super().plug()
        assert self.master is not None  # noqa: S101 - plug has just opened it
        self._wake = os.pipe()
        self._runner = threading.Thread(
            target=self._run, args=(self.master, self._wake[0]), name="simulated SSI scanner", daemon=True
        )
        self._runner.start()

    def unplug(self) -> None:
        """As `Terminal.unplug`; what was under way is lost, as on a real one."""
        if self._wake and self._runner:
            os.close(self._wake[1])
            self._runner.join()
            os.close(self._wake[0])
            self._wake = self._runner = None
        super().unplug()

    def scan(self, text: str, symbology: int = CODE_128) -> int:
        """Read one code; returns `time.monotonic_ns()` right after its first packet was handed to the line."""
        with self._lock:
            self.decoder.scan(text.encode(), time.monotonic_ns(), symbology)
            return self._transmit()

    def say(self, packet: Packet) -> int:
        """Send any other message, as `scan` does."""
        with self._lock:
            self.decoder.send(packet, time.monotonic_ns())
            return self._transmit()

    def next_signal(self, timeout_s: float = 5.0) -> Signal | None:
        """The next beep that was not yet asked for, as its one byte; ``None`` when none comes in time."""
        try:
            return self._beeps.get(timeout=timeout_s)
        except queue.Empty:
            return None

    async def wait_signal(self, timeout_s: float = 5.0) -> Signal | None:
        """`next_signal` for a coroutine."""
        return await asyncio.to_thread(self.next_signal, timeout_s)

    def _transmit(self) -> int:
        if data := self.decoder.to_send():
            for piece in self._line(data):
                self.write(piece)
        if self._wake:
            with contextlib.suppress(OSError):
                os.write(self._wake[1], b".")
        return time.monotonic_ns()

    def _run(self, master: int, wake: int) -> None:
        while True:
            with self._lock:
                due_ns = self.decoder.due_ns
            pause_s = None if due_ns is None else max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
            ready = select.select([master, wake], [], [], pause_s)[0]
            if wake in ready and not os.read(wake, 4096):
                return
            with self._lock:
                now_ns = time.monotonic_ns()
                if master in ready:
                    try:
                        data = os.read(master, 4096)
                    except OSError:
                        return
                    for piece in self._line(data):
                        self.decoder.feed(piece, now_ns)
                self.decoder.wake(now_ns)
                for beep in self.decoder.beeps[self._told :]:
                    self._beeps.put(Signal(bytes([beep]), now_ns))
                self._told = len(self.decoder.beeps)
                if data := self.decoder.to_send():
                    for piece in self._line(data):
                        self.write(piece)
