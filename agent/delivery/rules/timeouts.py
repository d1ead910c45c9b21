"""What happens because time has passed: offers expire, a block is missed, and one with nothing left to do is closed."""

from __future__ import annotations

from agent.delivery.rules import closing
from agent.delivery.rules.conflicts import warn_of_begun
from agent.delivery.rules.offers import expired
from agent.delivery.rules.out_of_date import end_what_is_over
from agent.delivery.rules.transaction import Transaction

OFFER_ANSWER_MS = 30_000
CLOSES_AFTER_MS = 15 * 60_000
"""A block with nothing left to do is closed after this long, should the driver forget."""


def tick(tx: Transaction) -> None:
    """A second has passed."""
    if tx.state.offers:
        _watch_offers(tx)
    if tx.moment.is_trusted:
        end_what_is_over(tx)
    _watch_no_show(tx)
    warn_of_begun(tx)
    _watch_idle(tx)


def _watch_offers(tx: Transaction) -> None:
    for offer in list(tx.state.offers.values()):
        if offer.requested_at is None:
            if expired(tx, offer):
                tx.on_block("block.expired", tx.state.blocks[offer.block_id], offer_id=offer.offer_id)
        elif offer.offer_id in tx.here.offers_told:
            continue
        elif tx.moment.wall_ms - offer.requested_at.unix_ms >= OFFER_ANSWER_MS:
            tx.momentary(offers_told=tx.here.offers_told | {offer.offer_id})
            tx.tell("OFFER_NO_ANSWER", "attention", offer_id=offer.offer_id, block_id=offer.block_id)


def _watch_no_show(tx: Transaction) -> None:
    # A block of today is lost for good by this: the time must be one that somebody has checked.
    if tx.moment.trust not in {"gps", "ntp"}:
        return
    # While a block runs nobody can check in to another one; then its driver gets as long as any other. A block of which
    # a unit that replaces another has parcels on board is one that runs.
    blocks = list(tx.state.blocks.values())
    if tx.state.running is not None or any(block.state == "ACCEPTED" and block.custody for block in blocks):
        return
    ends = [block.ended_at for block in blocks if block.ended_at is not None and block.checked_in_at is not None]
    for block in blocks:
        if block.state != "ACCEPTED" or block.starts_at is None:
            continue
        # A block may come after it has begun.
        since = max(block.starts_at, block.since or block.starts_at, *ends)
        if tx.moment.wall_ms > since.unix_ms + tx.state.policy.no_show_after_s * 1000:
            tx.on_block("block.no_show", block)
            tx.tell("NO_SHOW", "attention", block_id=block.block_id)


def _watch_idle(tx: Transaction) -> None:
    if not closing.nothing_left(tx):
        if tx.here.idle_since_ms is not None:
            tx.momentary(idle_since_ms=None)
    elif tx.here.idle_since_ms is None:
        tx.momentary(idle_since_ms=tx.moment.uptime_ms)
    elif tx.moment.uptime_ms - tx.here.idle_since_ms >= CLOSES_AFTER_MS:
        closing.close(tx, automatic=True)
        tx.momentary(idle_since_ms=None)
