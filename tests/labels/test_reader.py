"""Symbols are read from pictures, and a picture that cannot be read is told with the reason."""

from __future__ import annotations

import builtins
import functools
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from label_pictures import page, symbol, turned

from agent.labels import LabelError, engines, reader
from agent.labels.choose import parcels
from agent.labels.reader import Budget, Symbol, read


@pytest.mark.parametrize(
    ("writer", "text", "symbology", "identifier"),
    [
        ("Code128", "TBA123456789012", "Code 128", "]C0"),
        ("Code39Std", "KERB-17", "Code 39", "]A0"),
        ("Code93", "KERB17", "Code 93", "]G0"),
        ("Codabar", "A12345B", "Codabar", "]F0"),
        ("ITF", "12345678901231", "ITF", "]I1"),
        ("EAN13", "9506000134352", "EAN-13", "]E0"),
        ("EAN8", "96385074", "EAN-8", "]E4"),
        ("UPCA", "036000291452", "UPC-A", "]E0"),
        ("QRCode", "https://kerbside.example/p/1", "QR Code", "]Q1"),
        ("DataMatrix", "TBA123456789012", "Data Matrix", "]d1"),
        ("PDF417", "a page of text", "PDF417", "]L2"),
        ("Aztec", "TBA123456789012", "Aztec", "]z0"),
    ],
)
def test_a_symbol_is_read_with_its_symbology_and_identifier(
    writer: str, text: str, symbology: str, identifier: str
) -> None:
    (found,) = read(page(symbol(text, writer)))
    assert (found.text, found.symbology) == (text, symbology)
    assert found.identifier is not None
    assert found.identifier[:2] == identifier[:2]
    assert found.symbology in reader.SYMBOLOGIES


def test_a_gs1_message_keeps_its_identifier_and_its_separator() -> None:
    (found,) = read(page(symbol("(01)09506000134352(10)L7(21)AB12", gs1=True)))
    assert (found.text, found.identifier) == ("010950600013435210L7\x1d21AB12", "]C1")


def test_the_corners_lie_around_the_symbol() -> None:
    drawn = symbol("TBA123456789012")
    (found,) = read(page(np.full_like(drawn, 255), drawn))
    xs, ys = zip(*found.corners, strict=True)
    assert len(found.corners) == 4
    assert min(ys) >= drawn.shape[0]
    assert 0 <= min(xs) < max(xs) <= drawn.shape[1]


def test_several_symbols_come_from_top_to_bottom() -> None:
    found = read(page(symbol("TBA111111111111"), symbol("SECOND", "QRCode"), symbol("9506000134352", "EAN13")))
    assert [one.text for one in found] == ["TBA111111111111", "SECOND", "9506000134352"]


def test_only_the_symbologies_that_were_asked_for_are_read() -> None:
    picture = page(symbol("TBA111111111111"), symbol("SECOND", "QRCode"))
    assert [one.text for one in read(picture, symbologies=["QR Code"])] == ["SECOND"]
    assert read(picture, symbologies=["Aztec"]) == []


def test_a_grey_frame_a_cut_out_view_and_an_empty_picture_are_read_without_a_fault() -> None:
    picture = page(symbol("TBA111111111111"))
    assert read(picture[:, :, 0])[0].text == "TBA111111111111"
    assert read(picture[10:, 5:])[0].text == "TBA111111111111"
    assert read(np.zeros((0, 0, 3), np.uint8)) == []
    assert read(np.zeros((1, 1, 3), np.uint8)) == []


