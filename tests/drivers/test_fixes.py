"""What moves the vehicle and what is only said: the filter of fixes."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import fixes
from drivers.fixes import HELD_BACK_S, Filter, believed, distance_m
from drivers.readings import Doubt, Fix

START = (52.0907, 5.1214)
METRE = 1 / 111_195
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(second: float, north_m: float = 0.0, **members: Any) -> Fix:
    return replace(Fix("receiver", round(second * 1e9), 3, None, START[0] + north_m * METRE, START[1]), **members)


def time(second: float) -> str:
    return (NOON + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


class Seen:
    """The filter's doubts and where the vehicle is believed to be, metres north of the start."""

    def __init__(self) -> None:
        self.filter = Filter()
        self.here: Fix | None = None

    def take(self, *given: Fix) -> list[tuple[Doubt, ...]]:
        doubts = []
        for fix in given:
            judged = self.filter.take(fix)
            assert replace(judged, doubts=()) == fix, "a fix is flagged and otherwise left as it was"
            self.here = believed(self.here, judged)
            doubts.append(judged.doubts)
        return doubts

    @property
    def north_m(self) -> float:
        assert self.here is not None
        assert self.here.latitude is not None
        return (self.here.latitude - START[0]) / METRE


def driving(seconds: range, mps: float = 12.0, **members: Any) -> list[Fix]:
    return [at(second, mps * second, speed_mps=mps, heading=0.0, **members) for second in seconds]


def standing(seconds: range, north_m: float = 0.0, **members: Any) -> list[Fix]:
    return [at(second, north_m, speed_mps=0.05, **members) for second in seconds]


def test_the_example_in_the_module_is_right() -> None:
    assert doctest.testmod(fixes).failed == 0


def test_a_drive_is_not_doubted() -> None:
    seen = Seen()
    assert set(seen.take(*driving(range(60), accuracy_m=8.0))) == {()}
    assert seen.north_m == pytest.approx(12 * 59, abs=0.1)


@pytest.mark.parametrize("lost", [{"mode": 1}, {"latitude": None}, {"longitude": None}, {"mode": 0}])
def test_a_lost_fix_leaves_the_vehicle_where_it_was(lost: dict[str, Any]) -> None:
    seen = Seen()
    seen.take(*driving(range(5)))
    assert seen.take(at(5, 60, **lost)) == [(Doubt.NO_FIX,)]
    assert seen.north_m == pytest.approx(48, abs=0.1)


def test_a_poor_fix_does_not_move_the_vehicle() -> None:
    seen = Seen()
    seen.take(*driving(range(5), accuracy_m=9.0))
    assert seen.take(at(5, 90, accuracy_m=240.0)) == [(Doubt.POOR,)]
    assert seen.north_m == pytest.approx(48, abs=0.1)
    assert seen.take(at(6, 72, accuracy_m=20.0)) == [()]
    assert seen.north_m == pytest.approx(72, abs=0.1)


def test_an_error_that_is_not_told_is_no_poor_one() -> None:
    assert Seen().take(at(0, accuracy_m=None)) == [()]


def test_a_place_far_off_is_a_jump_and_what_follows_at_the_old_place_is_none() -> None:
    seen = Seen()
    seen.take(*driving(range(10)))
    jumps = [replace(fix, latitude=fix.latitude + 5000 * METRE) for fix in driving(range(10, 13)) if fix.latitude]
    assert seen.take(*jumps) == [(Doubt.JUMP,)] * 3
    assert seen.north_m == pytest.approx(108, abs=0.1)
    assert set(seen.take(*driving(range(13, 30)))) == {()}


def test_a_new_place_that_reports_agree_on_is_believed_in_the_end() -> None:
    seen = Seen()
    seen.take(*standing(range(10)))
    doubts = seen.take(*standing(range(10, 30), 5000.0))
    assert doubts[0] == (Doubt.JUMP,)
    assert () in doubts[5:8]
    assert seen.north_m == pytest.approx(5000, abs=0.1)


def test_places_that_no_two_reports_agree_on_are_not_held_back_for_ever() -> None:
    seen = Seen()
    seen.take(*standing(range(10)))
    wild = [at(second, 9000.0 * (1 + second % 7), speed_mps=0.0) for second in range(10, 60)]
    doubts = seen.take(*wild)
    first = doubts.index(())
    assert HELD_BACK_S - 1 <= first <= HELD_BACK_S + 1


def test_a_jump_with_a_speed_that_gpsd_worked_out_from_it_is_one() -> None:
    seen = Seen()
    seen.take(*driving(range(5)))
    assert seen.take(at(5, 460.0, speed_mps=412.0, heading=None)) == [(Doubt.JUMP,)]


def test_a_speed_that_the_receiver_measured_is_no_jump() -> None:
    assert set(Seen().take(*driving(range(20), mps=160.0))) == {()}


