"""A trip goes on after a restart, and is not followed once its block has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.position.trip import Trip
from drivers.fixes import distance_m
from drivers.readings import Doubt, Fix

START = (52.0907, 5.1214)
METRE = 1 / 111_195


def at(second: float, north_m: float, doubts: tuple[Doubt, ...] = ()) -> Fix:
    return Fix("receiver", round(second * 1e9), 3, None, START[0] + north_m * METRE, START[1], doubts=doubts)


def drive(trip: Trip, seconds: range, block_id: str | None = "B7") -> list[Fix]:
    return [point for second in seconds for point in trip.take(at(second, 15.0 * second), block_id)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trip.json"


def test_only_the_way_of_an_active_block_is_told(file: Path) -> None:
    trip = Trip(file)
    assert drive(trip, range(60), None) == []
    assert trip.metres(None) is None
    assert not file.exists()
    points = drive(trip, range(60, 180))
    assert points[0] == at(60, 900)
    assert trip.metres("B7") == pytest.approx(119 * 15, abs=1)
    assert trip.metres("B8") is None
    ends = trip.follow(None)
    assert ends == [at(179, 15.0 * 179)]
    assert trip.metres("B7") is None
    assert not file.exists()
    assert drive(trip, range(180, 240), None) == []


def test_the_next_block_is_counted_from_nothing(file: Path) -> None:
    trip = Trip(file)
    drive(trip, range(60))
    drive(trip, range(60, 62), "B8")
    assert trip.metres("B8") == pytest.approx(15, abs=1)


def test_after_an_orderly_restart_the_count_goes_on(file: Path) -> None:
    first = Trip(file)
    drive(first, range(101))
    first.save()
    again = Trip(file)
    assert again.metres("B7") == pytest.approx(1500, abs=1)
    drive(again, range(110, 121))
    assert again.metres("B7") == pytest.approx(1800, abs=15)


def test_after_a_kill_the_way_since_the_last_half_minute_is_a_straight_line(file: Path) -> None:
    drive(Trip(file), range(101))
    again = Trip(file)
    drive(again, range(110, 121))
    assert again.metres("B7") == pytest.approx(1800, abs=15)


def test_a_unit_that_comes_back_far_away_was_not_driven_there_by_it(file: Path) -> None:
    drive(Trip(file), range(61))
    again = Trip(file)
    again.take(at(70, 50_000), "B7")
    again.take(at(71, 50_015), "B7")
    assert again.metres("B7") == pytest.approx(915, abs=1)


def test_a_count_for_another_block_is_not_taken_over(file: Path) -> None:
    drive(Trip(file), range(61))
    again = Trip(file)
    assert again.metres("B8") is None
    again.take(at(70, 0), "B8")
    assert again.metres("B8") == 0


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"[]", b'{"purpose": "B7", "metres": "far"}', b"{}"])
def test_a_damaged_count_begins_anew(file: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(damage)
    assert Trip(file).metres("B7") is None
    assert "the odometer begins anew" in caplog.text


def test_a_full_disk_costs_no_more_than_the_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trip = Trip(tmp_path / "gone" / "trip.json")
    drive(trip, range(61))
    assert trip.metres("B7") == pytest.approx(900, abs=1)
    assert "the odometer cannot be kept" in caplog.text


def test_it_is_written_rarely(file: Path) -> None:
    trip = Trip(file)
    drive(trip, range(29))
    written = json.loads(file.read_text())
    assert written["metres"] == 0
    drive(trip, range(29, 40))
    assert json.loads(file.read_text())["metres"] > 0


@pytest.mark.parametrize("doubt", [Doubt.JUMP, Doubt.POOR, Doubt.OLD])
def test_a_doubted_fix_is_neither_here_nor_told_nor_driven(file: Path, doubt: Doubt) -> None:
    trip = Trip(file)
    drive(trip, range(61))
    before = trip.here
    assert trip.take(at(61, 9000, (doubt,)), "B7") == []
    assert trip.here is before
    assert trip.metres("B7") == pytest.approx(900, abs=1)


def test_a_vehicle_that_stands_is_there_now(file: Path) -> None:
    trip = Trip(file)
    drive(trip, range(61))
    trip.take(at(65, 907, (Doubt.STANDING,)), "B7")
    assert trip.here is not None
    assert distance_m(trip.here, at(60, 900)) == 0
    assert trip.here.monotonic_ns == 65 * 10**9
