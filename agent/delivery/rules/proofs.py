"""The proofs that a parcel asks for before it may be handed over."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.open_work import waiting
from agent.delivery.model.state import Parcel, Stop
from agent.delivery.rules.transaction import Refused, Transaction


def at_door(tx: Transaction) -> Stop:
    """The delivery stop at which the vehicle stands.

    :raises Refused: it stands at none
    """
    stop = tx.stop_under_way()
    if stop.kind != "delivery":
        raise Refused("WRONG_KIND", stop_id=stop.stop_id, kind=stop.kind, expected="delivery")
    if stop.state != "ARRIVED":
        raise Refused("NOT_ARRIVED", stop_id=stop.stop_id)
    return stop


def missing_proofs(parcel: Parcel) -> list[str]:
    """The proofs that a parcel still needs: ``otp``, ``age``, ``signature``, ``photo``."""
    wanted = parcel.plan.requirements
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


def check_proofs(parcels: list[Parcel]) -> None:
    """Whether parcels may be handed over.

    :raises Refused: a proof is missing
    """
    missing = {parcel.parcel_id: missing_proofs(parcel) for parcel in parcels}
    for proof, code in PROOF_REFUSALS.items():
        ids = [parcel_id for parcel_id, proofs in missing.items() if proof in proofs]
        if ids:
            raise Refused(code, parcel_ids=ids, proofs=sorted({name for names in missing.values() for name in names}))


def skip_photo(tx: Transaction, a: dict[str, Any]) -> None:
    """No photo can be taken: the reason stands for it."""
    stop = at_door(tx)
    ids = [parcel.parcel_id for parcel in waiting(tx.block, stop) if "photo" in missing_proofs(parcel)]
    if not ids:
        raise Refused("NO_PHOTO_REQUIRED", stop_id=stop.stop_id)
    members = {"block_id": tx.block.block_id, "stop_id": stop.stop_id, "parcel_ids": ids, "reason": a["reason"]}
    tx.add("pod.photo_excepted", f"stop/{stop.stop_id}", members)
