"""What becomes of the bytes of a scanner that sends lines, whatever they are and however they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.scanner.code import Code
from drivers.scanner.framing import MAX_MESSAGE_BYTES
from drivers.scanner.line import LineFramer
from drivers.scanner.ssi import Opcode, Packet, Source

TERMINATORS = ["auto", "cr", "lf", "crlf", "etx", "none"]


SILENCE_NS = 1_000_000_000


def texts(framer: LineFramer, data: bytes) -> list[str]:
    return [code.text for code in framer.feed(data)]


@pytest.mark.parametrize(
    ("terminator", "data"),
    [
        ("auto", b"TBA1\rTBA2\nTBA3\r\n"),
        ("cr", b"TBA1\rTBA2\rTBA3\r"),
        ("lf", b"TBA1\nTBA2\nTBA3\n"),
        ("crlf", b"TBA1\r\nTBA2\r\nTBA3\r\n"),
        ("\r", b"TBA1\rTBA2\rTBA3\r"),
        ("\n", b"TBA1\nTBA2\nTBA3\n"),
        ("\r\n", b"TBA1\r\nTBA2\r\nTBA3\r\n"),
    ],
)
def test_each_line_is_one_code(terminator: str, data: bytes) -> None:
    assert texts(LineFramer(terminator), data) == ["TBA1", "TBA2", "TBA3"]


@pytest.mark.parametrize("terminator", ["cr", "lf"])
def test_a_scanner_that_sends_both_ends_is_read_with_either_setting(terminator: str) -> None:
    assert texts(LineFramer(terminator), b"TBA1\r\nTBA2\r\n") == ["TBA1", "TBA2"]


def test_an_unknown_terminator_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r'expected "auto", "cr", "lf", "crlf", "etx" or "none", got \'tab\''):
        LineFramer("tab")


def test_the_symbology_identifier_is_taken_off_and_kept() -> None:
    assert LineFramer().feed(b"]C100340434161094042557\r]d2\r]\r") == [
        Code("00340434161094042557", "]C1", "Code 128"),
        Code("]d2", None),
        Code("]", None),
    ]


def test_group_separators_and_other_scripts_are_part_of_a_code() -> None:
    data = "]C1010950600013435210ABC\x1d21123\r[)>\x1e06\x1d\x04\rStraße 7 東京\r".encode()
    assert texts(LineFramer(), data) == ["010950600013435210ABC\x1d21123", "[)>\x1e06\x1d\x04", "Straße 7 東京"]


def test_a_line_of_a_megabyte_is_dropped_once_and_the_next_good_line_is_read() -> None:
    framer = LineFramer()
    for _ in range(256):
        assert framer.feed(b"A" * 4096) == []
    assert texts(framer, b"AAAA\rTBA1\r") == ["TBA1"]
    assert (framer.counters.too_long, framer.counters.codes, framer.counters.dropped) == (1, 1, 1)


def test_the_longest_line_that_is_allowed_is_read() -> None:
    framer = LineFramer("crlf")
    assert texts(framer, b"A" * MAX_MESSAGE_BYTES + b"\r") == []
    assert texts(framer, b"\n") == ["A" * MAX_MESSAGE_BYTES]


@pytest.mark.parametrize(
    "noise",
    [b"TB\x00A1", b"TBA\x1b[1", b"\xff\xfe\xfd", b"TBA\x7f1", b"\x06", b"\x15", b"TBA12\xb34567", b"TBA\xff123"],
)
def test_noise_is_no_code_and_is_counted(noise: bytes) -> None:
    framer = LineFramer()
    assert texts(framer, noise + b"\rTBA1\r") == ["TBA1"]
    assert (framer.counters.unreadable, framer.counters.lost) == (1, int(len(noise) > 1))


@pytest.mark.parametrize(
    "around", ["\x00", "\x01", "\x02", "\x03", "\x04", "\x16", "\x1b", "\t", " ", "\xa0", "\u2003", "\ufeff"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_what_surrounds_a_code_is_no_part_of_it(around: str, encoding: str) -> None:
    if encoding != "utf-8" and around > "\xff":
        return
    framer = LineFramer()
    data = f"{around}{around}]C0TBA1{around}\r\n".encode(encoding)
    assert [code[:3] for code in framer.feed(data)] == [("TBA1", "]C0", "Code 128")]
    assert framer.counters.dropped == 0


def test_separators_of_a_message_are_no_framing() -> None:
    data = b"]d2\x1d01095\x1d\r[)>\x1e06\x1d1\x1e\x04\r"
    assert texts(LineFramer(), data) == ["\x1d01095\x1d", "[)>\x1e06\x1d1\x1e\x04"]


LABELS = ["Straße 7, Köln", "MÜLLER GmbH", "Groß", "Größe 42 — 5 € ½", "O\u2019Brien, Ærø", "STRAßE"]


@pytest.mark.parametrize("text", LABELS)
@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
@pytest.mark.parametrize("terminator", ["auto", "cr", "crlf", "etx", "none"])
def test_a_label_with_letters_beyond_ascii_is_a_code_and_no_trouble(text: str, encoding: str, terminator: str) -> None:
    framer = LineFramer(terminator, 50)
    for turn in range(1, 6):
        codes = framer.feed(f"\x02{text}\x03\r\n".encode(encoding), turn * SILENCE_NS)
        codes += framer.wake((turn + 1) * SILENCE_NS)
        assert [(code.text, code.encoding) for code in codes] == [(text, encoding)]
        assert framer.trouble is None
    assert (framer.counters.guessed, framer.counters.lost) == (0 if encoding == "utf-8" else 5, 0)


def test_a_rest_without_an_end_is_dropped_and_counted_when_the_line_falls_idle() -> None:
    framer = LineFramer()
    framer.feed(b"TBA1")
    assert framer.due_ns is not None
    assert framer.wake(framer.due_ns) == []
    assert framer.due_ns is None
    assert framer.counters.unterminated == 1
    assert texts(framer, b"TBA2\r") == ["TBA2"]


def test_a_scanner_without_a_suffix_ends_its_codes_by_silence() -> None:
    framer = LineFramer("none", idle_flush_ms=50)
    assert framer.feed(b"]E04006381", 0) == []
    assert framer.feed(b"333931", 40_000_000) == []
    assert framer.wake(89_000_000) == []
    assert framer.wake(90_000_000) == [Code("4006381333931", "]E0", "EAN-13")]
    assert framer.wake(200_000_000) == []


def test_what_is_left_of_a_line_that_was_too_long_is_never_flushed_as_a_code() -> None:
    framer = LineFramer("none", idle_flush_ms=50)
    framer.feed(b"A" * 9000)
    framer.feed(b"TBA1")
    assert framer.wake(SILENCE_NS) == []
    assert framer.counters.too_long == 1


def held(framer: LineFramer) -> int:
    """How many bytes a framer keeps."""
    return len(framer._rest) + len(framer._unread) + len(framer._outbox)


lines = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"TBA123456789012", b"]C1ABC\x1dDEF", b"", b"\r", b"\n", b"x" * 70, b"y" * 64, b"z" * 65]),
    ),
    max_size=12,
)
ends = st.sampled_from([b"\r", b"\n", b"\r\n", b""])


@given(st.sampled_from(TERMINATORS), lines, ends, st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_however_the_bytes_are_chunked_the_codes_are_the_same(
    terminator: str, content: list[bytes], end: bytes, sizes: list[int]
) -> None:
    data = b"".join(line + end for line in content)
    whole, chunked = LineFramer(terminator, max_bytes=64), LineFramer(terminator, max_bytes=64)
    expected = whole.feed(data)
    found: list[Code] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += chunked.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == expected
    assert chunked.counters == whole.counters
    assert chunked.wake(SILENCE_NS) == whole.wake(SILENCE_NS)
    assert chunked.counters == whole.counters


@given(st.sampled_from(TERMINATORS), st.lists(st.one_of(st.binary(max_size=300), st.none()), max_size=60))
def test_garbage_never_raises_and_nothing_grows(terminator: str, chunks: list[bytes | None]) -> None:
    framer = LineFramer(terminator, idle_flush_ms=50, max_bytes=64)
    for chunk in chunks:
        codes = framer.feed(chunk) if chunk is not None else framer.wake(SILENCE_NS)
        assert all(0 < len(code.text.encode()) <= 64 for code in codes)
        assert held(framer) <= 65 + 600


@pytest.mark.parametrize("gap", [b"", b"\r\n", b"\n"])
def test_a_code_between_stx_and_etx_is_what_is_between_them(gap: bytes) -> None:
    framer = LineFramer("etx")
    data = gap.join([b"\x02]C0TBA1\x03", b"\x02TBA2\x03", b"TBA3\x03", b""])
    assert framer.feed(data) == [Code("TBA1", "]C0", "Code 128"), Code("TBA2", None), Code("TBA3", None)]
    assert framer.counters.dropped == 0


def test_a_code_that_lost_its_etx_does_not_spoil_the_next_one() -> None:
    framer = LineFramer("etx")
    assert texts(framer, b"\x02TBA1\x02TBA2\x03\xff\xfe\x02TBA3\x03") == ["TBA2", "TBA3"]
    assert framer.counters.unterminated == 2


@pytest.mark.parametrize(
    ("set_to", "sent", "advice"),
    [
        ("crlf", b"TBA1\r", 'set terminator = "cr"'),
        ("lf", b"TBA1\r", 'set terminator = "cr"'),
        ("cr", b"TBA1\n", 'set terminator = "lf"'),
        ("etx", b"TBA1\r\n", 'set terminator = "crlf"'),
        ("lf", b"\x02TBA1\x03\r", 'set terminator = "etx"'),
        ("auto", b"\x02TBA1\x03", 'set terminator = "etx"'),
        ("auto", b"TBA1", 'set terminator = "none" and idle_flush_ms = 50'),
    ],
)
def test_codes_with_another_end_are_told_with_the_end_to_set(set_to: str, sent: bytes, advice: str) -> None:
    framer = LineFramer(set_to)
    for _ in range(2):
        framer.feed(sent)
        framer.wake(SILENCE_NS)
    assert framer.trouble is not None
    assert advice in framer.trouble


@pytest.mark.parametrize("terminator", TERMINATORS)
def test_packets_of_ssi_are_told_from_noise_by_the_first_one(terminator: str) -> None:
    framer = LineFramer(terminator)
    framer.feed(Packet(Opcode.DECODE_DATA, b"\x03TBA1\r\n", source=Source.DECODER).encode())
    framer.wake(SILENCE_NS)
    assert framer.trouble is not None
    assert 'set kind = "ssi"' in framer.trouble


def test_what_is_no_text_is_told_to_be_a_wrong_baud_and_forgotten_with_the_next_code() -> None:
    framer = LineFramer()
    for turn in range(3):
        assert framer.trouble is None
        framer.feed(b"\xf8\x00\xfe\x80" * 40, turn * SILENCE_NS)
        framer.wake((turn + 1) * SILENCE_NS)
    assert framer.trouble == "sends what is no text: set baud as the scanner is set"
    framer.feed(b"TBA1\r")
    assert framer.trouble is None


def test_one_accident_is_no_trouble() -> None:
    framer = LineFramer()
    framer.feed(b"\x00")
    framer.wake(SILENCE_NS)
    assert framer.counters.dropped == 0, "a plug"
    framer.feed(b"TB\x001\r")
    framer.feed(b"TBA1\r")
    framer.feed(b"TBA2")
    framer.wake(SILENCE_NS)
    assert framer.counters.dropped == framer.counters.lost == 2
    assert framer.trouble is None
