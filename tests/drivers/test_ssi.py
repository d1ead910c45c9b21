"""Zebra's SSI between a scanner and the host, over a line that loses, repeats and damages what is sent."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.scanner.code import Code
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Tone
from drivers.scanner.ssi import (
    MAX_DATA_BYTES,
    RESENDS,
    Cause,
    Opcode,
    Packet,
    Source,
    SsiFramer,
    Status,
    _find,
)
from drivers.simulated.ssi import Decoder

S = 1_000_000_000
GOOD, REPEAT, ATTENTION, BAD = 0x00, 0x01, 0x03, 0x07
ACK = bytes.fromhex("04D00400FF28")
NAK = bytes.fromhex("05D1040001FF25")
TONES: list[Tone] = ["good", "repeat", "bad", "attention"]


def decode(text: str, symbology: int = 0x03, status: int = 0) -> bytes:
    return Packet(Opcode.DECODE_DATA, bytes([symbology]) + text.encode(), status, Source.DECODER).encode()


def sent(framer: SsiFramer) -> list[Packet]:
    return list(_find(bytearray(framer.to_send())))


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (Packet(Opcode.CMD_ACK), "04D00400FF28"),
        (Packet(Opcode.CMD_NAK, bytes([Cause.RESEND])), "05D1040001FF25"),
        (Packet(0xE4), "04E40400FF14"),
        (Packet(Opcode.BEEP, b"\x00"), "05E6040000FF11"),
        (Packet(Opcode.BEEP, b"\x12"), "05E6040012FEFF"),
        (Packet(Opcode.DECODE_DATA, b"\x03TBA1", source=Source.DECODER), "09F300000354424131FDF9"),
    ],
)
def test_packets_look_as_in_the_guide(packet: Packet, expected: str) -> None:
    assert packet.encode().hex().upper() == expected
    assert list(_find(bytearray.fromhex(expected))) == [packet]


def test_the_largest_packet_has_257_bytes_and_a_larger_one_is_refused() -> None:
    assert len(Packet(Opcode.EVENT, b"x" * MAX_DATA_BYTES).encode()) == 257
    with pytest.raises(ValueError, match="at most 251 bytes, got 252"):
        Packet(Opcode.EVENT, b"x" * (MAX_DATA_BYTES + 1)).encode()


@pytest.mark.parametrize(
    ("symbology", "text", "expected"),
    [
        (0x01, "ABC-1", Code("ABC-1", "]A0", "Code 39")),
        (0x03, "TBA1", Code("TBA1", "]C0", "Code 128")),
        (0x0F, "0100614141000036\x1d21X", Code("0100614141000036\x1d21X", "]C1", "Code 128")),
        (0x08, "012345678905", Code("012345678905", "]E0", "UPC-A")),
        (0x09, "01234565", Code("01234565", "]E0", "UPC-E")),
        (0x0A, "96385074", Code("96385074", "]E4", "EAN-8")),
        (0x0B, "4006381333931", Code("4006381333931", "]E0", "EAN-13")),
        (0x11, "[)>\x1e01\x1d", Code("[)>\x1e01\x1d", "]L0", "PDF417")),
        (0x1B, "DM", Code("DM", "]d1", "Data Matrix")),
        (0x1C, "Straße 7 東京", Code("Straße 7 東京", "]Q1", "QR Code")),
        (0x25, "MAXI", Code("MAXI", "]U0", "MaxiCode")),
        (0x2D, "-AZ", Code("-AZ", "]z0", "Aztec")),
        (0x32, "0112345678901231", Code("0112345678901231", "]e0", "DataBar")),
        (0x7E, "NEW", Code("NEW", None, None)),
        (0x1B, "]d2010950", Code("010950", "]d2", "Data Matrix")),
        (0x7E, "]C1010950", Code("010950", "]C1", "Code 128")),
        (0x1C, "]C0 is in the text", Code("]C0 is in the text", "]Q1", "QR Code")),
        (0x03, "TBA1\r\n", Code("TBA1", "]C0", "Code 128")),
    ],
)
def test_the_type_byte_gives_symbology_and_identifier(symbology: int, text: str, expected: Code) -> None:
    assert SsiFramer().feed(decode(text, symbology), 0) == [expected]


def test_text_in_the_older_encoding_of_labels_is_read() -> None:
    packet = Packet(Opcode.DECODE_DATA, b"\x1cStra\xdfe", source=Source.DECODER)
    assert SsiFramer().feed(packet.encode(), 0) == [Code("Straße", "]Q1", "QR Code", "windows-1252")]


def test_a_packet_byte_by_byte_is_one_code_and_one_acknowledgement() -> None:
    framer = SsiFramer()
    codes = [code for at, byte in enumerate(decode("TBA1")) for code in framer.feed(bytes([byte]), at * S // 1000)]
    assert [code.text for code in codes] == ["TBA1"]
    assert framer.to_send() == ACK


@pytest.mark.parametrize("cut", range(1, 11))
def test_a_packet_that_breaks_off_anywhere_is_asked_for_again_and_the_next_one_is_read(cut: int) -> None:
    framer = SsiFramer()
    framer.feed(decode("TBA0"), 0)
    framer.to_send()
    assert framer.feed(decode("TBA1")[:cut], 0) == []
    due_ns = framer.due_ns
    assert due_ns is not None
    assert framer.wake(due_ns) == []
    assert framer.to_send() == NAK
    assert framer.counters.broken == 1
    assert [code.text for code in framer.feed(decode("TBA1", status=Status.RETRANSMIT), due_ns)] == ["TBA1"]


def test_a_packet_behind_one_that_breaks_off_is_found_when_the_line_falls_silent() -> None:
    framer = SsiFramer()
    framer.feed(b"\x60\xf3\x00\x00\x03" + decode("TBA1"), 0)
    assert [code.text for code in framer.wake(S)] == ["TBA1"]


def test_a_resend_of_what_had_arrived_is_acknowledged_and_not_taken_twice() -> None:
    framer = SsiFramer()
    assert len(framer.feed(decode("TBA1"), 0)) == 1
    assert framer.to_send() == ACK
    assert framer.feed(decode("TBA1", status=Status.RETRANSMIT), 2 * S) == []
    assert framer.to_send() == ACK
    assert framer.counters.resent == 1


def test_the_same_label_scanned_twice_is_two_codes() -> None:
    framer = SsiFramer()
    assert len(framer.feed(decode("TBA1"), 0)) == 1
    framer.to_send()
    assert len(framer.feed(decode("TBA1"), S // 100)) == 1


def test_a_packet_that_the_line_doubles_is_one_code() -> None:
    assert len(SsiFramer().feed(2 * decode("TBA1"), 0)) == 1


def test_a_resend_long_after_is_another_scan_of_which_the_first_packet_was_lost() -> None:
    framer = SsiFramer()
    framer.feed(decode("TBA1"), 0)
    framer.to_send()
    assert len(framer.feed(decode("TBA1", status=Status.RETRANSMIT), 60 * S)) == 1


def test_a_long_code_comes_in_packets_each_of_which_is_acknowledged() -> None:
    framer = SsiFramer()
    assert framer.feed(decode("A" * 250, 0x11, Status.CONTINUATION), 0) == []
    assert framer.to_send() == ACK
    assert framer.feed(decode("B" * 250, 0x11, Status.CONTINUATION), S // 2) == []
    assert framer.to_send() == ACK
    assert framer.feed(decode("C", 0x11, Status.RETRANSMIT), 4 * S) == [
        Code("A" * 250 + "B" * 250 + "C", "]L0", "PDF417")
    ]
    assert framer.to_send() == ACK


def test_the_rest_of_a_code_that_is_sent_behind_noise_and_an_answer_to_us_belongs_to_its_beginning() -> None:
    framer = SsiFramer()
    framer.signal("good", 0)
    assert framer.feed(decode("A" * 250, 0x11, Status.CONTINUATION), S // 10) == []
    framer.feed(Packet(Opcode.CMD_ACK, source=Source.DECODER).encode(), S // 2)
    codes = framer.feed(decode("B" * 100, 0x11), S * 6 // 5)
    assert [code.text for code in codes] == ["A" * 250 + "B" * 100]


def test_the_beginning_of_a_code_without_its_end_is_dropped_and_counted() -> None:
    framer = SsiFramer()
    framer.feed(decode("A" * 250, status=Status.CONTINUATION), 0)
    assert framer.due_ns is not None
    framer.wake(framer.due_ns)
    assert framer.counters.unterminated == 1
    assert [code.text for code in framer.feed(decode("TBA1"), 20 * S)] == ["TBA1"]


def test_a_code_after_one_of_which_the_end_never_came_is_not_glued_to_it() -> None:
    framer = SsiFramer()
    framer.feed(decode("A" * 250, status=Status.CONTINUATION), 0)
    assert [code.text for code in framer.feed(decode("TBA1"), S)] == ["TBA1"]
    assert framer.counters.unterminated == 1


def test_another_symbology_begins_another_code() -> None:
    framer = SsiFramer()
    framer.feed(decode("A" * 250, 0x11, Status.CONTINUATION), 0)
    assert framer.feed(decode("TBA1", 0x03), S) == [Code("TBA1", "]C0", "Code 128")]
    assert framer.counters.unterminated == 1


def test_a_code_in_endless_packets_is_dropped_and_the_next_one_is_read() -> None:
    framer = SsiFramer()
    for turn in range(100):
        text = f"{turn:03}" + "A" * 240
        assert framer.feed(decode(text, 0x11, Status.CONTINUATION), turn * S // 3) == []
        assert len(framer._partial) <= MAX_MESSAGE_BYTES + 1
    assert framer.feed(decode("end", 0x11), 100 * S // 3) == []
    assert framer.counters.too_long == 1
    assert [code.text for code in framer.feed(decode("TBA1"), 101 * S)] == ["TBA1"]


def segments(text: bytes, symbology: int = 0x1C) -> list[bytes]:
    """A message in numbered segments, as scanners send it."""
    body = bytes([symbology, 1]) + len(text).to_bytes(2) + text
    message = bytes([Opcode.DECODE_DATA, 0, 0]) + (len(body) - 1).to_bytes(2) + body
    size = MAX_DATA_BYTES - 1
    return [
        Packet(
            Opcode.MULTIPACKET_SEGMENT,
            bytes([number]) + message[number * size : (number + 1) * size],
            source=Source.DECODER if number else Source.SEGMENT,
        ).encode()
        for number in range(-(-len(message) // size))
    ]


@pytest.mark.parametrize("length", [1, 240, 241, 242, 491, 500, 3000])
def test_a_code_in_numbered_segments_is_put_together(length: int) -> None:
    framer = SsiFramer()
    codes: list[Code] = []
    for segment in segments(b"Z" * length):
        codes += framer.feed(segment, 0)
        assert [packet.opcode for packet in sent(framer)] == [Opcode.MULTIPACKET_ACK]
    assert codes == [Code("Z" * length, "]Q1", "QR Code")]


def test_a_missing_segment_costs_its_code_and_no_other() -> None:
    framer = SsiFramer()
    first, _, third = segments(b"Y" * 600)
    assert framer.feed(first, 0) == []
    assert framer.feed(third, 0) == []
    assert framer.counters.unterminated == 1
    assert [code.text for segment in segments(b"Z" * 300) for code in framer.feed(segment, S)] == ["Z" * 300]


@pytest.mark.parametrize(
    ("opcode", "data"),
    [
        (Opcode.EVENT, b"\x0a"),
        (Opcode.CAPABILITIES_REPLY, bytes(12)),
        (Opcode.REPLY_REVISION, b"PAABLS00-001-R00 D0"),
        (Opcode.PARAM_SEND, b"\xff\xee\x01"),
        (0x80, b"\x00\x1d\x02"),
        (0x5A, b"of another year"),
    ],
)
def test_what_else_a_scanner_says_is_acknowledged_and_ignored(opcode: int, data: bytes) -> None:
    framer = SsiFramer()
    assert framer.feed(Packet(opcode, data, 0x80, Source.DECODER).encode(), 0) == []
    assert framer.to_send() == ACK
    assert framer.counters.dropped == 0
    assert [code.text for code in framer.feed(decode("TBA1"), S)] == ["TBA1"]


def test_an_echo_of_what_we_sent_is_no_message() -> None:
    framer = SsiFramer()
    framer.feed(ACK + Packet(Opcode.BEEP, b"\0").encode(), 0)
    assert framer.to_send() == b""


def test_each_tone_is_a_beep_of_its_own_and_what_is_well_lights_the_lamp_for_a_moment() -> None:
    for tone, beep, lit in (
        ("good", GOOD, True),
        ("repeat", REPEAT, True),
        ("bad", BAD, False),
        ("attention", ATTENTION, False),
    ):
        decoder, framer = Decoder(), SsiFramer()
        framer.signal(tone, 0)  # type: ignore[arg-type]
        exchange(framer, decoder, 0)
        assert (decoder.beeps, decoder.lamp) == ([beep], lit)
        if lit:
            assert framer.due_ns is not None
            framer.wake(framer.due_ns)
            exchange(framer, decoder, S)
        assert not decoder.lamp
        assert framer.due_ns is None


def exchange(framer: SsiFramer, decoder: Decoder, now_ns: int) -> list[Code]:
    """Let both ends talk over a perfect line until they are silent."""
    codes = []
    while data := framer.to_send():
        decoder.feed(data, now_ns)
        codes += framer.feed(decoder.to_send(), now_ns)
    return codes


def test_feedback_is_sent_again_with_the_bit_and_given_up_after_two_resends() -> None:
    framer = SsiFramer()
    framer.signal("bad", 0)
    beep = Packet(Opcode.BEEP, bytes([BAD]))
    assert sent(framer) == [beep]
    for _ in range(RESENDS):
        assert framer.due_ns is not None
        framer.wake(framer.due_ns)
        assert sent(framer) == [Packet(Opcode.BEEP, bytes([BAD]), Status.RETRANSMIT)]
    assert framer.due_ns is not None
    framer.wake(framer.due_ns)
    assert framer.to_send() == b""
    assert framer.counters.unanswered == 1
    # Set not to answer, it must not hear the next one three times.
    framer.signal("bad", 10 * S)
    assert sent(framer) == [beep]
    assert framer.due_ns is None


def test_feedback_that_arrived_damaged_is_sent_again_at_once_and_what_is_denied_is_not() -> None:
    framer = SsiFramer()
    framer.signal("good", 0)
    framer.to_send()
    refusal = Packet(Opcode.CMD_NAK, bytes([Cause.RESEND]), source=Source.DECODER).encode()
    framer.feed(refusal, 0)
    assert sent(framer) == [Packet(Opcode.BEEP, bytes([GOOD]), Status.RETRANSMIT)]
    for cause in (Cause.DENIED, Cause.BAD_CONTEXT):
        framer.feed(Packet(Opcode.CMD_NAK, bytes([cause]), source=Source.DECODER).encode(), 0)
        assert len(sent(framer)) == (1 if cause is Cause.DENIED else 0)  # the lamp, then nothing


def test_feedback_waits_while_a_packet_is_coming_in() -> None:
    framer = SsiFramer()
    packet = decode("TBA1")
    framer.feed(packet[:5], 0)
    framer.signal("good", 0)
    assert framer.to_send() == b""
    assert len(framer.feed(packet[5:], 0)) == 1
    assert [each.opcode for each in sent(framer)] == [Opcode.CMD_ACK, Opcode.BEEP]


def test_feedback_that_comes_too_late_is_not_given_for_another_scan() -> None:
    framer = SsiFramer()
    for _ in range(4):
        framer.signal("bad", 0)
    told = 0
    while framer.due_ns is not None:
        told += len(sent(framer))
        framer.wake(framer.due_ns)
    assert told == 3
    assert framer.counters.unanswered == 4


def test_feedback_that_nobody_takes_does_not_pile_up() -> None:
    framer = SsiFramer()
    for _ in range(1000):
        framer.signal("attention", 0)
    assert len(framer._link._waiting) <= 16
    assert framer.counters.unanswered > 900


def test_plain_text_is_no_code_says_what_to_set_and_is_asked_once_to_come_in_packets() -> None:
    framer = SsiFramer()
    for turn in range(4):
        assert framer.feed(b"TBA1\r", turn * 10 * S) == []
        while framer.due_ns is not None:
            assert framer.wake(framer.due_ns) == []
        requests = sent(framer)
        assert requests[:1] == ([Packet(Opcode.PARAM_SEND, b"\xff\xee\x01")] if turn == 0 else [])
        assert not any(packet.status & Status.PERMANENT for packet in requests)
        assert framer.trouble is not None
        assert 'set kind = "line"' in framer.trouble
        assert "Send Packeted Decode Data" in framer.trouble
    assert [code.text for code in framer.feed(decode("TBA1"), 50 * S)] == ["TBA1"]
    assert framer.trouble is None


def test_a_scanner_that_was_delivered_to_send_plain_text_is_read_from_its_second_scan_on() -> None:
    framer, decoder = SsiFramer(), Decoder()
    framer.feed(b"TBA1", 0)
    assert framer.due_ns is not None
    framer.wake(framer.due_ns)
    exchange(framer, decoder, S)
    assert decoder.parameters == [b"\xee\x01"]
    assert framer.trouble is None


def test_noise_is_told_to_be_a_wrong_baud_when_nothing_else_comes() -> None:
    framer = SsiFramer()
    for turn in range(3):
        assert framer.trouble is None
        framer.feed(b"\x80\xf8\x00\xfe", turn * S)
        assert framer.wake(turn * S + S // 2) == []
    assert framer.trouble == "sends what is no SSI packet: set baud as the scanner is set"
    assert framer.to_send() == b"", "nothing is written to what has not shown that it speaks SSI"


class BadLine:
    """What becomes of packets on their way: lost, damaged, doubled, behind noise; but never a message for good.

    A message has three attempts; the last one and its answer pass.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._attempts = {Source.DECODER: 0, Source.HOST: 0}
        self.faults = 0

    def pass_on(self, data: bytes) -> Iterator[bytes]:
        for packet in _find(bytearray(data)):
            yield from self._carry(packet)

    def _carry(self, packet: Packet) -> Iterator[bytes]:
        sender = Source(packet.source)
        if packet.opcode in (Opcode.CMD_ACK, Opcode.CMD_NAK, Opcode.MULTIPACKET_ACK):
            sender = Source.HOST if sender is Source.DECODER else Source.DECODER  # of the message it answers
        else:
            self._attempts[sender] = self._attempts[sender] + 1 if packet.resent else 1
        data = packet.encode()
        fault = self._random.random() if self._attempts[sender] <= RESENDS else 1.0
        self.faults += fault < 0.5
        if fault < 0.15:
            return
        if fault < 0.25:
            at, bit = self._random.randrange(len(data)), 1 << self._random.randrange(8)
            yield data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
        elif fault < 0.3:
            yield data[: self._random.randrange(1, len(data))]
        elif fault < 0.35:
            yield data[self._random.randrange(1, len(data)) :]
        elif fault < 0.4:
            yield data + self._random.randbytes(self._random.randrange(1, 8))
        elif fault < 0.5:
            yield 2 * data
        else:
            yield data


