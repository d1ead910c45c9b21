"""Work that is out of date: a block that ended more than twelve hours ago is no work of today.

By a clock that can be trusted, such a block is not taken, and one that was taken before ends. By another one the unit
cannot know: the driver sees the date and says whether it is today's.
"""

from __future__ import annotations

from typing import Final

from agent.delivery.model.inputs import Moment
from agent.delivery.model.state import Block
from agent.delivery.model.times import Instant, text_of
from agent.delivery.rules.transaction import Refused, Transaction

STALE_AFTER_MS: Final = 12 * 3_600_000


def is_over(ends_at: Instant | None, moment: Moment) -> bool:
    """Whether work that ends then is out of date by the clock as it is, trusted or not."""
    return ends_at is not None and moment.wall_ms - ends_at.unix_ms > STALE_AFTER_MS


def refuse_over(ends_at: Instant | None, moment: Moment, path: str) -> None:
    """Take no work that is out of date.

    :raises Refused: it ended more than twelve hours ago, by a clock that can be trusted
    """
    if moment.is_trusted and is_over(ends_at, moment):
        raise Refused("STALE", path=path)


def refuse_past(until: Instant | None, moment: Moment, path: str) -> None:
    """Take nothing that held until a time that is past.

    :raises Refused: it is past, by a clock that can be trusted
    """
    if moment.is_trusted and until is not None and until.unix_ms < moment.wall_ms:
        raise Refused("STALE", path=path)


def check_date(tx: Transaction, block: Block, opens: Instant | None) -> bool:
    """Whether the driver has said that an accepted block is today's, where the unit cannot know.

    :raises Refused: it is out of date, or the driver has to say first that it is not
    """
    is_late = is_over(block.ends_at, tx.moment) and not block.custody
    if tx.moment.is_trusted:
        if is_late:
            raise Refused("OUT_OF_DATE", **date_of(block))
        return False
    if not is_date_doubtful(block, opens, tx.moment):
        return False
    if block.block_id not in tx.here.dates_asked:
        tx.momentary(dates_asked=tx.here.dates_asked | {block.block_id})
        tx.tell("CONFIRM_DATE", "attention", **date_of(block))
        raise Refused("CONFIRM_DATE", **date_of(block))
    return True


def is_date_doubtful(block: Block, opens: Instant | None, moment: Moment) -> bool:
    """Whether an accepted block may be another day's: by a clock that nobody vouches for it is not time for it."""
    if moment.is_trusted:
        return False
    return is_over(block.ends_at, moment) or (opens is not None and moment.wall_ms < opens.unix_ms)


def date_of(block: Block) -> dict[str, str | None]:
    """What tells the driver which day's block it is."""
    return {"block_id": block.block_id, "starts_at": text_of(block.starts_at), "ends_at": text_of(block.ends_at)}


def end_what_is_over(tx: Transaction) -> None:
    """The clock can be trusted: what was taken before and is out of date is no longer in the way of today's."""
    for block in list(tx.state.blocks.values()) if tx.state.running is None else ():
        if block.state == "ACCEPTED" and not block.custody and is_over(block.ends_at, tx.moment):
            tx.on_block("block.no_show", block, reason="STALE")
            tx.tell("OUT_OF_DATE", "attention", **date_of(block))
    for offer in list(tx.state.offers.values()):
        block = tx.state.blocks[offer.block_id]
        if block.state == "OFFERED" and is_over(offer.ends_at, tx.moment):
            tx.on_block("block.expired", block, offer_id=offer.offer_id, reason="STALE")
