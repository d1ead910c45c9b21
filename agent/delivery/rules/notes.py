"""What the driver adds in words: what a halt is for, a note on anything, and that a message was read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agent.delivery.model.state import Block
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import ITEMS


def tag_stop(tx: Transaction, a: dict[str, Any]) -> None:
    """Say what a halt is for, so that it does not count as a break."""
    block = tx.block
    subject = f"stop/{block.current_stop_id}" if block.current_stop_id is not None else f"block/{block.block_id}"
    tx.add("stop.tagged", subject, {"block_id": block.block_id, "kind": a["kind"]})


def annotate(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver's own words on anything: they stay on the unit's screen until the block ends, and only what they are
    about is written down."""
    block = tx.state.block
    item = _item(block, a["item"])
    tx.note(item, a["text"])
    members = {"item": item, "noted": True} | ({} if block is None else {"block_id": block.block_id})
    tx.add("item.annotated", "unit" if block is None else f"block/{block.block_id}", members)


def _item(block: Block | None, item: str) -> str:
    kind, _, name = item.partition("/")
    if kind not in ITEMS:
        return "other"
    if block is None:
        return kind
    known: dict[str, Collection[str]] = {"stop": block.stops, "parcel": block.parcels, "block": (block.block_id,)}
    return item if name in known.get(kind, ()) else kind


def acknowledge(tx: Transaction, a: dict[str, Any]) -> None:
    """A message from dispatch was read."""
    known = {message.message_id: message for message in tx.state.messages}
    message = known.get(a["message_id"])
    if message is None or message.acknowledged:
        raise Refused("UNKNOWN_MESSAGE", message_id=a["message_id"])
    tx.add("message.acknowledged", "unit", {"message_id": message.message_id})
