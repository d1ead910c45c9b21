"""The receiver through a real gpsd, and through servers that only pretend to be one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from watched_part import needs, watching

from drivers.gps import MAX_LINE_BYTES, Gps, look
from drivers.readings import Condition, Fix
from drivers.simulated import Gpsd, SimulatedReceiver, free_port

VERSION = {"class": "VERSION", "release": "3.22", "rev": "3.22", "proto_major": 3, "proto_minor": 14}
DEVICES = {"class": "DEVICES", "devices": [{"class": "DEVICE", "path": "/dev/receiver"}]}
needs_gpsd = needs("gpsd", "gpsd")


@pytest.fixture
def receiver() -> Iterator[SimulatedReceiver]:
    with SimulatedReceiver(rate_hz=5) as device:
        yield device


def tpv(**members: Any) -> dict[str, Any]:
    return {"class": "TPV", "device": "/dev/receiver", "mode": 3, "lat": 52.09, "lon": 5.12, **members}


@contextlib.asynccontextmanager
async def pretender(
    *answer: dict[str, Any] | bytes, replies: Sequence[bytes] = (), hangs_up: bool = False
) -> AsyncIterator[str]:
    """A server that says `answer` to whoever connects and a reply to each line it gets; yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            for line in answer:
                writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
                await writer.drain()
            for reply in replies:
                await reader.readline()
                writer.write(reply)
            if not hangs_up:
                await asyncio.sleep(60)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def fixes_of(*lines: dict[str, Any] | bytes, count: int) -> list[Fix]:
    async with pretender(VERSION, DEVICES, *lines) as address, watching(Gps(address)) as watched:
        return (await watched.until_readings(count))[:count]


@needs_gpsd
def test_where_the_vehicle_is_how_fast_and_whither(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        receiver.move(52.123456, -5.654321, speed_mps=10.0, heading=271.5)
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address)) as watched:
                await watched.until(lambda: any(fix.speed_mps is not None and fix.time for fix in watched.readings))
        fix = next(fix for fix in watched.readings if fix.speed_mps is not None and fix.time)
        assert fix.mode == 3
        assert (fix.latitude, fix.longitude) == pytest.approx((52.123456, -5.654321), abs=1e-6)
        assert fix.speed_mps == pytest.approx(10.0, abs=0.01)
        assert fix.heading == pytest.approx(271.5)
        assert fix.altitude_m == pytest.approx(50.0)
        assert 0 < fix.accuracy_m < 100
        assert fix.device == receiver.port

    asyncio.run(test())


@needs_gpsd
def test_a_lost_fix_has_no_position_and_no_time_and_is_told() -> None:
    async def test() -> None:
        with SimulatedReceiver(rate_hz=5) as receiver, Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                await watched.until(lambda: any(fix.mode == 3 for fix in watched.readings))
                receiver.mode = 1
                await watched.until(lambda: watched.state.reason == "no fix")
                assert watched.state.condition is Condition.READY
                lost = [fix for fix in watched.readings if fix.mode == 1]
                assert lost
                assert all((fix.latitude, fix.longitude, fix.time) == (None, None, None) for fix in lost)
                receiver.mode = 3
                await watched.until(lambda: watched.state.reason == "")

    asyncio.run(test())


@needs_gpsd
def test_a_receiver_without_power_is_stale_and_comes_back(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                await watched.until_readings(2)
                receiver.silent = True
                state = await watched.until_state(Condition.STALE)
                assert "no report of the receiver for 1 s" in state.reason
                receiver.silent = False
                await watched.until_state(Condition.READY)

    asyncio.run(test())


@needs_gpsd
@pytest.mark.parametrize("away_s", [0.2, 5.0])
def test_a_receiver_that_is_plugged_in_again_is_served_again(
    receiver: SimulatedReceiver, tmp_path: Path, away_s: float
) -> None:
    async def test() -> None:
        control = tmp_path / "gpsd.sock"
        with Gpsd(receiver.port, control=control) as gpsd:
            part = Gps(gpsd.address, 1.0, receiver.port, control=str(control))
            async with watching(part) as watched:
                await watched.until_readings(2)
                receiver.unplug()
                await asyncio.sleep(away_s)
                receiver.plug()
                await watched.until(lambda: any(s.condition is Condition.STALE for s in watched.states))
                await watched.until_state(Condition.READY)

    asyncio.run(test())


@needs_gpsd
def test_an_unplugged_receiver_is_absent_by_name(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0, receiver.port)) as watched:
                await watched.until_readings(1)
                receiver.unplug()
                state = await watched.until_state(Condition.ABSENT)
                assert state.reason == f"receiver {receiver.port} is not plugged in"

    asyncio.run(test())


