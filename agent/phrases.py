"""What the driver reads and hears, made from codes and their params.

A language is one `Language` of templates; nothing else here is in any language. An unknown code is never an error: it
is shown as it is, because a driver who sees an odd word is better off than one who sees nothing.

>>> from agent.delivery.model.decision import Feedback
>>> feedback(Feedback("OK", "good", {"act": "loaded", "tracking_number": "TBA1"}, "2", 14))["speech"]
'2 – 14'

Templates: ``{name}`` is a param; ``{name:parcel|parcels}`` is a number, or the length of a list, with its noun;
``[…]`` is left out unless every param in it has a value. The code of a template may be followed by ``/`` and the
value of one of its params, which then has words of its own.
"""

# ruff: noqa: RUF001, RUF002 - the dash between section and sequence is part of the contract
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from agent.delivery.model.decision import Feedback, Refusal


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is read, and what is said where that is not the same: an empty speech leaves it at the tone."""

    text: str
    speech: str | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """Every template of one language."""

    feedback: Mapping[str, Phrase]
    prompts: Mapping[str, str]
    refusals: Mapping[str, str]
    words: Mapping[str, str]
    """Codes that appear inside a sentence: states, reasons, kinds, handovers."""
    more: str
    """The end of a list that is cut short: ``{count}``."""


MOST_ITEMS: Final = 3
"""Longer lists are cut short in a sentence."""

ENGLISH: Final = Language(
    feedback={
        "OK": Phrase("{tracking_number}", ""),
        "OK/loaded": Phrase("[{section} – {sequence} · ]{tracking_number} loaded", "[{section} – {sequence}]"),
        "OK/found": Phrase("[{section} – {sequence} · ]{tracking_number} found", "[{section} – {sequence}]"),
        "OK/drop_scanned": Phrase("{tracking_number} belongs here", ""),
        "OK/returned": Phrase("{tracking_number} is back", ""),
        "ALREADY_SCANNED": Phrase("Already scanned[ at {first_time}][: {tracking_number}]", "Already scanned"),
        "NOT_ON_MANIFEST": Phrase("Not on your list: {code}. Put it aside.", "Not on your list. Put it aside."),
        "OTHER_DRIVER": Phrase(
            "Belongs to another vehicle[: {unit}]. Put {code} aside.", "Other vehicle[, {unit}]. Put it aside."
        ),
        "WRONG_STORE": Phrase("Belongs to another place[: {store}].", "Wrong place[. It belongs to {store}]."),
        "WRONG_STOP": Phrase(
            "For another stop[, number {sequence}][: {address}].", "Wrong stop[. For number {sequence}]."
        ),
        "RECALLED": Phrase("Recalled[: {tracking_number}]. Put it in the return area.", "Recalled. Return area."),
        "ALREADY_DELIVERED": Phrase(
            "Already delivered[ at {delivered_at}]. If that was a mistake, void the delivery.", "Already delivered."
        ),
        "BAD_LABEL": Phrase(
            "The label can not be right[: {code}][ ({fault})]. Type the number in.", "Bad label. Type it in."
        ),
        "SEVERAL_CODES": Phrase("{choices:parcel|parcels} match. Choose one.", "Several parcels match. Choose one."),
        "CONFIRM_PARCEL": Phrase("Is it this one? {choices}", "Confirm the parcel."),
        "NO_BLOCK": Phrase("There is no block to scan for.", "No block."),
        "NOT_CHECKED_IN": Phrase("Check in before you scan.", "Check in first."),
        "NOT_LOADING": Phrase("Loading is not open[: the block is {block_state}].", "Loading is not open."),
        "PAUSED": Phrase("You are on a break. Resume before you scan.", "Resume first."),
        "NOT_ARRIVED": Phrase("The right parcel, but you have not arrived at its stop.", "Not at the stop yet."),
        "TO_RETURN": Phrase("This parcel goes back[: {reason}].", "This one goes back."),
        "ENDED": Phrase("This parcel is finished[: {parcel_state}].", "Finished[: {parcel_state}]."),
        "DONE": Phrase("Done[: {action}].", ""),
        "DONE/accept_offer": Phrase("Asked for the block. Dispatch answers.", ""),
        "DONE/decline_offer": Phrase("Declined.", ""),
        "DONE/give_back": Phrase("The block is given back.", ""),
        "DONE/check_in": Phrase("Checked in.", ""),
        "DONE/start_loading": Phrase("Loading is open.", ""),
        "DONE/mark_missing": Phrase("Noted as missing.", ""),
        "DONE/not_ready": Phrase("Noted as not ready.", ""),
        "DONE/reject": Phrase("Left behind.", ""),
        "DONE/unload": Phrase("Taken out again.", ""),
        "DONE/undo": Phrase("The last scan is undone.", ""),
        "DONE/adopt": Phrase("Taken along.", ""),
        "DONE/hand_back": Phrase("Handed back.", ""),
        "DONE/close_loading": Phrase("Loading is closed.", ""),
        "DONE/reopen_loading": Phrase("Loading is open again.", ""),
        "DONE/start_stop": Phrase("On the way to the chosen stop.", ""),
        "DONE/skip_stop": Phrase("This stop comes later.", ""),
        "DONE/contact": Phrase("Your try is noted.", ""),
        "DONE/skip_photo": Phrase("No photo, with your reason.", ""),
        "DONE/deliver": Phrase("Delivered.", ""),
        "DONE/fail": Phrase("Noted: not delivered.", ""),
        "DONE/refuse": Phrase("Noted: refused. It goes back.", ""),
        "DONE/damage": Phrase("Noted: damaged.", ""),
        "DONE/not_in_vehicle": Phrase("Noted: not in the vehicle.", ""),
        "DONE/found": Phrase("Found.", ""),
        "DONE/lost": Phrase("Noted as lost.", ""),
        "DONE/void": Phrase("The delivery is taken back.", ""),
        "DONE/reattempt": Phrase("Once more, then.", ""),
        "DONE/return": Phrase("Handed in.", ""),
        "DONE/transfer": Phrase("Handed over.", ""),
        "DONE/pause": Phrase("Enjoy your break.", ""),
        "DONE/resume": Phrase("On the route again.", ""),
        "DONE/abort": Phrase("The block ends. What is on board goes back.", ""),
        "DONE/suggest_location": Phrase("Your position goes to dispatch.", ""),
        "DONE/tag_stop": Phrase("Noted.", ""),
        "DONE/annotate": Phrase("Noted.", ""),
        "DONE/acknowledge": Phrase("Dispatch knows that you have read it.", ""),
        "STOP_DONE": Phrase("Stop finished.", "Stop finished."),
        "STOP_DONE/PARTIAL": Phrase("Stop finished, not everything was possible.", "Stop finished."),
        "STOP_DONE/FAILED": Phrase("Stop finished, nothing was possible.", "Stop finished."),
        "ARRIVED": Phrase("Arrived[ at stop {sequence}][: {address}].", "Arrived[. Stop {sequence}]."),
        "DEPARTED": Phrase("On the route.", "On the route."),
        "STOP_LEFT_OPEN": Phrase(
            "You left a stop with {parcel_ids:parcel|parcels} open. It stays on your list.", "Parcels left open."
        ),
        "OUT_OF_ORDER": Phrase("This is not the next stop. It is yours to choose.", "Not the next stop."),
        "CONFIRM_LOCATION": Phrase("[{distance_m} m from the pin. ]Deliver here?", "Deliver here?"),
        "LOOK_AGAIN": Phrase(
            "{count:parcel|parcels} not scanned: {missing}. Look again.", "{count} missing. Look again."
        ),
        "BLOCK_ASSIGNED": Phrase(
            "A block has come[: {parcels:parcel|parcels}][, {stops:stop|stops}][, from {starts_at}].",
            "A block has come.",
        ),
        "BLOCK_REVISED": Phrase(
            "The block has changed[: {added} new][, {cancelled} cancelled].", "The block has changed."
        ),
        "BLOCK_CANCELLED": Phrase("The block is cancelled[: {reason}].", "The block is cancelled."),
        "BLOCK_CLOSED": Phrase("The block is closed. Thank you.", "The block is closed. Thank you."),
        "NO_SHOW": Phrase("The block began without a check-in and is gone.", "The block is gone."),
        "PARCELS_RECALLED": Phrase(
            "Recalled[ ({reason})]: {parcel_ids}. Take them out.", "{parcel_ids:parcel|parcels} recalled."
        ),
        "MESSAGE": Phrase("{text}", "Message. {text}"),
        "OFFER": Phrase("A block is offered.", "A block is offered."),
        "OFFER_CONFIRMED": Phrase("The block is yours.", "The block is yours."),
        "OFFER_REFUSED": Phrase("Somebody else has the block[: {reason}].", "Somebody else has the block."),
        "OFFER_NO_ANSWER": Phrase("No answer to your acceptance yet. A late answer still counts.", "No answer yet."),
        "NOT_STORED": Phrase("Not kept: the unit could not write. Do it again.", "Not kept. Again, please."),
        "STORE_FULL": Phrase(
            "Not kept: the unit's store is full. Tell your dispatcher.", "Not kept. The store is full."
        ),
        "BUSY": Phrase("The unit is busy. Do it again.", "Busy. Again, please."),
    },
    prompts={
        "WAIT_FOR_BLOCK": "No block yet",
        "ANSWER_OFFER": "A block is offered[: {place}][, {starts_at}][, {pay}]",
        "WAIT_FOR_START": "Your block begins[ at {starts_at}][. Check-in from {check_in_from}]",
        "CHECK_IN": "Check in[ at {site}][. The block begins at {starts_at}]",
        "START_LOADING": "Load {parcels:parcel|parcels}",
        "SCAN_LOAD": "Scan parcels into the vehicle: {loaded} of {expected}",
        "LOOK_AGAIN": "Look again for {count:parcel|parcels}[: {missing}]",
        "CLOSE_LOADING": "{loaded} of {expected} loaded. Close loading",
        "DEPART": "Drive off[. First stop: {address}]",
        "REOPEN_LOADING": "{count:more parcel|more parcels} to load here. Open loading again",
        "DRIVE_TO_STOP": "Drive to stop[ {sequence}][: {address}]",
        "DRIVE_TO_STOP/return": "Drive back[ to {address}]",
        "DRIVE_TO_STOP/pickup": "Drive to the pickup[: {address}]",
        "CHOOSE_STOP": "Choose the next stop: {left:stop|stops} left",
        "CONFIRM_LOCATION": "[{distance_m} m from the pin. ]Deliver here?",
        "SCAN_DROP": "Scan {parcel_ids:parcel|parcels} for this stop",
        "GIVE_PROOF": "Needed before delivery: {proofs}",
        "DELIVER": "Hand over {parcel_ids:parcel|parcels}[: {instruction}]",
        "DELIVER/none": "Hand over {parcel_ids:parcel|parcels}",
        "TAKE_BREAK": "Take your break",
        "SCAN_RETURN": "Scan {parcel_ids:parcel|parcels} back in[ at {site}]",
        "CHOOSE_PARCEL": "Which parcel is it?",
        "RESUME": "On a break",
        "SEARCH_VEHICLE": "Search the vehicle for {parcel_ids:parcel|parcels}",
        "CLOSE_BLOCK": "Everything is done. Close the block",
        "BLOCK_ENDED": "The block is {block_state}",
    },
    refusals={
        "UNKNOWN_ACTION": "The unit does not know the action {action}.",
        "NOT_AVAILABLE": "This unit can not do that: {action}.",
        "BAD_ARGUMENT": "{path}: expected {expected}.",
        "NO_BLOCK": "There is no block for this.",
        "WRONG_TIME": "Not now[: the block is {block_state}].",
        "BLOCK_ACTIVE": "Finish the running block first.",
        "UNKNOWN_BLOCK": "There is no block {block_id}.",
        "UNKNOWN_STOP": "There is no stop {stop_id}.",
        "UNKNOWN_PARCEL": "There is no parcel {parcel_id}.",
        "UNKNOWN_SITE": "This block has no place {site_id}.",
        "UNKNOWN_MESSAGE": "There is no such message, or it needs no answer.",
        "UNKNOWN_OFFER": "There is no such offer, or it was answered.",
        "OFFER_EXPIRED": "The offer has expired[ at {expires_at}].",
        "OVERLAP": "It overlaps with a block that you have.",
        "TOO_EARLY": "Check-in is not open yet[. It opens at {check_in_from}].",
        "REASON_NEEDED": "You seem to be [{distance_m} m ]away. Give a reason.",
        "REASON_NEEDED/NO_FIX": "There is no position. Give a reason.",
        "REASON_NEEDED/OLD_FIX": "There is no recent position. Give a reason.",
        "CONFIRM_LOCATION": "[{distance_m} m from the pin. ]Confirm that you deliver here.",
        "NOTHING_TO_CONFIRM": "There is no question about the place.",
        "NO_POSITION": "There is no recent position.",
        "OUTSIDE_FENCE": "Too far from the pickup place[: {distance_m} m].",
        "LOOK_AGAIN": "{count:parcel|parcels} not scanned[: {missing}]. Look again, then close again.",
        "PARCELS_OPEN": "{count:parcel|parcels} neither loaded, missing nor rejected[: {missing}].",
        "STOP_ENDED": "This stop has ended.",
        "NO_STOP": "No stop is under way.",
        "NOT_ARRIVED": "You have not arrived at this stop.",
        "ALREADY_ARRIVED": "You have arrived already.",
        "WRONG_KIND": "This is a {kind} stop, not a {expected} stop.",
        "WRONG_STATE": "Not possible: the parcel is {parcel_state}.",
        "WRONG_SITE": "This parcel goes back to another place.",
        "NOTHING_TO_DELIVER": "Scan the parcels of this stop first.",
        "NOTHING_TO_DO": "No parcel is left for this.",
        "SCAN_FIRST": "Scan the parcel first, or give a reason.",
        "DELIVER_ELSEWHERE": "This parcel is for another stop. Give a reason to deliver it here.",
        "HANDOVER_NOT_ALLOWED": "Not allowed: {handover}[ ({because})].",
        "HANDOVER_NEEDS_REASON": "The instruction says {instruction}. Give a reason for {handover}.",
        "HANDOVER_NEEDS_REASON/none": "Nobody asked for that. Give a reason for {handover}.",
        "PHOTO_REQUIRED": "A photo comes first.",
        "SIGNATURE_REQUIRED": "A signature comes first.",
        "OTP_REQUIRED": "The recipient's code comes first.",
        "AGE_CHECK_REQUIRED": "An age check comes first.",
        "NO_PHOTO_REQUIRED": "No photo is asked for here.",
        "CONTACT_NEEDED": "Try to contact the recipient first, and record it.",
        "NOTE_NEEDED": "Add a note[ of at least {least_length:letter|letters}].",
        "NO_REATTEMPT": "This parcel may not be tried again[: {reason}].",
        "ADOPTION_OFF": "Unknown parcels can not be added on this unit. Hand it back.",
        "NOTHING_TO_UNDO": "There is nothing to undo.",
        "SEARCH_FIRST": "Finish the stops, then search the vehicle.",
        "CUSTODY_LEFT": "{count:parcel is|parcels are} still in the vehicle.",
        "STOPS_OPEN": "{count:stop is|stops are} still open.",
        "PARCELS_EXPECTED": "{count:parcel is|parcels are} still to be picked up.",
        "NO_CHOICE": "There is nothing to choose from.",
    },
    words={
        # states
        "OFFERED": "offered",
        "ACCEPTED": "accepted",
        "CHECKED_IN": "checked in",
        "LOADING": "being loaded",
        "LOADED": "loaded",
        "ON_ROUTE": "on the route",
        "PAUSED": "paused",
        "RETURNING": "returning",
        "NO_SHOW": "missed",
        "OUT_FOR_DELIVERY": "out for delivery",
        "RETURN_PENDING": "waiting to go back",
        "RECALLED_CLOSED": "recalled",
        "HANDED_BACK": "handed back",
        "UNLOCATED": "not found in the vehicle",
        # reasons
        "CUSTOMER_UNAVAILABLE": "nobody there",
        "ACCESS_PROBLEM": "no way in",
        "ADDRESS_NOT_FOUND": "address not found",
        "NO_SAFE_PLACE": "no safe place",
        "BUSINESS_CLOSED": "business closed",
        "NOT_IN_VEHICLE": "not in the vehicle",
        "UNSAFE_PLACE": "unsafe place",
        "ROAD_CLOSED": "road closed",
        "OTP_FAILED": "the code was wrong",
        "OUT_OF_TIME": "out of time",
        "CUSTOMER_RESCHEDULED": "the recipient chose another day",
        "PACKAGE_NOT_READY": "not ready",
        # proofs and handovers
        "otp": "the recipient's code",
        "age": "an age check",
        "photo": "a photo",
        "signature": "a signature",
        "front_door": "front door",
        "safe_place": "safe place",
    },
    more="and {count} more",
)

LANGUAGES: Final[Mapping[str, Language]] = {"en": ENGLISH}

_T = TypeVar("_T")
_FIELD = re.compile(r"\{(\w+)(?::([^{}|]*)\|([^{}|]*))?\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_CODE = re.compile(r"[A-Z]+(_[A-Z]+)*|[a-z]+(_[a-z]+)+")
_SAYING: Final = ("text", "line1", "tracking_number", "name", "kind", "parcel_id")
"""The member of an object that stands for it in a sentence."""
_CODED: Final = frozenset(
    {
        "act",
        "action",
        "because",
        "block_state",
        "expected",
        "fault",
        "handover",
        "instruction",
        "kind",
        "parcel_state",
        "proofs",
        "reason",
        "stop_state",
        "why",
    }
)
"""Params that may hold a code; every other text is shown letter by letter, whatever it looks like."""
_TIMES: Final = ("_at", "_from", "_time")


def feedback(given: Feedback, language: str = "en") -> dict[str, Any]:
    """The contract's feedback object (§6)."""
    tables = LANGUAGES[language]
    params: dict[str, Any] = {**given.params, "section": given.section}
    if given.sequence is not None:
        params["sequence"] = given.sequence
    phrase = _of(tables.feedback, given.code, params) or Phrase(_word(given.code, tables).capitalize())
    text = _fill(phrase.text, params, tables)
    shown: dict[str, Any] = {
        "code": given.code,
        "params": dict(given.params),
        "tone": given.tone,
        "text": text,
        "speech": text if phrase.speech is None else _fill(phrase.speech, params, tables),
    }
    if given.section is not None:
        shown["section"] = given.section
    if given.sequence is not None:
        shown["sequence"] = given.sequence
    return shown


