"""Every code that the core can say, as data: feedback, prompts, and refusals of an action.

Texts and speech are made from these codes and their params elsewhere. Each table says what a code means and which
params come with it, so that a phrase can be written without reading the core.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.delivery.model.decision import Tone
from contract.vocabulary import SCAN_RESULTS


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means and the names of its params."""

    meaning: str
    params: tuple[str, ...] = ()
    tone: Tone = "bad"


FEEDBACK: dict[str, Code] = {
    # Results of a scan
    "OK": Code("the scan did what was expected here", ("parcel_id", "tracking_number", "act"), "good"),
    "ALREADY_SCANNED": Code("the same scan counted before", ("parcel_id", "tracking_number", "first_time"), "repeat"),
    "NOT_ON_MANIFEST": Code(
        "a parcel that this block does not know: put it aside", ("code", "parcel_id", "tracking_number", "act")
    ),
    "OTHER_DRIVER": Code("the parcel belongs to another vehicle of this site", ("code", "unit")),
    "WRONG_STORE": Code(
        "the parcel belongs to another pickup or return place", ("parcel_id", "tracking_number", "store")
    ),
    "WRONG_STOP": Code(
        "on board, but for another stop", ("parcel_id", "tracking_number", "stop_id", "sequence", "address")
    ),
    "RECALLED": Code("recalled by the cloud: to the return area", ("parcel_id", "tracking_number")),
    "ALREADY_DELIVERED": Code(
        "delivered before; a delivery by mistake can be voided", ("parcel_id", "tracking_number", "delivered_at")
    ),
    "BAD_LABEL": Code("the label's number cannot be right: type it in", ("code", "fault", "act")),
    "OTHER_CODE": Code("not the parcel's number: scan the other code of the label", ("code", "act"), "attention"),
    "SEVERAL_CODES": Code("more than one parcel matches: choose one", ("choices",), "attention"),
    "CONFIRM_PARCEL": Code("the typed end of a number fits one parcel: confirm it", ("choices",), "attention"),
    "NOT_READ": Code("the scanner has read a code that did not arrive: scan again", (), "attention"),
    "NO_BLOCK": Code("there is no block to scan for", ("code",)),
    "NOT_CHECKED_IN": Code("check in before scanning", ("code",)),
    "NOT_LOADING": Code("loading has not begun or is closed", ("code", "parcel_id", "tracking_number", "block_state")),
    "PAUSED": Code("the block is paused: resume before scanning", ("code", "parcel_id", "tracking_number")),
    "NOT_ARRIVED": Code("the right parcel, but not yet at its stop", ("parcel_id", "tracking_number", "stop_id")),
    "TO_RETURN": Code("this parcel goes back, it is not delivered", ("parcel_id", "tracking_number", "reason", "site")),
    "ENDED": Code("this parcel is finished on this block", ("parcel_id", "tracking_number", "parcel_state")),
    # Results of an action, and what the unit notices by itself
    "DONE": Code("the action was carried out", ("action",), "good"),
    "STOP_DONE": Code("a stop has ended", ("stop_id", "stop_state", "next_stop_id"), "good"),
    "ARRIVED": Code("arrived at a stop", ("stop_id", "sequence", "address"), "good"),
    "DEPARTED": Code("left the pickup site; the route has begun", ("block_id", "next_stop_id"), "good"),
    "STOP_LEFT_OPEN": Code("left a stop with parcels unresolved", ("stop_id", "parcel_ids"), "attention"),
    "OUT_OF_ORDER": Code("another stop than the next one was chosen", ("stop_id", "expected_stop_id"), "attention"),
    "CONFIRM_LOCATION": Code("not quite at the stop: deliver here?", ("stop_id", "distance_m"), "attention"),
    "LOOK_AGAIN": Code("parcels are not scanned: look for them once more", ("missing", "count"), "attention"),
    "BLOCK_ASSIGNED": Code("a block has come", ("block_id", "starts_at", "parcels", "stops"), "attention"),
    "BLOCK_REVISED": Code("the block has changed", ("block_id", "added", "cancelled"), "attention"),
    "BLOCKS_OVERLAP": Code(
        "a block is in the way of another: finish the one, or give the other back",
        ("block_id", "starts_at", "other_block_id"),
        "attention",
    ),
    "BLOCK_CANCELLED": Code("operations cancelled the block", ("block_id", "reason"), "attention"),
    "PANIC": Code(
        "a call for help; `kind` says whether a position is known, or that it is the same call again",
        ("kind",),
        "attention",
    ),
    "BLOCK_CLOSED": Code("the block is closed", ("block_id",), "good"),
    "NO_SHOW": Code("the block started without a check-in", ("block_id",), "attention"),
    "CONFIRM_DATE": Code("the clock is not set: is the block today's?", ("block_id", "starts_at", "ends_at")),
    "OUT_OF_DATE": Code("a block was out of date and has ended", ("block_id", "starts_at", "ends_at"), "attention"),
    "PARCELS_RECALLED": Code("parcels were recalled: take them out", ("parcel_ids", "reason"), "attention"),
    "MESSAGE": Code("a message from dispatch", ("message_id", "text", "needs_ack"), "attention"),
    "OFFER": Code("a block is offered", ("offer_id", "block_id"), "attention"),
    "OFFER_CONFIRMED": Code("the offer is yours", ("block_id",), "good"),
    "OFFER_REFUSED": Code("the offer went to somebody else", ("block_id", "reason"), "attention"),
    "OFFER_NO_ANSWER": Code("no answer to the accepted offer yet", ("offer_id", "block_id"), "attention"),
}
"""Feedback: the contract's scan results first, then what an action or the unit itself has to say."""

