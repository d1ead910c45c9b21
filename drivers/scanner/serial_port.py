"""A scanner on a serial port, whatever protocol it speaks.

pyserial opens and configures the port; the event loop then reads the file descriptor itself, which is the shortest
way from the last byte to a `Scan`. The port is held exclusively, bytes that waited in it before it was opened are
kept, and what is written is only what the framer of its protocol says. What is wrong is told in the part's state:
which scanner, which port, what was found and what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import serial

from drivers.hotplug import claim, holders, in_use, resolve, subsystem_of
from drivers.node import keep_others_out, not_opened
from drivers.readings import Condition, DriverError, NotRead, PartState, Scan
from drivers.same_device import Opened
from drivers.scanner import honeywell
from drivers.scanner.code import Code, Repeats
from drivers.scanner.framing import Counters, Framer, Tone
from drivers.scanner.handover import HandOver
from drivers.scanner.line import LineFramer
from drivers.scanner.ssi import SsiFramer

Kind = Literal["line", "honeywell", "ssi"]

READ_BYTES: Final = 4096
MAX_UNSENT_BYTES: Final = 512
"""What may wait for a scanner that does not take its bytes."""
HELD_AGAIN_S: Final = 0.1
"""Who still has a port after this holds it; a process that starts another has all of its files for a moment."""

_TIOCGICOUNT: Final = 0x545D
_ICOUNT: Final = struct.Struct("20i")
_DAMAGED: Final = (6, 7, 8, 10)
"""Framing errors, overruns of the chip, parity errors and overruns of the kernel's buffer in serial_icounter_struct."""
DAMAGED_IN_A_ROW: Final = 3
"""So many codes damaged with none between mean a wrong speed; one may be an accident."""


def framer(kind: Kind, terminator: str = "auto", idle_flush_ms: int = 0, *, host_ack: bool = False) -> Framer:
    """The framer for a kind of scanner as the settings name it; SSI has no use for the rest."""
    if kind == "ssi":
        return SsiFramer()
    if kind == "honeywell" and host_ack:
        return LineFramer(terminator, idle_flush_ms, honeywell.HOST_ACK)
    return LineFramer(terminator, idle_flush_ms, honeywell.BEEPS if kind == "honeywell" else None)


