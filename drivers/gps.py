"""The GNSS receiver, as gpsd tells it.

`Gps` reads gpsd's own JSON watch as a stream; what the receiver did not say stays ``None``, and a position is never
made up. A receiver that falls silent is stale within `stale_after_s`: gpsd is then left alone for more than two
seconds and asked anew, because it does not serve a replugged receiver while a client stays attached; and where its
control socket may be used, the receiver is taken out and handed in again. `look` is the one-shot question of a
technician.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from drivers.fixes import Filter
from drivers.hotplug import claim, resolve
from drivers.limited_log import LimitedLog, printable
from drivers.readings import Condition, DriverError, Fix, PartState
from drivers.same_device import Opened

log = logging.getLogger(__name__)

WATCH: Final = b'?WATCH={"enable":true,"json":true};\n'
CONTROL: Final = "/run/gpsd.sock"
NAMED_BY_UDEV: Final = "/dev/kerbside/receiver"
"""The name that `udev_rule` gives, and by which kerbside-receiver@.service and config/gpsd/default know it."""
MAX_LINE_BYTES: Final = 65_536
"""gpsd's longest reports (SKY with every satellite) stay below 16 KiB."""
CONNECT_TIMEOUT_S: Final = 5.0
CONTROL_TIMEOUT_S: Final = 2.0
FIRST_REPORT_S: Final = 10.0
"""gpsd may try several speeds before it understands a receiver; leaving earlier would make it begin again."""
FIX_LOST_AFTER_S: Final = 3.0
"""Reports without a position for so long: the fix is lost, and has not only failed once."""
LATENCY_S: Final = 0.25
"""A position is about this old when it arrives: computed, sent over a slow line, put together by gpsd."""
STAY_AWAY_S: Final = 2.5
UNREADABLE_IN_A_ROW: Final = 10
MAX_NAME: Final = 256
"""Of what gpsd calls a receiver: a path, or the address of a service."""
MAX_SATELLITES: Final = 1000
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
NULL_ISLAND_DEG: Final = 0.001
POLL_PAUSE_S: Final = 0.3
_NOT_THERE: Final = "is not plugged in: plug it in, or correct gps.device (`kerbside devices` lists what is there)"
SKY_WITHIN_S: Final = 2.0
"""A receiver without a fix that names no satellites by then names none."""
NO_RECEIVERS: Final = frozenset({"AIS", "RTCM2", "RTCM3"})
"""What gpsd calls the reports of things that listen to ships or to correction services and know no position."""


