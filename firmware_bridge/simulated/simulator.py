"""A mount on a pseudo-terminal: what the bridge, and any other SMP client, can be tried against without hardware.

The line can have the speed of a real one, lose, corrupt, double and delay frames, put text between them, and be pulled
out; the power can go at any byte or any step of the flash. It runs in a thread, or by itself::

    python -m firmware_bridge.simulated --baud 115200

which prints the port to open and takes commands such as ``ignition off``, ``supply 9000`` and ``cut`` as lines on its
standard input. Frames are encoded and decoded by the `smp` package, not by the bridge's own code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import select
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import cbor2
from smp import packet

from drivers.simulated.terminal import Terminal
from firmware_bridge.simulated.boot import Flash, PowerCut, make
from firmware_bridge.simulated.mcu import Microcontroller

log = logging.getLogger(__name__)

GRAIN_S: Final = 0.002
"""How finely the speed of the line is kept."""
IDLE_S: Final = 0.05
LINE_BYTES: Final = 1024
_HEADER: Final = struct.Struct("!BBHHBB")


@dataclass(slots=True)
class Faults:
    """What happens to frames, each with its probability, in both directions."""

    loss: float = 0.0
    corruption: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.2
    text: float = 0.0
    """A line of text before a frame of an answer."""
    seed: int = 0


@dataclass(slots=True)
class Seen:
    """What came and went on the line."""

    received_bytes: int = 0
    sent_bytes: int = 0
    requests: int = 0
    dropped: int = 0
    """Requests that found no buffer."""
    unreadable: int = 0
    steps: int = 0
    """Steps of the flash."""
    cuts: list[str] = field(default_factory=list)


class Simulator:
    """A microcontroller behind a pseudo-terminal at `port`; use it as a context manager.

    `baud` 0 is a line without a speed. A microcontroller whose flash is empty is given an image without a signature.
    All methods may be called from any thread.
    """

    def __init__(self, mcu: Microcontroller | None = None, *, baud: int = 0, faults: Faults | None = None) -> None:
        self.mcu = mcu or Microcontroller()
        if self.mcu.flash.primary.image is None:
            self.mcu.flash.install(make((1, 0, 0, 0), b"a mount without hardware " * 1000))
        self.faults = faults or Faults()
        self.seen = Seen()
        self.off_s = 0.3
        """How long the power stays away after a cut."""
        self.pulls_line = False
        """The line goes away with the power, as that of a microcontroller with its own USB does."""
        self._second = 10 / baud if baud else 0.0
        self._random = random.Random(self.faults.seed)  # noqa: S311
        self._terminal = Terminal("mount")
        self._lock = threading.RLock()
        self._wake_read, self._wake_write = os.pipe()
        self._stopping = False
        self._cut_at_byte: int | None = None
        self._cut_at_step: int | None = None
        self._power_due: float | None = None
        self._incoming: deque[tuple[float, bytes]] = deque()
        self._outgoing: deque[tuple[float, bytes]] = deque()
        """What is still to be sent, and from when on."""
        self._requests: deque[bytes] = deque()
        self._answer: tuple[float, bytes] | None = None
        self._line = bytearray()
        self._decoder: Any = None
        self._in_free = self._out_free = 0.0
        self.mcu.flash.power = self._step
        self._thread = threading.Thread(target=self._run, name="simulated mount", daemon=True)

    @property
    def port(self) -> str:
        """The path to open; stays the same when the line is pulled out and plugged in again."""
        return self._terminal.port

    def __enter__(self) -> Self:
        self._terminal.plug()
        self.mcu.start("por")
        self.mcu.starts_at = 0.0  # it has been on for a while
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._terminal.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # --- what happens to it -------------------------------------------------------------------------------------

    def cut_at_byte(self, count: int) -> None:
        """The power goes when so many more bytes have been received."""
        with self._lock:
            self._cut_at_byte = self.seen.received_bytes + count

    def cut_at_step(self, count: int) -> None:
        """The power goes before the so-manieth next step of the flash, whatever it does then."""
        with self._lock:
            self._cut_at_step = self.seen.steps + count

    def cut(self, why: str = "now", cause: str = "brownout") -> None:
        """The power goes now, and comes back after `off_s` with this cause of the reset."""
        with self._lock:
            self.seen.cuts.append(why)
            self._cut_at_byte = self._cut_at_step = None
            self.mcu.stop()
            self._cause = cause
            self._silence()
            self._power_due = time.monotonic() + self.off_s
            if self.pulls_line:
                self._terminal.unplug()
            self._wake()

    def unplug(self) -> None:
        """The cable is pulled out; the microcontroller keeps its power."""
        with self._lock:
            self._terminal.unplug()
            self._silence()
            self._wake()

    def plug(self) -> None:
        """The cable is back."""
        with self._lock:
            self._terminal.plug()
            self._wake()

    def say(self, text: str) -> None:
        """Send a line of text."""
        with self._lock:
            self._outgoing.append((0.0, text.encode() + b"\n"))
            self._wake()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        with self._lock:
            self._outgoing.append((0.0, data))
            self._wake()

    def _silence(self) -> None:
        """Nothing that was on its way arrives any more."""
        self._incoming.clear()
        self._outgoing.clear()
        self._requests.clear()
        self._answer = None
        self._line.clear()
        self._decoder = None

    def _step(self) -> None:
        self.seen.steps += 1
        if self._cut_at_step is not None and self.seen.steps >= self._cut_at_step:
            raise PowerCut

    def _wake(self) -> None:
        os.write(self._wake_write, b"w")

    # --- the line -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                until = self._work()
                master = self._terminal.master
            now = time.monotonic()
            reading = [self._wake_read]
            if master is not None and now >= self._in_free:
                reading.append(master)
            try:
                ready, _, _ = select.select(reading, [], [], max(0.0, min(until - now, IDLE_S)))
            except (OSError, ValueError):
                continue  # unplugged meanwhile
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            if master in ready:
                with self._lock:
                    self._receive()

    def _receive(self) -> None:
        if self._terminal.master is None:
            return
        most = max(1, int(GRAIN_S / self._second)) if self._second else 65_536
        try:
            data = os.read(self._terminal.master, most)
        except OSError:  # nobody has the other end open
            time.sleep(GRAIN_S)
            return
        now = time.monotonic()
        start = self._in_free if now - self._in_free < 2 * GRAIN_S else now
        self._in_free = start + len(data) * self._second
        self._incoming.append((self._in_free, data))

    def _work(self) -> float:
        """Do what is due; gives the time when something is due next."""
        try:
            return self._due()
        except PowerCut:
            self.cut(f"at step {self.seen.steps}")
            return time.monotonic()

    def _due(self) -> float:
        now = time.monotonic()
        if self._power_due is not None and now >= self._power_due:
            self._power_due = None
            if self.pulls_line:
                self._terminal.plug()
            self.mcu.start(self._cause)
        if self.mcu.reset_due is not None and now >= self.mcu.reset_due and not self._outgoing:
            watchdog = self.mcu.running is not None and self.mcu.running.body.startswith(b"SICK:")
            self._silence()
            self.mcu.start("watchdog" if watchdog else "software")
        while self._incoming and self._incoming[0][0] <= now:
            self._arrived(self._incoming.popleft()[1])
        if self._answer is None and self._requests:
            self._handle(self._requests.popleft())
        if self._answer is not None and self._answer[0] <= now:
            self._respond(self._answer[1])
            self._answer = None
        self._send(now)
        times = [self._in_free, self.mcu.reset_due, self._power_due]
        times += [queue[0][0] for queue in (self._incoming,) if queue]
        if self._answer:
            times.append(self._answer[0])
        elif self._requests:
            times.append(now)
        if self._outgoing:
            times.append(max(self._outgoing[0][0], self._out_free))
        return min((each for each in times if each is not None and each > now), default=now + IDLE_S)

    def _arrived(self, data: bytes) -> None:
        for byte in data:
            self.seen.received_bytes += 1
            if self._cut_at_byte is not None and self.seen.received_bytes >= self._cut_at_byte:
                self.cut(f"at byte {self.seen.received_bytes}")
                return
            if not self.mcu.on:
                continue
            self._line.append(byte)
            if byte == ord("\n"):
                line = bytes(self._line)
                self._line.clear()
                for frame in self._suffer(line):
                    self._frame(frame)
            elif len(self._line) > LINE_BYTES:
                self._line.clear()

    def _suffer(self, frame: bytes) -> list[bytes]:
        """What becomes of a frame on its way."""
        faults, chance = self.faults, self._random.random
        if chance() < faults.loss:
            return []
        if chance() < faults.corruption:
            at = self._random.randrange(len(frame))
            frame = frame[:at] + bytes([frame[at] ^ 1 << self._random.randrange(8)]) + frame[at + 1 :]
        return [frame, frame] if chance() < faults.double else [frame]

    def _frame(self, frame: bytes) -> None:
        if frame[:2] == packet.START_DELIMITER:
            self._decoder = packet.decode()
            next(self._decoder)
        elif self._decoder is None or frame[:2] != packet.CONTINUE_DELIMITER:
            self.seen.unreadable += len(frame) > 1
            return
        try:
            self._decoder.send(frame)
        except StopIteration as done:
            self._decoder = None
            self._requested(done.value)
        except Exception:  # noqa: BLE001 - the decoder of the package raises whatever a damaged frame makes it raise
            self._decoder = None
            self.seen.unreadable += 1

    def _requested(self, message: bytes) -> None:
        self.seen.requests += 1
        under_way = len(self._requests) + (self._answer is not None)
        # Each request holds a buffer, and its answer needs another.
        if len(message) > self.mcu.buffer_bytes - 4 or under_way + 2 > self.mcu.buffers:
            self.seen.dropped += 1
            return
        self._requests.append(message)

    def _handle(self, message: bytes) -> None:
        if len(message) < _HEADER.size:
            return
        first, flags, length, group, sequence, command = _HEADER.unpack_from(message)
        op, version = first & 0b111, first >> 3 & 0b11
        if op not in (0, 2) or length != len(message) - _HEADER.size:
            return
        answer = self.mcu.handle(op, version, group, command, message[_HEADER.size :])
        if answer is None:
            return
        payload = cbor2.dumps(answer)
        version = 0 if self.mcu.version_1 else version
        header = _HEADER.pack(version << 3 | op + 1, flags, len(payload), group, sequence, command)
        self._answer = (time.monotonic() + self.mcu.busy_s, header + payload)

    def _respond(self, message: bytes) -> None:
        start = time.monotonic()
        if self._random.random() < self.faults.delay:
            start += self.faults.delay_s
        for line in packet.encode(message, line_length=128):
            if self._random.random() < self.faults.text:
                self._outgoing.append((start, b"[00:00:01.000,000] <inf> mount: text between frames\n"))
            self._outgoing.extend((start, frame) for frame in self._suffer(line))

    def _send(self, now: float) -> None:
        while self._outgoing and max(self._outgoing[0][0], self._out_free) <= now:
            start, data = self._outgoing.popleft()
            most = max(1, int(GRAIN_S / self._second)) if self._second else len(data)
            if data[most:]:
                self._outgoing.appendleft((start, data[most:]))
            self._transmit(data[:most])
            free = self._out_free if now - self._out_free < 2 * GRAIN_S else now
            self._out_free = free + len(data[:most]) * self._second

    def _transmit(self, data: bytes) -> None:
        self.seen.sent_bytes += len(data)
        if self._terminal.master is None:
            return
        with contextlib.suppress(OSError):  # nobody reads: the bytes are lost, as on a real line
            os.write(self._terminal.master, data)


def obey(simulator: Simulator, line: str) -> dict[str, Any]:
    """Carry out a command of the standard input, and say how things are."""
    mcu = simulator.mcu
    match line.strip().split(maxsplit=1):
        case ["ignition", "on" | "off" as word]:
            mcu.panel.ignition = word == "on"
        case ["supply", millivolts]:
            mcu.panel.supply_mv = int(millivolts)
        case ["buttons", bits]:
            mcu.panel.buttons = int(bits, 0)
        case ["say", text]:
            simulator.say(text)
        case ["cut"]:
            simulator.cut()
        case ["cut-at-step", count]:
            simulator.cut_at_step(int(count))
        case ["unplug"]:
            simulator.unplug()
        case ["plug"]:
            simulator.plug()
        case ["state"]:
            pass
        case _:
            return {"error": f"not a command: {line.strip()!r}"}
    last = mcu.told[-1] if mcu.told else None
    return {
        "on": mcu.on,
        "version": mcu.running.version_text if mcu.running else None,
        "kicks": mcu.kicks,
        "clock": mcu.clock,
        "resets": mcu.resets,
        "told": last and {"buzzer": last.buzzer, "lamp": last.lamp},
        "panel": {"ignition": mcu.panel.ignition, "supply_mv": mcu.panel.supply_mv, "buttons": mcu.panel.buttons},
    }


def main() -> None:
    """Run by itself until the standard input ends or a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m firmware_bridge.simulated", description="A mount without one.")
    parser.add_argument("--baud", type=int, default=115_200, help="speed of the line; 0 for none (115200)")
    parser.add_argument("--buffer", type=int, default=384, help="bytes of a buffer (384)")
    parser.add_argument("--buffers", type=int, default=4, help="number of buffers (4)")
    parser.add_argument("--image", type=Path, help="image to run at the start")
    parser.add_argument("--key", type=Path, action="append", default=[], help="public key (PEM) of images that may run")
    parser.add_argument("--flash-bytes-per-s", type=float, default=0.0, help="speed of the flash; 0 for no limit")
    parser.add_argument("--slot-bytes", type=int, default=256 * 1024)
    parser.add_argument("--loss", type=float, default=0.0, help="share of frames that are lost")
    parser.add_argument("--corruption", type=float, default=0.0, help="share of frames that are corrupted")
    parser.add_argument("--text", type=float, default=0.0, help="share of frames with text in front")
    chosen = parser.parse_args()
    flash = Flash(slot_bytes=chosen.slot_bytes, keys=tuple(path.read_bytes() for path in chosen.key))
    if chosen.image:
        flash.install(chosen.image.read_bytes())
    mcu = Microcontroller(
        flash,
        buffer_bytes=chosen.buffer,
        buffers=chosen.buffers,
        write_bytes_per_s=chosen.flash_bytes_per_s,
    )
    faults = Faults(loss=chosen.loss, corruption=chosen.corruption, text=chosen.text)
    with Simulator(mcu, baud=chosen.baud, faults=faults) as simulator:
        print(json.dumps({"port": simulator.port}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            for line in sys.stdin:
                print(json.dumps(obey(simulator, line)), flush=True)
