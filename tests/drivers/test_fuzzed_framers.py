"""Any bytes at all, in any pieces: nothing raises, nothing grows, and codes between garbage are found again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.readings import NotRead, Scan
from drivers.scanner.code import Repeats
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Framer
from drivers.scanner.handover import HandOver
from drivers.scanner.line import UNREAD_BYTES, LineFramer
from drivers.scanner.serial_port import READ_BYTES, framer
from drivers.scanner.ssi import GARBAGE_BYTES, Opcode, Packet, Source, SsiFramer, Status

MS = 1_000_000
MAX_HELD = MAX_MESSAGE_BYTES + UNREAD_BYTES + GARBAGE_BYTES + READ_BYTES

FRAMERS: dict[str, dict[str, Any]] = {
    "auto": {"kind": "line"},
    "cr": {"kind": "line", "terminator": "cr"},
    "lf": {"kind": "honeywell", "terminator": "lf"},
    "crlf": {"kind": "line", "terminator": "crlf"},
    "etx": {"kind": "line", "terminator": "etx"},
    "flush": {"kind": "line", "idle_flush_ms": 50},
    "host ack": {"kind": "honeywell", "host_ack": True},
    "ssi": {"kind": "ssi"},
}
ENDS = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n", "etx": b"\x03"}

counted = 0
"""Bytes that went through a framer so far."""


def framed(name: str, text: str) -> bytes:
    """A code as a scanner of this kind sends it."""
    if name == "ssi":
        return Packet(Opcode.DECODE_DATA, b"\x03" + text.encode(), source=Source.DECODER).encode()
    start = b"\x02" if name == "etx" else b""
    return start + text.encode() + ENDS.get(name, b"\r\n")


def held(framer: Framer) -> int:
    """How many bytes a framer keeps."""
    if isinstance(framer, SsiFramer):
        link = framer._link
        waiting = sum(len(message.packet.data) for message in link._waiting)
        return len(link._buffer) + len(link._skipped) + len(link.garbage) + len(framer._partial) + waiting
    assert isinstance(framer, LineFramer)
    return len(framer._rest) + len(framer._unread) + len(framer._outbox)


a_packet = st.builds(
    lambda opcode, data, status, source: Packet(opcode, data, status, source).encode(),
    st.sampled_from([Opcode.DECODE_DATA, Opcode.MULTIPACKET_SEGMENT, Opcode.EVENT, Opcode.CMD_ACK, Opcode.CMD_NAK]),
    st.binary(max_size=251),
    st.sampled_from([0, Status.RETRANSMIT, Status.CONTINUATION, 0x80]),
    st.sampled_from([Source.DECODER, Source.SEGMENT, Source.HOST]),
)
garbage = st.one_of(
    st.binary(max_size=600),
    st.builds(lambda packet, cut: packet[: cut % len(packet)], a_packet, st.integers(0, 300)),
    st.builds(lambda packet, cut: packet[cut % len(packet) :], a_packet, st.integers(1, 300)),
    st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(0, 10_000)),
    st.builds(lambda length, rest: bytes([length, 0xF3, 0, 0]) + rest, st.integers(4, 255), st.binary(max_size=60)),
    st.text(max_size=60).map(str.encode),
    st.text(max_size=60).map(lambda text: text.encode("cp1252", "replace")),
    st.builds(lambda text, end: text + end, st.binary(max_size=20), st.sampled_from([b"\x02", b"\x03", b"\r", b"\n"])),
)
streams = st.lists(st.tuples(garbage, st.integers(2, 4), st.booleans()), max_size=6)
pieces = st.lists(st.integers(1, 700), min_size=1, max_size=20)


def check(name: str, stream: list[tuple[bytes, int, bool]], sizes: list[int]) -> None:
    """Garbage and codes in turn, cut into pieces of `sizes`, with silence where the stream says so."""
    global counted
    options = dict(FRAMERS[name])
    scanner = framer(options.pop("kind"), options.pop("terminator", "auto"), options.pop("idle_flush_ms", 0), **options)
    found: list[str] = []
    told: list[Scan | NotRead] = []
    hand_over = HandOver("hand", scanner.counters, Repeats(), told.append)
    now_ns = turn = number = 0
    expected: list[str] = []
    may_lose: set[str] = set()
    for noise, codes, silent in stream:
        names = [f"CODE{number + each:06}" for each in range(codes)]
        number += codes
        expected += names
        may_lose.add(names[0])
        for data in (noise, b"".join(framed(name, text) for text in names)):
            at = 0
            while at < len(data):
                size = sizes[turn % len(sizes)]
                codes_now = scanner.feed(data[at : at + size], now_ns)
                hand_over.give(codes_now, now_ns)
                found += [code.text for code in codes_now]
                assert held(scanner) <= MAX_HELD
                assert len(scanner.to_send()) <= 2 * READ_BYTES
                at, turn = at + size, turn + 1
                now_ns += MS
            counted += len(data)
            if silent:
                now_ns += 600 * MS
                codes_now = scanner.wake(now_ns)
                hand_over.give(codes_now, now_ns)
                found += [code.text for code in codes_now]
                assert held(scanner) <= MAX_HELD
    for _ in range(10):
        now_ns += 6000 * MS
        codes_now = scanner.wake(now_ns)
        hand_over.give(codes_now, now_ns)
        found += [code.text for code in codes_now]
    assert held(scanner) <= UNREAD_BYTES + GARBAGE_BYTES
    ours = [text for text in found if text in set(expected)]
    assert ours == sorted(set(ours)), "in order, each once"
    lost = set(expected) - set(ours)
    assert lost <= may_lose, f"lost {sorted(lost - may_lose)}, found {found}"
    assert [reading.text for reading in told if isinstance(reading, Scan)] == found, "a loss holds back no scan"
    swallowed = sum(any(text != code and code in text for text in found) for code in lost)
    assert scanner.counters.lost >= len(lost) - swallowed, "what was lost is counted, unless it is part of a code"
    assert sum(isinstance(reading, NotRead) for reading in told) <= scanner.counters.lost


@pytest.mark.parametrize("name", FRAMERS)
@given(stream=streams, sizes=pieces)
def test_after_any_garbage_at_most_one_code_is_lost_and_nothing_grows(
    name: str, stream: list[tuple[bytes, int, bool]], sizes: list[int]
) -> None:
    check(name, stream, sizes)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FRAMERS)
def test_millions_of_bytes_of_garbage_do_no_harm(name: str) -> None:
    before = counted

    @settings(max_examples=2000, deadline=None, database=None)
    @given(stream=streams, sizes=pieces)
    def run(stream: list[tuple[bytes, int, bool]], sizes: list[int]) -> None:
        check(name, stream, sizes)

    run()
    assert counted - before >= 1_000_000
