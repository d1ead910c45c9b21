"""How much of what the cloud sends is kept at all, however much comes: the state stays small whatever is sent.

Work that was given to the unit is never dropped: beyond its bounds a block is refused, and the cloud hears that. Of
offers those that are out of date go first, then the oldest. What else is bounded stands in `fold.messages`: there the
oldest go.
"""

from __future__ import annotations

from typing import Final

from agent.delivery.model.inputs import BLOCK_MESSAGES, InboxMessage
from agent.delivery.model.state import Block, State
from agent.delivery.model.weights import weight_of_text
from agent.delivery.rules.offers import expired
from agent.delivery.rules.transaction import Refused, Transaction

MOST_BLOCKS: Final = 10
"""Blocks with a manifest that have not ended."""
BLOCKS_WEIGHT: Final = 2_000_000
"""Of all of them: one of a thousand parcels with everything, or four of three hundred."""
MOST_OFFERS: Final = 30
ROSTER_WEIGHT: Final = 600_000
"""A thousand drivers with long names."""
OF_DRIVER: Final = 250


def refuse_without_room(before: State, after: State, message: InboxMessage) -> None:
    """Take nothing that would be too much together with what is kept. A valid manifest on its own is never too much.

    :raises Refused: it is
    """
    held, would_hold = _open_blocks(before), _open_blocks(after)
    if len(would_hold) > max(MOST_BLOCKS, len(held)):
        raise Refused("NO_ROOM", path="block_id")
    on_its_own = message.manifest.weight if message.type in BLOCK_MESSAGES and len(would_hold) == 1 else 0
    weight = sum(block.weight for block in would_hold)
    if weight > max(BLOCKS_WEIGHT, on_its_own, sum(block.weight for block in held)):
        raise Refused("NO_ROOM", path="parcels")
    if after.roster is not None and after.roster is not before.roster:
        drivers = after.roster.drivers
        texts = sum(weight_of_text(text) for each in drivers for text in (each.driver_id, each.name, each.reason))
        if texts + OF_DRIVER * len(drivers) > ROSTER_WEIGHT:
            raise Refused("NO_ROOM", path="drivers")


def _open_blocks(state: State) -> list[Block]:
    return [block for block in state.blocks.values() if block.manifest_version >= 0 and not block.ended]


def let_offers_go(tx: Transaction) -> None:
    """More offers than are kept: those that are out of date end first, then the oldest that nobody has asked for."""
    over = max(0, len(tx.state.offers) - MOST_OFFERS)
    waiting = [offer for offer in tx.state.offers.values() if offer.requested_at is None]
    for offer in sorted(waiting, key=lambda each: not expired(tx, each))[:over]:
        if offer.offer_id in tx.state.offers:  # two offers of one block end together
            reason = "STALE" if expired(tx, offer) else "NO_ROOM"
            tx.on_block("block.expired", tx.state.blocks[offer.block_id], offer_id=offer.offer_id, reason=reason)
