"""What the vehicle still holds of blocks that have ended: it stays the unit's business until it was returned,
transferred or lost, whatever block the driver is at, or none.

The parcels stay with the block that they came with: its events name it, and `Transaction.turn_to` makes a rule work on
it. What counts as held are the parcels in custody; a parcel that was given up as lost is one again once it turns up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.inputs import Moment, Scanned
from agent.delivery.model.manifest import StopPlan
from agent.delivery.model.numbers import codes_of, normal
from agent.delivery.model.open_work import home
from agent.delivery.model.state import Block, Parcel, State, Stop
from agent.delivery.rules.transaction import Transaction
from contract.vocabulary import CUSTODY

Parts = dict[str | None, dict[str, Any]]
"""Arguments of an action for each block that they are about; ``None`` is the one that the driver is at."""
ByBlock = Callable[[State, dict[str, Any]], Parts]


def held(state: State) -> Iterator[tuple[Block, Parcel]]:
    """Each parcel that the vehicle holds of a block that has ended."""
    for block in state.blocks.values():
        if block.ended:
            yield from ((block, parcel) for parcel in block.custody)


def _may_turn_up(state: State, parcel: Parcel) -> bool:
    """Whether it is held, or was given up and can lie in the vehicle. What was missing at a station that the driver
    stands at again is not in the vehicle."""
    return parcel.state in CUSTODY or parcel.state == "LOST" or (parcel.state == "MISSING" and state.running is None)


def find_scanned(state: State, scanned: Scanned) -> tuple[Block, Parcel] | None:
    """The parcel of an ended block that a code means, the one in custody first."""
    wanted = [normal(code) for one in (scanned, *scanned.others) for code in (*one.codes, one.text)]
    found = [
        (block, block.parcels[parcel_id])
        for block in reversed(state.blocks.values())
        if block.ended
        for code in wanted
        for parcel_id in block.codes.get(code, ())
    ]
    likely = [one for one in found if _may_turn_up(state, one[1]) and not one[0].has_turned_up(one[1])]
    return min(likely, key=lambda one: one[1].state not in CUSTODY, default=None)


def of_own_block(state: State, a: dict[str, Any]) -> Parts:
    """All is about the block that the driver is at."""
    return {None: a}


def named(state: State, a: dict[str, Any]) -> Parts:
    """What is about named parcels is about their blocks."""
    single = "parcel_id" in a
    ids = [a["parcel_id"]] if single else a["parcel_ids"]
    parts: dict[str | None, list[str]] = {}
    for parcel_id in ids:
        parts.setdefault(_owner(state, parcel_id), []).append(parcel_id)
    return {owner: a if single else {**a, "parcel_ids": part} for owner, part in parts.items()}


def _owner(state: State, parcel_id: str) -> str | None:
    """The ended block that has a parcel, unless the driver's own one has it aboard."""
    own = state.block.parcels.get(parcel_id) if state.block is not None and not state.block.ended else None
    if own is not None and _may_turn_up(state, own):
        return None
    for block in reversed(state.blocks.values()):
        parcel = block.parcels.get(parcel_id)
        if block.ended and parcel is not None and _may_turn_up(state, parcel):
            return block.block_id
    return None


def at_site(state: State, a: dict[str, Any]) -> Parts:
    """What is about all that goes back to a site is about each block that has something for it."""
    if "parcel_ids" in a:
        return named(state, a)
    parts: Parts = {}
    own = state.block
    if own is not None and own.state in {"ON_ROUTE", "RETURNING"}:
        back = (parcel for parcel in own.parcels.values() if parcel.state == "RETURN_PENDING")
        if any(a["site_id"] in homes(own, parcel) for parcel in back):
            parts[None] = a
    for block, parcel in held(state):
        if parcel.state == "RETURN_PENDING" and a["site_id"] in homes(block, parcel):
            parts[block.block_id] = a
    return parts or {None: a}


def homes(block: Block, parcel: Parcel) -> list[str]:
    """The sites that take a parcel back."""
    sites = (home(block, parcel), block.fallback_site_id)
    return [site_id for site_id in dict.fromkeys(sites) if site_id is not None]


def home_name(block: Block, parcel: Parcel) -> str | None:
    """What the site is called that a parcel goes back to."""
    site_id = home(block, parcel)
    site = block.sites.get(site_id) if site_id is not None else None
    return (site.name if site is not None else None) or site_id


def home_here(state: State, block: Block, parcel: Parcel, moment: Moment) -> str | None:
    """The site that takes a parcel back, if the vehicle stands there."""
    running = state.running
    standing = running.standing if running is not None else None
    for site_id in homes(block, parcel):
        if standing is not None and standing.kind != "delivery" and standing.plan.site_id == site_id:
            return site_id
        stop = Stop("", StopPlan("return", site_id=site_id))
        if geofence.sight(block, stop, state.here, state.policy, moment).tier == 1:
            return site_id
    return None


def move_on(tx: Transaction, parcel: Parcel, to_block_id: str) -> None:
    """A parcel of a block is aboard: where the vehicle holds it of an earlier one, it is this block's now."""
    numbers = set(codes_of(parcel.plan))
    for block, before in list(held(tx.state)):
        if before.parcel_id != parcel.parcel_id and numbers.isdisjoint(codes_of(before.plan)):
            continue
        if before.state == "UNLOCATED":
            tx.of_parcel(block.block_id, "parcel.found", before)
        tx.of_parcel(block.block_id, "parcel.transferred", before, to_block_id=to_block_id)
