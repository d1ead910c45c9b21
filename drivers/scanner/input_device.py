"""Scanners that are HID devices: one that types like a keyboard, and one in HID POS mode.

The event loop reads the kernel's node (``/dev/input/event*``, ``/dev/hidraw*``) itself. A keyboard is grabbed for as
long as it is open, so that what it types goes nowhere else, least of all into the driver's screen. What is wrong is
told in the part's state: which scanner, which node, what was found and what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, TypeVar

from drivers.hotplug import claim, resolve
from drivers.node import not_opened
from drivers.readings import Condition, DriverError, NotRead, PartState, Scan
from drivers.same_device import Opened
from drivers.scanner.code import Code, Repeats
from drivers.scanner.framing import Counters, Tone
from drivers.scanner.handover import HandOver
from drivers.scanner.hidpos import HidPosFramer, Reports
from drivers.scanner.keyboard import DIGIT_KEYS, EV_KEY, KeyboardFramer, Layout

Found = TypeVar("Found")

READ_BYTES: Final = 4096
MAX_UNSENT_REPORTS: Final = 4
"""What may wait for a scanner that does not take its reports."""

_NAME_BYTES: Final = 256
_KEY_BYTES: Final = 96  # of the bit map of all 768 keys
_DESCRIPTOR_BYTES: Final = 4096


def _io(direction: int, kind: str, number: int, size: int) -> int:
    """The number of an ioctl, as the kernel's asm-generic/ioctl.h makes it."""
    return direction << 30 | size << 16 | ord(kind) << 8 | number


_WRITE, _READ = 1, 2
EVIOCGNAME: Final = _io(_READ, "E", 0x06, _NAME_BYTES)
EVIOCGKEY: Final = _io(_READ, "E", 0x18, _KEY_BYTES)
EVIOCGBIT_KEY: Final = _io(_READ, "E", 0x20 + EV_KEY, _KEY_BYTES)
EVIOCGRAB: Final = _io(_WRITE, "E", 0x90, 4)
HIDIOCGRDESCSIZE: Final = _io(_READ, "H", 0x01, 4)
HIDIOCGRDESC: Final = _io(_READ, "H", 0x02, 4 + _DESCRIPTOR_BYTES)
HIDIOCGRAWNAME: Final = _io(_READ, "H", 0x04, _NAME_BYTES)


