"""The framing of SMP on a console, beside the `smp` package's own."""

from __future__ import annotations

import base64
import binascii
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from smp import packet

from firmware_bridge.framing import FRAME_BYTES, LINE_BYTES, Unframer, frames

MESSAGES = st.binary(min_size=1, max_size=2100)


def unframed(*data: bytes) -> list[bytes | str]:
    unframer = Unframer()
    return [what for piece in data for what in unframer.feed(piece)]


def by_smp(lines: list[bytes]) -> bytes:
    """What the `smp` package makes of the lines."""
    decoder = packet.decode()
    next(decoder)
    for line in lines:
        try:
            decoder.send(line)
        except StopIteration as done:
            return bytes(done.value)
    raise AssertionError("the message is not complete")


@given(MESSAGES)
def test_another_decoder_reads_our_lines(message: bytes) -> None:
    lines = frames(message)
    assert by_smp(lines) == message
    assert all(len(line) <= FRAME_BYTES and line.endswith(b"\n") for line in lines)


@given(MESSAGES, st.integers(8, 512))
def test_lines_of_another_encoder_of_any_length_are_read(message: bytes, line_length: int) -> None:
    assert unframed(*packet.encode(message, line_length=line_length)) == [message]


@given(MESSAGES, st.data())
def test_bytes_may_come_in_any_pieces(message: bytes, data: st.DataObject) -> None:
    whole = b"".join(frames(message)) * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]
    assert unframed(*pieces) == [message, message]


def test_lines_whose_base64_is_cut_anywhere_are_read() -> None:
    message = bytes(range(200))
    checked = (202).to_bytes(2, "big") + message + binascii.crc_hqx(message, 0).to_bytes(2, "big")
    body = base64.b64encode(checked)
    assert unframed(b"\x06\x09" + body[:75] + b"\n", b"\x04\x14" + body[75:] + b"\n") == [message]


def test_text_between_and_in_front_of_frames_is_told_apart() -> None:
    first, second, *_ = lines = frames(bytes(300))
    data = b"\x1b[0mboot\r\n" + b"uart:~$ " + first + b"<inf> app: \xc3\xa4 pressed\r\n" + second + b"".join(lines[2:])
    assert unframed(data) == ["boot", "uart:~$", "<inf> app: ä pressed", bytes(300)]


@given(MESSAGES, st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_never_becomes_another_message(message: bytes, at: int, bit: int) -> None:
    damaged = bytearray(b"".join(frames(message)))
    damaged[at % len(damaged)] ^= 1 << bit
    read = [what for what in unframed(bytes(damaged), b"\n") if isinstance(what, bytes)]
    assert read in ([], [message])  # a bit that neither base64 nor a carriage return minds


@given(st.lists(st.one_of(MESSAGES, st.binary(max_size=200).map(lambda data: bytearray(data)))))
def test_whatever_comes_before_a_message_is_read_after_a_line_end(noise: list[bytes | bytearray]) -> None:
    unframer = Unframer()
    for piece in noise:
        list(unframer.feed(bytes(piece) if isinstance(piece, bytearray) else frames(piece)[0]))
    assert list(unframer.feed(b"\n" + b"".join(frames(b"at last"))))[-1] == b"at last"


def test_what_is_lost_is_counted() -> None:
    first, second, third = frames(bytes(250))
    unframer = Unframer()
    assert not list(unframer.feed(second))  # without its begin
    assert not list(unframer.feed(first + third))  # without its middle
    assert not list(unframer.feed(b"\x06\x09????\n"))
    assert not list(unframer.feed(first[:40] + first + second + third[:-5] + b"\n"))
    assert unframer.garbled >= 4


def test_a_line_without_an_end_takes_no_memory() -> None:
    unframer = Unframer()
    for _ in range(50):
        assert not list(unframer.feed(b"\x06\x09" + bytes(LINE_BYTES // 10)))
    assert len(unframer._line) <= LINE_BYTES
    assert list(unframer.feed(b"\n" + frames(b"on")[0])) == [b"on"]
