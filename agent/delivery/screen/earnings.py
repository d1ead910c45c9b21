"""What the driver is paid: what was agreed, and what the cloud has stated."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.inputs import Moment
from agent.delivery.model.manifest import as_json
from agent.delivery.model.state import Block, State
from contract.vocabulary import BLOCK_ACTIVE


def earnings(state: State, block: Block | None, moment: Moment) -> dict[str, Any]:
    """What was agreed and what the cloud has stated; nothing is computed from it."""
    began = block.checked_in_at if block is not None else None
    until_ms = moment.wall_ms
    if block is not None and block.state not in BLOCK_ACTIVE and block.ended_at is not None:
        until_ms = block.ended_at.unix_ms
    return {
        "agreed": as_json(block.pay) if block is not None else None,
        "elapsed_s": None if began is None else max(0, until_ms - began.unix_ms) // 1000,
        "stated": [as_json(statement) for statement in state.earnings.values()],
    }
