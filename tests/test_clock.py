"""The clock as its reader notices it: the order never changes, the label follows the best knowledge."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

import agent.built
from agent import clock
from agent.built import built_ms
from agent.clock import Clock, Synchronized

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BUILT = NOON - timedelta(days=40)
ERA = timedelta(weeks=1024)
UNSET = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """The hands of the machine's clocks, held by the test."""

    wall: datetime = NOON
    uptime_s: float = 100.0
    synchronised: bool = False
    battery_clock: bool = False

    def pass_s(self, seconds: float) -> None:
        self.uptime_s += seconds
        self.wall += timedelta(seconds=seconds)

    def step(self, **by: float) -> None:
        """Move the system's wall clock alone, as `date -s` does."""
        self.wall += timedelta(**by)

    @property
    def monotonic_ns(self) -> int:
        return round(self.uptime_s * 1e9)


@pytest.fixture
def world(mocker: MockerFixture) -> Iterator[World]:
    world = World()
    mocker.patch("time.time_ns", side_effect=lambda: round(world.wall.timestamp() * 1e9))
    mocker.patch("time.monotonic_ns", side_effect=lambda: world.monotonic_ns)
    mocker.patch.object(clock, "system_is_synchronised", side_effect=lambda: world.synchronised)
    mocker.patch.object(clock, "_battery_clock_agrees", side_effect=lambda: world.battery_clock)
    mocker.patch.object(clock, "built_ms", return_value=round(BUILT.timestamp() * 1000))
    yield world
    mocker.stopall()


def fixes(unit: Clock, world: World, *times: datetime | None, mode: int = 3) -> list[Synchronized | None]:
    """One report a second, each with the time given."""
    answers = []
    for time in times:
        world.pass_s(1)
        text = None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        answers.append(unit.fix(mode, text, world.monotonic_ns))
    return answers


def seconds_from(start: datetime, count: int) -> list[datetime]:
    return [start + timedelta(seconds=second) for second in range(count)]


