"""What is not at a stop: offers, giving a block back, messages, notes, and what time alone brings about."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.decision import Refusal
from agent.delivery.model.state import Block, Offer
from agent.delivery.model.times import unix_ms
from agent.delivery.rules import closing
from agent.delivery.rules.transaction import Draft, refuse
from contract.vocabulary import BLOCK_ENDED

OFFER_ANSWER_MS = 30_000
CLOSES_AFTER_MS = 15 * 60_000
"""A block with nothing left to do is closed after this long, should the driver forget."""


def _offer(d: Draft, offer_id: str) -> Offer | Refusal:
    offer = d.state.offers.get(offer_id)
    return refuse("UNKNOWN_OFFER", offer_id=offer_id) if offer is None else offer


def _expired(d: Draft, offer: Offer) -> bool:
    expires_ms = unix_ms(offer.expires_at)
    return expires_ms is not None and d.moment.trust != "unsynced" and d.moment.wall_ms >= expires_ms


def accept_offer(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Ask for an offered block; the cloud answers."""
    offer = _offer(d, a["offer_id"])
    if isinstance(offer, Refusal):
        return offer
    if _expired(d, offer):
        return refuse("OFFER_EXPIRED", offer_id=offer.offer_id, expires_at=offer.expires_at)
    for block in d.state.blocks.values():
        if block.state not in BLOCK_ENDED and block.state != "OFFERED" and _overlap(offer, block):
            return refuse("OVERLAP", block_id=block.block_id)
    members = {"block_id": offer.block_id, "offer_id": offer.offer_id}
    d.add("block.acceptance_requested", f"block/{offer.block_id}", members)
    return None


def _overlap(offer: Offer, block: Block) -> bool:
    times = [unix_ms(text) for text in (offer.starts_at, offer.ends_at, block.starts_at, block.ends_at)]
    starts_ms, ends_ms, block_starts_ms, block_ends_ms = times
    if starts_ms is None or ends_ms is None or block_starts_ms is None or block_ends_ms is None:
        return False
    return starts_ms < block_ends_ms and block_starts_ms < ends_ms


def decline_offer(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Leave an offered block to others."""
    offer = _offer(d, a["offer_id"])
    if isinstance(offer, Refusal):
        return offer
    d.on_block("block.declined", d.state.blocks[offer.block_id], offer_id=offer.offer_id)
    return None


def give_back(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Give an accepted block back before it begins."""
    block = d.state.blocks.get(a["block_id"])
    if block is None:
        return refuse("UNKNOWN_BLOCK", block_id=a["block_id"])
    if block.state != "ACCEPTED":
        return refuse("WRONG_TIME", action="give_back", block_state=block.state, expected=["ACCEPTED"])
    if block.custody:
        return refuse("CUSTODY_LEFT", count=len(block.custody), parcel_ids=[p.parcel_id for p in block.custody])
    starts_ms = unix_ms(block.starts_at)
    data = {} if starts_ms is None else {"notice_minutes": (starts_ms - d.moment.wall_ms) // 60_000}
    d.on_block("block.forfeited", block, **data)
    return None


def tag_stop(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Say what a halt is for, so that it does not count as a break."""
    block = d.block
    subject = f"stop/{block.current_stop_id}" if block.current_stop_id is not None else f"block/{block.block_id}"
    d.add("stop.tagged", subject, {"block_id": block.block_id, "kind": a["kind"]})
    return None


def annotate(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver's own words on anything."""
    block = d.state.block
    members = {"item": a["item"], "text": a["text"]} | ({} if block is None else {"block_id": block.block_id})
    d.add("item.annotated", "unit" if block is None else f"block/{block.block_id}", members)
    return None


def acknowledge(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A message from dispatch was read."""
    known = {message.message_id: message for message in d.state.messages}
    message = known.get(a["message_id"])
    if message is None or message.acknowledged:
        return refuse("UNKNOWN_MESSAGE", message_id=a["message_id"])
    d.add("message.acknowledged", "unit", {"message_id": message.message_id})
    return None


def tick(d: Draft) -> None:
    """A second has passed."""
    if d.state.offers:
        _watch_offers(d)
    _watch_no_show(d)
    _watch_idle(d)


def _watch_offers(d: Draft) -> None:
    for offer in list(d.state.offers.values()):
        requested_ms = unix_ms(offer.requested_at)
        if requested_ms is None:
            if _expired(d, offer):
                d.on_block("block.expired", d.state.blocks[offer.block_id], offer_id=offer.offer_id)
        elif offer.offer_id not in d.here.offers_told and d.moment.wall_ms - requested_ms >= OFFER_ANSWER_MS:
            d.momentary(offers_told=d.here.offers_told | {offer.offer_id})
            d.tell("OFFER_NO_ANSWER", "attention", offer_id=offer.offer_id, block_id=offer.block_id)


def _watch_no_show(d: Draft) -> None:
    # A block is lost for good by this: the time must be one that somebody has checked.
    if d.moment.trust not in {"gps", "ntp"}:
        return
    for block in list(d.state.blocks.values()):
        starts_ms = unix_ms(block.starts_at) if block.state == "ACCEPTED" else None
        # A unit that replaces another in the middle of a block has its parcels on board: somebody did show.
        if starts_ms is None or block.custody:
            continue
        # A block may come after it has begun: its driver gets as long as any other.
        since_ms = max(starts_ms, unix_ms(block.since) or 0)
        if d.moment.wall_ms > since_ms + d.state.policy.no_show_after_s * 1000:
            d.on_block("block.no_show", block)
            d.tell("NO_SHOW", "attention", block_id=block.block_id)


def _watch_idle(d: Draft) -> None:
    if not closing.nothing_left(d):
        if d.here.idle_since_ms is not None:
            d.momentary(idle_since_ms=None)
    elif d.here.idle_since_ms is None:
        d.momentary(idle_since_ms=d.moment.uptime_ms)
    elif d.moment.uptime_ms - d.here.idle_since_ms >= CLOSES_AFTER_MS:
        closing.close(d, automatic=True)
        d.momentary(idle_since_ms=None)
