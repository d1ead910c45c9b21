"""The link against servers that behave, and against all kinds that do not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smp.header import Header
from smp.image_management import ImageUploadWriteRequest
from smp.os_management import EchoWriteRequest, MCUMgrParametersReadRequest

from drivers.simulated.terminal import Terminal
from firmware_bridge.framing import FRAME_BYTES
from firmware_bridge.link import OP, BridgeError, Cause, Link
from firmware_bridge.simulated.mcu import Microcontroller
from firmware_bridge.simulated.simulator import Faults, Simulator
from tests.firmware.stranger import Request, Stranger, answer_to, framed
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "its threads to end")


def failure(link: Link, *, timeout_s: float = 0.2, retries: int = 1) -> BridgeError:
    """How an echo fails."""
    with pytest.raises(BridgeError) as raised:
        link.write(0, 0, {"d": "hello"}, timeout_s=timeout_s, retries=retries)
    return raised.value


# --- servers that behave ------------------------------------------------------------------------------------------


def test_a_server_is_asked_for_its_parameters_and_echoes() -> None:
    with Simulator(Microcontroller(buffer_bytes=512, buffers=3)) as mount, Link(mount.port) as link:
        assert (link.parameters.buffer_bytes, link.parameters.buffers, link.parameters.told) == (512, 3, True)
        assert link.echo("grüße") == "grüße"


def test_a_server_that_does_not_tell_its_parameters_is_sent_short_messages() -> None:
    with Simulator(Microcontroller(lacks=frozenset({(0, 6)}))) as mount, Link(mount.port) as link:
        assert not link.parameters.told
        assert link.window == 1
        assert link.message_bytes <= 252
        text = "x" * 200
        assert link.echo(text) == text


@pytest.mark.parametrize("told", [{"buf_size": 7}, {"buf_size": "many"}, {"buf_size": True}, {}, {"rc": 3}])
def test_parameters_that_can_not_be_meant_are_not_used(told: dict[str, Any]) -> None:
    with Stranger(lambda request: [framed(answer_to(request, told))], bare=True) as peer, Link(peer.port) as link:
        assert not link.parameters.told


@pytest.mark.parametrize("size", [96, 128, 256, 384, 400, 1024, 2048])
def test_a_message_fills_the_servers_buffer_to_the_last_byte(size: int) -> None:
    with Simulator(Microcontroller(buffer_bytes=size)) as mount, Link(mount.port) as link:
        room = link.room({}, "d")
        assert len(EchoWriteRequest(d="x" * room).BYTES) <= size - 4
        assert link.echo("x" * room) == "x" * room
        if size != 96:
            assert len(EchoWriteRequest(d="x" * (room + 2)).BYTES) > size - 4
        with pytest.raises(BridgeError) as raised:
            link.echo("x" * (room + 3))
        assert raised.value.cause is Cause.INVALID
        assert str(size - 4) in str(raised.value)


def test_there_is_no_room_where_not_even_the_rest_fits() -> None:
    with Simulator(Microcontroller(buffer_bytes=64)) as mount, Link(mount.port) as link:
        assert link.room({"sha": bytes(60)}) == 0


def test_an_answer_of_many_frames_is_put_together() -> None:
    answer = {"list": ["entry"] * 400}
    with Stranger(lambda request: [framed(answer_to(request, answer))]) as peer, Link(peer.port) as link:
        assert link.read(2, 1) == answer


def test_requests_are_those_of_the_smp_package() -> None:
    with Stranger(lambda request: [framed(answer_to(request, {}))]) as peer, Link(peer.port) as link:
        link.echo("a")
        link.write(1, 1, {"off": 0, "len": 9, "sha": bytes(32), "data": b"123456789"})
    requests = peer.requests
    assert requests[0][0:2] == (OP.READ, 0)
    assert requests[0][4] == {}
    assert requests[1][4] == cbor2.loads(EchoWriteRequest(d="a").BYTES[Header.SIZE :])
    upload = ImageUploadWriteRequest(off=0, len=9, sha=bytes(32), data=b"123456789")
    assert requests[2][4] == {**requests[2][4], **cbor2.loads(upload.BYTES[Header.SIZE :])}
    assert MCUMgrParametersReadRequest().header.command_id == 6


def test_each_error_has_its_name_and_its_number() -> None:
    with Simulator() as mount, Link(mount.port) as link:
        with pytest.raises(BridgeError) as raised:
            link.write(1, 0, {"hash": bytes(32)})
        assert (raised.value.cause, raised.value.group, raised.value.rc) == (Cause.REFUSED, 1, 8)
        assert "HASH_NOT_FOUND" in str(raised.value)
        with pytest.raises(BridgeError) as raised:
            link.read(99, 0)
        assert (raised.value.cause, raised.value.rc) == (Cause.UNSUPPORTED, 8)


def test_errors_of_the_first_version_of_smp_are_understood() -> None:
    with Simulator(Microcontroller(version_1=True)) as mount, Link(mount.port) as link:
        with pytest.raises(BridgeError) as raised:
            link.write(1, 5, {"slot": 0})
        assert (raised.value.cause, raised.value.group, raised.value.rc) == (Cause.REFUSED, None, 6)
        assert "EBADSTATE" in str(raised.value)


def test_rc_0_is_no_error() -> None:
    with (
        Stranger(lambda request: [framed(answer_to(request, {"rc": 0, "r": "fine"}))]) as peer,
        Link(peer.port) as link,
    ):
        assert link.echo("fine") == "fine"


def test_a_reason_in_words_is_passed_on() -> None:
    refusal = {"rc": 1, "rsn": "flash worn"}
    with Stranger(lambda request: [framed(answer_to(request, refusal))]) as peer, Link(peer.port) as link:
        assert "flash worn" in str(failure(link))


def test_an_answer_with_more_than_the_standard_knows_is_taken() -> None:
    answer = {"r": "hello", "vendor": {"anything": [1, 2]}}
    with Stranger(lambda request: [framed(answer_to(request, answer))]) as peer, Link(peer.port) as link:
        assert link.echo("hello") == "hello"


def test_text_between_frames_is_delivered_line_by_line() -> None:
    lines: list[str] = []

    def react(request: Request) -> list[bytes]:
        first, *others = framed(answer_to(request, {"r": "x" * 300})).splitlines(keepends=True)
        return [b"button 2 pressed\r\n", first, b"\x1b[1;32muart:~$ \x1b[m\n", *others]

    with Stranger(react) as peer, Link(peer.port, on_line=lines.append) as link:
        assert len(link.echo("?")) == 300
    assert lines == ["button 2 pressed", "uart:~$"]


def test_a_listener_that_fails_does_not_end_the_link() -> None:
    def listen(line: str) -> None:
        raise RuntimeError(line)

    with Simulator() as mount, Link(mount.port, on_line=listen) as link:
        mount.say("anything")
        assert link.echo("still here") == "still here"


def test_many_threads_share_one_link() -> None:
    results: list[bool] = []

    def ask(link: Link, name: str) -> None:
        results.extend(link.echo(f"{name} {number}") == f"{name} {number}" for number in range(20))

    with Simulator() as mount, Link(mount.port) as link:
        threads = [threading.Thread(target=ask, args=(link, f"thread {number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert link.counters.repeated == 0
    assert results == [True] * 80


def test_posted_requests_are_under_way_together_as_far_as_the_server_has_buffers() -> None:
    with Simulator() as mount, Link(mount.port) as link:
        assert link.window == 2
        first, second = (link.post(OP.WRITE, 0, 0, {"d": text}) for text in ("one", "two"))
        assert (first.wait()["r"], second.wait()["r"]) == ("one", "two")
    with Simulator(Microcontroller(buffers=2)) as mount, Link(mount.port) as link:
        assert link.window == 1


def test_a_posted_request_nobody_waited_for_does_not_block_the_line() -> None:
    def react(request: Request) -> list[bytes]:
        return [framed(answer_to(request, {"r": "x"}))] if request[4]["d"] else []

    with Stranger(react) as peer, Link(peer.port) as link:
        for _ in range(2):
            link.post(OP.WRITE, 0, 0, {"d": ""}, timeout_s=0.1)
        time.sleep(0.2)
        assert link.echo("x") == "x"


def test_a_reset_is_asked_for_once() -> None:
    with Simulator() as mount, Link(mount.port) as link:
        assert link.reset()
    with Stranger(lambda _: []) as peer, Link(peer.port, timeout_s=0.2) as link:
        assert not link.reset()
        assert [request[3] for request in peer.requests].count(5) == 1


def test_frames_follow_each_other_no_faster_than_the_line_carries_them() -> None:
    with Stranger(lambda request: [framed(answer_to(request, {"r": ""}))]) as peer, Link(peer.port, 19_200) as link:
        link.echo("x" * 340)
        last = peer.arrived[1:]
    assert len(last) == 4
    assert max(size for _, size in last) <= FRAME_BYTES
    carried_s = sum(size for _, size in last[:-1]) * 10 / 19_200
    assert last[-1][0] - last[0][0] > 0.8 * carried_s - 0.02


# --- servers that do not ------------------------------------------------------------------------------------------


def test_late_doubled_foreign_and_unasked_answers_do_not_confuse_later_requests() -> None:
    held: list[Request] = []

    def react(request: Request) -> Iterator[bytes]:
        if request[4]["d"] == "late":
            held.append(request)
            return
        yield framed(answer_to(request, {"r": "not asked"}, sequence=request[2] + 100))
        yield framed(answer_to(request, {"r": "another group"}, group=9))
        yield framed(answer_to(request, {"r": "another command"}, command=3))
        yield framed(answer_to(request, {"r": "another operation"}, op=OP.READ_RSP))
        if held:
            yield framed(answer_to(held.pop(), {"r": "too late"}))
        yield 2 * framed(answer_to(request, {"r": request[4]["d"]}))

    with Stranger(react) as peer, Link(peer.port) as link:
        with pytest.raises(BridgeError):
            link.write(0, 0, {"d": "late"}, timeout_s=0.1, retries=0)
        for text in ("first", "second", "third"):
            assert link.echo(text) == text
        assert link.counters.unexpected >= 3 * 4 + 1


def test_a_lost_answer_is_asked_for_again_and_a_late_one_still_counts() -> None:
    came: list[int] = []

    def react(request: Request) -> list[bytes]:
        came.append(request[2])
        return [framed(answer_to(request, {"r": "hello"}))] if len(came) > 1 else []

    with Stranger(react) as peer, Link(peer.port, timeout_s=0.2) as link:
        assert link.echo("hello") == "hello"
    assert len(came) == 2
    assert came[0] == came[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_line_that_loses_and_corrupts_frames_carries_every_request_in_the_end(seed: int) -> None:
    faults = Faults(loss=0.03, corruption=0.01, double=0.02, text=0.1, seed=seed)
    with Simulator(faults=faults) as mount, Link(mount.port, timeout_s=0.1, retries=20) as link:
        for number in range(30):
            text = f"{number} " * 60
            assert link.echo(text) == text
        assert link.counters.repeated > 0


def test_a_server_that_has_no_room_for_close_frames_is_given_time() -> None:
    """As Zephyr's on a pseudo-terminal, with two buffers that are looked at each 20 ms, on a line that is fast."""

    def react(request: Request) -> list[bytes]:
        frames = peer.arrived[-4:]
        crowded = any(later[0] - earlier[0] < 0.02 for earlier, later in zip(frames, frames[2:], strict=False))
        return [] if crowded else [framed(answer_to(request, {"r": "done"}))]

    with Stranger(react) as peer, Link(peer.port, 1_000_000, timeout_s=0.3) as link:
        for _ in range(6):
            assert link.echo("x" * 250) == "done"
        assert link.counters.repeated < 6 * 2  # it learns


