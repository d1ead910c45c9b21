"""Recordings of receivers through a real gpsd: NMEA and binary, whole and torn, with fixes lost, and with none ever.

The recordings are made here; those of real receivers are taken as well where KERBSIDE_SHARED, or ../shared, holds some.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from watched_part import needs

from drivers.simulated import SimulatedReceiver

CHECKER = Path(__file__).parents[2] / "benchmarks" / "receiver_logs.py"
SHARED = Path(os.environ.get("KERBSIDE_SHARED", CHECKER.parents[2] / "shared")) / "data" / "gpsd"
START = (52.0907, 5.1214)
METRE = 1 / 111_195
needs_gpsd = needs("gpsd", "gpsd")


def epochs(begin: datetime, count: int, mps: float = 12.0, **attributes: Any) -> Iterator[bytes]:
    """NMEA of a drive to the north, one epoch a second."""
    receiver = SimulatedReceiver(*START)
    for name, value in attributes.items():
        setattr(receiver, name, value)
    for second in range(count):
        receiver.move(receiver.latitude + mps * METRE, receiver.longitude, mps, 0.0)
        yield receiver.epoch(begin + timedelta(seconds=second))
    receiver.close()


def ubx(begin: datetime, count: int, kind: int = 3) -> Iterator[bytes]:
    """NAV-PVT of u-blox's own protocol; `kind` 3 is a 3D fix and 0 none."""
    for second in range(count):
        now = begin + timedelta(seconds=second)
        payload = struct.pack(
            "<IHBBBBBBIiBBBBiiiiIIiiiiiIIHBBIiHH",
            second * 1000,
            *(now.year, now.month, now.day, now.hour, now.minute, now.second),
            *(0x07, 20, 0),
            *(kind, 0x01 if kind else 0, 0, 9 if kind else 0),
            *(round(START[1] * 1e7), round((START[0] + 12 * second * METRE) * 1e7)) if kind else (0, 0),
            *(50_000, 5_000, 4_000, 6_000),
            *(12_000, 0, 0, 12_000, 0),
            *(300, 100_000, 150, 0, 0, 0, 0, 0, 0),
        )
        frame = struct.pack("<BBH", 0x01, 0x07, len(payload)) + payload
        a = b = 0
        for byte in frame:
            a = (a + byte) & 0xFF
            b = (b + a) & 0xFF
        yield b"\xb5\x62" + frame + bytes((a, b))


def ais(count: int) -> Iterator[bytes]:
    """Position reports of a ship, as a radio for them gives them."""
    for number in range(count):
        fields = (1, 6), (0, 2), (244_000_000 + number, 30), (0, 4), (128, 8), (0, 10), (1, 1)
        place = (round(4.0 * 600_000), 28), (round(52.0 * 600_000), 27), (0, 12), (511, 9), (30, 6), (0, 25)
        bits = "".join(f"{value:0{width}b}" for value, width in (*fields, *place))
        sixes = [int(bits[index : index + 6], 2) for index in range(0, 168, 6)]
        body = "AIVDM,1,1,,A," + "".join(chr(six + (48 if six < 40 else 56)) for six in sixes) + ",0"
        check = 0
        for byte in body.encode():
            check ^= byte
        yield f"!{body}*{check:02X}\r\n".encode()


NOW = datetime.now(UTC).replace(microsecond=0)
LOST = [*epochs(NOW, 20), *epochs(NOW + timedelta(seconds=20), 30, mode=1)]
RECORDINGS = {
    "drive": b"".join(epochs(NOW, 40)),
    "lost": b"".join(LOST),
    "never": b"".join(epochs(NOW, 30, mode=1)),
    "binary": b"".join(ubx(NOW, 40)),
    "binary-lost": b"".join((*ubx(NOW, 20), *ubx(NOW + timedelta(seconds=20), 30, kind=0))),
    # gpsd takes it for a week counter that rolled over, and adds 1024 weeks.
    "years-ago": b"".join(epochs(NOW - timedelta(days=17 * 365), 40)),
    "zero": b"".join(epochs(NOW, 30, mps=0.0, latitude=0.0, longitude=0.0)),
    "poor": b"".join(epochs(NOW, 40, hdop=30.0)),
    "torn": b"".join(epoch[random.Random(number).randrange(300) :] for number, epoch in enumerate(epochs(NOW, 40))),
    "noise": b"".join(random.Random(number).randbytes(90) + epoch for number, epoch in enumerate(epochs(NOW, 40))),
    "ships": b"".join(ais(60)),
    "garbage": random.Random(7).randbytes(20_000),
    "empty": b"",
}
SILENT = {"ships", "garbage", "empty"}
"""From these comes no report: that proves nothing, and does not hold."""


def checked(*paths: Path) -> dict[str, dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, str(CHECKER), "--json", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "PYTHONPATH": str(CHECKER.parents[1])},
    )
    outcomes = [json.loads(line) for line in ran.stdout.splitlines()]
    assert outcomes, ran.stderr
    assert ran.returncode == (0 if all(outcome["holds"] for outcome in outcomes) else 1), ran.stderr
    return {outcome["name"].removesuffix(".log"): outcome for outcome in outcomes}


@needs_gpsd
def test_every_kind_of_recording_gives_what_it_holds_and_nothing_more(tmp_path: Path) -> None:
    for name, recording in RECORDINGS.items():
        (tmp_path / f"{name}.log").write_bytes(b"# made for a test\n" + recording)
    seen = checked(tmp_path)
    assert seen.keys() == RECORDINGS.keys()
    for name, outcome in seen.items():
        assert outcome["holds"] is (name not in SILENT), (name, outcome)
    assert seen["drive"]["trusted_after"] == seen["binary"]["trusted_after"] == 3
    assert seen["drive"]["doubts"] == {}
    for name in ("lost", "binary-lost"):
        assert seen[name]["positions"] > 10
        assert seen[name]["doubts"]["no_fix"] > 10
    for name in ("never", "zero"):
        assert seen[name]["reports"] > 10
        assert (seen[name]["positions"], seen[name]["trusted_after"]) == (0, None)
    assert seen["years-ago"]["positions"] > 10
    assert seen["years-ago"]["trusted_after"] is None
    assert seen["poor"]["doubts"]["poor"] > 10
    assert seen["noise"]["positions"] > 10
    for name in SILENT:
        assert (seen[name]["reports"], seen[name]["positions"]) == (0, 0)


@needs_gpsd
def test_a_folder_without_recordings_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "drive.log").write_bytes(RECORDINGS["drive"])
    for paths in ((tmp_path / "empty",), (tmp_path / "drive.log", tmp_path / "empty"), (tmp_path / "none.log",)):
        command = [sys.executable, CHECKER, *paths]
        environ = {**os.environ, "PYTHONPATH": str(CHECKER.parents[1])}
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)
        assert ran.returncode == 2
        assert f"no recordings in {paths[-1]}" in ran.stderr


@needs_gpsd
@pytest.mark.skipif(not SHARED.is_dir(), reason="no recordings of real receivers: set KERBSIDE_SHARED")
def test_recordings_of_real_receivers_hold() -> None:
    for name, outcome in checked(SHARED).items():
        assert outcome["holds"], (name, outcome)