PROMPTS: dict[str, Code] = {
    "WAIT_FOR_BLOCK": Code("nothing to do until a block comes"),
    "ANSWER_OFFER": Code("accept or decline an offer", ("offer_id", "block_id", "starts_at", "place", "pay")),
    "WAIT_FOR_START": Code("the block begins later", ("block_id", "starts_at", "check_in_from")),
    "CONFIRM_DATE": Code("the clock is not set: is the block today's?", ("block_id", "starts_at", "ends_at")),
    "CHECK_IN": Code("drive to the pickup site and check in", ("block_id", "site", "starts_at")),
    "START_LOADING": Code("begin to load", ("block_id", "parcels")),
    "SCAN_LOAD": Code("scan parcels into the vehicle", ("loaded", "expected", "left", "unexpected")),
    "LOOK_AGAIN": Code("look for what is not scanned, then give reasons", ("missing", "count")),
    "CLOSE_LOADING": Code("everything is loaded or accounted for", ("loaded", "expected", "unexpected")),
    "DEPART": Code("drive off", ("next_stop_id", "address")),
    "REOPEN_LOADING": Code("parcels have come after loading was closed", ("count",)),
    "DRIVE_TO_STOP": Code("drive to a stop", ("stop_id", "sequence", "address", "kind", "left")),
    "CHOOSE_STOP": Code("no stop is started: choose one", ("stop_id", "left")),
    "CONFIRM_LOCATION": Code("not quite at the stop: deliver here?", ("stop_id", "distance_m")),
    "SCAN_DROP": Code("scan the stop's parcels", ("stop_id", "parcel_ids")),
    "GIVE_PROOF": Code("a proof is needed before delivery", ("stop_id", "proofs", "parcel_ids")),
    "DELIVER": Code("hand over what was scanned", ("stop_id", "parcel_ids", "instruction")),
    "TAKE_BREAK": Code("a planned break", ("stop_id",)),
    "SCAN_RETURN": Code("scan parcels back in", ("stop_id", "site", "parcel_ids")),
    "CHOOSE_PARCEL": Code("several parcels match a code: choose one", ("choices",)),
    "CONFIRM_NUMBER": Code(
        "is a text that nobody knows a parcel's number? choose it, or type it in", ("code", "choices")
    ),
    "RESUME": Code("the block is paused", ("block_id",)),
    "SEARCH_VEHICLE": Code("parcels cannot be found: search, then found or lost", ("parcel_ids",)),
    "BRING_BACK": Code("parcels of a block that has ended are in the vehicle: bring them back", ("parcel_ids", "site")),
    "CLOSE_BLOCK": Code("nothing is left to do", ("block_id",)),
    "BLOCK_ENDED": Code("the block has ended", ("block_id", "block_state")),
}
"""The one thing to do now."""