def test_a_server_that_says_nothing_is_a_timeout() -> None:
    with Stranger(lambda _: []) as peer, Link(peer.port) as link:
        error = failure(link)
    assert error.cause is Cause.TIMEOUT
    assert peer.port in str(error)
    assert "nothing came" in str(error)
    assert "2 times" in str(error)


def test_opening_a_line_without_a_server_fails_and_leaves_it_free() -> None:
    with Terminal("empty") as line:
        link = Link(line.port, timeout_s=0.1, retries=1)
        for _ in range(2):
            with pytest.raises(BridgeError) as raised:
                link.open()
            assert raised.value.cause is Cause.TIMEOUT


def test_only_text_is_told_apart_from_silence() -> None:
    with Stranger(lambda _: [b"what is this?\n"]) as peer, Link(peer.port) as link:
        error = failure(link)
    assert error.cause is Cause.TIMEOUT
    assert "only text" in str(error)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x06\x09AAAA\n",
        b"\x06\x09" + b"A" * 400 + b"\n",
        b"\x06\x09not base64!\n",
        b"\x04\x14AAAA\n",
        b"\x06\x09" * 30 + b"\n",
    ],
)
def test_garbled_frames_are_told_apart_from_silence(noise: bytes) -> None:
    with Stranger(lambda _: [noise]) as peer, Link(peer.port) as link:
        error = failure(link)
    assert error.cause in (Cause.GARBLED, Cause.TIMEOUT)
    if noise != b"\x06\x09AAAA\n":  # the begin of a message that promises nothing
        assert error.cause is Cause.GARBLED
        assert "baud" in str(error)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x9f" * 300,
        b"\x5b" + b"\xff" * 8,
        cbor2.dumps([1]),
        cbor2.dumps(7),
        cbor2.dumps({"rc": 1 << 30_000}),
        cbor2.dumps({"a": cbor2.CBORTag(4, [1 << 40, 1])}),
        bytes.fromhex("d81ca16161d81d00"),  # a map that holds itself
    ],
)
def test_an_answer_that_is_no_map_is_garbled(payload: bytes) -> None:
    with Stranger(lambda request: [framed(answer_to(request, payload))]) as peer, Link(peer.port) as link:
        assert failure(link).cause is Cause.GARBLED


