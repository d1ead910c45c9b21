"""What an event about the driver changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agent.delivery.fold.lookup import subject_id
from agent.delivery.model.decision import Event
from agent.delivery.model.state import State, replace


def _signed_in(state: State, event: Event) -> State:
    return replace(state, driver_id=subject_id(event))


def _signed_out(state: State, event: Event) -> State:
    return replace(state, driver_id=None)


def _acknowledged(state: State, event: Event) -> State:
    message_id = event.data["message_id"]
    messages = tuple(replace(m, acknowledged=True) if m.message_id == message_id else m for m in state.messages)
    return replace(state, messages=messages)


EVENTS: Final[Mapping[str, Callable[[State, Event], State]]] = {
    "driver.signed_in": _signed_in,
    "driver.signed_out": _signed_out,
    "message.acknowledged": _acknowledged,
}