class World:
    """Both ends and the line between them, on a clock of their own."""

    def __init__(self, seed: int) -> None:
        self.line = BadLine(seed)
        self.framer, self.decoder = SsiFramer(), Decoder()
        self.now_ns = 0
        self.codes: list[Code] = []

    def scan(self, text: str, tone: Tone) -> None:
        """One label, and its answer; until both ends are done."""
        self.decoder.scan(text.encode(), self.now_ns, 0x11)
        heard = len(self.codes)
        for _ in range(1000):
            while (told := self.decoder.to_send()) or (said := self.framer.to_send()):
                self._run(told, self.framer) if told else self._run(said, self.decoder)
                if len(self.codes) > heard:
                    heard = len(self.codes)
                    self.framer.signal(tone, self.now_ns)
            dues = [due for due in (self.framer.due_ns, self.decoder.due_ns) if due is not None]
            if not dues:
                return
            self.now_ns = max(self.now_ns, min(dues))
            self.codes += self.framer.wake(self.now_ns)
            self.decoder.wake(self.now_ns)
        pytest.fail(f"no end after {text!r}: {self.codes}")

    def _run(self, data: bytes, receiver: SsiFramer | Decoder) -> None:
        for piece in self.line.pass_on(data):
            self.now_ns += len(piece) * S // 960
            if codes := receiver.feed(piece, self.now_ns):
                self.codes += codes


