"""A part of the agent as it is fitted: what the supervisor runs, where its readings go, and how it gives feedback.

Each kind of part has a function in its room that makes the parts that the settings name, none where they name none;
`agent.app` has the table of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent.delivery.model.decision import Tone
from agent.delivery.model.inputs import Moment
from drivers.readings import PartState
from drivers.supervisor import Part

Output = TypeVar("Output")

PartsShown = dict[str, dict[str, str]]
"""``state``, ``reason`` and ``since`` of each part by its name, as the status topic and the screen show them."""


def _ignore(_reading: Any) -> None:
    pass


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Output]):
    """A part, and what is joined to it."""

    part: Part[Output]
    out: Callable[[Output], None] = _ignore
    """Takes its readings, in the loop."""
    signal: Callable[[Tone], None] | None = None
    """Lets the driver hear a tone there; must not wait."""
    signals_all: bool = False
    """Whether it gives every tone, not only those that answer its own readings."""
    on_state: Callable[[PartState], None] = _ignore
    """Told when its state has changed."""
    remark: Callable[[], str | None] = _nothing
    """What is to be said of it although it is ready, and what to do; from any thread."""
    counts: Callable[[], Mapping[str, int]] | None = None
    """What the health telemetry tells of it: how much of each kind since the start."""
    awaited: bool = False
    """Whether the agent has started only when it is ready, or has said why it is not."""
    device: str | None = None
    """What the settings call its device, where it may be plugged in later."""


def shown(states: Mapping[str, PartState], moment: Moment) -> PartsShown:
    """How the parts are, in the clock's time of now."""
    return {
        name: {
            "state": state.condition.value,
            "reason": state.reason,
            "since": moment.at(state.since_ns // 1_000_000).time,
        }
        for name, state in states.items()
    }