def test_coming_out_of_a_tunnel_is_no_jump() -> None:
    seen = Seen()
    seen.take(*driving(range(5), mps=20.0))
    seen.take(*[at(second, mode=1, latitude=None, longitude=None) for second in range(5, 65)])
    assert seen.take(*driving(range(65, 68), mps=20.0)) == [()] * 3


def test_reports_that_a_log_gives_faster_than_they_were_made_are_no_jumps() -> None:
    quick = [
        replace(fix, monotonic_ns=fix.monotonic_ns // 50, time=time(fix.monotonic_ns / 1e9))
        for fix in driving(range(60), 30.0)
    ]
    assert set(Seen().take(*quick)) == {()}


def test_a_vehicle_that_stands_stays_where_it_is_however_its_position_wanders() -> None:
    seen = Seen()
    seen.take(*driving(range(10)))
    seen.take(*standing(range(10, 20), 108.0))
    wandering = [at(second, 108 + 20 * math.sin(second / 30), speed_mps=0.1) for second in range(20, 320)]
    assert set(seen.take(*wandering)) <= {(Doubt.STANDING,), ()}
    assert seen.north_m == pytest.approx(108, abs=0.1)
    assert seen.here is not None
    assert seen.here.monotonic_ns == wandering[-1].monotonic_ns, "it is known to stand there now"


def test_a_vehicle_that_stood_moves_with_its_first_speed() -> None:
    seen = Seen()
    seen.take(*standing(range(60)))
    assert seen.take(at(60, 3.0, speed_mps=2.5, heading=0.0)) == [()]
    assert seen.north_m == pytest.approx(3.0, abs=0.1)


def test_a_vehicle_that_creeps_without_a_speed_is_followed_with_a_delay() -> None:
    seen = Seen()
    seen.take(*standing(range(30)))
    seen.take(*[at(second, 2.0 * (second - 30), speed_mps=0.0) for second in range(30, 130)])
    assert seen.north_m == pytest.approx(198, abs=40)


def test_a_receiver_that_tells_no_speed_stands_by_its_positions() -> None:
    seen = Seen()
    seen.take(*[at(second, 3 * math.sin(second)) for second in range(10)])
    assert seen.take(at(10, 9.0)) == [(Doubt.STANDING,)]


@pytest.mark.parametrize("pace", [1.0, 0.3, 30.0])
def test_reports_that_come_as_they_are_made_are_not_old(pace: float) -> None:
    given = [at(second / pace, 12.0 * second, time=time(second)) for second in range(300)]
    assert set(Seen().take(*given)) == {()}


def test_what_waited_while_gpsd_was_stopped_is_old_until_it_has_caught_up() -> None:
    seen = Seen()
    seen.take(*[at(second, 12.0 * second, time=time(second)) for second in range(10)])
    waited = [at(70 + second / 1000, 12.0 * second, time=time(second)) for second in range(10, 70)]
    doubts = seen.take(*waited)
    assert doubts[:50] == [(Doubt.OLD,)] * 50
    assert doubts[-4:] == [()] * 4
    assert seen.take(at(71, 12.0 * 71, time=time(71))) == [()]


def test_a_receiver_that_repeats_its_time_is_old() -> None:
    seen = Seen()
    seen.take(*[at(second, time=time(second)) for second in range(5)])
    doubts = seen.take(*[at(second, time=time(4)) for second in range(5, 20)])
    assert doubts[-1] == (Doubt.OLD,)
    assert seen.here is not None
    assert seen.here.monotonic_ns < 11e9, "it is not known to be there now"


def test_a_clock_of_the_receiver_that_is_set_back_does_not_make_it_old() -> None:
    seen = Seen()
    seen.take(*[at(second, 12.0 * second, time=time(second + 619_315_200)) for second in range(5)])
    assert set(seen.take(*[at(second, 12.0 * second, time=time(second)) for second in range(5, 60)])) == {()}


def test_a_time_that_is_none_is_no_reason_to_doubt() -> None:
    assert set(
        Seen().take(*[at(second, time=text) for second, text in enumerate(("", "noon", "2026-13-01", None))])
    ) == {()}


numbers = st.floats(0, 40) | st.none()


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5),
            st.floats(-90, 90),
            st.floats(-180, 180),
            numbers,
            numbers,
            st.floats(0, 1e4),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_no_position_is_held_back_for_longer_than_the_limit(
    reports: list[tuple[float, float, float, float | None, float | None, float, int]],
) -> None:
    seen, second, held_since = Seen(), 0.0, None
    for pause_s, latitude, longitude, speed, heading, accuracy_m, mode in reports:
        second += pause_s
        fix = at(
            second,
            speed_mps=speed,
            heading=heading,
            accuracy_m=accuracy_m,
            mode=mode,
            latitude=latitude,
            longitude=longitude,
        )
        (doubts,) = seen.take(fix)
        if doubts in ((), (Doubt.STANDING,)):
            held_since = None
            assert seen.here is not None
            assert distance_m(seen.here, fix) <= 60.1
        elif doubts != (Doubt.NO_FIX,):
            held_since = second if held_since is None else held_since
            assert second - held_since < HELD_BACK_S + 1e-6
