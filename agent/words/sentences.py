"""Every sentence that the driver reads or hears, in English: the text that translators start from.

A code has one sentence or several: the first whose params all have a value is shown, so the last one asks for the
least. ``{name}`` is a param; in a counted sentence ``{n}`` is the number. A key such as ``OK/loaded`` holds what the
code says where a param in `phrases.CHOOSING` has that value.
"""

# ruff: noqa: RUF001 - the dash between section and sequence is part of the contract
from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.words.phrases import Phrase, count, phrase, say, silent

FEEDBACK: Final[Mapping[str, Phrase]] = {
    "OK": silent(say("{tracking_number}")),
    "OK/loaded": phrase(
        say("{section} – {sequence} · {tracking_number} loaded"),
        say("{tracking_number} loaded"),
        speech=(say("{section} – {sequence}"),),
    ),
    "OK/found": phrase(
        say("{section} – {sequence} · {tracking_number} found"),
        say("{tracking_number} found"),
        speech=(say("{section} – {sequence}"),),
    ),
    "OK/drop_scanned": silent(say("{tracking_number} belongs here")),
    "OK/returned": silent(say("{tracking_number} is back")),
    "ALREADY_SCANNED": phrase(
        say("Already scanned at {first_time}: {tracking_number}"),
        say("Already scanned: {tracking_number}"),
        say("Already scanned"),
        speech=(say("Already scanned"),),
    ),
    "NOT_ON_MANIFEST": phrase(
        say("Not on your list: {code}. Put it aside."),
        say("Not on your list. Put it aside."),
        speech=(say("Not on your list. Put it aside."),),
    ),
    "NOT_ON_MANIFEST/scanned": phrase(
        say("Not on your list: {code}. Put it aside. If this is the parcel's number, confirm it or type it in."),
        say("Not on your list. Put it aside. If this is the parcel's number, confirm it or type it in."),
        speech=(say("Not on your list. Put it aside."),),
    ),
    "NOT_ON_MANIFEST/typed": phrase(
        say("Not on your list: {code}. If this is the parcel's number, type it in once more."),
        say("Not on your list. If this is the parcel's number, type it in once more."),
        speech=(say("Not on your list. If it is right, once more."),),
    ),
    "OTHER_DRIVER": phrase(
        say("Belongs to another vehicle: {unit}. Put {code} aside."),
        say("Belongs to another vehicle. Put it aside."),
        speech=(say("Other vehicle, {unit}. Put it aside."), say("Other vehicle. Put it aside.")),
    ),
    "WRONG_STORE": phrase(
        say("Belongs to another place: {store}."),
        say("Belongs to another place."),
        speech=(say("Wrong place. It belongs to {store}."), say("Wrong place.")),
    ),
    "WRONG_STOP": phrase(
        say("For another stop, number {sequence}: {address}."),
        say("For another stop, number {sequence}."),
        say("For another stop: {address}."),
        say("For another stop."),
        speech=(say("Wrong stop. For number {sequence}."), say("Wrong stop.")),
    ),
    "RECALLED": phrase(
        say("Recalled: {tracking_number}. Put it in the return area."),
        say("Recalled. Put it in the return area."),
        speech=(say("Recalled. Return area."),),
    ),
    "ALREADY_DELIVERED": phrase(
        say("Already delivered at {delivered_at}. If that was a mistake, void the delivery."),
        say("Already delivered. If that was a mistake, void the delivery."),
        speech=(say("Already delivered."),),
    ),
    "BAD_LABEL": phrase(
        say("The label cannot be right: {code} ({fault}). Type the number in."),
        say("The label cannot be right: {code}. Type the number in."),
        say("The label cannot be right. Type the number in."),
        speech=(say("Bad label. Type it in."),),
    ),
    "BAD_LABEL/typed": phrase(
        say("{code} cannot be right ({fault}). If the label says so, type it in once more."),
        say("{code} cannot be right. If the label says so, type it in once more."),
        say("This cannot be right. If the label says so, type it in once more."),
        speech=(say("Not right. If the label says so, once more."),),
    ),
    "OTHER_CODE": phrase(
        say("That is not the parcel's number. Scan the other code on the label."),
        speech=(say("Not the parcel's number. Scan the other code."),),
    ),
    "OTHER_CODE/typed": phrase(
        say("{code} is no parcel's number that we know. If it is one, type it in once more."),
        say("This is no parcel's number that we know. If it is one, type it in once more."),
        speech=(say("Not a parcel's number. If it is one, once more."),),
    ),
    "SEVERAL_CODES": phrase(
        count("choices", "{n} parcel matches. Choose one.", "{n} parcels match. Choose one."),
        say("Several parcels match. Choose one."),
        speech=(say("Several parcels match. Choose one."),),
    ),
    "CONFIRM_PARCEL": phrase(
        say("Is it this one? {choices}"), say("Confirm the parcel."), speech=(say("Confirm the parcel."),)
    ),
    "NOT_READ": phrase(say("Not read. Scan again.")),
    "NO_BLOCK": phrase(say("There is no block to scan for."), speech=(say("No block."),)),
    "NOT_CHECKED_IN": phrase(say("Check in before you scan."), speech=(say("Check in first."),)),
    "NOT_LOADING": phrase(
        say("Loading is not open: the block is {block_state}."),
        say("Loading is not open."),
        speech=(say("Loading is not open."),),
    ),
    "PAUSED": phrase(say("You are on a break. Resume before you scan."), speech=(say("Resume first."),)),
    "NOT_ARRIVED": phrase(
        say("The right parcel, but you have not arrived at its stop."), speech=(say("Not at the stop yet."),)
    ),
    "TO_RETURN": phrase(
        say("This parcel goes back to {site}: {reason}."),
        say("This parcel goes back to {site}."),
        say("This parcel goes back: {reason}."),
        say("This parcel goes back."),
        speech=(say("This one goes back."),),
    ),
    "ENDED": phrase(
        say("This parcel is finished: {parcel_state}."),
        say("This parcel is finished."),
        speech=(say("Finished: {parcel_state}."), say("Finished.")),
    ),
    "DONE": silent(say("Done: {action}."), say("Done.")),
    "DONE/accept_offer": silent(say("Asked for the block. Dispatch answers.")),
    "DONE/decline_offer": silent(say("Declined.")),
    "DONE/give_back": silent(say("The block is given back.")),
    "DONE/check_in": silent(say("Checked in.")),
    "DONE/start_loading": silent(say("Loading is open.")),
    "DONE/mark_missing": silent(say("Noted as missing.")),
    "DONE/not_ready": silent(say("Noted as not ready.")),
    "DONE/reject": silent(say("Left behind.")),
    "DONE/unload": silent(say("Taken out again.")),
    "DONE/undo": silent(say("The last scan is undone.")),
    "DONE/adopt": silent(say("Taken along.")),
    "DONE/hand_back": silent(say("Handed back.")),
    "DONE/close_loading": silent(say("Loading is closed.")),
    "DONE/reopen_loading": silent(say("Loading is open again.")),
    "DONE/start_stop": silent(say("On the way to the chosen stop.")),
    "DONE/skip_stop": silent(say("This stop comes later.")),
    "DONE/contact": silent(say("Your try is noted.")),
    "DONE/skip_photo": silent(say("No photo, with your reason.")),
    "DONE/deliver": silent(say("Delivered.")),
    "DONE/fail": silent(say("Noted: not delivered.")),
    "DONE/refuse": silent(say("Noted: refused. It goes back.")),
    "DONE/damage": silent(say("Noted: damaged.")),
    "DONE/not_in_vehicle": silent(say("Noted: not in the vehicle.")),
    "DONE/found": silent(say("Found.")),
    "DONE/lost": silent(say("Noted as lost.")),
    "DONE/void": silent(say("The delivery is taken back.")),
    "DONE/reattempt": silent(say("Once more, then.")),
    "DONE/return": silent(say("Handed in.")),
    "DONE/transfer": silent(say("Handed over.")),
    "DONE/pause": silent(say("Enjoy your break.")),
    "DONE/resume": silent(say("On the route again.")),
    "DONE/abort": silent(say("The block ends. What is on board goes back.")),
    "DONE/suggest_location": silent(say("Your position goes to dispatch.")),
    "DONE/tag_stop": silent(say("Noted.")),
    "DONE/annotate": silent(say("Noted.")),
    "DONE/acknowledge": silent(say("Dispatch knows that you have read it.")),
    "STOP_DONE": phrase(say("Stop finished.")),
    "STOP_DONE/PARTIAL": phrase(say("Stop finished, not everything was possible."), speech=(say("Stop finished."),)),
    "STOP_DONE/FAILED": phrase(say("Stop finished, nothing was possible."), speech=(say("Stop finished."),)),
    "ARRIVED": phrase(
        say("Arrived at stop {sequence}: {address}."),
        say("Arrived at stop {sequence}."),
        say("Arrived: {address}."),
        say("Arrived."),
        speech=(say("Arrived. Stop {sequence}."), say("Arrived.")),
    ),
    "DEPARTED": phrase(say("On the route.")),
    "STOP_LEFT_OPEN": phrase(
        count(
            "parcel_ids",
            "You left a stop with {n} parcel open. It stays on your list.",
            "You left a stop with {n} parcels open. It stays on your list.",
        ),
        say("You left a stop with parcels open. It stays on your list."),
        speech=(say("Parcels left open."),),
    ),
    "OUT_OF_ORDER": phrase(
        say("This is not the next stop. It is yours to choose."), speech=(say("Not the next stop."),)
    ),
    "CONFIRM_LOCATION": phrase(
        say("{distance_m} m from the pin. Deliver here?"), say("Deliver here?"), speech=(say("Deliver here?"),)
    ),
    "LOOK_AGAIN": phrase(
        count(
            "count", "{n} parcel not scanned: {missing}. Look again.", "{n} parcels not scanned: {missing}. Look again."
        ),
        say("Parcels are not scanned. Look again."),
        speech=(count("count", "{n} missing. Look again.", "{n} missing. Look again."), say("Look again.")),
    ),
    "BLOCK_ASSIGNED": phrase(
        say("A block has come, from {starts_at}. Parcels: {parcels}, stops: {stops}."),
        say("A block has come. Parcels: {parcels}, stops: {stops}."),
        say("A block has come."),
        speech=(say("A block has come, from {starts_at}."), say("A block has come.")),
    ),
    "BLOCK_REVISED": phrase(
        say("The block has changed: {added} new, {cancelled} cancelled."),
        say("The block has changed."),
        speech=(say("The block has changed."),),
    ),
    "BLOCKS_OVERLAP": phrase(
        say("Block {block_id} begins at {starts_at}. Finish block {other_block_id} before, or give one of them back."),
        say("Block {block_id} and block {other_block_id} are in each other's way: give one of them back."),
        speech=(say("Two blocks are in each other's way."),),
    ),
    "BLOCK_CANCELLED": phrase(
        say("The block is cancelled: {reason}."),
        say("The block is cancelled."),
        speech=(say("The block is cancelled."),),
    ),
    "PANIC": phrase(say("The call for help goes to dispatch as soon as there is a connection.")),
    "PANIC/again": phrase(say("You have called for help already. The call goes to dispatch.")),
    "PANIC/located": phrase(
        say("The call for help goes to dispatch, with the position, as soon as there is a connection."),
    ),
    "BLOCK_CLOSED": phrase(say("The block is closed. Thank you.")),
    "NO_SHOW": phrase(say("The block began without a check-in and is gone."), speech=(say("The block is gone."),)),
    "CONFIRM_DATE": phrase(
        say("The clock is not set. The block begins at {starts_at}: is that today?"),
        say("The clock is not set. Is the block today's?"),
        speech=(say("The block begins at {starts_at}. Is that today?"), say("Is the block today's?")),
    ),
    "OUT_OF_DATE": phrase(
        say("The block from {starts_at} is out of date and is gone."),
        say("A block was out of date and is gone."),
        speech=(say("A block was out of date and is gone."),),
    ),
    "PARCELS_RECALLED": phrase(
        say("Recalled ({reason}): {parcel_ids}. Take them out."),
        say("Recalled: {parcel_ids}. Take them out."),
        say("Parcels are recalled. Take them out."),
        speech=(count("parcel_ids", "{n} parcel recalled.", "{n} parcels recalled."), say("Parcels are recalled.")),
    ),
    "MESSAGE": phrase(
        say("{text}"), say("A message from dispatch."), speech=(say("Message. {text}"), say("A message from dispatch."))
    ),
    "OFFER": phrase(say("A block is offered.")),
    "OFFER_CONFIRMED": phrase(say("The block is yours.")),
    "OFFER_REFUSED": phrase(
        say("Somebody else has the block: {reason}."),
        say("Somebody else has the block."),
        speech=(say("Somebody else has the block."),),
    ),
    "OFFER_NO_ANSWER": phrase(
        say("No answer to your acceptance yet. A late answer still counts."), speech=(say("No answer yet."),)
    ),
    "NOT_STORED": phrase(
        say("Not kept: the unit could not write. Do it again."), speech=(say("Not kept. Again, please."),)
    ),
    "STORE_FULL": phrase(
        say("Not kept: the unit's store is full. Tell your dispatcher."),
        speech=(say("Not kept. The store is full."),),
    ),
    "FAULT": phrase(
        say("A fault of the unit: nothing was done. Tell your dispatcher."), speech=(say("A fault of the unit."),)
    ),
    "BUSY": phrase(say("The unit is busy. Do it again."), speech=(say("Busy. Again, please."),)),
}
"""By the code of a feedback: results of scans and actions, and what the unit says by itself."""

