"""The one check that every change of state passes: what the contract's transition tables do not list cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from agent.delivery.model.error import DeliveryError
from contract.vocabulary import (
    BLOCK_TRANSITIONS,
    PARCEL_TRANSITIONS,
    STOP_TRANSITIONS,
    BlockState,
    ParcelState,
    StopState,
)

S = TypeVar("S", bound=str)


def _step(transitions: Mapping[tuple[S, str], S], subject: str, state: S, event: str) -> S:
    following = transitions.get((state, event))
    if following is None:
        possible = ", ".join(name for known, name in transitions if known == state) or "nothing: the state is final"
        raise DeliveryError(f"{subject}: {event} cannot happen in state {state}; expected {possible}")
    return following


def block_step(block_id: str, state: BlockState, event: str) -> BlockState:
    """The state that follows.

    :raises DeliveryError: the event cannot happen in this state
    """
    return _step(BLOCK_TRANSITIONS, f"block/{block_id}", state, event)


def stop_step(stop_id: str, state: StopState, event: str) -> StopState:
    """The state that follows.

    :raises DeliveryError: the event cannot happen in this state
    """
    return _step(STOP_TRANSITIONS, f"stop/{stop_id}", state, event)


def parcel_step(parcel_id: str, state: ParcelState, event: str) -> ParcelState:
    """The state that follows.

    :raises DeliveryError: the event cannot happen in this state
    """
    return _step(PARCEL_TRANSITIONS, f"parcel/{parcel_id}", state, event)