def test_a_header_with_the_wrong_length_is_no_answer() -> None:
    def react(request: Request) -> list[bytes]:
        return [framed(answer_to(request, {"r": "hello"}, length=1))]

    with Stranger(react) as peer, Link(peer.port) as link:
        assert failure(link).cause is Cause.GARBLED


def test_endless_bytes_do_not_hold_a_request_up() -> None:
    stop = threading.Event()

    def flood(peer: Stranger) -> None:
        while not stop.is_set():
            peer.send(b"\x06\x09" + os.urandom(3000))

    with Stranger(lambda _: []) as peer, Link(peer.port) as link:
        flooding = threading.Thread(target=flood, args=(peer,))
        flooding.start()
        try:
            assert failure(link).cause in (Cause.TIMEOUT, Cause.GARBLED)
        finally:
            stop.set()
            flooding.join()


def test_a_server_that_stops_reading_does_not_hold_a_request_up() -> None:
    def fill(link: Link) -> None:
        for _ in range(2000):  # until the kernel takes no more
            link.post(OP.WRITE, 0, 0, {"d": "x" * 340}, timeout_s=0.02)
            time.sleep(0.03)

    with Stranger(lambda _: []) as peer, Link(peer.port, 4_000_000) as link:
        peer.deaf = True
        with pytest.raises(BridgeError) as raised:
            fill(link)
        assert raised.value.cause is Cause.TIMEOUT
        assert "takes no bytes" in str(raised.value)
        assert failure(link).cause is Cause.TIMEOUT
        link.close()


