"""A gpsd, or what pretends to be one, that says anything at all: the part goes on, and nothing of it moves a cursor."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gps import DEVICES, VERSION, pretender, tpv
from watched_part import Watched, watching

from drivers.gps import Gps, look
from drivers.readings import Condition, Fix

NAMES = ["/dev/\0receiver", "\x1b[2J\x1b[31mowned", "/dev/a\r\n!/dev/sda", "\ud800", "", "a" * 5000, "/" + "é" * 250]
ODD = [None, True, -1, 0, 10**400, 1e308, math.nan, math.inf, "", "3", "\0", [], [[]], {}, {"a": 1}, *NAMES]


async def seen_of(*lines: dict[str, Any] | bytes, count: int) -> tuple[Watched, Gps]:
    async with pretender(VERSION, DEVICES, *lines) as address:
        part = Gps(address)
        async with watching(part) as watched:
            await watched.until_readings(count)
            await watched.until_state(Condition.READY)
    return watched, part


@pytest.mark.parametrize("name", [*NAMES[:-1], None, 7, ["/dev/receiver"], {"path": "/dev/receiver"}], ids=ascii)
@pytest.mark.parametrize("chosen", [None, "/dev/null"])
def test_a_report_of_a_receiver_that_cannot_be_called_so_is_counted_and_the_others_are_taken(
    name: object, chosen: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        tpv(device=name),
        {"class": "DEVICE", "path": name, "activated": 0},
        {"class": "DEVICES", "devices": [{"path": name}]},
    ]
    good = tpv(device=chosen or "/dev/receiver")

    async def test() -> None:
        devices = {"class": "DEVICES", "devices": [{"path": chosen or "/dev/receiver"}]}
        async with pretender(VERSION, devices, *bad[:2] * 30, good, *bad[:2], good, devices, good) as address:
            part = Gps(address, device=chosen)
            async with watching(part) as watched:
                await watched.until_readings(3)
                assert watched.state.condition is Condition.READY
        assert part.unreadable == 31
        assert {fix.device for fix in watched.readings} == {good["device"]}
        assert not [state for state in watched.states if state.condition is Condition.FAULTY]

    asyncio.run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["device", "mode", "time", "lat", "lon", "eph", "epx", "epy", "altHAE", "speed", "track", "path", "activated"]
reports = st.builds(
    lambda kind, members: {"class": kind, **members},
    st.sampled_from(["TPV", "TPV", "TPV", "SKY", "DEVICE", "DEVICES", "VERSION", "AIS", "POLL", "ERROR"]) | any_json,
    st.dictionaries(st.sampled_from([*MEMBERS, "devices"]), any_json, max_size=6),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(hostile=st.lists(reports, min_size=1, max_size=40))
def test_whatever_the_reports_hold_the_next_good_one_is_a_position(
    hostile: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[dict[str, Any]] = []
    for report in hostile:
        # What says that the receiver is gone ends the connection, as it should.
        if report["class"] in ("DEVICE", "DEVICES"):
            report = {**report, "activated": 1, "devices": [{"path": "/dev/receiver"}, report.get("devices")]}
        lines += [report, tpv(device="/dev/receiver", lat=52.09)]
    watched, _ = asyncio.run(seen_of(*lines, count=len(hostile)))
    for fix in watched.readings:
        assert isinstance(fix, Fix)
        assert fix.device.isprintable()
        assert fix.mode in (0, 1, 2, 3)
        assert fix.time is None or fix.time.isprintable()
        numbers = (fix.latitude, fix.longitude, fix.accuracy_m, fix.altitude_m, fix.speed_mps, fix.heading)
        assert all(number is None or math.isfinite(number) for number in numbers)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000,
        b'{"class":"TPV",' * 2000,
        b"\xff\xfe" * 100,
        b'{"class":"TPV","lat":' + b"9" * 6000 + b"}",
        b'{"class":["TPV"]}',
        b'{"class":"TPV","mode":' + b"[" * 900 + b"]" * 900 + b"}",
        b"NaN",
        b"null",
        b'"TPV"',
        b"{}",
        b"7",
    ],
    ids=lambda line: ascii(line[:20]),
)
def test_a_line_of_any_depth_or_size_is_passed_over(line: bytes) -> None:
    watched, _ = asyncio.run(seen_of(*[line + b"\n", tpv()] * 20, count=20))
    assert not [state for state in watched.states if state.condition is Condition.FAULTY]


def test_what_a_stranger_says_stands_in_the_state_without_its_escapes() -> None:
    async def test() -> None:
        async with pretender(b"\x1b[2J\x1b]0;owned\x07\r\n") as address, watching(Gps(address)) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert state.reason.isprintable()
            assert "\\x1b[2J" in state.reason

    asyncio.run(test())


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_one_look_at_a_hostile_gpsd_prints_no_escapes(name: str) -> None:
    async def test() -> None:
        devices = json.dumps({"class": "DEVICES", "devices": [{"path": name}]}).encode() + b'\n{"class":"WATCH"}\n'
        poll = json.dumps(
            {"class": "POLL", "active": 1, "tpv": [tpv(device=name, time=name)], "sky": [{"nSat": 1e300}]}
        )
        async with pretender(VERSION, replies=[devices, poll.encode() + b"\n"]) as address:
            seen = await asyncio.to_thread(look, address, 1.0)
        assert seen.fault.isprintable()
        assert all(path.isprintable() for path in seen.devices)
        assert seen.time is None

    asyncio.run(test())
