"""The few points that tell a way, and its length."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.fixes import Filter, believed, distance_m
from drivers.readings import Fix
from drivers.track import MAX_GAP_M, MAX_GAP_S, STANDING_EVERY_S, TOLERANCE_M, Odometer, Track

START = (52.0907, 5.1214)
METRE = 1 / 111_195
EAST = METRE / math.cos(math.radians(START[0]))


def at(second: float, north_m: float, east_m: float = 0.0, **members: object) -> Fix:
    fix = Fix("receiver", round(second * 1e9), 3, None, START[0] + north_m * METRE, START[1] + east_m * EAST)
    return replace(fix, **members)  # type: ignore[arg-type]


def kept(way: list[Fix], track: Track | None = None) -> list[Fix]:
    track = track or Track()
    points = [point for fix in way for point in track.take(fix)]
    return points + track.end()


def off_the_line_m(fix: Fix, line: list[Fix]) -> float:
    """Distance from the nearest piece of the line, with complex numbers for metres east and north of the start."""

    def place(of: Fix) -> complex:
        assert of.latitude is not None
        assert of.longitude is not None
        return complex((of.longitude - START[1]) / EAST, (of.latitude - START[0]) / METRE)

    here, places = place(fix), [place(point) for point in line]
    nearest = min(abs(here - point) for point in places)
    for a, b in itertools.pairwise(places):
        if a != b:
            share = ((here - a) * (b - a).conjugate()).real / abs(b - a) ** 2
            nearest = min(nearest, abs(here - a - min(1.0, max(0.0, share)) * (b - a)))
    return nearest


steps = st.tuples(st.floats(0.1, 40), st.floats(-60, 60), st.floats(-60, 60), st.integers(1, 8))


@given(st.lists(steps, min_size=1, max_size=60))
def test_nowhere_was_the_vehicle_farther_from_the_line_than_the_stated_error(
    legs: list[tuple[float, float, float, int]],
) -> None:
    way, second, north, east = [at(0, 0)], 0.0, 0.0, 0.0
    for pause_s, north_m, east_m, times in legs:
        north, east = north + north_m, east + east_m
        for _ in range(times):
            second += pause_s
            way.append(at(second, north, east))
    line = kept(way)
    assert all(off_the_line_m(fix, line) <= TOLERANCE_M * 1.005 + 0.1 for fix in way)
    assert [point.monotonic_ns for point in line] == sorted({point.monotonic_ns for point in line})
    assert all(point in way for point in line)


def test_a_straight_road_needs_few_points_and_none_is_late() -> None:
    way = [at(second, 12.0 * second) for second in range(301)]
    track = Track()
    last_s = 0.0
    points = []
    for fix in way:
        for point in track.take(fix):
            points.append(point)
            last_s = point.monotonic_ns / 1e9
        assert fix.monotonic_ns / 1e9 - last_s <= MAX_GAP_S + 2
    points += track.end()
    assert len(points) <= 301 / MAX_GAP_S + 3
    assert points[0] is way[0]
    assert points[-1] is way[-1]


def test_a_fast_road_has_a_point_each_half_kilometre() -> None:
    line = kept([at(second, 35.0 * second) for second in range(121)])
    assert max(distance_m(a, b) for a, b in itertools.pairwise(line)) <= MAX_GAP_M + 35


def test_a_corner_is_a_point() -> None:
    north = [at(second, 10.0 * second) for second in range(15)]
    east = [at(14 + second, 140.0, 10.0 * second) for second in range(1, 15)]
    line = kept(north + east)
    assert len(line) == 3
    assert distance_m(line[1], at(0, 140.0)) <= TOLERANCE_M


def test_a_vehicle_that_stands_is_told_each_five_minutes() -> None:
    line = kept([at(second, 0.0) for second in range(3601)])
    assert len(line) == 13
    gaps = [(b.monotonic_ns - a.monotonic_ns) / 1e9 for a, b in itertools.pairwise(line)]
    assert gaps == [STANDING_EVERY_S] * 12


def test_when_it_came_to_rest_and_when_it_went_on_is_told() -> None:
    arrives = [at(second, 10.0 * second) for second in range(11)]
    stands = [at(second, 100.0) for second in range(11, 131)]
    leaves = [at(130 + second, 100.0 + 10.0 * second) for second in range(1, 11)]
    seconds = [round(point.monotonic_ns / 1e9) for point in kept(arrives + stands + leaves)]
    assert seconds == [0, 10, 130, 140]


def test_several_reports_of_one_epoch_are_one_place() -> None:
    way = [at(second + part / 100, 12.0 * second) for second in range(61) for part in range(4)]
    assert len(kept(way)) <= 5


def test_many_reports_a_second_take_no_more_points() -> None:
    slow, fast = ([at(tenth / rate, 12.0 * tenth / rate) for tenth in range(120 * rate)] for rate in (1, 10))
    assert abs(len(kept(slow)) - len(kept(fast))) <= 2


@pytest.mark.parametrize("longitude", [179.9995, -179.9995])
def test_the_date_line_is_no_detour(longitude: float) -> None:
    way = [replace(at(second, 0), longitude=(longitude + second * 1e-4 + 180) % 360 - 180) for second in range(25)]
    assert len(kept(way)) == 2


def test_the_odometer_counts_what_was_driven() -> None:
    odometer = Odometer()
    for second in range(101):
        odometer.take(at(second, 15.0 * second))
    assert odometer.metres == pytest.approx(1500, rel=0.01)


def test_a_vehicle_that_stands_drives_nothing_however_its_position_wanders() -> None:
    odometer, doubts = Odometer(), Filter()
    for second in range(600):
        wandering = at(second, 9 * math.sin(second / 7), 12 * math.sin(second / 23), speed_mps=0.1)
        odometer.take(doubts.take(wandering))
    assert odometer.metres <= 40


def test_a_jump_is_not_driven_whether_it_comes_back_or_not() -> None:
    odometer, doubts = Odometer(), Filter()
    for second in range(60):
        away_m = 3000.0 if 20 <= second < 23 or second >= 40 else 0.0
        odometer.take(doubts.take(at(second, 10.0 * second + away_m, speed_mps=10.0, heading=0.0)))
    assert odometer.metres == pytest.approx(10.0 * 53, abs=40)


def test_a_tunnel_is_driven() -> None:
    odometer, doubts = Odometer(), Filter()
    for second in (*range(10), *range(70, 80)):
        odometer.take(doubts.take(at(second, 15.0 * second, speed_mps=15.0, heading=0.0)))
    assert odometer.metres == pytest.approx(15.0 * 79, rel=0.02)


def test_a_poor_position_is_not_driven_to() -> None:
    odometer, doubts = Odometer(), Filter()
    for second in range(80):
        odometer.take(doubts.take(at(second, 400.0 * (second % 2), accuracy_m=500.0)))
    assert odometer.metres == 0


def test_the_odometer_goes_on_from_what_it_had() -> None:
    odometer = Odometer(1234.5)
    odometer.take(at(0, 0))
    odometer.take(at(5, 100))
    assert odometer.metres == pytest.approx(1334.5, abs=0.5)


def test_the_track_of_a_standing_vehicle_with_a_wandering_receiver_is_one_point() -> None:
    track, doubts, here, points = Track(), Filter(), None, []
    for second in range(200):
        fix = doubts.take(at(second, 9 * math.sin(second / 9), speed_mps=0.2))
        here = believed(here, fix)
        assert here is not None
        points += track.take(here)
    assert len(points) == 1
