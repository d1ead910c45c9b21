"""What is kept of the last seconds of a camera, and what is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ring import Ring

S = 1_000_000_000


def test_pictures_of_the_last_seconds_are_kept_and_older_ones_are_forgotten() -> None:
    ring = Ring(2.0)
    for second in range(6):
        ring.add(second * S, b"%d" % second)
    assert [shot.data for shot in ring.since(0)] == [b"4", b"5"]
    assert ring.bytes == 2
    assert ring.short_s is None


def test_what_is_too_old_is_forgotten_although_nothing_new_comes() -> None:
    ring = Ring(2.0)
    ring.add(1 * S, b"one")
    ring.add(2 * S, b"two")
    ring.forget(3 * S)
    assert [shot.data for shot in ring.since(0)] == [b"two"]
    ring.forget(9 * S)
    assert (ring.since(0), ring.bytes) == ([], 0)


def test_pictures_since_an_instant_include_the_one_of_that_instant() -> None:
    ring = Ring(100.0)
    for second in range(1, 5):
        ring.add(second * S, b"%d" % second)
    assert [shot.monotonic_ns // S for shot in ring.since(3 * S)] == [3, 4]
    assert ring.since(4 * S + 1) == []


def test_when_room_is_tighter_than_time_the_oldest_go_and_it_is_known_how_much_is_held() -> None:
    ring = Ring(10.0, max_bytes=1000)
    for second in range(8):
        ring.add(second * S, bytes(300))
    assert [shot.monotonic_ns // S for shot in ring.since(0)] == [5, 6, 7]
    assert ring.bytes == 900
    assert ring.short_s == pytest.approx(2.0)


def test_a_picture_larger_than_all_room_is_not_kept() -> None:
    ring = Ring(10.0, max_bytes=1000)
    ring.add(1 * S, bytes(2000))
    assert (ring.since(0), ring.bytes, ring.short_s) == ([], 0, 0.0)


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 400)), max_size=60))
def test_it_never_holds_more_bytes_or_more_time_than_it_may(added: list[tuple[int, int]]) -> None:
    ring, now_ns = Ring(5.0, max_bytes=1000), 0
    for step_ns, length in added:
        now_ns += step_ns
        ring.add(now_ns, bytes(length))
        held = ring.since(0)
        assert ring.bytes == sum(len(shot.data) for shot in held) <= 1000
        assert all(now_ns - shot.monotonic_ns < 5 * S for shot in held)
        assert held[-1].monotonic_ns == now_ns