def test_the_real_clock_gives_this_boot_a_uptime_and_a_time() -> None:
    moment = Clock().now()
    assert moment.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert moment.uptime_ms > 0
    assert moment.trust in {"gps", "ntp", "rtc", "unsynced"}
    assert abs(moment.wall_ms / 1000 - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize(
    ("synchronised", "battery_clock", "trust"),
    [(True, True, "ntp"), (True, False, "ntp"), (False, True, "rtc"), (False, False, "unsynced")],
)
def test_the_label_says_how_far_the_system_clock_can_be_trusted(
    world: World, synchronised: bool, battery_clock: bool, trust: str
) -> None:
    world.synchronised, world.battery_clock = synchronised, battery_clock
    moment = Clock().now()
    assert moment.trust == trust
    assert moment.time == "2026-11-21T12:00:00.000Z"


@pytest.mark.parametrize("days", [-4000, -1, 1, 4000])
def test_a_step_of_the_wall_clock_reorders_nothing(world: World, days: int) -> None:
    unit = Clock()
    before = unit.now()
    world.pass_s(1)
    world.step(days=days)
    after = unit.now()
    assert after.uptime_ms == before.uptime_ms + 1000
    assert after.boot_id == before.boot_id


@given(steps=st.lists(st.floats(-1e8, 1e8), max_size=20))
def test_uptime_never_goes_back_however_the_wall_clock_jumps(steps: list[float]) -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time_ns", lambda: round(world.wall.timestamp() * 1e9))
        patch.setattr("time.monotonic_ns", lambda: world.monotonic_ns)
        patch.setattr(clock, "system_is_synchronised", lambda: False)
        patch.setattr(clock, "_battery_clock_agrees", lambda: False)
        patch.setattr(clock, "built_ms", lambda: round(BUILT.timestamp() * 1000))
        unit = Clock()
        moments = [unit.now()]
        for step in steps:
            world.pass_s(0.5)
            world.wall = max(datetime(1971, 1, 1, tzinfo=UTC), world.wall + timedelta(seconds=step))
            moments.append(unit.now())
    uptimes = [moment.uptime_ms for moment in moments]
    assert uptimes == sorted(set(uptimes))
    assert all(moment.time >= "2026-10-12T12:00:00" for moment in moments)


def test_a_clock_that_was_never_set_is_not_believed(world: World) -> None:
    world.wall = datetime(1970, 1, 1, tzinfo=UTC)
    world.battery_clock = True
    unit = Clock()
    world.pass_s(5)
    moment = unit.now()
    assert moment.time == "2026-10-12T12:00:05.000Z"
    assert moment.trust == "unsynced"


def test_after_a_power_cut_time_goes_on_from_the_last_that_could_be_trusted(world: World, tmp_path: Path) -> None:
    world.synchronised = True
    Clock(tmp_path).tick()
    world.synchronised = False
    world.wall = BUILT
    moment = Clock(tmp_path).now()
    assert moment.time == "2026-11-21T12:00:00.000Z"
    assert moment.trust == "unsynced"


def test_a_time_that_nobody_vouches_for_is_not_kept(world: World, tmp_path: Path) -> None:
    world.wall = datetime(2038, 1, 1, tzinfo=UTC)
    Clock(tmp_path).tick()
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_of_the_last_time_is_no_harm(world: World, tmp_path: Path) -> None:
    (tmp_path / clock.FLOOR_FILE).write_bytes(b"\x00\xff")
    assert Clock(tmp_path).now().time == "2026-11-21T12:00:00.000Z"


def test_a_full_disk_does_not_stop_the_clock(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world.synchronised = True
    unit = Clock(tmp_path / "gone")
    unit.tick()
    assert unit.now().trust == "ntp"
    assert "the last trusted time cannot be kept" in caplog.text


def test_satellite_time_counts_after_three_3d_fixes_that_agree(world: World) -> None:
    world.wall = datetime(1970, 1, 1, tzinfo=UTC)
    unit = Clock()
    first, second, third = fixes(unit, world, *seconds_from(NOON, 3))
    assert first is None
    assert second is None
    assert third is not None
    assert third.previous_trust == "unsynced"
    assert third.step_ms > 0
    assert unit.now().trust == "gps"
    assert unit.now().time == "2026-11-21T12:00:02.000Z"


def test_the_first_report_after_a_loss_with_its_old_time_is_not_believed(world: World) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON, 2))
    fixes(unit, world, NOON - timedelta(minutes=20), mode=1)
    assert fixes(unit, world, *seconds_from(NOON + timedelta(seconds=4), 2)) == [None, None]
    assert unit.now().trust == "unsynced"


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([NOON, NOON, NOON, NOON], id="a time that stands"),
        pytest.param([NOON, NOON - timedelta(seconds=1), NOON - timedelta(seconds=2)], id="a time that goes back"),
        pytest.param([NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)], id="a time that runs"),
        pytest.param(seconds_from(NOON - ERA, 5), id="a week counter that rolled over"),
        pytest.param(seconds_from(NOON - 2 * ERA, 5), id="a week counter that rolled over twice"),
        pytest.param(seconds_from(NOON + ERA, 5), id="a week counter that is an era ahead"),
        pytest.param(seconds_from(NOON + 2 * ERA, 5), id="a week counter that is two eras ahead"),
        pytest.param(seconds_from(BUILT - timedelta(days=1), 5), id="a time before this software was built"),
        pytest.param(seconds_from(NOON.replace(year=2027, month=8), 5), id="an era that gpsd has added to a recording"),
        pytest.param(seconds_from(NOON.replace(year=1926), 5), id="a wrong century"),
        pytest.param(seconds_from(NOON.replace(year=2029), 5), id="a week counter that gpsd has guessed wrong"),
        pytest.param(
            [NOON + timedelta(seconds=1.6 * count) for count in range(8)], id="reports that had piled up come at once"
        ),
        pytest.param([None, None, None], id="no time at all"),
    ],
)
def test_satellite_time_that_makes_no_sense_is_not_believed(world: World, times: list[datetime | None]) -> None:
    unit = Clock()
    assert not any(fixes(unit, world, *times))
    assert unit.now().trust == "unsynced"


