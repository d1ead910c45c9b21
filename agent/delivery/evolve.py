"""The state after one more entry of the log: an event that happened, or a message of the cloud.

Pure and total over what `decide` writes: replaying the log from its start or from a snapshot gives the same state. An
event that cannot have happened is a DeliveryError; types that are no matter of deliveries change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agent.delivery.fold import blocks, driver, messages, parcels, stops
from agent.delivery.model.decision import Event
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.state import State

EVENTS: Final[Mapping[str, Callable[[State, Event], State]]] = {
    **blocks.EVENTS,
    **stops.EVENTS,
    **parcels.EVENTS,
    **driver.EVENTS,
}


def evolve(state: State, entry: Event | InboxMessage) -> State:
    """The state after an entry of the log.

    :raises DeliveryError: the entry cannot follow on this state
    """
    if isinstance(entry, InboxMessage):
        receive = messages.MESSAGES.get(entry.type)
        return receive(state, entry) if receive is not None else state
    change = EVENTS.get(entry.type)
    return change(state, entry) if change is not None else state


def evolve_all(state: State, entries: Iterable[Event | InboxMessage]) -> State:
    """The state after one entry after the other; events in a row about parcels are applied together.

    :raises DeliveryError: an entry cannot follow on the state before it
    """
    in_a_row: list[Event] = []
    for entry in entries:
        if isinstance(entry, Event) and entry.type in parcels.IN_PLACE:
            in_a_row.append(entry)
            continue
        if in_a_row:
            state = parcels.change_all(state, in_a_row)
            in_a_row.clear()
        state = evolve(state, entry)
    return parcels.change_all(state, in_a_row)
