"""A code that a scanner has read, and beeped for, and that did not arrive: counted once, told in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hid_devices import report, reports
from hypothesis import given
from hypothesis import strategies as st
from test_keyboard import ENTER, event, strokes
from watched_part import watching

from drivers.readings import Condition, NotRead, Scan
from drivers.scanner import serial_port
from drivers.scanner.code import Code, Repeats
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Counters
from drivers.scanner.handover import WITHIN_NS, HandOver
from drivers.scanner.hidpos import HidPosFramer
from drivers.scanner.keyboard import EV_SYN, SYN_DROPPED, SYN_REPORT, KeyboardFramer
from drivers.scanner.line import LineFramer
from drivers.scanner.serial_port import SerialScanner, framer
from drivers.scanner.ssi import GIVEN_UP_NS, SILENCE_NS, Opcode, Packet, Source, SsiFramer, Status
from drivers.simulated import SimulatedScanner

S = 1_000_000_000
AnyFramer = LineFramer | SsiFramer | HidPosFramer | KeyboardFramer


def decode(text: str, status: int = 0) -> bytes:
    return Packet(Opcode.DECODE_DATA, b"\x03" + text.encode(), status, Source.DECODER).encode()


def spoiled(packet: bytes) -> bytes:
    return packet[:6] + b"\xff" + packet[7:]


def handed_over(scanner: AnyFramer, *chunks: bytes, gap_ns: int = 10 * S) -> list[str]:
    """What the rest of the unit hears: texts of scans, and ``?`` for what was lost."""
    heard: list[Scan | NotRead] = []
    hand_over = HandOver("hand", scanner.counters, Repeats(), heard.append)
    now_ns = 0
    for chunk in chunks:
        hand_over.give(scanner.feed(chunk, now_ns), now_ns)
        end_ns = now_ns + gap_ns
        while (due_ns := scanner.due_ns) is not None and due_ns <= end_ns:
            now_ns = due_ns
            hand_over.give(scanner.wake(now_ns), now_ns)
            if scanner.due_ns == due_ns:
                break
        now_ns = end_ns
    return [reading.text if isinstance(reading, Scan) else "?" for reading in heard]


@pytest.mark.parametrize(
    ("scanner", "chunks", "heard"),
    [
        pytest.param(LineFramer, [b"TBA1\r", b"TB\x00A2\r"], ["TBA1", "?"], id="line: a broken byte"),
        pytest.param(LineFramer, [b"TBA1\r", b"TBA\xb3456\r"], ["TBA1", "?"], id="line: a bit that flipped"),
        pytest.param(LineFramer, [b"TBA1\r", b"TBA2"], ["TBA1", "?"], id="line: no end"),
        pytest.param(LineFramer, [b"TBA1\r", b"A" * 9000 + b"\r"], ["TBA1", "?"], id="line: too long"),
        pytest.param(LineFramer, [b"T\x00BA1\rTBA2\r"], ["?", "TBA2"], id="line: the loss came first"),
        pytest.param(lambda: LineFramer("etx"), [b"\x02TBA1\x02TBA2\x03"], ["?", "TBA2"], id="line: an end was lost"),
        pytest.param(LineFramer, [b"\x00", b"\x00\x00\r", b"TBA1\r\n"], ["TBA1"], id="line: a plug is no code"),
        pytest.param(SsiFramer, [decode("TBA1"), spoiled(decode("TBA2"))], ["TBA1", "?"], id="ssi: given up"),
        pytest.param(
            SsiFramer, [spoiled(decode("TBA1")) + decode("TBA2")], ["?", "TBA2"], id="ssi: gone on to another"
        ),
        pytest.param(SsiFramer, [decode("TBA1"), decode("A" * 99, Status.CONTINUATION)], ["TBA1", "?"], id="ssi: half"),
        pytest.param(SsiFramer, [decode("TBA1"), b"\x80\xf8"], ["TBA1"], id="ssi: noise is no code"),
        pytest.param(SsiFramer, [decode("TB\x00A1")], ["?"], id="ssi: no text"),
        pytest.param(SsiFramer, [b"TBA1\r"], ["?"], id="ssi: plain text"),
        pytest.param(HidPosFramer, [report(b"TBA1"), report(b"TBA2")[:40]], ["TBA1", "?"], id="hid pos: torn"),
        pytest.param(HidPosFramer, [report(b"TBA1"), reports(b"A" * 99)[0]], ["TBA1", "?"], id="hid pos: half"),
        pytest.param(HidPosFramer, [report(b"TBA1"), report(b"TB\x00A2")], ["TBA1", "?"], id="hid pos: no text"),
        pytest.param(
            HidPosFramer, [report(b"TBA1"), report(b"TBA2", length=200)], ["TBA1", "?"], id="hid pos: lengths"
        ),
        pytest.param(KeyboardFramer, [strokes(2, ENTER), strokes(2, 59, 3, ENTER)], ["1", "?"], id="keys: a key lost"),
        pytest.param(KeyboardFramer, [strokes(2, ENTER), strokes(2, 3)], ["1", "?"], id="keys: no Enter"),
        pytest.param(
            KeyboardFramer,
            [strokes(2, ENTER), strokes(30) * (MAX_MESSAGE_BYTES + 9) + strokes(ENTER)],
            ["1", "?"],
            id="keys: too long",
        ),
        pytest.param(
            KeyboardFramer,
            [strokes(2, ENTER), event(EV_SYN, SYN_DROPPED, 0) + event(EV_SYN, SYN_REPORT, 0) + strokes(3, ENTER)],
            ["1", "?"],
            id="keys: the kernel lost some",
        ),
    ],
)
def test_what_was_read_and_did_not_arrive_is_told_in_its_order(
    scanner: Callable[[], AnyFramer], chunks: list[bytes], heard: list[str]
) -> None:
    made = scanner()
    assert handed_over(made, *chunks) == heard
    assert made.counters.lost == heard.count("?")


def test_a_packet_that_arrives_damaged_is_given_up_only_after_the_time_of_a_resend() -> None:
    scanner = SsiFramer()
    scanner.feed(spoiled(decode("TBA1")), 0)
    scanner.wake(SILENCE_NS)
    scanner.wake(GIVEN_UP_NS)
    assert scanner.counters.lost == 0
    scanner.wake(SILENCE_NS + GIVEN_UP_NS)
    assert scanner.counters.lost == 1
    assert scanner.due_ns is None


def test_a_packet_that_arrives_when_it_is_sent_again_was_not_lost() -> None:
    again = decode("TBA1", Status.RETRANSMIT)
    assert handed_over(SsiFramer(), spoiled(decode("TBA1")), again, decode("TBA2"), gap_ns=S) == ["TBA1", "TBA2"]
    assert handed_over(SsiFramer(), decode("TBA1"), spoiled(again), again, b"", gap_ns=2 * S) == ["TBA1"]


def test_a_packet_that_never_arrives_whole_is_told_with_its_last_resend() -> None:
    assert handed_over(SsiFramer(), *[spoiled(decode("TBA1"))] * 3, gap_ns=S) == ["?"]


def test_a_line_that_babbles_is_told_three_times_a_second_and_each_loss_is_counted() -> None:
    heard: list[Scan | NotRead] = []
    scanner = LineFramer()
    hand_over = HandOver("hand", scanner.counters, Repeats(), heard.append)
    for turn in range(1000):
        now_ns = turn * 10_000_000
        hand_over.give(scanner.feed(b"\xff\x00\x81\r", now_ns), now_ns)
    assert scanner.counters.lost == 1000
    assert len(heard) == 30


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40))
def test_the_last_word_is_always_that_of_the_last_code(sent: list[tuple[bool, int]]) -> None:
    counters, heard = Counters(), list[Scan | NotRead]()
    hand_over = HandOver("hand", counters, Repeats(), heard.append)
    now_ns, codes = 0, list[Code]()
    for arrives, pause in sent:
        if arrives:
            codes.append(counters.took(Code(f"TBA{now_ns}", None)))
        else:
            counters.lose()
        if pause:
            now_ns += pause * WITHIN_NS
            hand_over.give(codes, now_ns)
            codes = []
            assert isinstance(heard[-1], Scan) == arrives


def test_a_broken_line_after_a_good_scan_is_a_reading_of_the_part() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            part = SerialScanner("hand", device.port, framer("line"))
            async with watching(part) as watched:
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                await watched.until_readings(1)
                device.write(b"TB\x00A2\r")
                await watched.until(lambda: bool(watched.lost))
                assert [lost.device for lost in watched.lost] == ["hand"]
                assert watched.state.condition is Condition.READY, "one broken line is no wrong speed"
                assert (part.counters.codes, part.counters.lost) == (1, 1)

    asyncio.run(test())


def test_a_code_among_whose_bytes_the_port_has_counted_a_loss_is_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    # A pseudo-terminal has no such counts.
    damaged = 5
    monkeypatch.setattr(serial_port, "_damaged_bytes", lambda _fd: damaged)

    async def test() -> None:
        nonlocal damaged
        with SimulatedScanner() as device:
            part = SerialScanner("hand", device.port, framer("line"))
            async with watching(part) as watched:
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                await watched.until_readings(1)
                damaged += 1
                device.scan("TBA2")
                await watched.until(lambda: bool(watched.lost))
                device.scan("TBA3")
                await watched.until_readings(2)
                assert watched.state.condition is Condition.READY
        assert [scan.text for scan in watched.readings] == ["TBA1", "TBA3"]
        assert (part.counters.damaged, part.counters.lost) == (1, 1)

    asyncio.run(test())
