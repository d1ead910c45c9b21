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
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivers.readings import Condition, DriverError, Fix, PartState

WATCH = b'?WATCH={"enable":true,"json":true};\n'
MAX_LINE_BYTES = 65_536
"""gpsd's longest reports (SKY with every satellite) stay below 16 KiB."""
CONNECT_TIMEOUT_S = 5.0
FIRST_REPORT_S = 10.0
"""gpsd may try several speeds before it understands a receiver; leaving earlier would make it begin again."""
STAY_AWAY_S = 2.5
UNREADABLE_IN_A_ROW = 10
POLL_PAUSE_S = 0.3


class Gps:
    """The part ``gps``: one `Fix` for each report of gpsd at `address` (``host:port``).

    With `device` only that receiver counts, and it is handed to gpsd over the socket `control` when gpsd does not have
    it; otherwise the first receiver heard on a connection is kept to. `stale_after_s` is the silence after which a
    position is no longer one.
    """

    name = "gps"

    def __init__(
        self,
        address: str,
        stale_after_s: float = 5.0,
        device: str | None = None,
        *,
        control: str = "/run/gpsd.sock",
    ) -> None:
        self.unreadable = 0
        """Lines that were no JSON object."""
        self._address = address
        self._stale_after_s = stale_after_s
        self._device = device
        self._control = control
        self._heard: str | None = None

    async def run(self, out: Callable[[Fix], None], report: Callable[[PartState], None]) -> None:
        """Stream fixes until cancelled.

        :raises DriverError: when gpsd can not be reached, goes away or is not gpsd.
        """
        report(PartState.now(Condition.OPENING))
        while True:
            await self._watch(out, report)
            await asyncio.sleep(STAY_AWAY_S)
            receiver = self._device or self._heard
            if receiver and Path(receiver).exists():
                # gpsd may still hold what was there before the receiver was plugged in again.
                await self._control_gpsd(f"-{receiver}")
                await self._control_gpsd(f"+{receiver}")

    async def _watch(self, out: Callable[[Fix], None], report: Callable[[PartState], None]) -> None:
        """One connection; returns when there is no receiver or it has fallen silent."""
        reader, writer = await self._connect()
        try:
            await self._expect_version(reader)
            writer.write(WATCH)
            await self._listen(reader, out, report)
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

    async def _listen(
        self, reader: asyncio.StreamReader, out: Callable[[Fix], None], report: Callable[[PartState], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        heard: float | None = None
        fixed = start
        kept = self._device
        in_a_row = 0
        judged: tuple[Condition, str] | None = None

        def judge(condition: Condition, reason: str = "") -> None:
            nonlocal judged
            if judged != (condition, reason):
                judged = (condition, reason)
                report(PartState.now(condition, reason))

        while True:
            now = loop.time()
            silent_at = (start if heard is None else heard) + self._stale_after_s
            if now >= silent_at:
                judge(
                    Condition.STALE,
                    f"no report of the receiver for {self._stale_after_s:g} s: check its plug and antenna",
                )
                if heard is not None or now >= start + FIRST_REPORT_S:
                    return
                silent_at = start + FIRST_REPORT_S
            try:
                async with asyncio.timeout_at(silent_at):
                    line = await self._line(reader)
            except TimeoutError:
                continue
            stamp_ns = time.monotonic_ns()
            message = _object(line)
            in_a_row = 0 if message else in_a_row + 1
            match message.get("class"):
                case "TPV":
                    path = _text(message.get("device")) or "gpsd"
                    if kept is None:
                        kept = path
                    elif not _same(kept, path):
                        continue
                    self._heard = path
                    fix = _fix(message, path, stamp_ns)
                    heard = loop.time()
                    if fix.latitude is not None:
                        fixed = heard
                        judge(Condition.READY)
                    elif judged is None or heard - fixed > self._stale_after_s or judged[0] is not Condition.READY:
                        judge(Condition.READY, "no fix")
                    out(fix)
                case "DEVICES":
                    devices = _paths(message)
                    if self._device and not Path(self._device).exists():
                        judge(Condition.ABSENT, f"receiver {self._device} is not plugged in")
                        return
                    if self._device and not any(_same(self._device, path) for path in devices):
                        await self._control_gpsd(f"+{self._device}")
                    elif not devices:
                        judge(
                            Condition.ABSENT,
                            f"gpsd at {self._address} has no receiver: plug it in, or set gps.device",
                        )
                        return
                case None:
                    self.unreadable += 1
                    if in_a_row >= UNREADABLE_IN_A_ROW:
                        raise DriverError(
                            f"gpsd at {self._address} sends what can not be read: expected JSON, got {line[:60]!r}; "
                            "restart it (`systemctl restart gpsd`)"
                        )

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

    async def _control_gpsd(self, command: str) -> None:
        """Add (``+path``) or remove (``-path``) a receiver, as gpsd's hot-plug script does, where we may."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_unix_connection(self._control)
                try:
                    writer.write(f"{command}\r\n".encode())
                    await reader.read(64)
                finally:
                    writer.transport.abort()


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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _paths(devices: dict[str, Any]) -> tuple[str, ...]:
    listed = devices.get("devices")
    if not isinstance(listed, list):
        return ()
    return tuple(path for entry in listed if isinstance(entry, dict) and (path := _text(entry.get("path"))))


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _fix(tpv: dict[str, Any], device: str, stamp_ns: int) -> Fix:
    """A TPV report as a `Fix`.

    A report without a fix carries no time: the first one after losing the fix repeats the old one.
    """
    mode = tpv.get("mode")
    if mode not in (2, 3):
        return Fix(device, stamp_ns, 1 if mode == 1 else 0)
    latitude, longitude = _number(tpv.get("lat"), -90, 90), _number(tpv.get("lon"), -180, 180)
    # Zero, zero is what receivers say that have no position; the spot itself lies in the sea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return Fix(device, stamp_ns, mode, _text(tpv.get("time")))
    accuracy_m = _number(tpv.get("eph"), 0)
    if accuracy_m is None:
        east_m, north_m = _number(tpv.get("epx"), 0), _number(tpv.get("epy"), 0)
        if east_m is not None and north_m is not None:
            accuracy_m = math.hypot(east_m, north_m)
    return Fix(
        device,
        stamp_ns,
        mode,
        _text(tpv.get("time")),
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
        # What udev would read as a pattern, and the quotation mark that it can not escape, may be any one character.
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
    """``None`` also where gpsd (3.24 and newer) counts them in a member that gpsd-py3 does not know."""
    satellites_used: int | None = None
    moving: bool = False
    """The receiver's time went on while we looked; a silent receiver is still reported with its last fix."""
    fault: str = ""


# gpsd-py3 keeps its connection in the module itself: one look at a time.
_looking = threading.Lock()


def look(address: str, timeout_s: float = 5.0) -> GpsLook:
    """Ask gpsd once, through gpsd-py3; blocks for `timeout_s` at most, whatever gpsd does. Never raises."""
    try:
        host, port = _split(address)
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
        target=lambda: found.append(_ask(connection, address, deadline)), name="look at gpsd", daemon=True
    )
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()) + 0.5)
    with contextlib.suppress(OSError):
        # Wakes the thread when it still reads: a socket's time-out counts from each byte anew.
        connection.shutdown(socket.SHUT_RDWR)
    asking.join(1.0)
    connection.close()
    return found[0] if found else GpsLook(fault=f"gpsd at {address} does not answer within {timeout_s:g} s")


