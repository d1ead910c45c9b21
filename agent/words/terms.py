"""Codes that stand inside a sentence, in English: states, reasons, proofs, handovers.

Each kind of code is a context of its own in the catalogues, because one English word may be two in another language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Term(NamedTuple):
    """A word or two that can be translated."""

    context: str
    text: str


def term(context: str, text: str) -> Term:
    """Mark a term for the catalogues."""
    return Term(context, text)


BLOCK_STATES: Final[Mapping[str, Term]] = {
    "OFFERED": term("state of a block", "offered"),
    "ACCEPTED": term("state of a block", "accepted"),
    "DECLINED": term("state of a block", "declined"),
    "EXPIRED": term("state of a block", "expired"),
    "FORFEITED": term("state of a block", "forfeited"),
    "CANCELLED": term("state of a block", "cancelled"),
    "NO_SHOW": term("state of a block", "missed"),
    "CHECKED_IN": term("state of a block", "checked in"),
    "LOADING": term("state of a block", "being loaded"),
    "LOADED": term("state of a block", "loaded"),
    "ON_ROUTE": term("state of a block", "on the route"),
    "PAUSED": term("state of a block", "paused"),
    "RETURNING": term("state of a block", "returning"),
    "CLOSED": term("state of a block", "closed"),
}

PARCEL_STATES: Final[Mapping[str, Term]] = {
    "MANIFESTED": term("state of a parcel", "manifested"),
    "UNEXPECTED": term("state of a parcel", "unexpected"),
    "LOADED": term("state of a parcel", "loaded"),
    "MISSING": term("state of a parcel", "missing"),
    "REJECTED": term("state of a parcel", "rejected"),
    "RECALLED_CLOSED": term("state of a parcel", "recalled"),
    "HANDED_BACK": term("state of a parcel", "handed back"),
    "OUT_FOR_DELIVERY": term("state of a parcel", "out for delivery"),
    "ATTEMPTED": term("state of a parcel", "attempted"),
    "UNLOCATED": term("state of a parcel", "not found in the vehicle"),
    "RETURN_PENDING": term("state of a parcel", "waiting to go back"),
    "DELIVERED": term("state of a parcel", "delivered"),
    "RETURNED": term("state of a parcel", "returned"),
    "LOST": term("state of a parcel", "lost"),
    "TRANSFERRED": term("state of a parcel", "transferred"),
}

REASONS: Final[Mapping[str, Term]] = {
    "CUSTOMER_UNAVAILABLE": term("reason", "nobody there"),
    "ACCESS_PROBLEM": term("reason", "no way in"),
    "ADDRESS_NOT_FOUND": term("reason", "address not found"),
    "WRONG_ADDRESS": term("reason", "wrong address"),
    "NO_SAFE_PLACE": term("reason", "no safe place"),
    "BUSINESS_CLOSED": term("reason", "business closed"),
    "REFUSED": term("reason", "refused"),
    "DAMAGED": term("reason", "damaged"),
    "NOT_IN_VEHICLE": term("reason", "not in the vehicle"),
    "WRONG_ITEM": term("reason", "wrong item"),
    "UNSAFE_PLACE": term("reason", "unsafe place"),
    "WEATHER": term("reason", "weather"),
    "ROAD_CLOSED": term("reason", "road closed"),
    "VEHICLE_BREAKDOWN": term("reason", "vehicle breakdown"),
    "ACCIDENT": term("reason", "accident"),
    "OTP_FAILED": term("reason", "the code was wrong"),
    "AGE_CHECK_FAILED": term("reason", "age check failed"),
    "OUT_OF_TIME": term("reason", "out of time"),
    "CUSTOMER_RESCHEDULED": term("reason", "the recipient chose another day"),
    "RECALLED": term("reason", "recalled"),
    "PACKAGE_NOT_READY": term("reason", "not ready"),
    "STORE_CLOSED": term("reason", "store closed"),
    "MIS_SORT": term("reason", "sorted wrongly"),
    "ILLNESS": term("reason", "illness"),
    "FOUND_LATE": term("reason", "found late"),
    "NO_STOP": term("reason", "no stop"),
    "OTHER": term("reason", "other"),
}

PROOFS: Final[Mapping[str, Term]] = {
    "otp": term("proof", "the recipient's code"),
    "age": term("proof", "an age check"),
    "photo": term("proof", "a photo"),
    "signature": term("proof", "a signature"),
}

HANDOVERS: Final[Mapping[str, Term]] = {
    "recipient": term("handover", "recipient"),
    "household": term("handover", "household"),
    "neighbour": term("handover", "neighbour"),
    "reception": term("handover", "reception"),
    "front_door": term("handover", "front door"),
    "safe_place": term("handover", "safe place"),
    "locker": term("handover", "locker"),
}

INSTRUCTIONS: Final[Mapping[str, Term]] = {
    "front_door": term("instruction", "front door"),
    "resident": term("instruction", "resident"),
    "household": term("instruction", "household"),
    "neighbour": term("instruction", "neighbour"),
    "reception": term("instruction", "reception"),
    "safe_place": term("instruction", "safe place"),
    "locker": term("instruction", "locker"),
}

STOP_KINDS: Final[Mapping[str, Term]] = {
    "pickup": term("kind of stop", "pickup"),
    "delivery": term("kind of stop", "delivery"),
    "return": term("kind of stop", "return"),
    "break": term("kind of stop", "break"),
}

ACTIONS: Final[Mapping[str, Term]] = {
    "sign_in": term("action", "sign in"),
    "sign_out": term("action", "sign out"),
    "confirm_store": term("action", "confirm store"),
    "leave_store": term("action", "leave store"),
    "sign": term("action", "sign"),
    "otp": term("action", "the recipient's code"),
    "age": term("action", "an age check"),
    "capture_photo": term("action", "capture photo"),
    "retake": term("action", "retake"),
    "set_preferences": term("action", "set preferences"),
}
"""Actions that a unit may not have; the others have sentences of their own."""

WEEKDAYS: Final = (
    term("weekday", "Monday"),
    term("weekday", "Tuesday"),
    term("weekday", "Wednesday"),
    term("weekday", "Thursday"),
    term("weekday", "Friday"),
    term("weekday", "Saturday"),
    term("weekday", "Sunday"),
)
"""From Monday on."""

MONTHS: Final = (
    term("month", "January"),
    term("month", "February"),
    term("month", "March"),
    term("month", "April"),
    term("month", "May"),
    term("month", "June"),
    term("month", "July"),
    term("month", "August"),
    term("month", "September"),
    term("month", "October"),
    term("month", "November"),
    term("month", "December"),
)

TERMS: Final[Mapping[str, Mapping[str, Term]]] = {
    "block_state": BLOCK_STATES,
    "parcel_state": PARCEL_STATES,
    "reason": REASONS,
    "because": PROOFS,
    "proofs": PROOFS,
    "handover": HANDOVERS,
    "instruction": INSTRUCTIONS,
    "kind": STOP_KINDS,
    "expected": STOP_KINDS,
    "action": ACTIONS,
}
"""By the param that may hold such a code; every other text is shown letter by letter, whatever it looks like."""