class KeyboardScanner:
    """A scanner that types; `name` is the `device` of its scans, `port` a path or ``vendor:product[:serial]``.

    `layout`, `terminator` and `idle_flush_ms` are those of `KeyboardFramer`. Nothing is ever written to it: a keyboard
    has no means to give feedback but lamps that no scanner has.
    """

    def __init__(
        self, name: str, port: str, layout: Layout = "us", terminator: str = "auto", idle_flush_ms: int = 0
    ) -> None:
        self.name = name
        self.repeats = Repeats()
        self.framer = KeyboardFramer(layout, terminator, idle_flush_ms)
        self._port = port
        self._opened = Opened(port, "input")

    @property
    def counters(self) -> Counters:
        """Codes read and lost since the start."""
        return self.framer.counters

    async def run(self, out: Callable[[Scan | NotRead], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled.

        :raises DriverError: when the device is not there, cannot be opened or grabbed, is no keyboard or goes away.
        """
        report(PartState.now(Condition.OPENING))
        who = f"scanner {self.name}"
        node = await asyncio.to_thread(resolve, self._port, "input", who)
        who_and_where = f"{who} at {node}"
        with claim(node, who):
            seen = await asyncio.to_thread(self._opened.look, who)
            async with _open_in_thread(partial(_open_keyboard, node, who_and_where)) as (fd, held):
                self._opened.keep(seen, who)
                self.framer.restart(held, time.monotonic_ns())
                await _Session(self, who_and_where, fd, out, report).run()

    def signal(self, tone: Tone) -> None:
        """Nothing: a keyboard cannot sound a tone."""


class HidPosScanner:
    """A scanner in HID POS mode; `name` is the `device` of its scans, `port` a path or ``vendor:product[:serial]``.

    It sounds its beeps for good and bad where its descriptor has them (many makes leave them out); otherwise it hears
    nothing, since all other means are each maker's own.
    """

    def __init__(self, name: str, port: str) -> None:
        self.name = name
        self.signals_dropped = 0
        """Feedback that the scanner did not take in time."""
        self.repeats = Repeats()
        self.framer = HidPosFramer()
        self._port = port
        self._opened = Opened(port, "hidraw")
        self._unsent: asyncio.Queue[bytes] | None = None

    @property
    def counters(self) -> Counters:
        """Codes read and lost since the start."""
        return self.framer.counters

    async def run(self, out: Callable[[Scan | NotRead], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled.

        :raises DriverError: when the device is not there, cannot be opened, is no such scanner or goes away.
        """
        report(PartState.now(Condition.OPENING))
        who = f"scanner {self.name}"
        node = await asyncio.to_thread(resolve, self._port, "hidraw", who)
        who_and_where = f"{who} at {node}"
        with claim(node, who):
            seen = await asyncio.to_thread(self._opened.look, who)
            async with _open_in_thread(partial(_open_pos, node, who_and_where)) as (fd, reports):
                self._opened.keep(seen, who)
                self.framer.restart(reports)
                self._unsent = asyncio.Queue(MAX_UNSENT_REPORTS)
                writing = asyncio.create_task(self._write(fd, self._unsent))
                try:
                    await _Session(self, who_and_where, fd, out, report).run()
                finally:
                    self._unsent = None
                    writing.cancel()

    def signal(self, tone: Tone) -> None:
        """Let the scanner sound `tone` where it can; never waits for the scanner."""
        message = self.framer.reports.beeps.get(tone)
        if self._unsent is None or message is None:
            return
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            self.signals_dropped += 1

    async def _write(self, fd: int, unsent: asyncio.Queue[bytes]) -> None:
        while True:
            message = await unsent.get()
            # The kernel waits for the scanner to take a report, for seconds if need be, and by then it may be unplugged
            # and its descriptor be another's.
            try:
                await asyncio.to_thread(_write_and_close, os.dup(fd), message)
            except OSError:
                self.signals_dropped += 1


@contextlib.asynccontextmanager
async def _open_in_thread(open_it: Callable[[], tuple[int, Found]]) -> AsyncIterator[tuple[int, Found]]:
    """What `open_it` opens in a thread, closed at the end, whenever that comes."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_it))
    try:
        fd, known = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_result)
        raise
    try:
        yield fd, known
    finally:
        os.close(fd)


def _write_and_close(fd: int, message: bytes) -> None:
    try:
        os.write(fd, message)
    finally:
        os.close(fd)


def _close_result(opening: asyncio.Future[tuple[int, Found]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result()[0])


def _open_keyboard(node: str, who: str) -> tuple[int, list[int]]:
    """The device, grabbed, and the keys that are down."""

    def look(fd: int) -> list[int]:
        if not DIGIT_KEYS.issubset(_keys(fd, EVIOCGBIT_KEY)):
            raise DriverError(
                f"{who} is no keyboard but {_name(fd, EVIOCGNAME)}: correct its port (`kerbside devices` lists them)"
            )
        fcntl.ioctl(fd, EVIOCGRAB, 1)
        return _keys(fd, EVIOCGKEY)

    return _open(node, who, os.O_RDONLY, look, "is no input device: its port is one of /dev/input/event*")


def _open_pos(node: str, who: str) -> tuple[int, Reports]:
    """The device, and what its descriptor says of its reports."""

    def look(fd: int) -> Reports:
        (size,) = struct.unpack("=I", _ask(fd, HIDIOCGRDESCSIZE, 4))
        descriptor = bytearray(4 + _DESCRIPTOR_BYTES)
        struct.pack_into("=I", descriptor, 0, min(size, _DESCRIPTOR_BYTES))
        fcntl.ioctl(fd, HIDIOCGRDESC, descriptor)
        reports = Reports.of(bytes(descriptor[4 : 4 + size]))
        if reports is None:
            raise DriverError(
                f"{who} is no HID POS scanner but {_name(fd, HIDIOCGRAWNAME)}: let it read the code of its manual for "
                "USB HID POS, or correct its port (`kerbside devices` lists them)"
            )
        return reports

    return _open(node, who, os.O_RDWR, look, "is no HID device: its port is one of /dev/hidraw*")


def _open(node: str, who: str, access: int, look: Callable[[int], Found], wrong_kind: str) -> tuple[int, Found]:
    """Open a device and `look` at it; closed again where that fails."""
    try:
        with contextlib.ExitStack() as closing:
            fd = os.open(node, access | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            closing.callback(os.close, fd)
            found = look(fd)
            closing.pop_all()
    except OSError as error:
        raise _fault(who, node, error, wrong_kind) from error
    return fd, found


def _ask(fd: int, request: int, size: int) -> bytes:
    buffer = bytearray(size)
    fcntl.ioctl(fd, request, buffer)
    return bytes(buffer)


def _keys(fd: int, request: int) -> list[int]:
    bits = _ask(fd, request, _KEY_BYTES)
    return [number for number in range(len(bits) * 8) if bits[number // 8] >> number % 8 & 1]


def _name(fd: int, request: int) -> str:
    try:
        name = _ask(fd, request, _NAME_BYTES).partition(b"\0")[0].decode(errors="replace").strip()
    except OSError:
        name = ""
    return f'"{name}"' if name else "another device"


def _fault(who: str, node: str, error: OSError, wrong_kind: str) -> DriverError:
    if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EISDIR, errno.ENOTDIR):
        return DriverError(f"{who} {wrong_kind} (`kerbside devices` lists them)")
    return not_opened(who, node, error.errno) or DriverError(f"{who} cannot be opened: {error.strerror}")


class _Session:
    """One open device, from plug to unplug."""

    def __init__(
        self,
        scanner: KeyboardScanner | HidPosScanner,
        who: str,
        fd: int,
        out: Callable[[Scan | NotRead], None],
        report: Callable[[PartState], None],
    ) -> None:
        self._framer = scanner.framer
        self._hand_over = HandOver(scanner.name, scanner.counters, scanner.repeats, out)
        self._who = who
        self._fd = fd
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._read_ns = 0
        self._told: str | None = None

    async def run(self) -> None:
        """Read until cancelled or unplugged."""
        self._loop.add_reader(self._fd, self._read)
        try:
            self._report(PartState.now(Condition.READY))
            self._set_alarm()
            await self._ended
        finally:
            self._loop.remove_reader(self._fd)
            if self._timer:
                self._timer.cancel()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(self._gone(f" ({error.strerror})"))
            return
        if not data:
            self._end(self._gone(""))
            return
        self._read_ns = time.monotonic_ns()
        self._take(self._framer.feed(data, self._read_ns))

    def _wake(self) -> None:
        self._timer = None
        self._take(self._framer.wake(time.monotonic_ns()))

    def _take(self, codes: list[Code]) -> None:
        try:
            self._hand_over.give(codes, self._read_ns)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the session, not to the loop
            self._end(error)
            return
        self._set_alarm()
        trouble = self._framer.trouble
        if trouble != self._told:
            self._told = trouble
            condition = Condition.FAULTY if trouble else Condition.READY
            self._report(PartState.now(condition, f"{self._who} {trouble}" if trouble else ""))

    def _set_alarm(self) -> None:
        # What is due moves on with each stroke; the alarm is set anew when it goes off too early.
        due_ns = self._framer.due_ns
        if due_ns is not None and self._timer is None:
            self._timer = self._loop.call_at(due_ns / 1e9, self._wake)

    def _gone(self, why: str) -> DriverError:
        return DriverError(f"{self._who} was unplugged{why}: plug it in again", Condition.ABSENT)

    def _end(self, error: Exception) -> None:
        self._loop.remove_reader(self._fd)
        if not self._ended.done():
            self._ended.set_exception(error)
