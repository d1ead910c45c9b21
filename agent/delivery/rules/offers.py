"""Blocks that are offered: asking for one, leaving it to others, and giving one back before it begins."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.messages import Offer
from agent.delivery.model.state import Block, State
from agent.delivery.model.times import text_of
from agent.delivery.rules.conflicts import committed, overlap
from agent.delivery.rules.transaction import Refused, Transaction


def _offer(tx: Transaction, offer_id: str) -> Offer:
    offer = tx.state.offers.get(offer_id)
    if offer is None:
        raise Refused("UNKNOWN_OFFER", offer_id=offer_id)
    return offer


def expired(tx: Transaction, offer: Offer) -> bool:
    """Whether the time to answer an offer is over, as far as the clock can be trusted."""
    expires = offer.expires_at
    return expires is not None and tx.moment.is_trusted and tx.moment.wall_ms >= expires.unix_ms


def accept_offer(tx: Transaction, a: dict[str, Any]) -> None:
    """Ask for an offered block; the cloud answers."""
    offer = _offer(tx, a["offer_id"])
    if expired(tx, offer):
        raise Refused("OFFER_EXPIRED", offer_id=offer.offer_id, expires_at=text_of(offer.expires_at))
    for asked in requested(tx.state):
        if asked.block_id == offer.block_id:
            raise Refused("ALREADY_REQUESTED", offer_id=asked.offer_id)
    others: list[Block | Offer] = [*committed(tx.state), *requested(tx.state)]
    for other in others:
        if overlap(offer, other):
            raise Refused("OVERLAP", block_id=other.block_id)
    members = {"block_id": offer.block_id, "offer_id": offer.offer_id}
    tx.add("block.acceptance_requested", f"block/{offer.block_id}", members)


def requested(state: State) -> list[Offer]:
    """The offers that the driver has asked for and the cloud has not answered."""
    return [offer for offer in state.offers.values() if offer.requested_at is not None]


def decline_offer(tx: Transaction, a: dict[str, Any]) -> None:
    """Leave an offered block to others."""
    offer = _offer(tx, a["offer_id"])
    tx.on_block("block.declined", tx.state.blocks[offer.block_id], offer_id=offer.offer_id)


def give_back(tx: Transaction, a: dict[str, Any]) -> None:
    """Give an accepted block back before it begins."""
    block = tx.state.blocks.get(a["block_id"])
    if block is None:
        raise Refused("UNKNOWN_BLOCK", block_id=a["block_id"])
    if block.state != "ACCEPTED":
        raise Refused("WRONG_TIME", action="give_back", block_state=block.state, expected=["ACCEPTED"])
    if block.custody:
        raise Refused("CUSTODY_LEFT", count=len(block.custody), parcel_ids=[p.parcel_id for p in block.custody])
    starts = block.starts_at
    data: dict[str, Any] = {} if starts is None else {"notice_minutes": (starts.unix_ms - tx.moment.wall_ms) // 60_000}
    if block.block_id in tx.here.dates_asked:
        data["reason"] = "STALE"
    tx.on_block("block.forfeited", block, **data)
