"""The receiver through a real gpsd, and through servers that only pretend to be one."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import json
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from watched_part import needs, watching

from drivers import gps
from drivers.gps import MAX_LINE_BYTES, Gps, look, udev_rule
from drivers.hotplug import claim
from drivers.readings import Condition, Doubt, Fix
from drivers.simulated import Gpsd, SimulatedReceiver, free_port
from drivers.simulated.terminal import Terminal

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
                gone = {Condition.STALE, Condition.ABSENT}
                await watched.until(lambda: any(state.condition in gone for state in watched.states))
                await watched.until_state(Condition.READY)

    asyncio.run(test())


@needs_gpsd
def test_a_receiver_that_gpsd_may_not_have_seen_coming_back_is_served_again_after_what_its_state_says(
    receiver: SimulatedReceiver,
) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                await watched.until_readings(2)
                receiver.unplug()
                receiver.plug()
                # gpsd 3.22 notices such a plug mostly by itself once it is left alone; where it does not, it is told.
                await watched.until(lambda: any("systemctl restart gpsd" in state.reason for state in watched.states))
                gpsd.restart()
                await watched.until_state(Condition.READY)

    asyncio.run(test())


@needs_gpsd
@pytest.mark.parametrize("chosen", [True, False])
def test_an_unplugged_receiver_is_absent_by_name(receiver: SimulatedReceiver, chosen: bool) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0, receiver.port if chosen else None)) as watched:
                await watched.until_readings(1)
                receiver.unplug()
                state = await watched.until_state(Condition.ABSENT)
                assert state.reason.startswith(f"receiver {receiver.port} is not plugged in: plug it in")

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
def test_a_receiver_that_this_user_may_not_hand_to_gpsd_is_a_fault_that_names_the_rule(
    receiver: SimulatedReceiver, tmp_path: Path
) -> None:
    async def test() -> None:
        with Gpsd(control=tmp_path / "gpsd.sock") as gpsd:
            part = Gps(gpsd.address, 5.0, receiver.port, control=str(tmp_path / "another.sock"))
            async with watching(part) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert f"does not have receiver {receiver.port}" in state.reason
                assert "`kerbside devices` prints the udev rule" in state.reason

    asyncio.run(test())


@needs_gpsd
def test_what_gpsd_can_not_open_is_a_fault(tmp_path: Path) -> None:
    async def test() -> None:
        control, no_line = tmp_path / "gpsd.sock", tmp_path / "receiver"
        no_line.write_text("this is a file")
        with Gpsd(control=control) as gpsd:
            async with watching(Gps(gpsd.address, 5.0, str(no_line), control=str(control))) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert "gpsd cannot open it" in state.reason

    asyncio.run(test())


def test_a_receiver_chosen_by_its_numbers_is_absent_while_it_is_not_plugged_in() -> None:
    async def test() -> None:
        async with watching(Gps(f"127.0.0.1:{free_port()}", 5.0, "f055:9800:KERB")) as watched:
            state = await watched.until_state(Condition.ABSENT)
            assert "receiver (f055:9800:KERB) is not plugged in" in state.reason

    asyncio.run(test())


def test_a_receiver_that_another_setting_also_means_is_a_fault_that_names_both(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with claim(receiver.port, "scanner hand"):
            async with watching(Gps(f"127.0.0.1:{free_port()}", 5.0, receiver.port)) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert "is the same device as scanner hand" in state.reason

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


@needs_gpsd
def test_of_two_receivers_one_counts_and_the_other_stands_in_when_it_falls_silent() -> None:
    async def test() -> None:
        with (
            SimulatedReceiver(52.0, 5.0, rate_hz=5, name="one") as one,
            SimulatedReceiver(51.0, 5.0, rate_hz=5, name="other") as other,
            Gpsd(one.port, other.port) as gpsd,
        ):
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                first = (await watched.until_readings(25))[0].device
                assert {fix.device for fix in watched.readings} == {first}
                silent, speaking = (one, other) if first == one.port else (other, one)
                silent.silent = True
                await watched.until(lambda: watched.readings[-1].device == speaking.port)
                async with watching(Gps(gpsd.address, 1.0, silent.port)) as chosen:
                    await chosen.until_state(Condition.STALE)
                    assert chosen.readings == []

    asyncio.run(test())


@needs_gpsd
def test_a_line_with_interference_still_gives_its_positions() -> None:
    async def test() -> None:
        with SimulatedReceiver(rate_hz=5) as receiver, Gpsd(receiver.port) as gpsd:
            receiver.noise = bytes(range(128, 256)) + b"$GPGGA,12,,"
            part = Gps(gpsd.address)
            async with watching(part) as watched:
                await watched.until(lambda: sum(fix.latitude is not None for fix in watched.readings) >= 5)
            assert part.unreadable == 0

    asyncio.run(test())


@needs_gpsd
def test_a_line_with_nothing_but_garbage_is_no_receiver() -> None:
    async def babble(line: Terminal) -> None:
        while True:
            line.write(random.randbytes(400))
            await asyncio.sleep(0.1)

    async def test() -> None:
        with Terminal("garbage") as line, Gpsd(line.port) as gpsd:
            async with watching(Gps(gpsd.address, 1.0)) as watched:
                babbling = asyncio.create_task(babble(line))
                await watched.until_state(Condition.STALE)
                babbling.cancel()
                assert watched.readings == []

    asyncio.run(test())


def test_the_first_report_after_a_lost_fix_has_not_its_old_time() -> None:
    lost = {"class": "TPV", "device": "/dev/receiver", "mode": 1, "time": "2026-11-21T12:00:00.000Z"}
    fixed, unfixed = asyncio.run(fixes_of(tpv(time="2026-11-21T12:00:00.000Z"), lost, count=2))
    assert (fixed.mode, fixed.time) == (3, "2026-11-21T12:00:00.000Z")
    assert (unfixed.mode, unfixed.time, unfixed.doubts) == (1, None, (Doubt.NO_FIX,))


def test_a_fix_without_a_position_has_no_time_to_trust() -> None:
    (fix,) = asyncio.run(fixes_of(tpv(lat=0.0, lon=0.0, time="2026-11-21T12:00:00.000Z"), count=1))
    assert fix.time is None


def test_a_position_that_cannot_be_is_flagged_and_kept() -> None:
    fixes = asyncio.run(
        fixes_of(tpv(eph=5.0), tpv(lat=53.0, eph=5.0), tpv(lat=52.09, eph=900.0), tpv(eph=5.0), count=4)
    )
    assert [fix.doubts for fix in fixes] == [(), (Doubt.JUMP,), (Doubt.POOR,), ()]
    assert [fix.latitude for fix in fixes] == [52.09, 53.0, 52.09, 52.09]


def test_a_receiver_that_gpsd_has_lost_is_left_at_once() -> None:
    async def test() -> None:
        lost = {"class": "DEVICE", "path": "/dev/null", "activated": 0}
        answer = VERSION, {"class": "DEVICES", "devices": [{"path": "/dev/null"}]}, tpv(device="/dev/null"), lost
        async with pretender(*answer) as address, watching(Gps(address, 600.0)) as watched:
            state = await watched.until_state(Condition.STALE)
            assert "gpsd has lost the receiver" in state.reason

    asyncio.run(test())


def test_what_listens_to_ships_is_no_receiver() -> None:
    async def test() -> None:
        ship = {"class": "AIS", "device": "/dev/null", "type": 1, "mmsi": 1, "lat": 0.0, "lon": 0.0}
        devices = {"class": "DEVICES", "devices": [{"path": "/dev/null"}]}
        async with pretender(VERSION, devices, ship, ship) as address, watching(Gps(address, 1.0)) as watched:
            state = await watched.until_state(Condition.STALE)
            assert "sends AIS and no positions" in state.reason
            assert watched.readings == []

    asyncio.run(test())


@needs_gpsd
def test_a_lost_fix_is_told_after_five_seconds_of_reports_without_one(receiver: SimulatedReceiver) -> None:
    async def test() -> None:
        with Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address)) as watched:
                await watched.until(lambda: any(fix.mode == 3 for fix in watched.readings))
                receiver.mode, before = 1, receiver.epochs
                await watched.until(lambda: watched.state.reason == "no fix")
                assert receiver.epochs - before <= 5 * receiver.rate_hz

    asyncio.run(test())


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
        ([VERSION, DEVICES, *[b"garbage\n"] * 20], "sends what cannot be read"),
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
    assert (seen.satellites_seen, seen.satellites_used) == (8, 8)
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


@pytest.mark.parametrize(
    ("sky", "seen_used"),
    [
        ({"nSat": 14, "uSat": 9}, (14, 9)),
        ({"nSat": 14, "uSat": 9, "satellites": [{"PRN": 2, "used": True}]}, (14, 9)),
        ({"satellites": [{"PRN": 2, "used": True}, {"PRN": 5, "used": False}]}, (2, 1)),
        ({"satellites": []}, (None, None)),
        (None, (None, None)),
    ],
)
def test_one_look_counts_the_satellites_as_each_version_of_gpsd_tells_them(
    sky: dict[str, Any] | None, seen_used: tuple[int | None, int | None]
) -> None:
    def poll(second: int) -> bytes:
        reports = {"tpv": [tpv(time=f"2026-11-21T12:00:0{second}Z", eph=4.5)], "sky": [] if sky is None else [sky]}
        return json.dumps({"class": "POLL", "active": 1, **reports}).encode() + b"\n"

    async def test() -> None:
        begin = json.dumps(DEVICES).encode() + b'\n{"class":"WATCH"}\n'
        async with pretender(VERSION, replies=[begin, poll(1), poll(2)]) as address:
            seen = await asyncio.to_thread(look, address, 5.0)
        assert (seen.fault, seen.mode, seen.accuracy_m, seen.moving) == ("", 3, 4.5, True)
        assert (seen.satellites_seen, seen.satellites_used) == seen_used

    asyncio.run(test())


@needs_gpsd
def test_one_look_asks_about_the_receiver_of_the_settings() -> None:
    with (
        SimulatedReceiver(52.0, 5.0, rate_hz=5, name="one") as one,
        SimulatedReceiver(51.0, 5.0, rate_hz=5, name="other") as other,
        SimulatedReceiver(name="third") as third,
        Gpsd(one.port, other.port) as gpsd,
    ):
        assert look(gpsd.address, 10.0, one.port).latitude == pytest.approx(52.0)
        assert look(gpsd.address, 10.0, other.port).latitude == pytest.approx(51.0)
        assert f"does not have receiver {third.port}" in look(gpsd.address, 10.0, third.port).fault


def test_one_look_at_nothing_says_so() -> None:
    assert "nothing listens" in look(f"127.0.0.1:{free_port()}", 1.0).fault
    assert 'expected "host:port"' in look("gpsd", 1.0).fault


def test_the_rule_for_a_receiver_means_no_other() -> None:
    assert doctest.testmod(gps).failed == 0
    assert 'ATTRS{serial}=="A?1"' in udev_rule("1546", "01a8", 'A"1')
    by_port = udev_rule("067B", "2303", None, "1-1.2")
    assert 'ATTRS{idVendor}=="067b", ATTRS{idProduct}=="2303", KERNELS=="1-1.2"' in by_port
    assert "serial" not in by_port