def _ask(connection: socket.socket, address: str, deadline: float) -> GpsLook:
    import gpsd  # late: only a technician's question needs it

    best = GpsLook(fault=f"gpsd at {address} has nothing to say about a receiver yet")
    if not _looking.acquire(timeout=max(0.0, deadline - time.monotonic())):
        return GpsLook(fault="another look at gpsd is under way")
    try:
        # The library's own connect() knows no time-out, so it is given a connection that has one.
        gpsd.gpsd_socket = connection
        gpsd.gpsd_stream = stream = connection.makefile("rw")
        first = stream.readline(MAX_LINE_BYTES)
        if _object(first.encode()).get("class") != "VERSION":
            return GpsLook(fault=f"what answers at {address} is not gpsd: expected its VERSION, got {first[:60]!r}")
        stream.write('?WATCH={"enable":true}\n')
        stream.flush()
        devices = _paths(_object(stream.readline(MAX_LINE_BYTES).encode()))
        stream.readline(MAX_LINE_BYTES)
        if not devices:
            return GpsLook(fault=f"gpsd at {address} has no receiver: plug it in, or set gps.device")
        best = GpsLook(
            devices, fault=f"gpsd knows {', '.join(devices)}, and no report has come: check the receiver's plug"
        )
        while time.monotonic() < deadline:
            try:
                seen = _looked(gpsd.get_current(), devices)
            except (UserWarning, LookupError):
                # No report yet; the library says so in these two ways.
                time.sleep(POLL_PAUSE_S)
                continue
            if seen.mode < 2:
                return seen
            if best.time and best.time != seen.time:
                return replace(seen, moving=True, fault="")
            best = replace(seen, fault="the receiver is silent: gpsd repeats its last fix; check the receiver's plug")
            time.sleep(POLL_PAUSE_S)
    except TimeoutError:
        return GpsLook(
            fault=f"gpsd at {address} takes connections and says nothing: it hangs (`systemctl restart gpsd`)"
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever the answer trips over
        return GpsLook(fault=f"gpsd at {address} gave no usable answer ({type(error).__name__}: {error})")
    finally:
        gpsd.gpsd_socket = gpsd.gpsd_stream = None
        _looking.release()
    return best


def _looked(answer: Any, devices: tuple[str, ...]) -> GpsLook:
    """The library's answer, where an absent number is a zero, as a look, where it is ``None``."""
    placed = answer.mode >= 2 and not (answer.lat == 0 and answer.lon == 0)
    east_m, north_m = answer.error.get("x", 0), answer.error.get("y", 0)
    return GpsLook(
        devices,
        answer.mode,
        answer.lat if placed else None,
        answer.lon if placed else None,
        math.hypot(east_m, north_m) if placed and east_m and north_m else None,
        answer.time or None,
        answer.sats or None,
        answer.sats_valid if answer.sats else None,
    )
