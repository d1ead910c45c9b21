"""Blocks that are in each other's way: a vehicle can be at one of them only, and the driver is told of both."""

from __future__ import annotations

from collections.abc import Iterator

from agent.delivery.model.inputs import Moment
from agent.delivery.model.messages import Offer
from agent.delivery.model.state import Block, State
from agent.delivery.model.times import text_of
from agent.delivery.rules.transaction import Transaction


def overlap(one: Block | Offer, other: Block | Offer) -> bool:
    """Whether two blocks take the same time; one without times is in nobody's way."""
    if one.starts_at is None or one.ends_at is None or other.starts_at is None or other.ends_at is None:
        return False
    return one.starts_at < other.ends_at and other.starts_at < one.ends_at


def committed(state: State) -> list[Block]:
    """The blocks that the driver has to work on, the one that begins first ahead."""
    blocks = [block for block in state.blocks.values() if not block.ended and block.state != "OFFERED"]
    return sorted(blocks, key=lambda block: (block.starts_at is None, block.starts_at, block.block_id))


def conflicts(state: State, moment: Moment) -> Iterator[tuple[Block, Block]]:
    """Each block that waits, with the one that is in its way: by their times, or because it runs longer than it was
    to."""
    blocks, running = committed(state), state.running
    for number, block in enumerate(blocks):
        if block is running:
            continue
        if running is not None and (overlap(block, running) or _has_begun(block, moment)):
            yield block, running
            continue
        earlier = next((other for other in blocks[:number] if other is not running and overlap(block, other)), None)
        if earlier is not None:
            yield block, earlier


def _has_begun(block: Block, moment: Moment) -> bool:
    return moment.is_trusted and block.starts_at is not None and moment.wall_ms >= block.starts_at.unix_ms


def warn(tx: Transaction, block_id: str) -> None:
    """Tell the driver what a block that was just taken is in conflict with, instead of anything else."""
    for one, other in conflicts(tx.state, tx.moment):
        if block_id in {one.block_id, other.block_id}:
            _tell(tx, one, other)
            return


def warn_of_begun(tx: Transaction) -> None:
    """Tell the driver once when the time of a block has come while another one still runs."""
    running = tx.state.running
    if running is None:
        return
    for block, other in conflicts(tx.state, tx.moment):
        if other is running and _has_begun(block, tx.moment) and block.block_id not in tx.here.conflicts_told:
            tx.momentary(conflicts_told=tx.here.conflicts_told | {block.block_id})
            _tell(tx, block, other)


def _tell(tx: Transaction, block: Block, other: Block) -> None:
    params = {"block_id": block.block_id, "starts_at": text_of(block.starts_at), "other_block_id": other.block_id}
    tx.tell("BLOCKS_OVERLAP", "attention", **params)
