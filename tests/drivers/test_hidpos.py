"""What becomes of the reports of a scanner in HID POS mode, and what its report descriptor tells."""

from __future__ import annotations

import random

import pytest
from hid_devices import (
    OUT,
    collection,
    descriptor,
    item,
    page,
    report,
    reports,
    scanned_data,
    size,
    trigger,
    usage,
)
from hypothesis import given
from hypothesis import strategies as st

from drivers.readings import Encoding
from drivers.scanner.code import Code
from drivers.scanner.hidpos import CONTINUED_WITHIN_MS, STANDARD, HidPosFramer, Reports

SILENCE_NS = CONTINUED_WITHIN_MS * 1_000_000


def test_a_report_is_a_code_with_its_identifier_and_symbology() -> None:
    assert HidPosFramer().feed(report(b"00340434161094042557", identifier=b"]C1")) == [
        Code("00340434161094042557", "]C1", "Code 128")
    ]


def test_several_reports_are_one_code() -> None:
    text = "01" * 30 + "\x1d" + "x" * 90
    framer = HidPosFramer()
    parts = reports(text.encode(), b"]d2")
    assert len(parts) == 3
    assert [code for part in parts for code in framer.feed(part)] == [Code(text, "]d2", "Data Matrix")]
    assert framer.due_ns is None


@given(
    st.lists(st.tuples(st.sampled_from([b"]C0", b"]C1", b"]Q3", b"\0\0\0"]), st.binary(min_size=1, max_size=300))),
    st.randoms(use_true_random=False),
)
def test_whatever_text_is_sent_is_read_as_it_was(codes: list[tuple[bytes, bytes]], choose: random.Random) -> None:
    framer = HidPosFramer(Reports.of(descriptor(scanned_data(), trigger())) or STANDARD)
    heard, expected = [], []
    for identifier, content in codes:
        text = f"x{''.join(chr(0x20 + byte % 0x5F) for byte in content)}x"
        expected.append(Code.of(identifier.decode().strip("\0") + text))
        for part in reports(text.encode(), identifier):
            heard += framer.feed(part)
            if choose.random() < 0.2:
                heard += framer.feed(b"\x03" + choose.randbytes(choose.randrange(8)))  # the scanner's state
    assert heard == expected
    assert framer.counters.dropped == 0


def test_a_code_without_identifier_has_none_unless_its_data_begins_with_one() -> None:
    framer = HidPosFramer()
    assert framer.feed(report(b"TBA1", identifier=bytes(3))) == [Code("TBA1", None)]
    assert framer.feed(report(b"]C0TBA1", identifier=bytes(3))) == [Code("TBA1", "]C0", "Code 128")]
    assert framer.feed(report(b"]C0TBA1")) == [Code("TBA1", "]C0", "Code 128")]


def test_a_suffix_is_no_part_of_the_code() -> None:
    assert HidPosFramer().feed(report(b"TBA1\r\n")) == [Code("TBA1", "]C0", "Code 128")]


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_letters_beyond_ascii_are_read_in_both_usual_encodings(encoding: Encoding) -> None:
    framer = HidPosFramer()
    assert framer.feed(report("Straße".encode(encoding))) == [Code("Straße", "]C0", "Code 128", encoding)]
    assert framer.counters.guessed == (encoding != "utf-8")


def test_a_suffix_in_a_report_of_its_own_is_no_lost_code() -> None:
    framer = HidPosFramer()
    assert framer.feed(report(b"TBA1") + report(b"\r\n")) == [Code("TBA1", "]C0", "Code 128")]
    assert framer.counters.lost == 0


@pytest.mark.parametrize(
    "bad",
    [
        report(b"A" * 56, length=58)[:61] + b"BC\0",
        report(b"TBA1", length=255),
        report(b"", length=0),
        report(b"TBA1", identifier=b"TBA"),
        report(b"TBA1", identifier=b"]\xff0"),
        report(b"TB\x00A1"),
        report(b"TBA1")[:63],
        b"\2",
    ],
)
def test_a_report_of_another_form_is_dropped_and_counted_and_the_next_one_is_read(bad: bytes) -> None:
    framer = HidPosFramer()
    assert framer.feed(bad) == []
    assert framer.counters.unreadable == 1
    assert framer.feed(report(b"TBA2")) == [Code("TBA2", "]C0", "Code 128")]