@pytest.fixture
def blind_zxing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if zxing-cpp found nothing."""
    monkeypatch.setattr(reader, "zxing", lambda *_, **__: iter(()))


@pytest.mark.usefixtures("blind_zxing")
def test_zbar_reads_what_zxing_does_not_find() -> None:
    (found,) = read(page(symbol("TBA123456789012")), symbologies=["Code 128"])
    assert (found.text, found.symbology) == ("TBA123456789012", "Code 128")
    assert found.identifier is None
    assert len(found.corners) == 4


@pytest.mark.usefixtures("blind_zxing")
def test_what_only_zbar_reads_of_a_retail_code_is_not_believed_unless_it_is_expected() -> None:
    picture = page(symbol("96385074", "EAN8"))
    assert read(picture) == []
    (found,) = read(picture, expected={"96385074"})
    assert (found.text, found.symbology, found.identifier) == ("96385074", "EAN-8", "]E4")


@pytest.mark.usefixtures("blind_zxing")
def test_a_short_code_39_of_zbar_is_stripes() -> None:
    assert read(page(symbol("A1", "Code39Std"))) == []


@pytest.mark.usefixtures("blind_zxing")
def test_when_the_work_for_a_frame_is_spent_no_further_step_is_begun() -> None:
    assert read(page(symbol("TBA123456789012")), budget=Budget(0), live=True) == []


@pytest.mark.usefixtures("blind_zxing")
def test_both_engines_always_read_the_whole_picture() -> None:
    (found,) = read(page(symbol("TBA123456789012")), budget=Budget(0))
    assert (found.text, found.stage) == ("TBA123456789012", "zbar")


def test_no_step_is_begun_that_would_exceed_the_budget() -> None:
    budget = Budget(2.5)
    read(turned(symbol("TBA123456789012"), 35), expected=["ANOTHER"], budget=budget)
    assert 0 <= budget.left < 2.5


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which everything takes a thousand times as long."""
    for name in ("monotonic", "perf_counter", "process_time", "thread_time", "time"):
        monkeypatch.setattr(time, name, functools.partial(slowed, getattr(time, name)))


def slowed(clock: Callable[[], float]) -> float:
    return clock() * 1000


@pytest.mark.usefixtures("slow_machine")
def test_a_crooked_label_is_read_on_however_slow_a_machine() -> None:
    assert [one.text for one in read(turned(symbol("TBA123456789012"), 35))] == ["TBA123456789012"]


@pytest.mark.usefixtures("slow_machine")
def test_a_clear_photo_of_twelve_megapixels_is_read_on_however_slow_a_machine() -> None:
    photo = np.full((3000, 4000), 170, np.uint8)
    # Too fine for the picture that is shrunk to two megapixels.
    label = np.rot90(symbol("TBA123456789012", scale=2))
    photo[1200 : 1200 + label.shape[0], 1000 : 1000 + label.shape[1]] = label
    assert [one.text for one in read(photo)] == ["TBA123456789012"]


@pytest.mark.usefixtures("blind_zxing")
def test_a_missing_zbar_library_is_told_once_and_reading_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain_import = builtins.__import__

    def without_zbar(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("pyzbar"):
            raise ImportError("Unable to find zbar shared library")
        return plain_import(name, *arguments, **options)

    engines._pyzbar.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_zbar)
    try:
        with caplog.at_level(logging.WARNING):
            assert read(page(symbol("TBA123456789012"))) == []
            assert read(page(symbol("TBA123456789012"))) == []
    finally:
        engines._pyzbar.cache_clear()
    assert [record.getMessage().count("libzbar0") for record in caplog.records] == [1]


def band(text: str, height: int = 1) -> Symbol:
    """A retail code of 95 modules of 2 pixels that was read in so many lines of the picture."""
    return Symbol(text, "EAN-13", "]E0", ((5, 50), (195, 50), (195, 50 + height), (5, 50 + height)), "zxing")


def at_first_sight(*texts: str, height: int = 1) -> Any:
    """An engine that reads these in the picture as it is, and nothing in what is made of it."""
    bands = [band(text, height) for text in texts]
    return lambda _picture, _wanted, stage, **_: iter(bands if stage in {"zxing", "zbar"} else [])


def test_a_retail_code_that_a_single_line_tells_is_believed_only_when_it_is_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "zxing", at_first_sight("9506000134352"))
    blank = np.full((100, 200), 255, np.uint8)
    assert read(blank) == []
    assert [one.text for one in read(blank, expected=["9506000134352"])] == ["9506000134352"]
    assert [one.text for one in read(blank, expected=lambda text: text.startswith("95"))] == ["9506000134352"]


