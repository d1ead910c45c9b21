"""Blocks that are offered: asking for one, leaving it to others, and giving one back before it begins."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.messages import Offer
from agent.delivery.model.state import Block
from agent.delivery.model.times import unix_ms
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import BLOCK_ENDED


def _offer(tx: Transaction, offer_id: str) -> Offer:
    offer = tx.state.offers.get(offer_id)
    if offer is None:
        raise Refused("UNKNOWN_OFFER", offer_id=offer_id)
    return offer


def expired(tx: Transaction, offer: Offer) -> bool:
    """Whether the time to answer an offer is over, as far as the clock can be trusted."""
    expires_ms = unix_ms(offer.expires_at)
    return expires_ms is not None and tx.moment.trust != "unsynced" and tx.moment.wall_ms >= expires_ms


def accept_offer(tx: Transaction, a: dict[str, Any]) -> None:
    """Ask for an offered block; the cloud answers."""
    offer = _offer(tx, a["offer_id"])
    if expired(tx, offer):
        raise Refused("OFFER_EXPIRED", offer_id=offer.offer_id, expires_at=offer.expires_at)
    for block in tx.state.blocks.values():
        if block.state not in BLOCK_ENDED and block.state != "OFFERED" and _overlap(offer, block):
            raise Refused("OVERLAP", block_id=block.block_id)
    members = {"block_id": offer.block_id, "offer_id": offer.offer_id}
    tx.add("block.acceptance_requested", f"block/{offer.block_id}", members)


def _overlap(offer: Offer, block: Block) -> bool:
    times = [unix_ms(text) for text in (offer.starts_at, offer.ends_at, block.starts_at, block.ends_at)]
    starts_ms, ends_ms, block_starts_ms, block_ends_ms = times
    if starts_ms is None or ends_ms is None or block_starts_ms is None or block_ends_ms is None:
        return False
    return starts_ms < block_ends_ms and block_starts_ms < ends_ms


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
    starts_ms = unix_ms(block.starts_at)
    data = {} if starts_ms is None else {"notice_minutes": (starts_ms - tx.moment.wall_ms) // 60_000}
    tx.on_block("block.forfeited", block, **data)
