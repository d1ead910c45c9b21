"""What an event about a parcel or about a proof changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agent.delivery.fold import machine
from agent.delivery.fold.lookup import block_of, not_in_block, parcel_of, subject_id, with_block
from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import ParcelPlan
from agent.delivery.model.numbers import codes_of
from agent.delivery.model.state import Attempt, Block, Parcel, State, Stop, replace
from contract.vocabulary import PARCEL_EVENTS, STOP_ENDED

_MOVING: Final = frozenset({"parcel.delivered", "parcel.returned"})
"""Events that may happen at another stop than the parcel's."""

IN_PLACE: Final = PARCEL_EVENTS - _MOVING
"""Events that change nothing but their parcel."""


def change_all(state: State, events: Iterable[Event]) -> State:
    """The state after events that are all `IN_PLACE`: one copy of a block, however many of its parcels change.

    :raises DeliveryError: an event cannot happen
    """
    block, parcels, loads = None, {}, 0
    for event in events:
        if block is None or block.block_id != event.data.get("block_id"):
            if block is not None:
                state = with_block(state, replace(block, parcels=parcels, loads=loads))
            block = block_of(state, event)
            parcels, loads = dict(block.parcels), block.loads
        parcel = parcels.get(subject_id(event))
        if parcel is None:
            raise not_in_block(block, event)
        parcels[parcel.parcel_id] = changed = _changed_parcel(loads, parcel, event)
        loads = max(loads, changed.load_number)
    return state if block is None else with_block(state, replace(block, parcels=parcels, loads=loads))


def _change(state: State, event: Event) -> State:
    return change_all(state, (event,))


def _move(state: State, event: Event) -> State:
    block = block_of(state, event)
    parcel = parcel_of(block, event)
    changed = _changed_parcel(block.loads, parcel, event)
    members: dict[str, Any] = {"parcels": {**block.parcels, parcel.parcel_id: changed}}
    stop_id = event.data.get("stop_id")
    if stop_id is not None and stop_id != parcel.stop_id:
        members["stops"] = _with_parcel_at(block, parcel.parcel_id, stop_id)
    return with_block(state, replace(block, **members))


def _changed_parcel(loads: int, parcel: Parcel, event: Event) -> Parcel:
    following = machine.parcel_step(parcel.parcel_id, parcel.state, event.type)
    change = _PARCEL_CHANGES.get(event.type, _reason)(loads, parcel, event)
    return replace(parcel, state=following, since=event.at, **change)


def _with_parcel_at(block: Block, parcel_id: str, stop_id: str) -> dict[str, Stop]:
    """The stops after a parcel was handled at another one than its own; that one still names it."""
    here = block.stops.get(stop_id)
    if here is None:
        raise DeliveryError(f"parcel/{parcel_id}: stop {stop_id!r} is not in block {block.block_id}")
    if parcel_id in here.parcel_ids:
        return block.stops
    return {**block.stops, stop_id: replace(here, parcel_ids=(*here.parcel_ids, parcel_id))}


def _reason(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {"reason": event.data.get("reason")}


def _aboard(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason"),
        "loaded_at": event.at,
        "load_number": loads + 1,
        "entry": event.data.get("entry"),
        "provisional": event.type == "parcel.adopted",
    }


def _found(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return _aboard(loads, parcel, event) if parcel.state == "MISSING" else {"reason": None}


def _unloaded(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {"reason": event.data.get("reason"), "loaded_at": None, "load_number": 0, "entry": None}


def _delivered(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason"),
        "handover": event.data.get("handover"),
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


def _attempted(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    reason = event.data.get("reason", "OTHER")
    attempt = Attempt(
        reason,
        event.data.get("stop_id"),
        event.at,
        contacted=bool(event.data.get("contacted")),
        made=bool(event.data.get("attempted", True)),
    )
    return {"reason": reason, "attempts": (*parcel.attempts, attempt)}


def _tried_again(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    # Proofs belong to one attempt.
    return {
        "reason": None,
        "dropped_at": None,
        "proofs": (),
        "otp_failures": 0,
        "handover": None,
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


def _returned(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason", parcel.reason),
        "entry": event.data.get("entry"),
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


_PARCEL_CHANGES: dict[str, Callable[[int, Parcel, Event], dict[str, Any]]] = {
    "parcel.loaded": _aboard,
    "parcel.adopted": _aboard,
    "parcel.found": _found,
    "parcel.unloaded_at_site": _unloaded,
    "parcel.delivered": _delivered,
    "parcel.attempt_failed": _attempted,
    "parcel.reattempt_started": _tried_again,
    "parcel.delivery_voided": _tried_again,
    "parcel.returned": _returned,
}


def _unexpected(state: State, event: Event) -> State:
    block = block_of(state, event)
    parcel_id = subject_id(event)
    lost = block.parcels.get(event.data.get("of_parcel_id", ""))
    plan = ParcelPlan(event.data["tracking_number"]) if lost is None else lost.plan
    parcel = Parcel(
        parcel_id,
        plan,
        "UNEXPECTED",
        stop_id=plan.stop_id,
        since=event.at,
        entry=event.data.get("entry"),
        of_parcel_id=None if lost is None else lost.parcel_id,
    )
    members: dict[str, Any] = {
        "parcels": {**block.parcels, parcel_id: parcel},
        "codes": {**block.codes, **{code: (*block.codes.get(code, ()), parcel_id) for code in codes_of(plan)}},
        "unexpected": block.unexpected + 1,
    }
    if lost is None:
        members["rejected_scans"] = block.rejected_scans + 1
    else:
        if lost.parcel_id in block.recalls:
            members["recalls"] = {**block.recalls, parcel_id: block.recalls[lost.parcel_id]}
        stop = block.stops.get(plan.stop_id) if plan.stop_id is not None else None
        if stop is not None and stop.state not in STOP_ENDED:
            members["stops"] = _with_parcel_at(block, parcel_id, stop.stop_id)
    return with_block(state, replace(block, **members))


def _proof(state: State, event: Event) -> State:
    """An event about proof names its parcels by `parcel_ids`, or is about the one of its subject."""
    block = block_of(state, event)
    parcels = dict(block.parcels)
    named = event.data.get("parcel_ids")
    for parcel_id in [subject_id(event)] if named is None else named:
        parcel = parcels.get(parcel_id)
        if parcel is None:
            raise not_in_block(block, event, parcel_id)
        parcels[parcel_id] = replace(parcel, **_proof_change(parcel, event))
    return with_block(state, replace(block, parcels=parcels))


_PROOFS = {
    "pod.photo_captured": "photo",
    "pod.photo_excepted": "photo_excepted",
    "pod.signature_captured": "signature",
    "pod.otp_verified": "otp",
    "pod.age_verified": "age",
}


def _proof_change(parcel: Parcel, event: Event) -> dict[str, Any]:
    if event.type == "pod.drop_scanned":
        return {"dropped_at": event.at, "entry": event.data.get("entry")}
    if event.type == "pod.otp_failed":
        return {"otp_failures": parcel.otp_failures + 1}
    proof = _PROOFS.get(event.type)
    if proof is None or proof in parcel.proofs or (proof == "signature" and event.data.get("outcome") == "declined"):
        return {}
    return {"proofs": (*parcel.proofs, proof)}


EVENTS: Final[Mapping[str, Callable[[State, Event], State]]] = {
    **dict.fromkeys(IN_PLACE, _change),
    **dict.fromkeys(_MOVING, _move),
    "parcel.unexpected": _unexpected,
    **dict.fromkeys(("pod.drop_scanned", "pod.otp_failed", *_PROOFS), _proof),
}
