"""What the driver adds in words: what a halt is for, a note on anything, and that a message was read."""

from __future__ import annotations

from typing import Any

from agent.delivery.rules.transaction import Refused, Transaction


def tag_stop(tx: Transaction, a: dict[str, Any]) -> None:
    """Say what a halt is for, so that it does not count as a break."""
    block = tx.block
    subject = f"stop/{block.current_stop_id}" if block.current_stop_id is not None else f"block/{block.block_id}"
    tx.add("stop.tagged", subject, {"block_id": block.block_id, "kind": a["kind"]})


def annotate(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver's own words on anything."""
    block = tx.state.block
    members = {"item": a["item"], "text": a["text"]} | ({} if block is None else {"block_id": block.block_id})
    tx.add("item.annotated", "unit" if block is None else f"block/{block.block_id}", members)


def acknowledge(tx: Transaction, a: dict[str, Any]) -> None:
    """A message from dispatch was read."""
    known = {message.message_id: message for message in tx.state.messages}
    message = known.get(a["message_id"])
    if message is None or message.acknowledged:
        raise Refused("UNKNOWN_MESSAGE", message_id=a["message_id"])
    tx.add("message.acknowledged", "unit", {"message_id": message.message_id})
