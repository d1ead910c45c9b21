"""Every way of sending a code, with every setting: it is read, or the advice that is given leads to where it is."""

from __future__ import annotations

import itertools
import re

import pytest
from test_keyboard import CTRL, ENTER, KEYPAD_ENTER, TAB, stroke, strokes

from drivers.scanner.keyboard import KeyboardFramer
from drivers.scanner.line import LineFramer
from drivers.scanner.serial_port import Kind, framer
from drivers.scanner.ssi import Opcode, Packet, Source

SILENCE_NS = 1_000_000_000
TERMINATORS = ["auto", "cr", "lf", "crlf", "etx", "none"]
BEFORE = [
    b"",
    b"\x02",
    b"\x01",
    b"\x00",
    b"\x16",
    b"\x1b",
    b" ",
    b"\xa0",
    b"\xc2\xa0",
    b"\xef\xbb\xbf",
    b"\x02]C0",
    b"]C0\x02",
]
BEHIND = [b"", b"\x03", b"\x04", b"\x00", b"\t", b" ", b"\xc2\xa0", b"\xa0"]
ENDS = [b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r", b"", b"\x03", b"\t", b"\x04", b"\x0c", b"\x00"]


def advised(trouble: str) -> tuple[str, int]:
    """The settings that a driver of the unit's scanner is told to make."""
    found = re.search(r'set terminator = "(\w+)"(?: and idle_flush_ms = (\d+))?', trouble)
    assert found, trouble
    return found[1], int(found[2] or 0)


def comes_to_be_read(kind: Kind, terminator: str, idle_flush_ms: int, sent: bytes) -> None:
    """A scanner that sends always the same way, and somebody who does what the part says."""
    for _ in range(3):
        scanner = framer(kind, terminator, idle_flush_ms)
        for turn in range(4):
            now_ns = turn * 2 * SILENCE_NS
            codes = scanner.feed(sent, now_ns) + scanner.wake(now_ns + SILENCE_NS)
            if not codes:
                assert scanner.counters.lost == turn + 1, "told each time"
                continue
            assert [code.text for code in codes] == ["TBA123456789012"]
            assert scanner.trouble is None
            assert scanner.counters.lost == 0
            break
        else:
            assert scanner.trouble is not None, (terminator, sent)
            terminator, idle_flush_ms = advised(scanner.trouble)
            continue
        return
    pytest.fail(f"advice goes round in a circle for {sent!r}")


@pytest.mark.parametrize("terminator", TERMINATORS)
@pytest.mark.parametrize("kind", ["line", "honeywell"])
def test_whatever_surrounds_a_code_it_is_read_or_the_advice_leads_to_it(kind: Kind, terminator: str) -> None:
    for before, behind, end in itertools.product(BEFORE, BEHIND, ENDS):
        if b"\xa0" in {before, behind} and {before, behind} & {b"\xc2\xa0", b"\xef\xbb\xbf"}:
            continue  # nobody sends two encodings
        sent = before + b"TBA123456789012" + behind + end
        comes_to_be_read(kind, terminator, 50 if terminator == "none" else 0, sent)


@pytest.mark.parametrize("terminator", TERMINATORS)
def test_a_scanner_that_speaks_ssi_is_told_whatever_end_is_set(terminator: str) -> None:
    for kind in range(1, 0x40):
        scanner = LineFramer(terminator, 50 if terminator == "none" else 0)
        for turn in range(2):
            scanner.feed(
                Packet(Opcode.DECODE_DATA, bytes([kind]) + b"TBA1", source=Source.DECODER).encode(), turn * 2**31
            )
            scanner.wake(turn * 2**31 + SILENCE_NS)
        assert 'set kind = "ssi"' in (scanner.trouble or ""), kind


@pytest.mark.parametrize("terminator", TERMINATORS)
def test_whatever_a_scanner_types_around_a_code_it_is_read_or_the_advice_leads_to_it(terminator: str) -> None:
    stx, etx, nothing, space = stroke(48, CTRL), stroke(46, CTRL), strokes(59), strokes(57)
    ends = [strokes(ENTER), strokes(KEYPAD_ENTER), strokes(TAB), b"", etx, strokes(ENTER, ENTER), strokes(TAB, ENTER)]
    for before, behind, end in itertools.product([b"", stx, nothing, space], [b"", etx, nothing, space], ends):
        set_to, idle_flush_ms = terminator, 50 if terminator == "none" else 0
        for _ in range(3):
            scanner = KeyboardFramer("us", set_to, idle_flush_ms)
            codes = []
            for turn in range(4):
                now_ns = turn * 2 * SILENCE_NS
                codes += scanner.feed(before + strokes(2, 3, 4) + behind + end, now_ns)
                codes += scanner.wake(now_ns + SILENCE_NS)
            if codes:
                break
            assert scanner.trouble
            set_to, idle_flush_ms = advised(scanner.trouble)
        assert [code.text for code in codes] == ["123"] * 4
        assert scanner.counters.lost == 0