@needs_gpsd
def test_a_receiver_that_gpsd_does_not_know_is_handed_to_it(receiver: SimulatedReceiver, tmp_path: Path) -> None:
    async def test() -> None:
        control = tmp_path / "gpsd.sock"
        with Gpsd(control=control) as gpsd:
            async with watching(Gps(gpsd.address, 5.0, receiver.port, control=str(control))) as watched:
                await watched.until_readings(1)

    asyncio.run(test())


@needs_gpsd
def test_gpsd_without_a_receiver_is_told_as_such(tmp_path: Path) -> None:
    async def test() -> None:
        with Gpsd(control=tmp_path / "gpsd.sock") as gpsd:
            async with watching(Gps(gpsd.address)) as watched:
                state = await watched.until_state(Condition.ABSENT)
                assert "has no receiver" in state.reason

    asyncio.run(test())


@needs_gpsd
def test_a_killed_gpsd_is_absent_until_it_is_started_again(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address)) as watched:
                await watched.until_readings(1)
                gpsd.kill()
                state = await watched.until_state(Condition.ABSENT)
                assert gpsd.address in state.reason
                assert "start gpsd" in state.reason
                await asyncio.to_thread(gpsd.start)
                await watched.until_state(Condition.READY)

    asyncio.run(test())


@needs_gpsd
def test_a_stopped_gpsd_is_noticed_and_works_again_when_it_goes_on(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                await watched.until_readings(1)
                gpsd.pause()
                await watched.until_state(Condition.STALE)
                state = await watched.until_state(Condition.FAULTY)
                assert "says nothing" in state.reason
                gpsd.resume()
                await watched.until_state(Condition.READY)

    asyncio.run(test())


def test_nothing_that_listens_is_absent_and_not_an_error() -> None:
    async def test() -> None:
        address = f"127.0.0.1:{free_port()}"
        async with watching(Gps(address)) as watched:
            state = await watched.until_state(Condition.ABSENT)
            assert f"nothing listens at {address}" in state.reason

    asyncio.run(test())


def test_null_island_is_not_a_position() -> None:
    (fix,) = asyncio.run(fixes_of(tpv(lat=0.0, lon=0.0), count=1))
    assert (fix.mode, fix.latitude, fix.longitude) == (3, None, None)


@pytest.mark.parametrize(
    "members",
    [
        {"lat": None},
        {"lon": "5.12"},
        {"lat": True},
        {"lat": math.nan},
        {"lon": math.inf},
        {"lat": 90.1},
        {"lon": -180.5},
        {"lat": 10**400},
    ],
)
def test_what_is_not_a_position_is_none(members: dict[str, Any]) -> None:
    (fix,) = asyncio.run(fixes_of(tpv(**members), count=1))
    assert (fix.latitude, fix.longitude) == (None, None)


def test_what_the_receiver_did_not_say_is_none_and_never_zero() -> None:
    (fix,) = asyncio.run(fixes_of(tpv(), count=1))
    assert (fix.latitude, fix.longitude) == (52.09, 5.12)
    assert (fix.time, fix.accuracy_m, fix.altitude_m, fix.speed_mps, fix.heading) == (None,) * 5


def test_the_speed_is_the_reported_one_even_below_its_error() -> None:
    (fix,) = asyncio.run(fixes_of(tpv(speed=10.3, eps=20.0), count=1))
    assert fix.speed_mps == 10.3


@pytest.mark.parametrize(
    ("members", "accuracy_m"),
    [
        ({"eph": 7.5, "epx": 3.0, "epy": 4.0}, 7.5),
        ({"epx": 3.0, "epy": 4.0}, 5.0),
        ({"epx": 3.0}, None),
        ({"eph": -1}, None),
    ],
)
def test_the_accuracy_is_horizontal(members: dict[str, float], accuracy_m: float | None) -> None:
    (fix,) = asyncio.run(fixes_of(tpv(**members), count=1))
    assert fix.accuracy_m == accuracy_m


def test_a_second_receiver_does_not_replace_the_first() -> None:
    other = tpv(device="/dev/other", lat=10.0)
    fixes = asyncio.run(fixes_of(tpv(lat=52.0), other, tpv(lat=52.1), other, tpv(lat=52.2), count=3))
    assert [fix.latitude for fix in fixes] == [52.0, 52.1, 52.2]


def test_a_broken_line_between_good_ones_is_passed_over() -> None:
    fixes = asyncio.run(
        fixes_of(
            tpv(lat=52.0), b'{"class":"TPV","la\n', b"\xff\xfe\n", b"[" * 5000 + b"\n", b"[1]\n", tpv(lat=52.1), count=2
        )
    )
    assert [fix.latitude for fix in fixes] == [52.0, 52.1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([b"SSH-2.0-OpenSSH_9.2p1\r\n"], "is not gpsd: expected its VERSION, got b'SSH-2.0-OpenSSH_9.2p1"),
        ([VERSION, DEVICES, *[b"garbage\n"] * 20], "sends what can not be read"),
        ([VERSION, b"x" * (3 * MAX_LINE_BYTES)], "sent a line of more than 65,536 bytes"),
        ([b"\x00\xff" * 200_000], "sent a line of more than 65,536 bytes"),
    ],
)
def test_a_server_that_is_not_gpsd_is_a_fault_in_words(answer: list[Any], words: str) -> None:
    async def test() -> None:
        async with pretender(*answer) as address, watching(Gps(address)) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert words in state.reason
            assert watched.readings == []

    asyncio.run(test())