def refusal(given: Refusal, language: str = "en") -> str:
    """The sentence that says why an action was not accepted."""
    tables = LANGUAGES[language]
    template = _of(tables.refusals, given.reason, given.params)
    if template is None:  # a scan typed in by hand is refused with the code of its feedback
        phrase = _of(tables.feedback, given.reason, given.params)
        template = phrase.text if phrase else _word(given.reason, tables).capitalize()
    return _fill(template, given.params, tables)


def prompt(code: str, params: Mapping[str, Any], language: str = "en") -> str:
    """The one thing to do now."""
    tables = LANGUAGES[language]
    return _fill(_of(tables.prompts, code, params) or _word(code, tables).capitalize(), params, tables)


def _of(table: Mapping[str, _T], code: str, params: Mapping[str, Any]) -> _T | None:
    own = (f"{code}/{value}" for value in params.values() if isinstance(value, str))
    return next((table[key] for key in own if key in table), table.get(code))


def _fill(template: str, params: Mapping[str, Any], language: Language) -> str:
    """The template with its params; optional parts are settled first, so that a param's own brackets mean nothing."""

    def optional(part: re.Match[str]) -> str:
        names = [field[0] for field in _FIELD.findall(part[1])]
        return part[1] if all(params.get(name) not in (None, "", (), [], {}) for name in names) else ""

    def value(field: re.Match[str]) -> str:
        name, one, many = field.groups()
        if one is None:
            return _shown(name, params.get(name), language)
        given = params.get(name)
        count = len(given) if isinstance(given, Sequence | Mapping) else given
        return f"{'?' if count is None else count} {one if count == 1 else many}"

    return _FIELD.sub(value, _OPTIONAL.sub(optional, template))


def _shown(name: str, value: Any, language: Language) -> str:
    match value:
        case None:
            return "?"
        case str():
            if name.endswith(_TIMES):
                return _clock(value)
            return _word(value, language) if name in _CODED else value
        case float():
            return f"{value:.0f}"
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case Mapping():
            key = next((key for key in _SAYING if value.get(key)), "")
            return _shown(key, value.get(key), language)
        case list() | tuple() | frozenset():
            items = [_shown(name, item, language) for item in value]
            cut = items[MOST_ITEMS:] if len(items) > MOST_ITEMS + 1 else []
            shown = ", ".join(items[: len(items) - len(cut)])
            return f"{shown} {language.more.format(count=len(cut))}" if cut else shown
        case _:
            return str(value)


def _word(value: str, language: Language) -> str:
    return language.words.get(value) or (value.replace("_", " ").lower() if _CODE.fullmatch(value) else value)


def _clock(value: str) -> str:
    """The time of day where the unit is; one whose clock knows no zone says so."""
    try:
        local = datetime.fromisoformat(value).astimezone()
    except ValueError:
        return value
    return f"{local:%H:%M}" if local.utcoffset() else f"{local:%H:%M} UTC"