def test_an_unplugged_line_is_gone_at_once_and_works_when_it_is_plugged_in_again() -> None:
    with Simulator() as mount, Link(mount.port) as link:
        mount.mcu.stop()  # it has no power, so that nobody answers
        waiting: list[BridgeError] = []
        asking = threading.Thread(target=lambda: waiting.append(failure(link, timeout_s=20, retries=0)))
        asking.start()
        time.sleep(0.1)
        mount.unplug()
        asking.join(5)
        assert waiting[0].cause is Cause.GONE
        assert "unplugged" in str(waiting[0])
        assert failure(link).cause is Cause.GONE
        with pytest.raises(BridgeError) as raised:
            link.open()
        assert raised.value.cause is Cause.GONE
        mount.mcu.start("por")
        mount.plug()
        link.open()
        assert link.echo("back") == "back"


def test_closing_ends_the_wait_of_another_thread() -> None:
    with Stranger(lambda _: []) as peer, Link(peer.port) as link:
        waiting: list[BridgeError] = []
        asking = threading.Thread(target=lambda: waiting.append(failure(link, timeout_s=20, retries=0)))
        asking.start()
        time.sleep(0.1)
        link.close()
        asking.join(5)
        assert waiting[0].cause is Cause.GONE
        assert failure(link).cause is Cause.GONE


