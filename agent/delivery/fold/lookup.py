"""What an event is about, found in the state."""

from __future__ import annotations

from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.state import Block, Parcel, State, Stop, replace


def block_of(state: State, event: Event) -> Block:
    """The block that an event names.

    :raises DeliveryError: it is not known
    """
    block = state.blocks.get(event.data.get("block_id", ""))
    if block is None:
        raise DeliveryError(f"{event.subject}: {event.type} names block {event.data.get('block_id')!r}, not known here")
    return block


def subject_id(event: Event) -> str:
    """The id of an event's subject."""
    return event.subject.partition("/")[2]


def parcel_of(block: Block, event: Event) -> Parcel:
    """The parcel that an event is about.

    :raises DeliveryError: the block does not have it
    """
    parcel = block.parcels.get(subject_id(event))
    if parcel is None:
        raise not_in_block(block, event)
    return parcel


def not_in_block(block: Block, event: Event, parcel_id: str | None = None) -> DeliveryError:
    """What is wrong with an event about a parcel that its block does not have."""
    named = parcel_id or subject_id(event)
    return DeliveryError(f"{event.subject}: {event.type} names parcel {named!r}, not in block {block.block_id}")


def stop_of(block: Block, event: Event) -> Stop:
    """The stop that an event is about.

    :raises DeliveryError: the block does not have it
    """
    stop = block.stops.get(subject_id(event))
    if stop is None:
        raise DeliveryError(f"{event.subject}: {event.type} names a stop that block {block.block_id} does not have")
    return stop


def with_block(state: State, block: Block) -> State:
    """The state with another version of a block."""
    return replace(state, blocks={**state.blocks, block.block_id: block})


def with_stop(state: State, block: Block, stop: Stop) -> State:
    """The state with another version of a stop."""
    return with_block(state, replace(block, stops={**block.stops, stop.stop_id: stop}))
