"""The driver calls for help: the panic button of the mount or of the screen, one rule for both.

A call is never refused, needs no block, and works without a position. It is about the driver's safety, so the position
belongs to it whenever one is known, even outside a block and however old it is: the event says how old.
"""

from __future__ import annotations

from typing import Any, Final

from agent.delivery.model import geofence
from agent.delivery.model.inputs import Panel
from agent.delivery.rules.transaction import Transaction
from contract.vocabulary import BLOCK_ACTIVE

PANIC_BUTTON: Final = 1 << 0
"""Which bit of the panel's buttons it is (docs/firmware.md)."""
SAME_CALL_MS: Final = 5_000
"""Pressed again within this, it is the same call for help."""


def panel(tx: Transaction, given: Panel) -> None:
    """A reading of the panel: one press is one call, however long it is held."""
    is_held, was_held = bool(given.buttons & PANIC_BUTTON), tx.here.is_panic_held
    if is_held != was_held:
        tx.momentary(is_panic_held=is_held)
    if is_held and not was_held:
        _call_for_help(tx, "mount")


def panic(tx: Transaction, a: dict[str, Any]) -> None:
    """The button on the screen."""
    _call_for_help(tx, "console")


def _call_for_help(tx: Transaction, device: str) -> None:
    where = geofence.where(tx.here, tx.moment, oldest_ms=None)
    called_ms = tx.here.called_for_help_ms
    if called_ms is not None and tx.moment.uptime_ms - called_ms < SAME_CALL_MS:
        tx.tell("PANIC", "attention", kind="again")
        return
    tx.tell("PANIC", "attention", kind="unlocated" if where is None else "located")
    tx.momentary(called_for_help_ms=tx.moment.uptime_ms)
    data: dict[str, Any] = {"device": device}
    block, driver_id = tx.state.block, tx.state.driver_id
    if block is not None and block.state in BLOCK_ACTIVE:
        data["block_id"] = block.block_id
        if block.current_stop_id is not None:
            data["stop_id"] = block.current_stop_id
        driver_id = driver_id or block.driver_id
    if driver_id is not None:
        data["driver_id"] = driver_id
    if where is not None:
        data["where"] = where
    tx.add("driver.panic", "unit" if driver_id is None else f"driver/{driver_id}", data)
