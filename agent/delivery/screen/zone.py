"""In whose time zone something is told."""

from __future__ import annotations

from agent.delivery.model.state import State


def zone_of(state: State, block_id: str | None = None, offer_id: str | None = None) -> str | None:
    """IANA name of the zone of a block or an offer; else that of the block under way; ``None`` where none is known."""
    offer = state.offers.get(offer_id) if offer_id is not None else None
    if offer is not None and offer.timezone is not None:
        return offer.timezone
    named = state.blocks.get(block_id) if block_id is not None else None
    return next((block.timezone for block in (named, state.block) if block is not None and block.timezone), None)