@pytest.mark.parametrize(("height", "texts"), [(15, []), (35, []), (37, ["9506000134352"])])
def test_a_retail_code_is_believed_at_sight_only_in_a_band_as_high_as_its_quiet_zones_are_wide(
    monkeypatch: pytest.MonkeyPatch, height: int, texts: list[str]
) -> None:
    monkeypatch.setattr(reader, "zxing", at_first_sight("9506000134352", height=height))
    assert [one.text for one in read(np.full((100, 200), 255, np.uint8))] == texts


@pytest.mark.parametrize("first", [True, False])
def test_a_retail_code_inside_the_box_of_another_symbol_is_not_told(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    box = Symbol("a page of text", "PDF417", "]L2", ((0, 0), (200, 0), (200, 100), (0, 100)), "zxing")
    both = [box, band("9506000134352", 40)]
    monkeypatch.setattr(reader, "zxing", lambda *_, **__: iter(both if first else reversed(both)))
    assert [one.text for one in read(np.full((100, 200), 255, np.uint8))] == ["a page of text"]


def test_of_two_retail_texts_at_one_place_with_as_many_witnesses_neither_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = "9506000134352", "4006381333931"
    monkeypatch.setattr(reader, "zxing", at_first_sight(*texts))
    monkeypatch.setattr(reader, "zbar", at_first_sight(*texts))
    assert read(np.full((100, 200), 255, np.uint8)) == []


def test_on_a_picture_of_a_whole_label_crooked_bars_beside_another_code_are_read_too() -> None:
    picture = page(symbol("https://kerbside.example", "QRCode", scale=8), turned(symbol("TBA123456789012"), 35))
    picture = np.pad(picture, ((0, 0), (0, 700), (0, 0)), constant_values=255)
    assert {one.text for one in read(picture)} == {"https://kerbside.example", "TBA123456789012"}


def test_reading_goes_on_past_other_codes_until_an_expected_one_is_found() -> None:
    label = turned(symbol("TBA123456789012"), 35)
    picture = page(symbol("https://kerbside.example", "QRCode"), label)
    assert [one.symbology for one in read(picture)] == ["QR Code"]
    found = read(picture, expected={"TBA123456789012"})
    assert {one.text for one in found} == {"https://kerbside.example", "TBA123456789012"}


@pytest.mark.parametrize("degrees", [25, 35, 45, 55, 65, -30, -50])
@pytest.mark.parametrize(
    ("text", "writer", "symbology"),
    [
        ("TBA123456789012", "Code128", "Code 128"),
        ("KERB-2026", "Code39Std", "Code 39"),
        ("9506000134352", "EAN13", "EAN-13"),
    ],
)
def test_bars_are_read_however_they_are_turned_and_the_corners_are_where_they_stand(
    text: str, writer: str, symbology: str, degrees: float
) -> None:
    picture = turned(symbol(text, writer, scale=2), degrees)
    (found,) = read(picture)
    assert (found.text, found.symbology) == (text, symbology)
    xs, ys = zip(*found.corners, strict=True)
    height, width = picture.shape[:2]
    assert abs(sum(xs) / 4 - width / 2) < 25
    assert abs(sum(ys) / 4 - height / 2) < 25


def test_a_dark_noisy_frame_is_read() -> None:
    drawn = turned(symbol("TBA123456789012", scale=2), 20).astype(np.float32)
    noisy = np.clip(drawn * 0.12 + np.random.default_rng(7).normal(20, 5, drawn.shape), 0, 255).astype(np.uint8)
    (found,) = read(noisy)
    assert found.text == "TBA123456789012"


@pytest.mark.parametrize("text", ["9506000134352", "4006381333931", "036000291452"])
@pytest.mark.parametrize("upside_down", [False, True])
def test_a_retail_code_whose_bars_run_into_each_other_is_read_from_its_grey_levels(
    text: str, upside_down: bool
) -> None:
    drawn = symbol(text, "UPCA" if len(text) == 12 else "EAN13", scale=3)
    blurred = cv2.GaussianBlur(np.pad(drawn, 40, constant_values=255), (0, 0), 2.5)
    if upside_down:
        blurred = cv2.rotate(blurred, cv2.ROTATE_180)
    (found,) = read(blurred)
    assert (found.text, found.stage) == (text, "levels")
    assert found.identifier == "]E0"


@pytest.mark.parametrize("seed", [55, 72, 74, 100, 101, 124])
def test_blurred_stripes_that_resemble_the_digits_of_a_retail_code_are_none(seed: int) -> None:
    widths = np.random.default_rng(seed).integers(1, 5, 38) * 6
    row = 255 - np.repeat(np.arange(38) % 2 * 235.0, widths)[None]
    stripes = np.pad(np.repeat(row, 160, axis=0), ((40, 40), (80, 80)), constant_values=255)
    assert read(cv2.GaussianBlur(stripes, (0, 0), 3.2).astype(np.uint8), symbologies=["EAN-13", "UPC-A"]) == []


def test_the_same_picture_gives_the_same_answer() -> None:
    picture = page(turned(symbol("TBA123456789012"), 40), symbol("SECOND", "QRCode"))
    assert read(picture) == read(picture)


def test_a_picture_without_codes_gives_none() -> None:
    rng = np.random.default_rng(3)
    letters = np.full((480, 640), 230, np.uint8)
    for line in range(30, 480, 30):
        cv2.putText(letters, "no code stands in these lines", (10, line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 20, 2)
    stripes = np.tile((np.arange(640) // 8 % 2 * 255).astype(np.uint8), (480, 1))
    noise = rng.integers(0, 256, (480, 640), dtype=np.uint8)
    for picture in (letters, stripes, noise):
        assert read(picture) == []


def test_a_maxicode_on_a_tilted_label_is_read() -> None:
    drawn = np.pad(symbol("1Z12345E0205271688 KERBSIDE", "MaxiCode", scale=8), 200, constant_values=255)
    height, width = drawn.shape
    seen = np.array([[90, 60], [560, 20], [600, 450], [40, 420]], np.float32)
    outline = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(outline, seen)
    picture = cv2.warpPerspective(drawn, matrix, (640, 480), flags=cv2.INTER_AREA, borderValue=170)
    assert list(engines.zxing(picture, {"MaxiCode"}, "zxing", thorough=True)) == []
    (found,) = read(picture)
    assert (found.text, found.symbology, found.stage) == ("1Z12345E0205271688 KERBSIDE", "MaxiCode", "crop")


def test_reading_takes_one_thread() -> None:
    read(page(symbol("TBA123456789012")))
    assert cv2.getNumThreads() == 1


def test_a_unit_without_a_camera_does_not_hold_the_picture_libraries() -> None:
    code = (
        "import sys, agent.labels.reader, agent.labels.choose;"
        "print(sorted({'cv2', 'numpy', 'zxingcpp', 'pyzbar', 'biip'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_parcels_of_a_label_are_named_once_and_its_other_codes_are_not_parcels() -> None:
    picture = page(
        symbol("(00)340434161094042557", gs1=True),
        symbol("340434161094042557"),
        symbol("9506000134352", "EAN13"),
        symbol("https://kerbside.example/terms", "QRCode"),
        symbol("TBA123456789012", "QRCode"),
        symbol("1Z5R89390357567128"),
    )
    symbols = read(picture)
    assert len(symbols) == 6
    assert [(one.tracking_number, one.carrier, one.kind) for one in parcels(symbols)] == [
        ("00340434161094042557", "dhl", "sscc"),
        ("TBA123456789012", "amazon", "amazon_tba"),
    ]


def test_a_symbol_whose_identifier_is_unknown_still_names_its_parcel() -> None:
    seen = Symbol("TBA123456789012", "Code 128", None, ((0, 0), (9, 0), (9, 9), (0, 9)), "zbar")
    assert [one.tracking_number for one in parcels([seen])] == ["TBA123456789012"]


def test_a_picture_that_is_not_of_eight_bits_is_refused_with_what_was_expected() -> None:
    with pytest.raises(LabelError, match="uint16 values, expected 8 bits"):
        read(page(symbol("TBA123456789012")).astype(np.uint16))
