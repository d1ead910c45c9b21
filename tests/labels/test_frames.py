"""What a live camera has in view, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pictures import symbol, turned

from agent.labels import frames
from agent.labels.frames import FrameReader
from agent.labels.reader import Budget, Symbol
from drivers.readings import Frame

WIDTH, HEIGHT, FPS = 1280, 720, 15


class Eye:
    """A reader whose frames come at a steady pace and through a sensor's noise, on a machine that is never too slow."""

    def __init__(
        self,
        expected: Mapping[str, tuple[str, ...]] | None = None,
        fps: int = FPS,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.reader = FrameReader(clock)
        self.counters = self.reader.counters
        self._expected = expected
        self._fps = fps
        self._rng = np.random.default_rng(1)
        self._now_ns = 0

    def see(self, picture: Any, frames: int = 1, noise: float = 4.0) -> list[str]:
        """The texts in view after so many frames of one picture."""
        for _ in range(frames):
            self._now_ns += 1_000_000_000 // self._fps
            noisy = picture + self._rng.normal(0, noise, picture.shape)
            image = cv2.cvtColor(np.clip(noisy, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
            self.symbols = self.reader.look(Frame("camera", self._now_ns, image), self._expected)
        return [symbol.text for symbol in self.symbols]

    @property
    def reads(self) -> int:
        return self.counters.regions + self.counters.full


def scene(*labels: tuple[Any, int, int]) -> Any:
    """A background with labels, each with its upper left corner."""
    rng = np.random.default_rng(5)
    background = cv2.resize(rng.normal(110, 20, (9, 16)).astype(np.float32), (WIDTH, HEIGHT))
    for label, x, y in labels:
        background[y : y + label.shape[0], x : x + label.shape[1]] = label
    return background


EMPTY = scene()
TBA = symbol("TBA123456789012", scale=2)
OTHER = symbol("TBA210987654321", scale=2)


def test_a_label_that_lies_still_is_read_at_once_and_not_again_and_stays_in_view() -> None:
    eye = Eye()
    assert eye.see(scene((TBA, 300, 200))) == ["TBA123456789012"]
    assert eye.see(scene((TBA, 300, 200)), 30) == ["TBA123456789012"]
    assert eye.counters.still >= 26
    assert eye.reads <= 4


def test_a_picture_that_stands_still_is_read_again_ever_more_rarely() -> None:
    eye = Eye()
    reads = []
    for _ in range(4):
        before = eye.reads
        eye.see(EMPTY, 4 * FPS)
        reads.append(eye.reads - before)
    assert reads[0] >= 4
    assert 1 <= sum(reads[1:]) <= 3


def test_a_label_that_comes_into_view_and_then_lies_still_is_read_in_two_frames() -> None:
    eye = Eye()
    eye.see(EMPTY, 20)
    assert eye.see(scene((TBA, 300, 200)), 2) == ["TBA123456789012"]


def test_a_label_that_is_taken_away_is_no_longer_in_view() -> None:
    eye = Eye()
    eye.see(scene((TBA, 300, 200)), 5)
    assert eye.see(EMPTY, 2) == []


def test_a_label_that_lies_exactly_where_another_lay_is_noticed() -> None:
    eye = Eye()
    eye.see(scene((TBA, 300, 200)), 30)
    assert eye.see(scene((OTHER, 300, 200)), 2) == ["TBA210987654321"]


def test_a_small_code_that_comes_into_view_is_noticed() -> None:
    eye = Eye()
    eye.see(EMPTY, 20)
    small = symbol("TBA123456789012", "DataMatrix", scale=3)
    assert eye.see(scene((small, 1000, 500)), 2) == ["TBA123456789012"]


@pytest.mark.parametrize("change", [lambda picture: picture + 15, lambda picture: picture - 15], ids=["more", "less"])
def test_more_or_less_light_is_no_motion(change: Any) -> None:
    eye = Eye()
    eye.see(EMPTY, 40)
    before = eye.reads
    eye.see(change(EMPTY), 3)
    assert eye.reads == before


def test_the_noise_of_a_dark_place_is_no_motion() -> None:
    eye = Eye()
    eye.see(EMPTY, 40, noise=14)
    before = eye.reads
    eye.see(EMPTY, 5, noise=14)
    assert eye.reads == before


def test_of_the_frames_of_a_moving_label_the_sharpest_is_read() -> None:
    eye = Eye(fps=30)
    for number in range(12):
        picture = scene((TBA, 200 + 24 * number, 200))
        # One of three frames is sharp: a hand stands still for an instant.
        texts = eye.see(picture if number % 3 == 1 else cv2.blur(picture, (15, 1)))
        if number >= 4:
            assert texts == ["TBA123456789012"]
    assert eye.reads <= 5


def test_each_frame_of_a_moving_label_is_read_when_the_camera_is_slow() -> None:
    eye = Eye(fps=5)
    eye.see(EMPTY)
    for number in range(5):
        assert eye.see(scene((TBA, 200 + 30 * number, 200))) == ["TBA123456789012"]


def test_a_code_is_looked_for_where_it_was_and_told_in_the_corners_of_the_whole_frame() -> None:
    eye = Eye(fps=10)
    eye.see(scene((TBA, 600, 400)))
    for step in range(1, 5):
        eye.see(scene((TBA, 600 + 8 * step, 400)))
    assert eye.counters.regions >= 3
    assert eye.counters.full <= 2
    (found,) = eye.symbols
    left, top = found.corners[0]
    assert (left, top) == (pytest.approx(600 + 32 + 50, abs=12), pytest.approx(400 + 30, abs=12))


def test_a_second_label_is_found_while_the_first_is_followed() -> None:
    eye = Eye(fps=10)
    seen: list[str] = []
    for step in range(12):
        first = (TBA, 100 + 6 * step, 100)
        seen = eye.see(scene(first) if step < 3 else scene(first, (OTHER, 700, 500)))
    assert sorted(seen) == ["TBA123456789012", "TBA210987654321"]


def test_labels_that_lie_still_stay_in_view_while_something_else_moves() -> None:
    eye = Eye()
    labels = (TBA, 100, 100), (OTHER, 100, 400)
    assert len(eye.see(scene(*labels), 3)) == 2
    for step in range(2 * FPS):
        hand = scene(*labels)
        hand[500:700, 800 + 8 * step : 960 + 8 * step] = 20
        assert sorted(eye.see(hand)) == ["TBA123456789012", "TBA210987654321"]


def test_a_code_without_a_check_character_counts_once_two_frames_agree() -> None:
    eye = Eye()
    label = scene((symbol("PARCEL 4711", "Code39", scale=2), 300, 200))
    assert eye.see(label) == []
    assert eye.see(label) == ["PARCEL 4711"]
    assert eye.see(label, 5) == ["PARCEL 4711"]
    assert eye.counters.still >= 4


def test_a_code_without_a_check_character_counts_at_once_when_the_manifest_knows_it() -> None:
    assert Eye({"PARCEL4711": ("P1",)}).see(scene((symbol("PARCEL 4711", "Code39", scale=2), 300, 200))) == [
        "PARCEL 4711"
    ]


def test_two_frames_that_say_different_things_do_not_agree() -> None:
    eye = Eye()
    for digit in range(6):
        label = scene((symbol(f"PARCEL 471{digit}", "Code39", scale=2), 300, 200))
        assert eye.see(label) == []


def test_a_still_picture_in_which_something_else_is_read_each_time_is_soon_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[str] = []

    def read(_picture: Any, **_options: Any) -> list[Symbol]:
        reads.append(f"STRIPES{len(reads)}")
        return [Symbol(reads[-1], "Code 39", "]A0", ((0, 0), (90, 0), (90, 30), (0, 30)), "zxing")]

    monkeypatch.setattr(frames, "read", read)
    eye = Eye()
    eye.see(EMPTY, 4 * FPS)
    before = len(reads)
    assert eye.see(EMPTY, 4 * FPS) == []
    assert len(reads) - before <= 5


def test_products_are_looked_for_only_when_the_manifest_knows_such_numbers() -> None:
    product = scene((symbol("5901234123457", "EAN13"), 300, 200))
    assert Eye({"TBA123456789012": ("P1",)}).see(product, 3) == []
    assert Eye({"5901234123457": ("P1",)}).see(product) == ["5901234123457"]


def test_reading_takes_at_most_half_of_a_core_however_much_moves_and_however_slow_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used_s, budgets = 0.0, []

    def read(_picture: Any, *, budget: Budget, **_options: Any) -> list[Symbol]:
        nonlocal used_s
        used_s += 0.12
        budgets.append(budget.left)
        return []

    monkeypatch.setattr(frames, "read", read)
    eye, rng = Eye(clock=lambda: used_s), np.random.default_rng(3)
    for _ in range(3 * FPS):
        eye.see(rng.uniform(0, 255, (HEIGHT // 4, WIDTH // 4)).astype(np.float32), noise=0)
    # Half of three seconds, and what was saved up before, in readings of 120 ms.
    assert 5 <= len(budgets) <= 14
    # Work that was not done is not owed.
    assert set(budgets) == {frames.MAX_WORK}


@pytest.mark.parametrize("pace", [1, 20])
def test_what_is_read_in_a_frame_does_not_depend_on_how_slow_the_machine_is(pace: int) -> None:
    crooked = scene((turned(symbol("TBA123456789012", scale=2), 35)[:680], 300, 20))
    assert Eye(clock=lambda: time.thread_time() * pace).see(crooked) == ["TBA123456789012"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([(0, 0), (1, 1), (1, 700), (300, 1), (48, 64), (90, 160), (480, 640)]),
            st.booleans(),
            st.integers(0, 3),
            st.integers(0, 2_000_000_000),
        ),
        max_size=8,
    )
)
def test_frames_of_any_size_in_any_order_are_taken(seen: list[tuple[tuple[int, int], bool, int, int]]) -> None:
    reader = FrameReader()
    for size, grey, seed, stamp_ns in seen:
        shape = size if grey else (*size, 3)
        image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
        assert isinstance(reader.look(Frame("camera", stamp_ns, image)), list)
    assert reader.counters.frames == len(seen)