def test_the_rest_of_a_code_whose_first_report_was_bad_is_no_code() -> None:
    framer = HidPosFramer()
    first, second, third = reports(b"A" * 150)
    assert framer.feed(first[:1] + b"\xff" + first[2:]) == []
    assert framer.feed(second) == framer.feed(third) == []
    assert framer.counters.dropped == 1
    assert framer.feed(report(b"TBA2")) == [Code("TBA2", "]C0", "Code 128")]


def test_a_code_whose_continuation_is_lost_is_dropped_in_silence() -> None:
    framer = HidPosFramer()
    assert framer.feed(reports(b"A" * 100)[0], now_ns=5) == []
    assert framer.due_ns == 5 + SILENCE_NS
    framer.wake(4 + SILENCE_NS)
    assert framer.counters.unterminated == 0
    framer.wake(5 + SILENCE_NS)
    assert framer.counters.unterminated == 1
    assert framer.feed(report(b"TBA2")) == [Code("TBA2", "]C0", "Code 128")]


def test_a_code_whose_continuation_is_lost_is_not_joined_with_another_kind_of_code() -> None:
    framer = HidPosFramer()
    framer.feed(reports(b"A" * 100)[0])
    assert framer.feed(report(b"4006381333931", identifier=b"]E0")) == [Code("4006381333931", "]E0", "EAN-13")]
    assert framer.counters.unterminated == 1


def test_a_full_report_may_be_followed_by_an_empty_one() -> None:
    framer = HidPosFramer()
    framer.feed(report(b"A" * 56, more=True))
    assert framer.feed(report(b"", identifier=bytes(3))) == [Code("A" * 56, "]C0", "Code 128")]


def test_a_code_that_never_ends_is_dropped_once_and_the_next_is_read() -> None:
    framer = HidPosFramer()
    for _ in range(2000):
        assert framer.feed(report(b"A" * 56, more=True)) == []
        assert len(framer._data) <= 8192
    assert framer.feed(report(b"A")) == []
    assert framer.feed(report(b"TBA1")) == [Code("TBA1", "]C0", "Code 128")]
    assert (framer.counters.too_long, framer.counters.dropped) == (1, 1)


def test_three_codes_lost_in_a_row_are_said_and_the_next_code_ends_it() -> None:
    framer = HidPosFramer()
    for _ in range(3):
        assert framer.trouble is None
        framer.feed(report(b"TBA1", identifier=b"???"))
    assert framer.trouble
    assert "HID POS" in framer.trouble
    framer.feed(report(b"TBA1"))
    assert framer.trouble is None


def test_the_usual_descriptor_describes_the_standard_form() -> None:
    assert Reports.of(descriptor(scanned_data())) == STANDARD._replace(number=2)


def test_a_scanner_with_reports_of_its_own_size_is_read_by_its_descriptor() -> None:
    found = Reports.of(descriptor(trigger(number=9), scanned_data(number=7, data_bytes=24, padding=0)))
    assert found is not None
    framer = HidPosFramer(found)
    sent = bytes((7, 4)) + b"]C0TBA1".ljust(27, b"\0") + b"\0"
    assert framer.feed(sent) == [Code("TBA1", "]C0", "Code 128")]


def test_a_scanner_without_report_numbers_and_identifiers_is_read_by_its_descriptor() -> None:
    found = Reports.of(descriptor(scanned_data(number=None, data_bytes=30, identifier=False, padding=0)))
    assert found is not None
    framer = HidPosFramer(found)
    assert framer.feed(bytes((4,)) + b"TBA1".ljust(30, b"\0") + b"\0") == [Code("TBA1", None)]


def test_what_is_no_bar_code_scanner_is_told_from_one() -> None:
    keyboard = page(1) + collection(6, page(7) + item(2, 1, 0xE0) + item(2, 2, 0xE7) + size(1, 8) + item(0, 8, 2), 1)
    assert Reports.of(keyboard) is None
    assert Reports.of(b"") is None
    assert Reports.of(keyboard + descriptor(scanned_data())) == STANDARD._replace(number=2)


