"""At the door: handing over, and everything that happens instead of it.

A handover needs the drop scan and the proofs that the parcel asks for; each refusal says which. A failed proof never
leaves the driver without a way on: `fail` with the reason is always possible.
"""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.decision import Refusal
from agent.delivery.model.open_work import delivery_stop_of, waiting
from agent.delivery.model.state import Parcel, Stop
from agent.delivery.rules.loading import parcel_in
from agent.delivery.rules.transaction import Draft, refuse
from contract.vocabulary import REASONS, STOP_ENDED, UNREACHABLE_REASONS

UNATTENDED = frozenset({"front_door", "safe_place"})


def _at_door(d: Draft) -> Stop | Refusal:
    """The delivery stop at which the vehicle stands."""
    stop = d.block.current_stop
    if stop is None:
        return refuse("NO_STOP")
    if stop.kind != "delivery":
        return refuse("WRONG_KIND", stop_id=stop.stop_id, kind=stop.kind, expected="delivery")
    if stop.state != "ARRIVED":
        return refuse("NOT_ARRIVED", stop_id=stop.stop_id)
    return stop


def deliver(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Parcels change hands: those scanned at this stop, or the named ones."""
    stop = _at_door(d)
    if isinstance(stop, Refusal):
        return stop
    reason, handover = a.get("reason"), a["handover"]
    parcels = _to_deliver(d, stop, a.get("parcel_ids"), reason)
    if isinstance(parcels, Refusal):
        return parcels
    refusal = _handover_refused(stop, parcels, handover, reason) or _proofs_missing(parcels)
    if refusal is not None:
        return refusal
    for parcel in parcels:
        data: dict[str, Any] = {"stop_id": stop.stop_id, "handover": handover, "scanned": parcel.dropped_at is not None}
        if parcel.entry is not None:
            data["entry"] = parcel.entry
        if reason is not None:
            data["reason"] = reason
        if parcel.stop_id != stop.stop_id or parcel.dropped_at is None:
            data["override"] = True
        if a.get("name") is not None:
            # A name is kept with the signature, never in an event: events are hashed for ever.
            data["named"] = True
        d.on_parcel("parcel.delivered", parcel, **data)
    return None


def _to_deliver(d: Draft, stop: Stop, ids: list[str] | None, reason: str | None) -> list[Parcel] | Refusal:
    if ids is None:
        at_stop = waiting(d.block, stop)
        scanned = [parcel for parcel in at_stop if parcel.dropped_at is not None]
        if not scanned:
            left = [parcel.parcel_id for parcel in at_stop]
            return refuse("NOTHING_TO_DELIVER", stop_id=stop.stop_id, parcel_ids=left)
        return scanned
    parcels = []
    for parcel_id in ids:
        parcel = parcel_in(d, parcel_id, "OUT_FOR_DELIVERY")
        if isinstance(parcel, Refusal):
            return parcel
        if parcel.stop_id != stop.stop_id and reason is None:
            return refuse("DELIVER_ELSEWHERE", parcel_id=parcel_id, stop_id=parcel.stop_id)
        parcels.append(parcel)
    unscanned = [parcel.parcel_id for parcel in parcels if parcel.dropped_at is None]
    if unscanned and reason is None:
        return refuse("SCAN_FIRST", parcel_ids=unscanned)
    return parcels


def _handover_refused(stop: Stop, parcels: list[Parcel], handover: str, reason: str | None) -> Refusal | None:
    """Domain rules of who may get a parcel: what a proof forbids is final, what an instruction says yields to a
    reason."""
    for parcel in parcels:
        because = _forbids(parcel, handover)
        if because is not None:
            return refuse("HANDOVER_NOT_ALLOWED", handover=handover, because=because, parcel_id=parcel.parcel_id)
        if reason is None and not _instruction_allows(stop, parcel, handover):
            return refuse("HANDOVER_NEEDS_REASON", handover=handover, instruction=parcel.instruction.kind)
    return None


def _forbids(parcel: Parcel, handover: str) -> str | None:
    wanted = parcel.requirements
    otp, age = wanted.otp_hmac is not None, wanted.minimum_age is not None
    if handover == "household":
        return "otp" if otp else "age" if age and "age" not in parcel.proofs else None
    if handover == "reception":
        return "age" if age else "otp" if otp and "otp" not in parcel.proofs else None
    if handover == "neighbour" or handover in UNATTENDED:
        return "otp" if otp else "age" if age else "signature" if wanted.signature else None
    return None


def _instruction_allows(stop: Stop, parcel: Parcel, handover: str) -> bool:
    asked = parcel.instruction
    if handover == "neighbour":
        return asked.kind == "neighbour" or asked.neighbour is not None
    if handover == "reception":
        return asked.kind == "reception" or (isinstance(stop.address, dict) and bool(stop.address.get("business")))
    if handover in UNATTENDED:
        return asked.kind in UNATTENDED or asked.kind == "none"
    if handover == "locker":
        return asked.kind == "locker"
    return True


def missing_proofs(parcel: Parcel) -> list[str]:
    """The proofs that a parcel still needs: ``otp``, ``age``, ``signature``, ``photo``."""
    wanted = parcel.requirements
    missing = []
    if wanted.otp_hmac is not None and "otp" not in parcel.proofs:
        missing.append("otp")
    if wanted.minimum_age is not None and "age" not in parcel.proofs:
        missing.append("age")
    if wanted.signature and "signature" not in parcel.proofs:
        missing.append("signature")
    if wanted.photo and "photo" not in parcel.proofs and "photo_excepted" not in parcel.proofs:
        missing.append("photo")
    return missing


PROOF_REFUSALS = {
    "otp": "OTP_REQUIRED",
    "age": "AGE_CHECK_REQUIRED",
    "signature": "SIGNATURE_REQUIRED",
    "photo": "PHOTO_REQUIRED",
}


def _proofs_missing(parcels: list[Parcel]) -> Refusal | None:
    missing = {parcel.parcel_id: missing_proofs(parcel) for parcel in parcels}
    for proof, code in PROOF_REFUSALS.items():
        ids = [parcel_id for parcel_id, proofs in missing.items() if proof in proofs]
        if ids:
            return refuse(code, parcel_ids=ids, proofs=sorted({name for names in missing.values() for name in names}))
    return None


def skip_photo(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """No photo can be taken: the reason stands for it."""
    stop = _at_door(d)
    if isinstance(stop, Refusal):
        return stop
    ids = [parcel.parcel_id for parcel in waiting(d.block, stop) if "photo" in missing_proofs(parcel)]
    if not ids:
        return refuse("NO_PHOTO_REQUIRED", stop_id=stop.stop_id)
    members = {"block_id": d.block.block_id, "stop_id": stop.stop_id, "parcel_ids": ids, "reason": a["reason"]}
    d.add("pod.photo_excepted", f"stop/{stop.stop_id}", members)
    return None


def contact(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver tried to reach the recipient."""
    stop = d.block.current_stop
    if stop is None:
        return refuse("NO_STOP")
    members = {"block_id": d.block.block_id, "stop_id": stop.stop_id, "method": a["method"], "outcome": a["outcome"]}
    d.add("contact.attempted", f"stop/{stop.stop_id}", members)
    return None


def fail(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A try did not end in delivery, or the stop can not be reached."""
    stop = d.block.current_stop
    if stop is None:
        return refuse("NO_STOP")
    if stop.kind != "delivery":
        return refuse("WRONG_KIND", stop_id=stop.stop_id, kind=stop.kind, expected="delivery")
    reason = REASONS[a["reason"]]
    note = a.get("note", "").strip()
    if stop.state == "EN_ROUTE":
        if reason.code not in UNREACHABLE_REASONS:
            return refuse("NOT_ARRIVED", stop_id=stop.stop_id)
        a = {name: value for name, value in a.items() if name != "parcel_ids"}
    parcels = _parcels(d, stop, a.get("parcel_ids"))
    if isinstance(parcels, Refusal):
        return parcels
    if reason.asks_contact and not stop.contacts:
        return refuse("CONTACT_NEEDED", reason=reason.code)
    if len(note) < reason.least_note:
        return refuse("NOTE_NEEDED", reason=reason.code, least_length=reason.least_note)
    data: dict[str, Any] = {"stop_id": stop.stop_id, "reason": reason.code, "action": reason.next_action}
    if note:
        data["note"] = note
    if reason.action in _INSTEAD:
        d.each(_INSTEAD[reason.action], parcels, **data)
    elif stop.state == "EN_ROUTE" and reason.code == "OUT_OF_TIME":
        # Nobody was at the door: this is no attempt.
        d.each("parcel.return_pending", parcels, **data)
    else:
        here = stop.state == "ARRIVED"
        d.each("parcel.attempt_failed", parcels, contacted=bool(stop.contacts), attempted=here, **data)
    if stop.state == "EN_ROUTE":
        d.on_stop("stop.failed", stop, reason=reason.code)
        d.start_next = True
    return None


_INSTEAD = {"refuse": "parcel.refused", "damage": "parcel.damaged", "not_in_vehicle": "parcel.not_in_vehicle"}
"""Reasons that have an action of their own, and its event."""


def _parcels(d: Draft, stop: Stop, ids: list[str] | None) -> list[Parcel] | Refusal:
    """The named parcels, or all that are still to be handled at this stop."""
    if ids is None:
        return waiting(d.block, stop) or refuse("NOTHING_TO_DO", stop_id=stop.stop_id)
    parcels = []
    for parcel_id in ids:
        parcel = parcel_in(d, parcel_id, "OUT_FOR_DELIVERY")
        if isinstance(parcel, Refusal):
            return parcel
        if parcel.stop_id != stop.stop_id:
            return refuse("WRONG_STOP", parcel_id=parcel_id, stop_id=parcel.stop_id)
        parcels.append(parcel)
    return parcels


def refuse_parcels(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The recipient does not want them."""
    stop = _at_door(d)
    if isinstance(stop, Refusal):
        return stop
    parcels = _parcels(d, stop, a.get("parcel_ids"))
    if isinstance(parcels, Refusal):
        return parcels
    d.each("parcel.refused", parcels, stop_id=stop.stop_id, reason="REFUSED", action="return")
    return None


def damage(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A parcel is damaged: it stays behind, or goes back."""
    if d.block.state == "LOADING":
        parcel = parcel_in(d, a["parcel_id"], "MANIFESTED", "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED")
    else:
        parcel = parcel_in(d, a["parcel_id"], "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED")
    if isinstance(parcel, Refusal):
        return parcel
    if parcel.state == "MANIFESTED":
        d.on_parcel("parcel.rejected_at_load", parcel, reason="DAMAGED")
    else:
        d.on_parcel("parcel.damaged", parcel, reason="DAMAGED", action="return")
    return None


def not_in_vehicle(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A parcel that should be on board can not be found."""
    parcel = parcel_in(d, a["parcel_id"], "LOADED", "OUT_FOR_DELIVERY", "RETURN_PENDING")
    if isinstance(parcel, Refusal):
        return parcel
    d.on_parcel("parcel.not_in_vehicle", parcel, reason="NOT_IN_VEHICLE")
    return None


def lost(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The vehicle was searched at the end, and a parcel is not there."""
    parcel = parcel_in(d, a["parcel_id"], "UNLOCATED")
    if isinstance(parcel, Refusal):
        return parcel
    if d.block.state != "RETURNING" and any(True for _ in d.block.open_stops("delivery", "pickup")):
        return refuse("SEARCH_FIRST", parcel_id=parcel.parcel_id)
    d.on_parcel("parcel.lost", parcel, reason="NOT_IN_VEHICLE")
    return None


def void(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A delivery did not happen: the parcel is out for delivery again, and the first event stays."""
    parcel = parcel_in(d, a["parcel_id"], "DELIVERED")
    if isinstance(parcel, Refusal):
        return parcel
    corrects = {"type": "parcel.delivered", "time": parcel.since}
    d.on_parcel("parcel.delivery_voided", parcel, reason=a["reason"], corrects=corrects, **_open_stop(d, parcel))
    return None


def reattempt(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Another try in the same block."""
    parcel = parcel_in(d, a["parcel_id"], "ATTEMPTED", "RETURN_PENDING")
    if isinstance(parcel, Refusal):
        return parcel
    attempts = sum(attempt.made for attempt in parcel.attempts)
    reason = REASONS.get(parcel.reason or "")
    if attempts >= d.state.policy.max_attempts or (reason is not None and not reason.may_reattempt):
        return refuse("NO_REATTEMPT", parcel_id=parcel.parcel_id, reason=parcel.reason, attempts=attempts)
    if delivery_stop_of(d.block, parcel) is None:
        return refuse("NO_REATTEMPT", parcel_id=parcel.parcel_id, reason="NO_STOP", attempts=attempts)
    d.on_parcel("parcel.reattempt_started", parcel, attempt=attempts + 1, **_open_stop(d, parcel))
    return None


def _open_stop(d: Draft, parcel: Parcel) -> dict[str, str]:
    """The parcel's delivery stop while it is open; when it has ended, a new stop is added."""
    stop = delivery_stop_of(d.block, parcel)
    return {"stop_id": stop.stop_id} if stop is not None and stop.state not in STOP_ENDED else {}


def suggest_location(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver says where the door is: only the cloud moves the pin."""
    stop = d.block.current_stop
    if stop is None:
        return refuse("NO_STOP")
    if geofence.where(d.here, d.moment) is None:
        return refuse("NO_POSITION")
    d.add("location.suggested", f"stop/{stop.stop_id}", {"block_id": d.block.block_id, "stop_id": stop.stop_id})
    return None
