"""The lasting part of the state as bytes and back: what a restart begins from instead of the whole log.

The momentary part and the settings are not in it. Sealed tokens stay tokens.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from agent.delivery.fold.manifest import index_codes
from agent.delivery.model.state import DeliveryError, Policy, State, replace

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SNAPSHOT_VERSION = 1
"""Grows when a snapshot of an older version can no longer be read as it is."""


@cache
def _adapter() -> TypeAdapter[State]:
    from pydantic import TypeAdapter

    return TypeAdapter(State)


def dump(state: State) -> bytes:
    """The lasting part of the state, JSON."""
    lasting = _adapter().dump_json(state, exclude={"here": True, "policy": True, "blocks": {"__all__": {"codes"}}})
    return b'{"version":%d,"state":%b}' % (SNAPSHOT_VERSION, lasting)


def load(data: bytes, policy: Policy) -> State:
    """The state of a snapshot under these settings; DeliveryError when it cannot be read."""
    try:
        content = json.loads(data)
        version = content["version"]
        state: State = _adapter().validate_python(content["state"]) if version == SNAPSHOT_VERSION else State()
    except (ValueError, KeyError, TypeError) as fault:
        raise DeliveryError(f"snapshot: {type(fault).__name__}; expected what dump() wrote") from fault
    if version != SNAPSHOT_VERSION:
        raise DeliveryError(f"snapshot: version {version!r}; expected {SNAPSHOT_VERSION}, the one of this release")
    blocks = {name: replace(block, codes=index_codes(block.parcels)) for name, block in state.blocks.items()}
    return replace(state, blocks=blocks, policy=policy)