PROMPTS: Final[Mapping[str, Phrase]] = {
    "WAIT_FOR_BLOCK": phrase(say("No block yet")),
    "ANSWER_OFFER": phrase(
        say("A block is offered: {place}, {starts_at}, {pay}"),
        say("A block is offered: {place}, {starts_at}"),
        say("A block is offered: {starts_at}, {pay}"),
        say("A block is offered: {starts_at}"),
        say("A block is offered: {place}"),
        say("A block is offered"),
    ),
    "WAIT_FOR_START": phrase(
        say("Your block begins at {starts_at}. Check-in from {check_in_from}"),
        say("Your block begins at {starts_at}"),
        say("Your block begins later"),
    ),
    "CONFIRM_DATE": phrase(
        say("The block begins at {starts_at}. If that is today, check in; else give it back"),
        say("If this block is today's, check in; else give it back"),
    ),
    "CHECK_IN": phrase(
        say("Check in at {site}. The block begins at {starts_at}"),
        say("Check in. The block begins at {starts_at}"),
        say("Check in at {site}"),
        say("Check in"),
    ),
    "START_LOADING": phrase(count("parcels", "Load {n} parcel", "Load {n} parcels"), say("Load the parcels")),
    "SCAN_LOAD": phrase(
        say("Scan parcels into the vehicle: {loaded} of {expected}"), say("Scan parcels into the vehicle")
    ),
    "LOOK_AGAIN": phrase(
        count("count", "Look again for {n} parcel: {missing}", "Look again for {n} parcels: {missing}"),
        count("count", "Look again for {n} parcel", "Look again for {n} parcels"),
        say("Look again"),
    ),
    "CLOSE_LOADING": phrase(say("{loaded} of {expected} loaded. Close loading"), say("Close loading")),
    "DEPART": phrase(say("Drive off. First stop: {address}"), say("Drive off")),
    "REOPEN_LOADING": phrase(
        count(
            "count",
            "{n} more parcel to load here. Open loading again",
            "{n} more parcels to load here. Open loading again",
        ),
        say("Open loading again"),
    ),
    "DRIVE_TO_STOP": phrase(
        say("Drive to stop {sequence}: {address}"),
        say("Drive to stop {sequence}"),
        say("Drive to the stop: {address}"),
        say("Drive to the stop"),
    ),
    "DRIVE_TO_STOP/return": phrase(say("Drive back to {address}"), say("Drive back")),
    "DRIVE_TO_STOP/pickup": phrase(say("Drive to the pickup: {address}"), say("Drive to the pickup")),
    "CHOOSE_STOP": phrase(
        count("left", "Choose the next stop: {n} stop left", "Choose the next stop: {n} stops left"),
        say("Choose the next stop"),
    ),
    "CONFIRM_LOCATION": phrase(say("{distance_m} m from the pin. Deliver here?"), say("Deliver here?")),
    "SCAN_DROP": phrase(
        count("parcel_ids", "Scan {n} parcel for this stop", "Scan {n} parcels for this stop"),
        say("Scan the parcels for this stop"),
    ),
    "GIVE_PROOF": phrase(say("Needed before delivery: {proofs}"), say("A proof is needed before delivery")),
    "DELIVER": phrase(
        count("parcel_ids", "Hand over {n} parcel: {instruction}", "Hand over {n} parcels: {instruction}"),
        count("parcel_ids", "Hand over {n} parcel", "Hand over {n} parcels"),
        say("Hand over the parcels"),
    ),
    "DELIVER/none": phrase(
        count("parcel_ids", "Hand over {n} parcel", "Hand over {n} parcels"), say("Hand over the parcels")
    ),
    "TAKE_BREAK": phrase(say("Take your break")),
    "SCAN_RETURN": phrase(
        count("parcel_ids", "Scan {n} parcel back in at {site}", "Scan {n} parcels back in at {site}"),
        count("parcel_ids", "Scan {n} parcel back in", "Scan {n} parcels back in"),
        say("Scan the parcels back in"),
    ),
    "CHOOSE_PARCEL": phrase(say("Which parcel is it?")),
    "CONFIRM_NUMBER": phrase(say("Is {code} the parcel's number?"), say("Is this the parcel's number?")),
    "RESUME": phrase(say("On a break")),
    "SEARCH_VEHICLE": phrase(
        count("parcel_ids", "Search the vehicle for {n} parcel", "Search the vehicle for {n} parcels"),
        say("Search the vehicle"),
    ),
    "BRING_BACK": phrase(
        count("parcel_ids", "{n} parcel goes back to {site}", "{n} parcels go back, to {site} first"),
        count("parcel_ids", "{n} parcel goes back", "{n} parcels go back"),
        say("Parcels go back"),
    ),
    "CLOSE_BLOCK": phrase(say("Everything is done. Close the block")),
    "BLOCK_ENDED": phrase(say("The block is {block_state}"), say("The block has ended")),
}
"""By the code of a prompt: the one thing to do now."""