def test_a_scanner_that_does_not_describe_its_codes_is_read_in_the_standard_form() -> None:
    found = Reports.of(descriptor(trigger(0x86)))
    assert found == STANDARD._replace(beeps={"good": b"\x04\x01"})


def test_a_scanner_that_can_beep_has_a_report_for_each_tone() -> None:
    # Prevent Read of Barcodes, Initiate Barcode Read, Sound Error Beep, Sound Good Read Beep.
    found = Reports.of(descriptor(scanned_data(), trigger(0, 0x5F, 0x60, 0, 0, 0x85, 0x86)))
    assert found is not None
    error, good = b"\x04\x20", b"\x04\x40"
    assert found.beeps == {"good": good, "repeat": error, "bad": error, "attention": error}


def test_a_scanner_that_knows_not_on_file_sounds_that_for_a_repeat() -> None:
    found = Reports.of(descriptor(scanned_data(), trigger(0x85, 0x86, 0x87)))
    assert found is not None
    assert found.beeps == {"good": b"\x04\x02", "repeat": b"\x04\x04", "bad": b"\x04\x01", "attention": b"\x04\x04"}


def test_a_descriptor_may_name_page_and_usage_at_once() -> None:
    found = Reports.of(descriptor(scanned_data(), page(0xFF66) + trigger(0x8C_0086, 0x8C_0085)))
    assert found is not None
    assert (found.beeps["good"], found.beeps["bad"]) == (b"\x04\x01", b"\x04\x02")


def test_a_report_of_a_size_that_can_not_be_is_not_made() -> None:
    too_long = size(8, 0xFFFF) + item(0, 9, OUT)
    assert Reports.of(descriptor(scanned_data(data_bytes=0xFFFF), trigger(0x85) + too_long)) == STANDARD


def test_a_beep_without_a_report_number_goes_out_behind_a_zero() -> None:
    found = Reports.of(descriptor(scanned_data(None), trigger(0x85, 0x86, number=None)))
    assert found is not None
    assert found.beeps["good"] == b"\x00\x02"


def test_a_scanner_whose_beeps_are_each_makers_own_has_none() -> None:
    found = Reports.of(descriptor(scanned_data(), trigger(0x5F, 0x60), page(0xFF66) + trigger(0x85, 0x86)))
    assert found is not None
    assert found.beeps == {}


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_descriptor_raises(noise: bytes, at: int) -> None:
    whole = descriptor(scanned_data(), trigger(0x85, 0x86))
    for broken in (noise, page(0x8C) + usage(2) + noise, whole[: at % len(whole)], whole[:at] + noise + whole[at:]):
        found = Reports.of(broken)
        if found:
            HidPosFramer(found).feed(report(b"TBA1"))
            assert all(len(message) <= 4097 for message in found.beeps.values())


def check_garbage(total_bytes: int, seed: int) -> None:
    choose = random.Random(seed)
    framer = HidPosFramer()
    fed, now_ns = 0, 0
    while fed < total_bytes:
        for _ in range(choose.randrange(1, 200)):
            noise = bytearray(choose.randbytes(choose.choice([64, 64, 64, 64, 64, 1, 63, 65, 128, 4096])))
            noise[0] = choose.choice([2, 2, 2, 3, noise[0]])
            if choose.random() < 0.7:
                noise[1:5] = bytes((choose.choice([0, 1, 56, 57]),)) + choose.choice([b"]C0", b"]Q1", bytes(3)])
            fed += len(noise)
            now_ns += choose.choice([1_000, 40_000_000])
            framer.wake(now_ns)
            framer.feed(bytes(noise), now_ns)
            assert len(framer._data) <= 8192
        heard = framer.feed(report(b"TBA1", identifier=b"]z0"), now_ns)
        heard = heard or framer.feed(report(b"TBA1", identifier=b"]z0"), now_ns)
        assert heard == [Code("TBA1", "]z0", "Aztec")]


def test_no_garbage_raises_or_grows_and_a_scan_after_it_is_found() -> None:
    check_garbage(500_000, seed=1)


@pytest.mark.soak
def test_megabytes_of_garbage_raise_nothing_and_a_scan_after_them_is_found() -> None:
    for seed in range(10):
        check_garbage(5_000_000, seed)