def test_text_that_is_no_time_is_passed_over(world: World) -> None:
    unit = Clock()
    assert unit.fix(3, "2026-13-45T99:00:00Z", world.monotonic_ns) is None
    assert unit.now().trust == "unsynced"


def test_a_time_that_can_not_be_right_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON.replace(year=2029), 20))
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("the receiver's time 2029-11-21T12:00Z cannot be right")
    assert "as far as is known it is 2026-11-21T12:00Z: bring the unit on a network" in told
    assert unit.doubt == told


def test_a_unit_that_has_no_idea_of_the_time_believes_its_receiver_for_years_to_come(world: World) -> None:
    world.wall = datetime(1970, 1, 1, tzinfo=UTC)
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON.replace(year=2034), 3))
    assert unit.now().trust == "gps"


def test_a_receiver_that_contradicts_a_synchronised_clock_is_not_believed(world: World) -> None:
    world.synchronised = True
    unit = Clock()
    assert not any(fixes(unit, world, *seconds_from(NOON + timedelta(days=900), 5)))
    assert unit.now().trust == "ntp"


def test_satellite_time_gives_way_when_a_synchronised_clock_contradicts_it(world: World) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON + timedelta(days=20), 3))
    assert unit.now().trust == "gps"
    world.synchronised = True
    world.pass_s(1)
    told = unit.tick()
    assert told is not None
    assert told.step_ms == pytest.approx(-20 * 86_400_000, abs=2_000)
    assert unit.now().trust == "ntp"


@pytest.mark.parametrize("days", [-30, 30])
def test_with_satellite_time_a_step_of_the_system_clock_is_not_even_noticed(world: World, days: int) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON, 3))
    world.pass_s(1)
    world.step(days=days)
    assert unit.tick() is None
    assert unit.now().time == "2026-11-21T12:00:03.000Z"


def test_satellite_time_that_steps_is_followed_after_three_fixes_and_told(world: World) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON, 3))
    answers = fixes(unit, world, *seconds_from(NOON + timedelta(seconds=63), 3))
    assert answers[:2] == [None, None]
    assert answers[2] == Synchronized("gps", 60_000)


def test_a_late_report_hardly_moves_the_label(world: World) -> None:
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON, 3))
    assert fixes(unit, world, NOON + timedelta(seconds=2, milliseconds=500)) == [None]
    assert unit.now().wall_ms == pytest.approx((NOON + timedelta(seconds=3)).timestamp() * 1000, abs=50)


def test_reaching_network_time_is_told_once(world: World) -> None:
    unit = Clock()
    assert unit.tick() is None
    world.pass_s(2)
    world.step(minutes=5)
    world.synchronised = True
    assert unit.tick() == Synchronized("unsynced", 300_000)
    world.pass_s(2)
    assert unit.tick() is None


def test_a_synchronised_clock_that_steps_is_told_with_the_step(world: World) -> None:
    world.synchronised = True
    unit = Clock()
    world.pass_s(2)
    world.step(seconds=-7)
    assert unit.tick() == Synchronized("ntp", -7_000)


def test_long_after_the_last_fix_network_time_is_preferred(world: World) -> None:
    world.synchronised = True
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON + timedelta(seconds=1), 3))
    assert unit.now().trust == "gps"
    world.pass_s(7200)
    assert unit.now().trust == "ntp"


@pytest.mark.parametrize("eras", [-2, -1, 1, 2])
@pytest.mark.parametrize("known", ["nothing", "the last trusted time", "the network's", "a battery clock's"])
def test_a_receiver_whose_count_of_weeks_began_anew_is_never_believed(
    world: World, tmp_path: Path, known: str, eras: int
) -> None:
    if known == "the last trusted time":
        (tmp_path / clock.FLOOR_FILE).write_text(f"{round((NOON - timedelta(days=3)).timestamp() * 1000)}")
    world.synchronised, world.battery_clock = known == "the network's", known == "a battery clock's"
    if not (world.synchronised or world.battery_clock):
        world.wall = UNSET
    unit = Clock(tmp_path)
    assert not any(fixes(unit, world, *seconds_from(NOON + eras * ERA, 5)))
    assert unit.now().trust == ("ntp" if world.synchronised else "rtc" if world.battery_clock else "unsynced")
    assert unit.doubt is not None
    if world.synchronised or world.battery_clock:
        assert f"its count of weeks is {abs(eras) * 1024} {'behind' if eras < 0 else 'ahead'}" in unit.doubt


