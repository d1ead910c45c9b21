"""What a benchmark says of its goals, and how it ends."""

import ast
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RUN = sorted(path for path in BENCHMARKS.glob("*.py") if not path.name.startswith("_"))
GOALS_OF_THEIR_OWN = {"labels", "tracking_numbers"}
"""These say and count their goals in a table; each returns 1 when one is missed and 2 when there was nothing."""


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


verdict = loaded("_verdict")
Goal = verdict.Goal


def concluded(*goals: object) -> tuple[int, list[str]]:
    said = io.StringIO()
    status = verdict.conclude(goals, said)
    return status, said.getvalue().splitlines()


def test_goals_that_are_reached_end_the_run_with_0_and_are_printed_with_figure_and_verdict() -> None:
    status, said = concluded(Goal("wait", 9.96, at_most=10, unit="ms"), Goal("rate", 15, at_least=15))
    assert status == 0
    assert said == [
        "goal: wait at most 10 ms, measured 9.96 ms: reached",
        "goal: rate at least 15, measured 15: reached",
    ]


@pytest.mark.parametrize(
    "missed",
    [
        Goal("wait", 10.01, at_most=10),
        Goal("rate", 14.9, at_least=15),
        Goal("between", 3, at_least=1, at_most=2),
        Goal("not measured", None, at_most=10),
        Goal("not a number", float("nan"), at_most=10),
        Goal("without a bound", 1.0),
    ],
    ids=lambda goal: goal.what,
)
def test_one_goal_that_is_missed_ends_the_run_with_1(missed: object) -> None:
    status, said = concluded(Goal("reached", 1, at_most=2), missed)
    assert status == 1
    assert [line.rpartition(": ")[2] for line in said] == ["reached", "MISSED"]


def test_a_run_without_goals_has_proved_nothing() -> None:
    status, said = concluded()
    assert status == 1
    assert said == ["goal: none, nothing was measured: MISSED"]


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_every_benchmark_ends_by_its_verdict(path: Path) -> None:
    """That the status of `conclude`, or of a table of its own, is what the process ends with."""
    tree = ast.parse(path.read_text())
    ends = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in {"sys.exit", "SystemExit"})
    ]
    assert ends, f"{path.name} always ends with 0"
    if path.stem not in GOALS_OF_THEIR_OWN:
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "conclude"]
        assert uses, f"{path.name} has no goals: see benchmarks/_verdict.py"


def test_a_recording_without_a_report_does_not_hold() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        logs = loaded("receiver_logs")
    finally:
        sys.path.remove(str(BENCHMARKS))
    silent, sound = logs.Outcome("silent"), logs.Outcome("sound", reports=40, positions=40, loss_seen_s=3.0)
    assert not silent.holds
    assert sound.holds
    assert [goal.what for goal in logs.goals([sound, silent]) if not goal.reached] == ["recordings without a report"]
    never_lost = logs.Outcome("never", reports=40, positions=40, loss_seen_s=None)
    assert [goal.what for goal in logs.goals([never_lost, sound]) if not goal.reached] == [
        "longest until a loss is told"
    ]


def test_a_camera_whose_reader_told_nothing_misses_its_goals() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        camera = loaded("camera")
    finally:
        sys.path.remove(str(BENCHMARKS))
    found = {
        "opencv": {"core_percent": 5.0},
        "driver": {"core_percent": 1.6, "pictures_per_s": 10.0, "ring_pictures": 90, "clip": {"pictures": 90}},
    }
    assert all(goal.reached for goal in camera.goals(found))
    assert not any(goal.reached for goal in camera.goals({"opencv": {}, "driver": {}}))