class SerialScanner:
    """The part of a scanner; `name` is the `device` of its scans, `port` a path or ``vendor:product[:serial]``."""

    def __init__(self, name: str, port: str, framer: Framer, baud: int = 9600) -> None:
        self.name = name
        self.signals_dropped = 0
        """Feedback that the scanner did not take in time."""
        self.framer = framer
        self.repeats = Repeats()
        self._port = port
        self._opened = Opened(port, "tty")
        self._baud = baud
        self._session: _Session | None = None

    @property
    def counters(self) -> Counters:
        """Codes read and lost since the start."""
        return self.framer.counters

    async def run(self, out: Callable[[Scan | NotRead], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled.

        :raises DriverError: when the port is not there, cannot be opened or goes away.
        """
        report(PartState.now(Condition.OPENING))
        who = f"scanner {self.name}"
        node = await asyncio.to_thread(resolve, self._port, "tty", who)
        with claim(node, who):
            seen = await asyncio.to_thread(self._opened.look, who)
            port = await self._open(node, f"{who} at {node}")
            session = _Session(self, port, node, out, report)
            self.framer.restart()
            self._session = session
            try:
                self._opened.keep(seen, who)
                session.start()
                report(PartState.now(Condition.READY))
                await session.ended
            finally:
                self._session = None
                session.stop()
                _close(port)

    def signal(self, tone: Tone) -> None:
        """Let the scanner sound `tone` where its protocol can; never waits for the scanner."""
        if self._session:
            self._session.signal(tone)

    async def _open(self, node: str, who: str) -> _Port:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open_port, node, who))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise

    def _open_port(self, node: str, who: str) -> _Port:
        # Not everybody asks for a lock, or heeds one; of two readers each gets half of a scan.
        if subsystem_of(node) in ("tty", None) and _is_held(node):
            raise DriverError(f"{who} is {in_use(node)}")
        try:
            port = _Port(None, self._baud, timeout=0, write_timeout=0, exclusive=True)
            # A line of USB has no RTS that could hold a scanner back, and some take it for "nobody is there".
            port.rts = self.framer.request_to_send or "ttyACM" in os.path.realpath(node)
            port.port = node
            port.open()
        except (OSError, ValueError, termios.error) as error:
            raise self._fault(who, node, error) from error
        keep_others_out(port.fileno())
        return port

    def _fault(self, who: str, node: str, error: Exception) -> DriverError:
        number = _number(error)
        match number:
            case errno.ELOOP | errno.ENOTDIR | errno.ENAMETOOLONG:
                why = os.strerror(number).lower()
                return DriverError(f"{who} is not there ({why}): correct its port (`kerbside devices` lists them)")
            case errno.ENXIO if Path(node).is_socket():
                return DriverError(f"{who} is not a serial port: correct its port (`kerbside devices` lists them)")
            case errno.ENOTTY | errno.EISDIR:
                return DriverError(f"{who} is not a serial port: correct its port (`kerbside devices` lists them)")
            case errno.EAGAIN:  # another has the lock
                number = errno.EBUSY
        return not_opened(who, node, number) or DriverError(
            f"{who} cannot be set up: {error}; expected a serial port that takes {self._baud} baud"
        )


def _is_held(node: str) -> bool:
    """Whether another process has the port open, and not only for the moment in which it starts a program."""
    if not holders([node]).get(node):
        return False
    time.sleep(HELD_AGAIN_S)
    return bool(holders([node]).get(node))


class _Port(serial.Serial):
    """A serial port that keeps the bytes that waited in it: a scan during a restart still counts."""

    def _reset_input_buffer(self) -> None:
        pass


def _number(error: Exception) -> int | None:
    """The errno; pyserial hides that of a port that takes no settings."""
    number = getattr(error, "errno", None)
    if number is None and isinstance(error.__context__, termios.error):
        number = error.__context__.args[0]
    return number


def _damaged_bytes(fd: int) -> int:
    """How many bytes arrived damaged, or were lost, since the port exists, where it counts them."""
    buffer = bytearray(_ICOUNT.size)
    try:
        fcntl.ioctl(fd, _TIOCGICOUNT, buffer)
    except OSError:
        return 0
    counts = _ICOUNT.unpack(buffer)
    return sum(counts[index] for index in _DAMAGED)


def _close(port: _Port) -> None:
    # A scanner that does not take its bytes would make close() wait for them.
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port.fileno(), termios.TCOFLUSH)
    port.close()


def _close_result(opening: asyncio.Future[_Port]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


class _Session:
    """One open port, from plug to unplug."""

    def __init__(
        self,
        scanner: SerialScanner,
        port: _Port,
        node: str,
        out: Callable[[Scan | NotRead], None],
        report: Callable[[PartState], None],
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scanner = scanner
        self._framer = scanner.framer
        self._who = f"scanner {scanner.name} at {node}"
        self._port = port
        self._fd = port.fileno()
        self._hand_over = HandOver(scanner.name, scanner.counters, scanner.repeats, out)
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._last_byte_ns = 0
        self._unsent = b""
        self._handing_over = False
        self._lost = self._framer.counters.lost
        self._damaged_before = _damaged_bytes(self._fd)
        self._damaged = 0
        """Bytes of what has not ended yet."""
        self._damaged_lines: list[int] = []
        """How many bytes of each code, in a row up to the last one."""
        self._told: str | None = None

    def start(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._timer:
            self._timer.cancel()

    def signal(self, tone: Tone) -> None:
        self._framer.signal(tone, time.monotonic_ns())
        # What is answered while the scan is still being handed over goes out behind its acknowledgement.
        if not self._handing_over and not self.ended.done():
            self._settle()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(self._gone(error))
            return
        now_ns = time.monotonic_ns()
        if not data:
            self._end(self._gone(None))
            return
        self._last_byte_ns = now_ns
        self._take(self._framer.feed(data, now_ns))

    def _wake(self) -> None:
        self._timer = None
        self._take(self._framer.wake(time.monotonic_ns()))

    def _take(self, codes: list[Code]) -> None:
        # Acknowledged in the same breath, but only behind the hand-over: a scan that could not be handed over is one
        # that the scanner still has, and sends again.
        self._handing_over = True
        try:
            self._hand_over.give(self._sound(codes), self._last_byte_ns)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the session, not to the loop
            self._end(error)
            return
        finally:
            self._handing_over = False
        self._settle()
        self._judge()

    def _settle(self) -> None:
        """Write what is to be sent, and set the alarm for what is due."""
        if message := self._framer.to_send():
            if len(self._unsent) + len(message) > MAX_UNSENT_BYTES:
                self._scanner.signals_dropped += 1
            else:
                self._unsent += message
                self._write()
        due_ns = self._framer.due_ns
        if due_ns is not None and (self._timer is None or due_ns < self._timer_ns):
            if self._timer:
                self._timer.cancel()
            self._timer_ns = due_ns
            self._timer = self._loop.call_at(due_ns / 1e9, self._wake)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(self._gone(error))
            return
        if self._unsent:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.remove_writer(self._fd)

    def _sound(self, codes: list[Code]) -> list[Code]:
        """The codes without those of which the port knows that something was lost among their bytes."""
        counters = self._framer.counters
        now = _damaged_bytes(self._fd)
        self._damaged += now - self._damaged_before
        self._damaged_before = now
        lost, self._lost = counters.lost > self._lost, counters.lost
        if not codes and not lost:
            return codes
        damaged, self._damaged = self._damaged, 0
        if damaged == 0 or self._framer.checked:
            self._damaged_lines.clear()
            return codes
        self._damaged_lines = [*self._damaged_lines, damaged][-DAMAGED_IN_A_ROW:]
        for _ in codes:
            counters.damaged += 1
            counters.lose()
        self._lost = counters.lost
        return []

    def _judge(self) -> None:
        """Say so when nothing is understood: a driver who hears nothing must learn why."""
        trouble = self._framer.trouble
        if len(self._damaged_lines) == DAMAGED_IN_A_ROW:
            trouble = f"sends what arrives damaged ({sum(self._damaged_lines)} bytes): set baud as the scanner is set"
        if trouble == self._told:
            return
        self._told = trouble
        if trouble is None:
            self._report(PartState.now(Condition.READY))
        else:
            found = f"{self._who} {trouble} (it is read at {self._port.baudrate} baud)"
            self._report(PartState.now(Condition.FAULTY, found))

    def _gone(self, error: OSError | None) -> DriverError:
        why = f" ({error.strerror})" if error else ""
        return DriverError(f"{self._who} was unplugged{why}: plug it in again", Condition.ABSENT)

    def _end(self, error: Exception) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if not self.ended.done():
            self.ended.set_exception(error)