REFUSALS: dict[str, Code] = {
    "UNKNOWN_ACTION": Code("there is no such action", ("action",)),
    "NOT_AVAILABLE": Code("this unit cannot do that", ("action",)),
    "BAD_ARGUMENT": Code("an argument is missing or wrong", ("path", "expected")),
    "NO_BLOCK": Code("there is no block for this action or scan", ("action", "code")),
    "WRONG_TIME": Code("not possible while the block is in this state", ("action", "block_state", "expected")),
    "BLOCK_ACTIVE": Code("another block is still running", ("block_id",)),
    "UNKNOWN_BLOCK": Code("no such block", ("block_id",)),
    "UNKNOWN_STOP": Code("no such stop", ("stop_id",)),
    "UNKNOWN_PARCEL": Code("no such parcel", ("parcel_id",)),
    "UNKNOWN_SITE": Code("no such site in this block", ("site_id",)),
    "UNKNOWN_MESSAGE": Code("no such message, or nothing to acknowledge", ("message_id",)),
    "UNKNOWN_OFFER": Code("no such offer, or it was answered", ("offer_id",)),
    "ALREADY_REQUESTED": Code("the block was asked for already; the cloud has yet to answer", ("offer_id",)),
    "OFFER_EXPIRED": Code("the offer has expired", ("offer_id", "expires_at")),
    "OVERLAP": Code("overlaps with a block that was accepted before", ("block_id",)),
    "TOO_EARLY": Code("the check-in window is not open yet", ("check_in_from",)),
    "CONFIRM_DATE": Code(
        "the block may be another day's: check in again if it is today's", ("block_id", "starts_at", "ends_at")
    ),
    "OUT_OF_DATE": Code("the block ended more than twelve hours ago", ("block_id", "starts_at", "ends_at")),
    "REASON_NEEDED": Code("far from the place or no position: a reason is needed", ("stop_id", "distance_m", "why")),
    "CONFIRM_LOCATION": Code("not quite at the stop: confirm", ("stop_id", "distance_m")),
    "NOTHING_TO_CONFIRM": Code("no question about the place is open"),
    "NO_POSITION": Code("no position that is recent enough"),
    "OUTSIDE_FENCE": Code("too far from the pickup site", ("distance_m",)),
    "LOOK_AGAIN": Code("parcels are not scanned: look once more, then close again", ("missing", "count")),
    "PARCELS_OPEN": Code("parcels are neither loaded nor marked missing or rejected", ("missing", "count")),
    "STOP_ENDED": Code("the stop has ended; ended stops never reopen", ("stop_id", "stop_state")),
    "NO_STOP": Code("no stop is under way"),
    "NOT_ARRIVED": Code("not at the stop yet", ("stop_id", "parcel_id", "tracking_number")),
    "ALREADY_UNDER_WAY": Code("on the way to this stop already", ("stop_id",)),
    "NOTHING_DONE": Code("the action had nothing to change", ("action",)),
    "ALREADY_ARRIVED": Code("arrived already", ("stop_id",)),
    "WRONG_KIND": Code("not at a stop of this kind", ("stop_id", "kind", "expected")),
    "WRONG_STATE": Code("not possible for a parcel in this state", ("parcel_id", "parcel_state", "expected")),
    "WRONG_SITE": Code("the parcel goes back to another site", ("parcel_id", "site_id")),
    "NOTHING_TO_DELIVER": Code("no parcel of this stop is scanned", ("stop_id", "parcel_ids")),
    "NOTHING_TO_DO": Code("no parcel is left for this", ("stop_id",)),
    "SCAN_FIRST": Code("scan the parcel, or give a reason", ("parcel_ids",)),
    "DELIVER_ELSEWHERE": Code("the parcel is for another stop: a reason is needed", ("parcel_id", "stop_id")),
    "HANDOVER_NOT_ALLOWED": Code("this handover is not allowed", ("handover", "because", "parcel_id")),
    "HANDOVER_NEEDS_REASON": Code("the instruction says otherwise: a reason is needed", ("handover", "instruction")),
    "PHOTO_REQUIRED": Code("a photo is required first", ("parcel_ids", "proofs")),
    "SIGNATURE_REQUIRED": Code("a signature is required first", ("parcel_ids", "proofs")),
    "OTP_REQUIRED": Code("the recipient's code is required first", ("parcel_ids", "proofs")),
    "AGE_CHECK_REQUIRED": Code("an age check is required first", ("parcel_ids", "proofs")),
    "NO_PHOTO_REQUIRED": Code("no photo is asked for here", ("stop_id",)),
    "CONTACT_NEEDED": Code("this reason asks for an attempt to contact the recipient", ("reason",)),
    "NOTE_NEEDED": Code("this reason asks for a note", ("reason", "least_length")),
    "NO_REATTEMPT": Code("this parcel may not be tried again", ("parcel_id", "reason", "attempts")),
    "ADOPTION_OFF": Code("adding unknown parcels is switched off", ("parcel_id",)),
    "NOTHING_TO_UNDO": Code("there is nothing to undo"),
    "SEARCH_FIRST": Code("finish the stops, then search the vehicle", ("parcel_id",)),
    "CUSTODY_LEFT": Code("parcels are still in the vehicle's custody", ("count", "parcel_ids")),
    "STOPS_OPEN": Code("stops are still open", ("count", "stop_ids")),
    "PARCELS_EXPECTED": Code("the block still has parcels to pick up", ("count",)),
    "NO_CHOICE": Code("nothing to choose from", ("code",)),
    # A manual scan is refused with the code of its feedback
    **{name: FEEDBACK[name] for name in ("CONFIRM_PARCEL", "NOT_CHECKED_IN", "NOT_LOADING", "OTHER_CODE", "PAUSED")},
    **{name: FEEDBACK[name] for name in ("TO_RETURN", "ENDED", *SCAN_RESULTS[2:])},
}
"""Why an action is not accepted."""