def test_a_server_that_hangs_up_is_tried_again() -> None:
    async def test() -> None:
        async with pretender(VERSION, DEVICES, tpv(), hangs_up=True) as address, watching(Gps(address)) as watched:
            await watched.until_readings(3)
            assert any("closed the connection" in state.reason for state in watched.states)

    asyncio.run(test())


@needs_gpsd
def test_one_look_says_what_the_receiver_sees(receiver: SimulatedReceiver) -> None:
    with Gpsd(receiver.port) as gpsd:
        seen = look(gpsd.address, 10.0)
    assert seen.fault == ""
    assert seen.moving
    assert seen.mode == 3
    assert (seen.satellites_seen, seen.satellites_used) in ((8, 8), (None, None))
    assert (seen.latitude, seen.longitude) == pytest.approx((52.0907, 5.1214), abs=1e-6)
    assert seen.devices == (receiver.port,)


@needs_gpsd
def test_one_look_is_not_deceived_by_a_receiver_that_fell_silent(receiver: SimulatedReceiver) -> None:
    with Gpsd(receiver.port) as gpsd:
        assert look(gpsd.address, 10.0).moving
        receiver.silent = True
        time.sleep(0.5)
        seen = look(gpsd.address, 2.0)
    assert not seen.moving
    assert seen.fault


@needs_gpsd
def test_one_look_at_a_stopped_gpsd_ends_in_time(receiver: SimulatedReceiver) -> None:
    with Gpsd(receiver.port) as gpsd:
        gpsd.pause()
        seen = look(gpsd.address, 1.0)
    assert "hangs" in seen.fault or "does not answer" in seen.fault
    assert not [thread for thread in threading.enumerate() if thread.name == "look at gpsd"]


@pytest.mark.parametrize(
    ("answer", "replies", "words"),
    [
        (b"SSH-2.0-OpenSSH\n", [], "is not gpsd"),
        (b"\xff\xfe\xfd\n", [], "no usable answer"),
        (b"", [], "hangs"),
        (VERSION, [b'{"class":"DEVICES","devices":[]}\n{"class":"WATCH"}\n'], "has no receiver"),
        (VERSION, [json.dumps(DEVICES).encode() + b'\n{"class":"WATCH"}\n', b"[]\n"], "no usable answer"),
    ],
)
def test_one_look_at_something_strange_says_what_is_wrong(
    answer: dict[str, Any] | bytes, replies: list[bytes], words: str
) -> None:
    async def test() -> None:
        async with pretender(answer, replies=replies) as address:
            seen = await asyncio.to_thread(look, address, 1.0)
        assert words in seen.fault
        assert seen.latitude is None

    asyncio.run(test())


def test_one_look_at_nothing_says_so() -> None:
    assert "nothing listens" in look(f"127.0.0.1:{free_port()}", 1.0).fault
    assert 'expected "host:port"' in look("gpsd", 1.0).fault