@given(eras=st.sampled_from([-2, -1, 1, 2]), days=st.floats(0, 15 * 365), years=st.integers(-9, 40))
def test_whenever_the_software_was_built_only_the_era_that_follows_is_believed(
    eras: int, days: float, years: int
) -> None:
    built = BUILT + timedelta(days=365 * years)
    truth = built + timedelta(days=days)
    for shift, trusted in ((eras, "unsynced"), (0, "gps")):
        world = World(wall=UNSET)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time_ns", lambda world=world: round(world.wall.timestamp() * 1e9))
            patch.setattr("time.monotonic_ns", lambda world=world: world.monotonic_ns)
            patch.setattr(clock, "system_is_synchronised", lambda: False)
            patch.setattr(clock, "_battery_clock_agrees", lambda: False)
            patch.setattr(clock, "built_ms", lambda: round(built.timestamp() * 1000))
            unit = Clock()
            fixes(unit, world, *seconds_from(truth + shift * ERA, 4))
            assert unit.now().trust == trusted


@pytest.mark.parametrize("eras", [-1, 1])
def test_a_receiver_that_jumps_by_an_era_while_it_runs_moves_nothing_until_it_is_right_again(
    world: World, caplog: pytest.LogCaptureFixture, eras: int
) -> None:
    world.wall = UNSET
    unit = Clock()
    fixes(unit, world, *seconds_from(NOON, 3))
    for second in range(3, 300, 6):
        assert not any(fixes(unit, world, *seconds_from(NOON + eras * ERA + timedelta(seconds=second), 3)))
        assert unit.doubt is not None
        assert "1024" in unit.doubt
        assert not any(fixes(unit, world, *seconds_from(NOON + timedelta(seconds=second + 3), 3)))
        assert unit.doubt is None
    moment = unit.now()
    assert (moment.trust, moment.time) == ("gps", "2026-11-21T12:05:02.000Z")
    assert len(caplog.records) == 1, "a receiver that comes and goes does not fill the log"


def test_a_last_time_that_a_wrong_receiver_has_left_is_forgotten_once_the_network_tells_the_time(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / clock.FLOOR_FILE).write_text(f"{round((NOON + timedelta(days=900)).timestamp() * 1000)}")
    world.synchronised = True
    unit = Clock(tmp_path)
    assert unit.now().trust == "ntp"
    world.synchronised = False
    world.pass_s(2)
    assert any(fixes(unit, world, *seconds_from(NOON + timedelta(seconds=3), 3)))


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-21\x1b12:00:00Z"])
def test_a_time_at_the_end_of_the_calendar_is_doubted_like_any_other(world: World, text: str) -> None:
    unit = Clock()
    assert unit.fix(3, text, world.monotonic_ns) is None
    assert unit.now().trust == "unsynced"


def test_a_release_knows_when_it_was_built_and_a_checkout_when_it_was_written(tmp_path: Path) -> None:
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    here = Path(__file__).parents[1]
    subprocess.run(build, cwd=here, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1795000000"})
    stamped = [sys.executable, "-c", "from agent.built import built_ms; print(built_ms())"]
    told = subprocess.run(stamped, cwd=tmp_path / "lib", check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "1795000000000"
    assert abs(built_ms() - Path(agent.built.__file__).stat().st_mtime * 1000) < 1000


def test_a_system_clock_that_cannot_be_right_does_not_speak_against_the_receiver(world: World) -> None:
    world.wall, world.synchronised = UNSET, True
    unit = Clock()
    assert any(fixes(unit, world, *seconds_from(NOON, 3)))
    assert unit.now().trust == "gps"
