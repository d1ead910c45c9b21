"""A scanner that sends each code as a line on a serial port.

pyserial opens and configures the port; the event loop then reads the file descriptor itself, which is the shortest
way from the last byte to a `Scan`. The port is held exclusively, bytes that waited in it before it was opened are
kept, and nothing is ever written to a scanner whose profile does not say what may be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import serial

from drivers.readings import Condition, DriverError, PartState, Scan
from drivers.scanner.framing import Code, Counters, LineFramer

Profile = Literal["line", "honeywell"]
Tone = Literal["good", "repeat", "bad", "attention"]

REPEAT_WITHIN_NS = 1_500_000_000
CODES_REMEMBERED = 64
READ_BYTES = 65_536
PARTIAL_AFTER_S = 0.5
"""A line that has been silent this long without its end will not get one."""
DROPS_IN_A_ROW = 3
"""So many lines lost with no code between them mean a wrong setting or a bad line, no longer an accident."""

# Honeywell serial commands: SYN BEL CR beeps once.
_BEEP = b"\x16\x07\r"
_SIGNALS: dict[Profile, dict[Tone, bytes]] = {
    "line": {},
    "honeywell": {"good": _BEEP, "repeat": 2 * _BEEP, "bad": 3 * _BEEP, "attention": 4 * _BEEP},
}


class LineScanner:
    """A scanner on a serial port; `name` is the `device` of its scans."""

    def __init__(
        self,
        name: str,
        port: str,
        baud: int = 9600,
        terminator: str = "auto",
        idle_flush_ms: int | None = None,
        profile: Profile = "line",
    ) -> None:
        self.name = name
        self.signals_dropped = 0
        """Feedback that the scanner did not take in time."""
        self._port = port
        self._baud = baud
        self._idle_s = idle_flush_ms / 1000 if idle_flush_ms else PARTIAL_AFTER_S
        self._flush = bool(idle_flush_ms)
        self._signals = _SIGNALS[profile]
        self._framer = LineFramer(terminator)
        self._session: _Session | None = None

    @property
    def counters(self) -> Counters:
        """Codes read and lines dropped since the start."""
        return self._framer.counters

    async def run(self, out: Callable[[Scan], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled.

        :raises DriverError: when the port is not there, can not be opened or goes away.
        """
        report(PartState.now(Condition.OPENING))
        port = await self._open()
        self._framer.idle(flush=False)
        session = _Session(self.name, port, self._framer, out, report, idle_s=self._idle_s, flush=self._flush)
        self._session = session
        try:
            session.start()
            report(PartState.now(Condition.READY))
            await session.ended
        finally:
            self._session = None
            session.stop()
            _close(port)

    def signal(self, tone: Tone) -> None:
        """Let the scanner beep for `tone` where its profile can; never waits for the scanner."""
        message = self._signals.get(tone)
        if message and self._session and not self._session.write(message):
            self.signals_dropped += 1

    async def _open(self) -> _Port:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open_port))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise

    def _open_port(self) -> _Port:
        who = f"scanner {self.name} at {self._port}"
        try:
            port = _Port(self._port, self._baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            raise self._fault(who, error) from error
        # Keeps out programs that do not ask for the lock. A pseudo-terminal would stay closed for ever after a kill:
        # it forgets this only with its other end.
        if not os.ttyname(port.fileno()).startswith("/dev/pts/"):
            with contextlib.suppress(OSError):
                fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
        return port

    def _fault(self, who: str, error: Exception) -> DriverError:
        match getattr(error, "errno", None):
            case errno.ENOENT | errno.ENXIO | errno.ENODEV | errno.EIO:
                return DriverError(
                    f"{who} is not plugged in: plug it in, or correct its port (`kerbside devices` lists them)",
                    Condition.ABSENT,
                )
            case errno.EACCES | errno.EPERM:
                return DriverError(f"{who} may not be opened by this user: add the user to the group of the port")
            case errno.EBUSY | errno.EAGAIN:
                return DriverError(f"{who} is in use by another program: stop that one (`fuser {self._port}` names it)")
        with contextlib.suppress(OSError):
            if not stat.S_ISCHR(Path(self._port).stat().st_mode):
                return DriverError(f"{who} is not a serial port: correct its port (`kerbside devices` lists them)")
        return DriverError(f"{who} can not be set up: {error}; expected a serial port that takes {self._baud} baud")


class _Port(serial.Serial):
    """A serial port that keeps the bytes that waited in it: a scan during a restart still counts."""

    def _reset_input_buffer(self) -> None:
        pass


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
        name: str,
        port: _Port,
        framer: LineFramer,
        out: Callable[[Scan], None],
        report: Callable[[PartState], None],
        *,
        idle_s: float,
        flush: bool,
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._name = name
        self._path = port.port
        self._fd = port.fileno()
        self._framer = framer
        self._out = out
        self._report = report
        self._idle_s = idle_s
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last_byte_ns = 0
        self._seen: dict[Code, int] = {}
        self._unsent = b""
        self._dropped_at_code = framer.counters.dropped
        self._faulty = False

    def start(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._timer:
            self._timer.cancel()

    def write(self, message: bytes) -> bool:
        """Hand `message` to the port; False when an earlier one still waits for the scanner."""
        if self._unsent:
            return False
        self._unsent = message
        self._write()
        return True

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
        try:
            for code in self._framer.feed(data):
                self._hand_over(code, now_ns)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the session, not to the loop
            self._end(error)
            return
        if self._framer.pending and self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._idle)
        if self._framer.counters.dropped != self._dropped_at_code:
            self._judge()

    def _idle(self) -> None:
        self._timer = None
        if not self._framer.pending:
            return
        silent_s = (time.monotonic_ns() - self._last_byte_ns) / 1e9
        if silent_s < self._idle_s:
            self._timer = self._loop.call_later(self._idle_s - silent_s, self._idle)
            return
        code = self._framer.idle(flush=self._flush)
        try:
            if code:
                self._hand_over(code, self._last_byte_ns)
        except Exception as error:  # noqa: BLE001 - as in _read
            self._end(error)
            return
        self._judge()

    def _hand_over(self, code: Code, now_ns: int) -> None:
        before_ns = self._seen.pop(code, None)
        repeat = before_ns is not None and now_ns - before_ns <= REPEAT_WITHIN_NS
        if len(self._seen) >= CODES_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[code] = now_ns
        self._out(Scan(self._name, code.text, now_ns, code.identifier, repeat=repeat))
        self._dropped_at_code = self._framer.counters.dropped
        if self._faulty:
            self._faulty = False
            self._report(PartState.now(Condition.READY))

    def _judge(self) -> None:
        """Say so when line after line is lost: a driver who hears nothing must learn why."""
        counters = self._framer.counters
        if self._faulty or counters.dropped - self._dropped_at_code < DROPS_IN_A_ROW:
            return
        self._faulty = True
        self._report(
            PartState.now(
                Condition.FAULTY,
                f"scanner {self._name} sends what is no code ({counters.unterminated} without a line end, "
                f"{counters.unreadable} unreadable, {counters.too_long} too long since the start): "
                "set its terminator (or idle_flush_ms) and baud as the scanner is set",
            )
        )

    def _gone(self, error: OSError | None) -> DriverError:
        why = f" ({error.strerror})" if error else ""
        return DriverError(
            f"scanner {self._name} at {self._path} was unplugged{why}: plug it in again", Condition.ABSENT
        )

    def _end(self, error: Exception) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if not self.ended.done():
            self.ended.set_exception(error)
