"""Blocks that are offered: asking for one, leaving it to others, and giving one back before it begins."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.messages import Offer
from agent.delivery.model.state import Block
from agent.delivery.model.times import text_of
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import BLOCK_ENDED


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
    for block in tx.state.blocks.values():
        if block.state not in BLOCK_ENDED and block.state != "OFFERED" and _overlap(offer, block):
            raise Refused("OVERLAP", block_id=block.block_id)
    members = {"block_id": offer.block_id, "offer_id": offer.offer_id}
    tx.add("block.acceptance_requested", f"block/{offer.block_id}", members)


def _overlap(offer: Offer, block: Block) -> bool:
    if offer.starts_at is None or offer.ends_at is None or block.starts_at is None or block.ends_at is None:
        return False
    return offer.starts_at < block.ends_at and block.starts_at < offer.ends_at


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