class Gps:
    """The part ``gps``: one `Fix` with its doubts for each report of gpsd at `address` (``host:port``).

    With `device`, a path or ``vendor:product[:serial]``, only that receiver counts, and it is handed to gpsd over the
    socket `control` when gpsd does not have it; otherwise the first receiver heard is kept to for as long as it speaks.
    `stale_after_s` is the silence after which a position is no longer one.
    """

    name = "gps"

    def __init__(
        self, address: str, stale_after_s: float = 4.0, device: str | None = None, *, control: str = CONTROL
    ) -> None:
        self.unreadable = 0
        """Lines that were no report of gpsd, and reports of receivers that cannot be called so."""
        self._address = address
        self._stale_after_s = stale_after_s
        self._device = device
        self._control = control
        self._filter = Filter()
        self._log = LimitedLog(log, "receivers")
        self._heard: str | None = None
        self._opened = Opened(device, "tty") if device else None
        """What gpsd has opened for us: the receiver of the settings, or the one that was heard."""
        self._left: float | None = None
        """When a connection was left because of silence."""

    async def run(self, out: Callable[[Fix], None], report: Callable[[PartState], None]) -> None:
        """Stream fixes until cancelled.

        :raises DriverError: when the receiver of the settings is not there or not the only one, or when gpsd cannot be
            reached, goes away or is not gpsd.
        """
        report(PartState.now(Condition.OPENING))
        while True:
            node = await asyncio.to_thread(resolve, self._device, "tty", "receiver") if self._device else None
            if node and _is_gone(node):
                raise DriverError(f"receiver {node} {_NOT_THERE}", Condition.ABSENT)
            with claim(node, "receiver") if node else contextlib.nullcontext():
                if self._device and self._opened:
                    await asyncio.to_thread(self._opened.look, "receiver")
                await self._come_back(node)
                await self._watch(node, out, report)

    async def _come_back(self, node: str | None) -> None:
        """After a silence: stay away for long enough, and have gpsd open the receiver anew where we may ask for it."""
        if self._left is None:
            return
        await asyncio.sleep(self._left + STAY_AWAY_S - asyncio.get_running_loop().time())
        kept = self._heard if node is None or (self._heard and _same(node, self._heard)) else _name(node)
        if self._opened and not self._device:
            try:
                self._opened.look("receiver")
            except DriverError:
                kept = self._heard = self._opened = None
        if kept and kept.startswith("/") and not _is_gone(kept):
            # gpsd may still hold what was there before the receiver was plugged in again.
            for held in {kept, self._heard or kept}:
                await self._control_gpsd(f"-{held}")
            await self._control_gpsd(f"+{kept}")

    async def _watch(self, node: str | None, out: Callable[[Fix], None], report: Callable[[PartState], None]) -> None:
        """One connection; returns when there is no receiver or it has fallen silent."""
        reader, writer = await self._connect()
        try:
            await self._expect_version(reader)
            writer.write(WATCH)
            await self._listen(reader, _Talk(node, self._heard, asyncio.get_running_loop().time(), report), out)
            self._left = asyncio.get_running_loop().time()
        except OSError as error:
            raise DriverError(
                f"gpsd at {self._address} closed the connection ({error}): see `systemctl status gpsd`"
            ) from error
        finally:
            # Not close(): a gpsd that no longer reads would keep the socket open behind us.
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = _split(self._address)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncio.open_connection(host, port, limit=MAX_LINE_BYTES)
        except TimeoutError as error:
            raise DriverError(f"gpsd at {self._address} does not answer within {CONNECT_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise DriverError(
                f"nothing listens at {self._address}: start gpsd (`systemctl start gpsd`) or correct gps.gpsd",
                Condition.ABSENT,
            ) from error

    async def _expect_version(self, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                line = await self._line(reader)
        except TimeoutError as error:
            raise DriverError(
                f"gpsd at {self._address} takes connections and says nothing: it hangs (`systemctl restart gpsd`)"
            ) from error
        if _object(line).get("class") != "VERSION":
            raise DriverError(
                f"what answers at {self._address} is not gpsd: expected its VERSION, got {line[:60]!r}; "
                "correct gps.gpsd"
            )

    async def _listen(self, reader: asyncio.StreamReader, talk: _Talk, out: Callable[[Fix], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wake = self._wait_until(talk, loop.time())
            if wake is None:
                return
            try:
                async with asyncio.timeout_at(wake):
                    line = await self._line(reader)
            except TimeoutError:
                continue
            stamp_ns = time.monotonic_ns()
            message = _object(line)
            match message.get("class"):
                case "TPV" if "device" in message and _name_of(message) is None:
                    self.unreadable += 1
                case "TPV":
                    self._position(talk, message, stamp_ns, loop.time(), out)
                case "DEVICES":
                    if not await self._has_receiver(talk, _paths(message)):
                        return
                case "DEVICE" if message.get("activated") == 0 and self._is_kept(talk, _name_of(message, "path")):
                    self._judge_silent(talk, "gpsd has lost the receiver: check its plug")
                    return
                case str(kind) if kind in NO_RECEIVERS:
                    talk.no_receiver = kind
                case str():
                    pass
                case _:
                    self.unreadable += 1
                    talk.unreadable_in_a_row += 1
                    if talk.unreadable_in_a_row >= UNREADABLE_IN_A_ROW:
                        raise DriverError(
                            f"gpsd at {self._address} sends what cannot be read: expected JSON, got {line[:60]!r}; "
                            "restart it (`systemctl restart gpsd`)"
                        )
                    continue
            talk.unreadable_in_a_row = 0

    def _wait_until(self, talk: _Talk, now: float) -> float | None:
        """Judge what has not come by now; returns when to judge again, ``None`` when there is nothing to wait for."""
        silent_at = (talk.start if talk.heard is None else talk.heard) + self._stale_after_s
        if talk.heard is not None:
            silent_at -= min(LATENCY_S, self._stale_after_s / 4)
        if now >= silent_at:
            what = (
                f"no report of the receiver for {self._stale_after_s:g} s: check its plug; if it is plugged in, "
                "`systemctl restart gpsd`"
            )
            if talk.heard is None and talk.no_receiver:
                what = f"what gpsd listens to sends {talk.no_receiver} and no positions: that is no satellite receiver"
            self._judge_silent(talk, what)
            first_at = talk.start + FIRST_REPORT_S
            return None if talk.heard is not None or now >= first_at else first_at
        if talk.heard is None or talk.heard <= talk.fixed:
            return silent_at
        lost_at = talk.fixed + min(FIX_LOST_AFTER_S, self._stale_after_s)
        if now >= lost_at:
            talk.judge(Condition.READY, "no fix")
            return silent_at
        return min(lost_at, silent_at)

    def _judge_silent(self, talk: _Talk, reason: str) -> None:
        path = talk.node or self._heard
        if path and _is_gone(path):
            talk.judge(Condition.ABSENT, f"receiver {path} {_NOT_THERE}")
        else:
            talk.judge(Condition.STALE, reason)

    def _position(
        self, talk: _Talk, tpv: dict[str, Any], stamp_ns: int, now: float, out: Callable[[Fix], None]
    ) -> None:
        path = _name_of(tpv) or "gpsd"
        if not self._is_kept(talk, path):
            if talk.node or talk.heard is not None or now < talk.start + self._stale_after_s:
                return
            self._log.warning("receiver %s is silent: going on with %s", talk.kept, path)
        if not self._device and path != self._heard:
            self._opened = Opened(path, "tty") if path.startswith("/dev/") else None
        if talk.heard is None and self._opened:
            # As gpsd has left it: it sets the rights of what it opens.
            self._opened.keep(self._opened.look("receiver"), "receiver")
        talk.kept = self._heard = path
        fix = _fix(tpv, path, stamp_ns)
        talk.heard = now
        if fix.latitude is not None:
            talk.fixed = now
            talk.judge(Condition.READY)
        out(self._filter.take(fix))

    def _is_kept(self, talk: _Talk, path: str | None) -> bool:
        return path is not None and (talk.kept is None or _same(talk.kept, path))

    async def _has_receiver(self, talk: _Talk, paths: tuple[str, ...]) -> bool:
        if talk.node is None:
            if not paths:
                what = f"gpsd at {self._address} has no receiver: plug it in, or set gps.device"
                talk.judge(Condition.ABSENT, what)
            return bool(paths)
        if any(_same(talk.node, path) for path in paths):
            return True
        answer = await self._control_gpsd(f"+{_name(talk.node)}")
        if answer.startswith("OK"):
            return True
        why = (
            "gpsd cannot open it: is it a serial line that gpsd's user may read, and free?"
            if answer
            else "this agent may not hand it over: `kerbside devices` prints the udev rule that does"
        )
        talk.judge(Condition.FAULTY, f"gpsd at {self._address} does not have receiver {talk.node}, and {why}")
        return False

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            raise DriverError(
                f"what answers at {self._address} sent a line of more than {MAX_LINE_BYTES:,} bytes: that is not gpsd; "
                "correct gps.gpsd"
            ) from error
        except asyncio.IncompleteReadError as error:
            raise DriverError(f"gpsd at {self._address} closed the connection: see `systemctl status gpsd`") from error
        return line

    async def _control_gpsd(self, command: str) -> str:
        """Add (``+path``) or remove (``-path``) a receiver, as gpsd's hot-plug script does; empty where we may not."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._control)
                try:
                    writer.write(f"{command}\r\n".encode())
                    return (await reader.read(64)).decode(errors="replace")
                finally:
                    writer.transport.abort()
        return ""


@dataclass(slots=True)
class _Talk:
    """One connection to gpsd, and what it has brought."""

    node: str | None
    """The receiver of the settings."""
    kept: str | None
    """The receiver that is listened to."""
    start: float
    report: Callable[[PartState], None]
    heard: float | None = None
    """When that receiver reported last."""
    fixed: float = -math.inf
    """When it had a position last."""
    no_receiver: str | None = None
    unreadable_in_a_row: int = 0
    judged: tuple[Condition, str] | None = None

    def __post_init__(self) -> None:
        self.kept = self.node or self.kept

    def judge(self, condition: Condition, reason: str = "") -> None:
        """Report a condition that is another one."""
        if self.judged != (condition, reason):
            self.judged = (condition, reason)
            self.report(PartState.now(condition, reason))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise DriverError(f'gps.gpsd: expected "host:port", got {address!r}')
    return host.strip("[]"), int(port)


def _object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _number(value: object, low: float = -math.inf, high: float = math.inf) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def _name_of(report: dict[str, Any], member: str = "device") -> str | None:
    """What gpsd calls a receiver, which goes into paths and into commands to gpsd; ``None`` for what can be no name."""
    name = report.get(member)
    return name if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() else None


def _time(value: object) -> str | None:
    """A time of the form that gpsd writes (RFC 3339)."""
    return value if isinstance(value, str) and _TIME.fullmatch(value) else None


def _paths(devices: dict[str, Any]) -> tuple[str, ...]:
    listed = devices.get("devices")
    if not isinstance(listed, list):
        return ()
    return tuple(path for entry in listed if isinstance(entry, dict) and (path := _name_of(entry, "path")))


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _name(node: str) -> str:
    """What gpsd is to call a receiver: by a second name it would open it twice, and each would get half."""
    return NAMED_BY_UDEV if _same(node, NAMED_BY_UDEV) else node


def _is_gone(path: str) -> bool:
    """Whether this is a device of this machine that is not there; gpsd also reads from networks."""
    try:
        return path.startswith("/") and not Path(path).exists()
    except OSError:
        return True  # no device has such a name


def _fix(tpv: dict[str, Any], device: str, stamp_ns: int) -> Fix:
    """A TPV report as a `Fix`.

    A report without a position carries no time: the first one after losing the fix repeats the old one.
    """
    mode = int(_number(tpv.get("mode"), 0, 3) or 0)
    if mode < 2:
        return Fix(device, stamp_ns, mode)
    latitude, longitude = _number(tpv.get("lat"), -90, 90), _number(tpv.get("lon"), -180, 180)
    # Zero, zero is what receivers say that have no position; the spot itself lies in the sea.
    if latitude is None or longitude is None or max(abs(latitude), abs(longitude)) < NULL_ISLAND_DEG:
        return Fix(device, stamp_ns, mode)
    accuracy_m = _number(tpv.get("eph"), 0)
    if accuracy_m is None:
        east_m, north_m = _number(tpv.get("epx"), 0), _number(tpv.get("epy"), 0)
        if east_m is not None and north_m is not None:
            accuracy_m = _number(math.hypot(east_m, north_m))
    return Fix(
        device,
        stamp_ns,
        mode,
        _time(tpv.get("time")),
        latitude,
        longitude,
        accuracy_m,
        _number(tpv.get("altHAE")) if mode == 3 else None,
        _number(tpv.get("speed"), 0),
        _number(tpv.get("track"), 0, 360),
    )


def udev_rule(vendor: str, product: str, serial_number: str | None = None, usb_port: str | None = None) -> str:
    """The udev rule that hands exactly this receiver to gpsd, and again whenever it is plugged in again.

    `vendor` and `product` are USB numbers in hexadecimal. Receivers of one kind are told apart by their serial number;
    one without is held to `usb_port`, as the kernel names it (``1-1.2``), where that is given.

    >>> print(udev_rule("1546", "01A8"))
    ACTION!="remove", SUBSYSTEM=="tty", ATTRS{idVendor}=="1546", ATTRS{idProduct}=="01a8", \\
        SYMLINK+="kerbside/receiver", ENV{ID_MM_DEVICE_IGNORE}="1", \\
        TAG+="systemd", ENV{SYSTEMD_WANTS}+="kerbside-receiver@%k.service"
    """
    which = f'ATTRS{{idVendor}}=="{vendor.lower()}", ATTRS{{idProduct}}=="{product.lower()}"'
    if serial_number:
        # What udev would read as a pattern, and the quotation mark that it cannot escape, may be any one character.
        plain = "".join("?" if char in '"\\*?[]|' or not char.isprintable() else char for char in serial_number)
        which += f', ATTRS{{serial}}=="{plain}"'
    elif usb_port:
        which += f', KERNELS=="{usb_port}"'
    return (
        f'ACTION!="remove", SUBSYSTEM=="tty", {which}, \\\n'
        '    SYMLINK+="kerbside/receiver", ENV{ID_MM_DEVICE_IGNORE}="1", \\\n'
        '    TAG+="systemd", ENV{SYSTEMD_WANTS}+="kerbside-receiver@%k.service"'
    )


@dataclass(frozen=True, slots=True)
class GpsLook:
    """What one look at gpsd found. `fault` says in words why there is nothing to see, and is empty otherwise."""

    devices: tuple[str, ...] = ()
    mode: int = 0
    latitude: float | None = None
    longitude: float | None = None
    accuracy_m: float | None = None
    time: str | None = None
    satellites_seen: int | None = None
    satellites_used: int | None = None
    moving: bool = False
    """The receiver's time went on while we looked; a silent receiver is still reported with its last fix."""
    fault: str = ""


# gpsd-py3 keeps its connection in the module itself: one look at a time.
_looking = threading.Lock()


def look(address: str, timeout_s: float = 5.0, device: str | None = None) -> GpsLook:
    """Ask gpsd once, through gpsd-py3; blocks for `timeout_s` at most, whatever gpsd does. Never raises.

    With `device`, as in the settings, only that receiver's answer counts.
    """
    try:
        host, port = _split(address)
        node = resolve(device, "tty", "receiver") if device else None
    except DriverError as error:
        return GpsLook(fault=str(error))
    found: list[GpsLook] = []
    deadline = time.monotonic() + timeout_s
    try:
        connection = socket.create_connection((host, port), timeout_s)
    except TimeoutError:
        return GpsLook(fault=f"gpsd at {address} does not answer within {timeout_s:g} s")
    except OSError as error:
        return GpsLook(fault=f"nothing listens at {address} ({error.strerror}): start gpsd (`systemctl start gpsd`)")
    asking = threading.Thread(
        target=lambda: found.append(_ask(connection, address, node, deadline)), name="look at gpsd", daemon=True
    )
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()) + 0.5)
    with contextlib.suppress(OSError):
        # Wakes the thread when it still reads: a socket's time-out counts from each byte anew.
        connection.shutdown(socket.SHUT_RDWR)
    asking.join(1.0)
    connection.close()
    return found[0] if found else GpsLook(fault=f"gpsd at {address} does not answer within {timeout_s:g} s")


class _Overheard:
    """The stream that the library talks through, with the last line it was told.

    The library makes zeros of what is absent, and does not know the counts of satellites of gpsd 3.24 and newer.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rw")
        self.last = ""

    def write(self, text: str) -> None:
        self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def readline(self) -> str:
        self.last = self._stream.readline(MAX_LINE_BYTES)
        return self.last


def _ask(connection: socket.socket, address: str, node: str | None, deadline: float) -> GpsLook:
    import gpsd  # late: only a technician's question needs it

    best = GpsLook(fault=f"gpsd at {address} has nothing to say about a receiver yet")
    if not _looking.acquire(timeout=max(0.0, deadline - time.monotonic())):
        return GpsLook(fault="another look at gpsd is under way")
    try:
        # The library's own connect() knows no time-out, so it is given a connection that has one.
        gpsd.gpsd_socket = connection
        gpsd.gpsd_stream = stream = _Overheard(connection)
        if _object(stream.readline().encode()).get("class") != "VERSION":
            what = f"what answers at {address} is not gpsd: expected its VERSION, got {stream.last[:60]!r}"
            return GpsLook(fault=what)
        stream.write('?WATCH={"enable":true}\n')
        stream.flush()
        devices = _paths(_object(stream.readline().encode()))
        stream.readline()
        if not devices:
            return GpsLook(fault=f"gpsd at {address} has no receiver: plug it in, or set gps.device")
        if node and not any(_same(node, path) for path in devices):
            return GpsLook(devices, fault=f"gpsd at {address} does not have receiver {node}, only {', '.join(devices)}")
        best = GpsLook(
            devices, fault=f"gpsd knows {', '.join(devices)}, and no report has come: check the receiver's plug"
        )
        sky_by = time.monotonic() + SKY_WITHIN_S
        while time.monotonic() < deadline:
            # No report yet, or none about satellites: the library says so in these two ways.
            with contextlib.suppress(UserWarning, LookupError):
                gpsd.get_current()
            seen = _looked(_object(stream.last.encode()), devices, node)
            if seen is None:
                time.sleep(POLL_PAUSE_S)
                continue
            if seen.mode < 2:
                if seen.satellites_seen is not None or time.monotonic() > sky_by:
                    return seen
                best = seen
                time.sleep(POLL_PAUSE_S)
                continue
            if best.time and best.time != seen.time:
                return replace(seen, moving=True, fault="")
            best = replace(seen, fault="the receiver is silent: gpsd repeats its last fix; check the receiver's plug")
            time.sleep(POLL_PAUSE_S)
    except TimeoutError:
        return GpsLook(
            fault=f"gpsd at {address} takes connections and says nothing: it hangs (`systemctl restart gpsd`)"
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever the answer trips over
        why = printable(f"{type(error).__name__}: {error}")
        return GpsLook(fault=f"gpsd at {address} gave no usable answer ({why})")
    finally:
        gpsd.gpsd_socket = gpsd.gpsd_stream = None
        _looking.release()
    return best


def _looked(poll: dict[str, Any], devices: tuple[str, ...], node: str | None) -> GpsLook | None:
    """gpsd's answer to ``?POLL`` as a look; ``None`` when it says nothing of the receiver."""
    tpv = _last(poll.get("tpv"), node)
    if not tpv:
        return None
    fix = _fix(tpv, "", 0)
    seen, used = _satellites(_last(poll.get("sky"), node))
    return GpsLook(devices, fix.mode, fix.latitude, fix.longitude, fix.accuracy_m, _time(tpv.get("time")), seen, used)


def _last(reports: object, node: str | None) -> dict[str, Any]:
    """The last report of the receiver; of any, where none is chosen."""
    for each in reversed(reports if isinstance(reports, list) else []):
        if isinstance(each, dict) and (node is None or _same(node, _name_of(each) or node)):
            return each
    return {}


def _satellites(sky: dict[str, Any]) -> tuple[int | None, int | None]:
    """How many satellites are seen and used: counted by gpsd itself from 3.24 on, listed by all."""
    seen, used = (_number(sky.get(member), 0, MAX_SATELLITES) for member in ("nSat", "uSat"))
    listed = sky.get("satellites")
    if isinstance(listed, list) and listed:
        used = sum(isinstance(each, dict) and each.get("used") is True for each in listed) if used is None else used
        seen = len(listed) if seen is None else seen
    return None if seen is None else int(seen), None if used is None else int(used)