REFUSALS: Final[Mapping[str, Phrase]] = {
    "UNKNOWN_ACTION": phrase(
        say("The unit does not know the action {action}."), say("The unit does not know this action.")
    ),
    "NOT_AVAILABLE": phrase(say("This unit cannot do that: {action}."), say("This unit cannot do that.")),
    "BAD_ARGUMENT": phrase(say("{path}: expected {expected}."), say("Something is missing or wrong.")),
    "NO_BLOCK": phrase(say("There is no block for this.")),
    "WRONG_TIME": phrase(say("Not now: the block is {block_state}."), say("Not now.")),
    "BLOCK_ACTIVE": phrase(say("Finish the running block first.")),
    "UNKNOWN_BLOCK": phrase(say("There is no block {block_id}."), say("There is no such block.")),
    "UNKNOWN_STOP": phrase(say("There is no stop {stop_id}."), say("There is no such stop.")),
    "UNKNOWN_PARCEL": phrase(say("There is no parcel {parcel_id}."), say("There is no such parcel.")),
    "UNKNOWN_SITE": phrase(say("This block has no place {site_id}."), say("This block has no such place.")),
    "UNKNOWN_MESSAGE": phrase(say("There is no such message, or it needs no answer.")),
    "UNKNOWN_OFFER": phrase(say("There is no such offer, or it was answered.")),
    "ALREADY_REQUESTED": phrase(say("You have asked for this block already. Dispatch has yet to answer.")),
    "OFFER_EXPIRED": phrase(say("The offer has expired at {expires_at}."), say("The offer has expired.")),
    "OVERLAP": phrase(say("It overlaps with a block that you have.")),
    "TOO_EARLY": phrase(
        say("Check-in is not open yet. It opens at {check_in_from}."), say("Check-in is not open yet.")
    ),
    "CONFIRM_DATE": phrase(
        say("The clock is not set. The block begins at {starts_at}. If that is today, check in again."),
        say("The clock is not set. If the block is today's, check in again."),
    ),
    "OUT_OF_DATE": phrase(say("The block ended at {ends_at}: it is out of date."), say("The block is out of date.")),
    "REASON_NEEDED": phrase(
        say("You seem to be {distance_m} m away. Give a reason."), say("You seem to be away. Give a reason.")
    ),
    "REASON_NEEDED/NO_FIX": phrase(say("There is no position. Give a reason.")),
    "REASON_NEEDED/OLD_FIX": phrase(say("There is no recent position. Give a reason.")),
    "CONFIRM_LOCATION": phrase(
        say("{distance_m} m from the pin. Confirm that you deliver here."), say("Confirm that you deliver here.")
    ),
    "NOTHING_TO_CONFIRM": phrase(say("There is no question about the place.")),
    "NO_POSITION": phrase(say("There is no recent position.")),
    "OUTSIDE_FENCE": phrase(
        say("Too far from the pickup place: {distance_m} m."), say("Too far from the pickup place.")
    ),
    "LOOK_AGAIN": phrase(
        count(
            "count",
            "{n} parcel not scanned: {missing}. Look again, then close again.",
            "{n} parcels not scanned: {missing}. Look again, then close again.",
        ),
        say("Parcels are not scanned. Look again, then close again."),
    ),
    "PARCELS_OPEN": phrase(
        count(
            "count",
            "{n} parcel neither loaded, missing nor rejected: {missing}.",
            "{n} parcels neither loaded, missing nor rejected: {missing}.",
        ),
        say("There are parcels neither loaded, missing nor rejected."),
    ),
    "STOP_ENDED": phrase(say("This stop has ended.")),
    "NO_STOP": phrase(say("No stop is under way.")),
    "NOT_ARRIVED": phrase(say("You have not arrived at this stop.")),
    "ALREADY_UNDER_WAY": phrase(say("You are on the way to this stop already.")),
    "NOTHING_DONE": phrase(say("There is nothing to change by that.")),
    "ALREADY_ARRIVED": phrase(say("You have arrived already.")),
    "WRONG_KIND": phrase(say("This is a {kind} stop, not a {expected} stop."), say("This is a stop of another kind.")),
    "WRONG_STATE": phrase(
        say("Not possible: the parcel is {parcel_state}."), say("Not possible with this parcel now.")
    ),
    "WRONG_SITE": phrase(say("This parcel goes back to another place.")),
    "NOTHING_TO_DELIVER": phrase(say("Scan the parcels of this stop first.")),
    "NOTHING_TO_DO": phrase(say("No parcel is left for this.")),
    "SCAN_FIRST": phrase(say("Scan the parcel first, or give a reason.")),
    "DELIVER_ELSEWHERE": phrase(say("This parcel is for another stop. Give a reason to deliver it here.")),
    "HANDOVER_NOT_ALLOWED": phrase(
        say("Not allowed: {handover} ({because})."), say("Not allowed: {handover}."), say("This is not allowed.")
    ),
    "HANDOVER_NEEDS_REASON": phrase(
        say("The instruction says {instruction}. Give a reason for {handover}."), say("Give a reason.")
    ),
    "HANDOVER_NEEDS_REASON/none": phrase(
        say("Nobody asked for that. Give a reason for {handover}."), say("Give a reason.")
    ),
    "PHOTO_REQUIRED": phrase(say("A photo comes first.")),
    "SIGNATURE_REQUIRED": phrase(say("A signature comes first.")),
    "OTP_REQUIRED": phrase(say("The recipient's code comes first.")),
    "AGE_CHECK_REQUIRED": phrase(say("An age check comes first.")),
    "NO_PHOTO_REQUIRED": phrase(say("No photo is asked for here.")),
    "CONTACT_NEEDED": phrase(say("Try to contact the recipient first, and record it.")),
    "NOTE_NEEDED": phrase(
        count("least_length", "Add a note of at least {n} letter.", "Add a note of at least {n} letters."),
        say("Add a note."),
    ),
    "NO_REATTEMPT": phrase(
        say("This parcel may not be tried again: {reason}."), say("This parcel may not be tried again.")
    ),
    "ADOPTION_OFF": phrase(say("Unknown parcels cannot be added on this unit. Hand it back.")),
    "NOTHING_TO_UNDO": phrase(say("There is nothing to undo.")),
    "SEARCH_FIRST": phrase(say("Finish the stops, then search the vehicle.")),
    "CUSTODY_LEFT": phrase(
        count("count", "{n} parcel is still in the vehicle.", "{n} parcels are still in the vehicle."),
        say("There are still parcels in the vehicle."),
    ),
    "STOPS_OPEN": phrase(
        count("count", "{n} stop is still open.", "{n} stops are still open."), say("There are still open stops.")
    ),
    "PARCELS_EXPECTED": phrase(
        count("count", "{n} parcel is still to be picked up.", "{n} parcels are still to be picked up."),
        say("There are still parcels to be picked up."),
    ),
    "NO_CHOICE": phrase(say("There is nothing to choose from.")),
}
"""By the code of a refusal; a scan typed in by hand is refused with the code of its feedback."""

MORE: Final = say("{items} and {count} more")
"""A list that is cut short."""
LISTED: Final = say("{items}, {item}")
"""A list that goes on."""
