"""The goals of a benchmark: each is printed with its figure and a verdict, and a missed one ends the run with 1.

Nothing holds by silence: a figure that was not measured misses its goal, and a run without goals has proved nothing.

>>> conclude([Goal("written per event", 3.2, at_most=4, unit="KiB")])
goal: written per event at most 4 KiB, measured 3.2 KiB: reached
0
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Goal:
    """What a figure is to be; one of the two bounds, or both."""

    what: str
    figure: float | None
    """As measured; ``None`` when nothing was."""
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the figure was measured and lies within its bounds; NaN lies in none."""
        if self.figure is None or (self.at_most is None and self.at_least is None):
            return False
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.figure <= high

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        bounds = [
            f"{words} {bound:g}{unit}"
            for words, bound in (("at least", self.at_least), ("at most", self.at_most))
            if bound is not None
        ]
        figure = "nothing" if self.figure is None else f"{self.figure:.4g}{unit}"
        verdict = "reached" if self.reached else "MISSED"
        return f"goal: {self.what} {' and '.join(bounds)}, measured {figure}: {verdict}"


def conclude(goals: Iterable[Goal], to: TextIO | None = None) -> int:
    """Print each goal, and give the exit status: 0 when there are some and all are reached.

    :param to: where the lines go; by default standard output
    """
    every = list(goals)
    for goal in every:
        print(goal, file=to or sys.stdout)
    if not every:
        print("goal: none, nothing was measured: MISSED", file=to or sys.stdout)
    return 0 if every and all(goal.reached for goal in every) else 1
