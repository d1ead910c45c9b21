"""Several codes in a view: which of them is the parcel."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from agent.labels import choose as module
from agent.labels.choose import Choice, choose, parcels
from agent.labels.identity import identify
from agent.labels.reader import Symbol

TBA = "TBA123456789012"
OTHER_TBA = "TBA210987654321"
UPS = "1Z5R89390357567127"
SSCC = "00340434161094042557"
VIEW = (1280, 720)


def code(
    text: str,
    x: int = 640,
    y: int = 360,
    width: int = 300,
    symbology: str = "Code 128",
    identifier: str | None = None,
) -> Symbol:
    """A code of some width, upright around a point."""
    left, right, top, bottom = x - width // 2, x + width // 2, y - width // 8, y + width // 8
    return Symbol(text, symbology, identifier, ((left, top), (right, top), (right, bottom), (left, bottom)), "zxing")


def texts(choice: Choice) -> list[str]:
    return [parcel.text for parcel in choice.parcels]


def test_the_example_of_the_module_is_true() -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_a_view_without_codes_holds_no_parcel() -> None:
    assert choose([], {TBA: ("P1",)}, VIEW) == Choice()


def test_the_code_that_the_manifest_knows_is_the_parcel_however_small_and_far_out_it_is() -> None:
    view = [code(UPS, width=600), code("A-4711/1", 1200, 40, 60), code(TBA, 640, 500, 400)]
    choice = choose(view, {"A4711/1": ("P9",)}, VIEW)
    assert (texts(choice), choice.by) == (["A-4711/1"], "manifest")
    assert sorted(other.text for other in choice.beside) == [UPS, TBA]


def test_a_label_with_a_wrong_check_digit_is_the_parcel_when_the_manifest_has_that_very_number() -> None:
    choice = choose([code("1Z5R89390357567128"), code(TBA)], {"1Z5R89390357567128": ("P1",)}, VIEW)
    assert texts(choice) == ["1Z5R89390357567128"]


def test_a_product_number_is_the_parcel_only_when_the_manifest_says_so() -> None:
    view = [code("5901234123457", symbology="EAN-13", identifier="]E0")]
    assert choose(view, {}, VIEW).one is None
    assert texts(choose(view, {"5901234123457": ("P1",)}, VIEW)) == ["5901234123457"]


def test_two_parcels_of_the_manifest_are_asked_about_however_different_they_look() -> None:
    view = [code(OTHER_TBA, 200, 100, 100), code(TBA, width=500)]
    choice = choose(view, {TBA: ("P1",), OTHER_TBA: ("P2",)}, VIEW)
    assert choice.one is None
    assert (texts(choice), choice.by) == ([TBA, OTHER_TBA], "manifest")


def test_two_numbers_of_one_parcel_are_one_parcel() -> None:
    choice = choose([code(TBA), code(UPS, 640, 500)], {TBA: ("P1",), UPS: ("P1",)}, VIEW)
    assert choice.one is not None
    assert texts(choice) == [TBA]


def test_a_number_that_stands_there_twice_in_two_notations_is_one_parcel() -> None:
    message = f"[)>\x1e01\x1d96941042557\x1d840\x1d001\x1d{UPS}\x1dUPSN\x1d\x1e\x04"
    view = [code(UPS, 640, 500), code(message, 300, 200, 90, "MaxiCode"), code(SSCC[2:], 640, 600)]
    assert texts(choose(view[:2], {}, VIEW)) == [UPS]
    assert [parcel.text for parcel in parcels([*view, code(SSCC, identifier="]C1")])] == [UPS, SSCC[2:]]


def test_a_carriers_number_is_the_parcel_beside_routing_postcode_product_and_link() -> None:
    view = [
        code("ROUTE 7 SOUTH", 640, 100, 500),
        code("42098109", 640, 200, 500, identifier="]C1"),
        code("420981091234", 640, 250, 500, identifier="]C1"),
        code("5901234123457", 640, 300, 500, "EAN-13"),
        code("https://kerbside.example/1Z5R89390357567127", 640, 350, 500, "QR Code"),
        code(TBA, 1000, 600, 120),
    ]
    choice = choose(view, {"SOMETHING ELSE": ("P1",)}, VIEW)
    assert (texts(choice), choice.by) == ([TBA], "carrier")


def test_bare_digits_that_a_carriers_form_fits_by_chance_do_not_stand_against_a_number_that_tells() -> None:
    assert texts(choose([code("986578788855", width=900), code(UPS, 100, 100, 100)], {}, VIEW)) == [UPS]
    assert texts(choose([code("986578788855")], {}, VIEW)) == ["986578788855"]


def test_of_two_carriers_numbers_the_one_that_is_held_closer_is_the_parcel() -> None:
    choice = choose([code(UPS, 300, 100, 200), code(TBA, 900, 600, 300)], {}, VIEW)
    assert (texts(choice), choice.by) == ([TBA], "geometry")


def test_of_two_carriers_numbers_of_one_size_the_one_in_the_middle_is_the_parcel() -> None:
    view = [code(UPS, 1100, 600), code(TBA, 660, 380)]
    assert texts(choose(view, {}, VIEW)) == [TBA]
    assert choose(view, {}).one is None


def test_of_two_carriers_numbers_the_one_amid_the_codes_of_its_label_is_the_parcel() -> None:
    view = [code(UPS, 240, 360), code(TBA, 1040, 360), code("ROUTE 7 SOUTH", 1040, 500), code("42098109", 1040, 200)]
    assert texts(choose(view, {}, VIEW)) == [TBA]


def test_two_carriers_numbers_that_nothing_tells_apart_are_both_in_the_choice() -> None:
    choice = choose([code(UPS, 440, 360), code(TBA, 840, 360)], {}, VIEW)
    assert sorted(texts(choice)) == [UPS, TBA]
    assert choice.by == "carrier"


def test_a_number_of_no_known_form_is_the_parcel_when_nothing_better_is_in_view() -> None:
    choice = choose([code("ORDER-2231"), code("https://kerbside.example", symbology="QR Code")], {}, VIEW)
    assert (texts(choice), choice.by) == (["ORDER-2231"], "unknown")
    assert choose([code("SMILE PLEASE"), code("12345")], {}, VIEW).one is None


POOL = [TBA, OTHER_TBA, UPS, "1Z5R89390357567128", "ROUTE 7 SOUTH", "986578788855", "5901234123457", "", "]C1", "(00)1"]
codes = st.builds(
    code,
    st.one_of(st.sampled_from(POOL), st.text(max_size=60)),
    st.integers(0, 1280),
    st.integers(0, 720),
    st.integers(0, 900),
    st.sampled_from(["Code 128", "Code 39", "EAN-13", "QR Code", "MaxiCode"]),
    st.sampled_from([None, "]C1", "]C0", "]E0"]),
)
manifests = st.dictionaries(
    st.sampled_from([TBA, OTHER_TBA, UPS, "986578788855", "ROUTE7SOUTH"]), st.sampled_from([("P1",), ("P2",), ()])
)


@given(st.lists(codes, max_size=7), manifests)
def test_whatever_is_in_view_every_number_is_told_once_and_the_manifest_comes_first(
    view: list[Symbol], expected: dict[str, tuple[str, ...]]
) -> None:
    choice = choose(view, expected, VIEW)
    told = [*choice.parcels, *choice.beside]
    assert len(told) <= len(view)
    for symbol in view:
        codes = identify(symbol.text, symbol.identifier, symbol.symbology).codes
        assert any(not set(codes).isdisjoint(one.codes) for one in told)
    assert (choice.by is None) == (not choice.parcels)
    if any(expected.get(symbol.text) for symbol in view):
        assert choice.by == "manifest"
        assert all(any(expected.get(name) for name in (*one.codes, "ROUTE7SOUTH")) for one in choice.parcels)


@given(st.lists(codes.filter(lambda symbol: symbol.text in POOL), max_size=6, unique_by=lambda symbol: symbol.text))
def test_the_order_in_which_an_engine_tells_the_codes_does_not_matter(view: list[Symbol]) -> None:
    expected = {TBA: ("P1",), OTHER_TBA: ("P2",)}
    assert sorted(texts(choose(view, expected, VIEW))) == sorted(texts(choose(view[::-1], expected, VIEW)))
