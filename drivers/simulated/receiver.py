"""A GNSS receiver on a pseudo-terminal that speaks NMEA 0183, for a real gpsd to read.

Each epoch is GGA, RMC, GSA, GSV and GST with right checksums, so that gpsd finds position, speed, heading, time and
error estimates as from a real receiver.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from drivers.simulated.terminal import Terminal

KNOTS_PER_MPS = 3600 / 1852
MAX_BACKLOG_S = 0.2
SETTLE_S = 1
CHUNK_BYTES = 128

# Eight satellites well spread over the sky: PRN, elevation, azimuth, signal.
_SKY = (
    (2, 65, 40, 44),
    (5, 30, 90, 40),
    (7, 45, 135, 42),
    (12, 20, 180, 36),
    (15, 55, 220, 43),
    (19, 25, 270, 38),
    (24, 70, 310, 45),
    (29, 35, 350, 39),
)


class SimulatedReceiver(Terminal):
    """Sends an epoch every ``1 / rate_hz`` seconds from the public attributes, which may be set at any time."""

    def __init__(
        self, latitude: float = 52.0907, longitude: float = 5.1214, *, rate_hz: float = 1.0, name: str = "receiver"
    ) -> None:
        super().__init__(name)
        self.latitude = latitude
        self.longitude = longitude
        self.altitude_m = 5.0
        self.speed_mps = 0.0
        self.heading = 0.0
        self.mode = 3
        """1 no fix, 2 2D, 3 3D."""
        self.hdop = 0.9
        """How much worse than usual the satellites lie; gpsd makes an error of about 19 m of each 1.0."""
        self.silent = False
        """True: the receiver is plugged in and says nothing."""
        self.clock: Callable[[], datetime] = partial(datetime.now, UTC)
        """What time the receiver says it is."""
        self.noise = b""
        """What an interference puts before each epoch."""
        self.rate_hz = rate_hz
        self.epochs = 0
        self._stop = threading.Event()
        self._sender: threading.Thread | None = None

    def plug(self) -> None:
        """As `Terminal.plug`, and begin to send."""
        if self.master is not None:
            return
        super().plug()
        self._stop.clear()
        self._sender = threading.Thread(target=self._send, name="simulated receiver", daemon=True)
        self._sender.start()

    def unplug(self) -> None:
        """As `Terminal.unplug`, after the epoch that is being sent."""
        self._stop.set()
        if self._sender:
            self._sender.join()
            self._sender = None
        super().unplug()

    def move(self, latitude: float, longitude: float, speed_mps: float = 0.0, heading: float | None = None) -> None:
        """Be somewhere else from the next epoch on; `heading` stays where it is unless given."""
        self.latitude, self.longitude, self.speed_mps = latitude, longitude, speed_mps
        if heading is not None:
            self.heading = heading % 360

    def epoch(self, now: datetime) -> bytes:
        """The sentences of one epoch."""
        clock = f"{now:%H%M%S}.{now.microsecond // 10_000:02d}"
        fixed = self.mode > 1
        place = f"{_angle(self.latitude, 2, 'NS')},{_angle(self.longitude, 3, 'EW')}" if fixed else ",,,"
        used = [prn for prn, *_ in _SKY] if fixed else []
        prns = ",".join([str(prn) for prn in used] + [""] * (12 - len(used)))
        dops = f"{self.hdop * 1.8:.1f},{self.hdop:.1f},{self.hdop * 1.4:.1f}" if fixed else "99.9,99.9,99.9"
        moving = f"{self.speed_mps * KNOTS_PER_MPS:.2f},{self.heading:.2f}" if fixed else ","
        height = f"{self.altitude_m:.1f},M,45.0,M" if self.mode == 3 else ",M,,M"
        sentences = [
            f"GPGGA,{clock},{place},{int(fixed)},{len(used):02d},{self.hdop if fixed else 99.9},{height},,",
            f"GPRMC,{clock},{'A' if fixed else 'V'},{place},{moving},{now:%d%m%y},,,{'A' if fixed else 'N'}",
            f"GPGSA,A,{max(1, self.mode)},{prns},{dops}",
        ]
        pages = [_SKY[i : i + 4] for i in range(0, len(_SKY), 4)]
        sentences += [
            f"GPGSV,{len(pages)},{page},{len(_SKY):02d},"
            + ",".join(f"{prn:02d},{up:02d},{round_:03d},{signal:02d}" for prn, up, round_, signal in satellites)
            for page, satellites in enumerate(pages, 1)
        ]
        if fixed:
            sentences.append(f"GPGST,{clock},2.0,1.5,1.2,30.0,1.4,1.3,2.5")
        return b"".join(map(_sentence, sentences))

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            if not self.silent:
                # Nobody reads yet, or gpsd is stopped: a real receiver's line would overrun in the same way.
                with contextlib.suppress(TimeoutError, OSError):
                    self.write(self.noise + self.epoch(self.clock()), MAX_BACKLOG_S)
                    self.epochs += 1
            due = max(due + 1 / self.rate_hz, time.monotonic())
            self._stop.wait(due - time.monotonic())


def replay(line: Terminal, recording: bytes, bytes_per_s: float = 10_000.0) -> float:
    """Send what a receiver once sent, NMEA or binary; returns `time.monotonic()` right after the last byte.

    Comments at its head, as gpsd's own recordings have them, are left out. Before it come other comments, for as long
    as gpsd tries speeds and throws away what it reads.
    """
    body = recording
    while body.startswith(b"#"):
        body = body.partition(b"\n")[2]
    for _ in range(SETTLE_S * 20):
        line.write(b"# \n")
        time.sleep(0.05)
    for begin in range(0, len(body), CHUNK_BYTES):
        line.write(body[begin : begin + CHUNK_BYTES])
        time.sleep(CHUNK_BYTES / bytes_per_s)
    return time.monotonic()


def _angle(degrees: float, width: int, signs: str) -> str:
    """Degrees as NMEA writes them: whole degrees and minutes in one number, and the hemisphere."""
    whole, minutes = divmod(round(abs(degrees) * 60, 6), 60)
    return f"{int(whole):0{width}d}{minutes:09.6f},{signs[degrees < 0]}"


def _sentence(body: str) -> bytes:
    check = 0
    for byte in body.encode():
        check ^= byte
    return f"${body}*{check:02X}\r\n".encode()
