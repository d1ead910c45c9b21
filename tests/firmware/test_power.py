"""When the vehicle's power says that the unit is to be shut down."""

from __future__ import annotations

from drivers.readings import Panel
from firmware_bridge.power import Power


class Vehicle:
    """Readings of a panel, one each 200 ms."""

    def __init__(self, shutdown_after_s: float = 60.0) -> None:
        self._power = Power(shutdown_after_s)
        self._now_s = 1000.0

    def for_s(self, duration_s: float, *, ignition: bool = True, supply_mv: int = 12_600) -> tuple[str, float] | None:
        """What is decided within that time, and after how long."""
        for number in range(int(duration_s / 0.2) + 1):
            panel = Panel("mount", int(self._now_s * 1e9), ignition, supply_mv, 0, (0, 0, 1000), "por", 1)
            self._now_s += 0.2
            if why := self._power.take(panel):
                return why, number * 0.2
        return None


def test_the_unit_stays_up_while_the_ignition_is_on() -> None:
    assert Vehicle().for_s(3600) is None


def test_the_unit_goes_down_some_time_after_the_ignition() -> None:
    vehicle = Vehicle(60)
    assert vehicle.for_s(10) is None
    decided = vehicle.for_s(100, ignition=False)
    assert decided
    assert decided[0] == "ignition"
    assert 59 < decided[1] < 61


def test_ignition_on_again_cancels_it() -> None:
    vehicle = Vehicle(60)
    assert vehicle.for_s(59, ignition=False) is None
    assert vehicle.for_s(1) is None
    assert vehicle.for_s(59, ignition=False) is None


def test_a_low_supply_takes_the_unit_down_at_once_with_the_ignition_on_or_off() -> None:
    for ignition in (True, False):
        vehicle = Vehicle(600)
        assert vehicle.for_s(5, supply_mv=12_600) is None
        decided = vehicle.for_s(10, ignition=ignition, supply_mv=10_500)
        assert decided
        assert decided[0] == "supply"
        assert decided[1] < 4


def test_starting_the_engine_is_no_low_supply() -> None:
    vehicle = Vehicle()
    assert vehicle.for_s(5) is None
    assert vehicle.for_s(2, supply_mv=6_500) is None
    assert vehicle.for_s(60, supply_mv=14_200) is None


def test_a_24_volt_vehicle_is_judged_by_its_own_measure() -> None:
    vehicle = Vehicle()
    assert vehicle.for_s(5, supply_mv=27_500) is None
    assert vehicle.for_s(60, supply_mv=24_000) is None
    assert vehicle.for_s(10, supply_mv=21_000) is not None


def test_a_supply_that_is_low_from_the_begin_takes_the_unit_down() -> None:
    for supply_mv in (6_000, 9_500, 10_999):
        decided = Vehicle().for_s(60, supply_mv=supply_mv)
        assert decided
        assert decided[0] == "supply"
        assert decided[1] < 4
    assert Vehicle().for_s(60, supply_mv=11_000) is None


def test_a_24_volt_supply_that_was_never_sound_is_not_judged() -> None:
    assert Vehicle().for_s(60, supply_mv=20_000) is None


def test_below_six_volts_is_judged_once_a_sound_supply_was_seen() -> None:
    vehicle = Vehicle()
    assert vehicle.for_s(5, supply_mv=11_800) is None
    assert vehicle.for_s(10, supply_mv=5_000) is not None


def test_a_supply_that_is_not_measured_or_never_was_a_vehicles_is_not_judged() -> None:
    assert Vehicle().for_s(60, supply_mv=5_999) is None
    assert Vehicle().for_s(60, supply_mv=0) is None
    assert Vehicle().for_s(60, supply_mv=5_000) is None