def drive(seed: int, scans: int) -> World:
    """Scan after scan; asserts that each arrives exactly once, in order, and that every answer is heard once."""
    world = World(seed)
    expected = []
    choose = random.Random(seed)
    tone: Tone = "bad"
    for number in range(scans):
        # Two like messages in a row, of which the first copy of the second is lost, cannot be told from a resend.
        tone = choose.choice([other for other in TONES if other != tone])
        text = f"TBA{number:06}" + "x" * choose.choice([0, 3, 9, 240, 600])
        world.scan(text, tone)
        expected.append({"good": GOOD, "repeat": REPEAT, "bad": BAD, "attention": ATTENTION}[tone])
        assert world.codes[-1].text == text
        assert len(world.codes) == number + 1
    assert world.decoder.beeps == expected
    assert world.decoder.transmit_errors == 0
    assert not world.decoder.lamp
    return world


@given(st.integers(0, 2**32))
def test_over_a_bad_line_every_scan_arrives_exactly_once_in_order_and_every_beep_is_heard(seed: int) -> None:
    drive(seed, 6)


@pytest.mark.soak
def test_ten_thousand_scans_over_a_bad_line_arrive_exactly_once_in_order() -> None:
    worlds = [drive(seed, 100) for seed in range(100)]
    assert sum(world.line.faults for world in worlds) > 10_000