def test_a_line_in_use_is_busy_and_says_how_to_find_out_by_whom() -> None:
    with Simulator() as mount, Link(mount.port), pytest.raises(BridgeError) as raised:
        Link(mount.port).open()
    assert raised.value.cause is Cause.BUSY
    assert "fuser" in str(raised.value)


@pytest.mark.parametrize(
    ("path", "cause"), [("/dev/nowhere", Cause.GONE), ("/dev/null", Cause.LINE), ("/etc/passwd", Cause.LINE)]
)
def test_what_is_no_serial_port_is_said_to_be_none(path: str, cause: Cause) -> None:
    with pytest.raises(BridgeError) as raised:
        Link(path).open()
    assert raised.value.cause is cause
    assert path in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every port")
def test_a_port_without_permission_names_the_group(tmp_path: Path) -> None:
    with Terminal("shut") as line:
        Path(line.port).resolve().chmod(0)
        with pytest.raises(BridgeError) as raised:
            Link(line.port).open()
    assert raised.value.cause is Cause.LINE


def test_a_rate_that_no_line_has_is_a_fault_of_the_line() -> None:
    with Terminal("odd") as line, pytest.raises(BridgeError) as raised:
        Link(line.port, 2**40).open()
    assert raised.value.cause is Cause.LINE


GARBAGE = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=120).map(framed),
        st.binary(max_size=120).map(lambda data: framed(data)[:-1]),
        st.builds(
            lambda changes, payload: ("answer", changes, payload),
            st.fixed_dictionaries({}, optional={"op": st.integers(0, 7), "length": st.integers(0, 0xFFFF)}),
            st.one_of(st.binary(max_size=80), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)),
        ),
    ),
    max_size=6,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(GARBAGE)
def test_whatever_a_server_sends_a_request_is_tried_twice_and_ends_with_one_kind_of_error(garbage: list[Any]) -> None:
    def react(request: Request) -> Iterator[bytes]:
        for piece in garbage:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield framed(answer_to(request, piece[2], **piece[1]))

    with Stranger(react) as peer, Link(peer.port) as link:
        try:
            answer = link.write(0, 0, {"d": "hello"}, timeout_s=0.05, retries=1)
        except BridgeError as error:
            assert error.cause in (Cause.TIMEOUT, Cause.GARBLED, Cause.REFUSED, Cause.UNSUPPORTED)  # noqa: PT017
        else:
            assert isinstance(answer, dict)
        assert len([request for request in peer.requests if request[0] == OP.WRITE]) <= 2


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(GARBAGE)
def test_a_line_that_sends_nothing_but_garbage_is_given_up(garbage: list[Any]) -> None:
    pieces = [piece if isinstance(piece, bytes) else b"" for piece in garbage]
    with Stranger(lambda _: pieces, bare=True) as peer:
        link = Link(peer.port, timeout_s=0.05, retries=1)
        with pytest.raises(BridgeError) as raised:
            link.open()
        assert raised.value.cause in (Cause.TIMEOUT, Cause.GARBLED)


def test_the_bridge_is_imported_quickly_and_brings_no_client_with_it() -> None:
    code = "import sys, firmware_bridge.link, firmware_bridge.mount; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'smp.header'" in loaded
    for module in ("smp.image_management", "smp.message", "smpclient", "cryptography"):
        assert f"'{module}'" not in loaded
