"""What a code says of itself, and when it counts as the same one again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.labels.symbols import SYMBOLOGIES
from drivers.scanner.code import AIM, Code, Repeats, symbology_of
from drivers.scanner.ssi import SYMBOLOGIES as SSI_SYMBOLOGIES

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("]C0TBA1", Code("TBA1", "]C0", "Code 128")),
        ("]C100340434161094042557", Code("00340434161094042557", "]C1", "Code 128")),
        ("]A0ABC", Code("ABC", "]A0", "Code 39")),
        ("]E04006381333931", Code("4006381333931", "]E0", "EAN-13")),
        ("]E0012345678905", Code("012345678905", "]E0", "UPC-A")),
        ("]E001234565", Code("01234565", "]E0", "UPC-E")),
        ("]E496385074", Code("96385074", "]E4", "EAN-8")),
        ("]I0123456", Code("123456", "]I0", "ITF")),
        ("]L0X", Code("X", "]L0", "PDF417")),
        ("]U1X", Code("X", "]U1", "MaxiCode")),
        ("]Q1X", Code("X", "]Q1", "QR Code")),
        ("]d2X", Code("X", "]d2", "Data Matrix")),
        ("]z0X", Code("X", "]z0", "Aztec")),
        ("]e0X", Code("X", "]e0", "DataBar")),
        ("]F0A1A", Code("A1A", "]F0", "Codabar")),
        ("]G0X", Code("X", "]G0", "Code 93")),
        ("]X0X", Code("X", "]X0", None)),
        ("TBA1", Code("TBA1", None, None)),
        ("]C1", Code("]C1", None, None)),
        ("]?1X", Code("]?1X", None, None)),
    ],
)
def test_the_identifier_in_front_is_taken_off_and_names_the_symbology(text: str, expected: Code) -> None:
    assert Code.of(text) == expected


def test_symbologies_go_by_the_names_of_the_label_reader() -> None:
    named = {*AIM.values(), "EAN-8", "UPC-A", "UPC-E"}
    assert set(SYMBOLOGIES) <= named
    assert {name for name, _ in SSI_SYMBOLOGIES.values() if name} <= named


@given(st.text(max_size=8))
def test_no_text_breaks_it(text: str) -> None:
    code = Code.of(text)
    assert (code.identifier or "") + code.text == text
    symbology_of(text, text)


def test_the_same_code_of_the_same_scanner_within_a_moment_is_a_repeat() -> None:
    repeats = Repeats()
    one = Code("TBA1", "]C0", "Code 128")
    assert not repeats.scan("hand", one, 0).repeat
    assert repeats.scan("hand", one, S).repeat
    assert repeats.scan("hand", one, 2 * S).repeat
    assert not repeats.scan("hand", one, 4 * S).repeat
    assert not repeats.scan("other", one, 4 * S).repeat
    assert not repeats.scan("hand", Code("TBA1", "]Q1", "QR Code"), 4 * S).repeat


def test_what_is_remembered_has_a_bound() -> None:
    repeats = Repeats()
    for number in range(1000):
        repeats.scan("hand", Code(f"TBA{number}", None), 0)
    assert len(repeats._seen) <= 64
