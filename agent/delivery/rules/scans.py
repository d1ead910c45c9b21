"""A code was read or typed: which parcel it is, and what that means here and now.

The order of the checks: what the block knows comes first, so that a label with a wrong check digit or a number that
another vehicle carries is still loaded when our manifest has that very text; then the vehicle that does carry it; then
what is something else than a parcel's number, and a label that cannot be right; and only then a parcel nobody told us
about. Whether a text of an unknown form is one, the driver says: by typing it in, once more if it was typed before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NoReturn

from agent.delivery.model import geofence
from agent.delivery.model.decision import Feedback, Tone
from agent.delivery.model.inputs import NOT_PARCELS, Scanned
from agent.delivery.model.numbers import normal
from agent.delivery.model.open_work import home, returns_at
from agent.delivery.model.state import Block, Parcel, Question, Stop
from agent.delivery.model.times import Instant, text_of
from agent.delivery.rules.follow_ups import settle
from agent.delivery.rules.held import find_scanned, home_here, home_name, move_on
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import CUSTODY, PARCEL_ENDED, STOP_ENDED

SHORT_ENTRY = 6
"""How many of a number's last characters are enough to type."""
LONGEST_TEXT = 80
"""How much of a text that no manifest knows is shown."""
_LIKE_A_NUMBER = re.compile(r"(?=.*[0-9])[A-Z0-9$%*./#_]{1,48}")
"""A parcel's number as it may be printed. Anything else that a label holds may be somebody's name, address or telephone
number: the driver sees it, and no event keeps it."""
_WORD = re.compile(r"(?<!\S)[^\W\d_]{5,}(?!\S)")
"""Part of a name or a sentence, not of a number that is printed in groups."""
_LEAST_KEPT = 10
"""What is shorter and of no known form may be a postcode with a house number."""
QUESTIONS = frozenset({"parcel", "number"})
"""Questions that the next scan or action ends."""


def scan(tx: Transaction, scanned: Scanned) -> None:
    """Decide about one scan.

    :raises Refused: the scan is rejected; its event and its feedback are in the transaction
    """
    block, question = tx.state.block, tx.here.question
    if question is not None and question.kind in QUESTIONS:
        tx.momentary(question=None)
    known = _known(block, scanned) if block is not None and not block.ended else []
    if all(parcel.state in PARCEL_ENDED for parcel in known):
        held = find_scanned(tx.state, scanned)
        if held is not None and (not known or held[1].state in CUSTODY):
            _scan_held(tx, scanned, *held)
            return
    if block is None or block.ended:
        _reject(tx, scanned, "NO_BLOCK", None, code=_shown(scanned))
    if not known and scanned.entry == "manual":
        ends = _ends_with(block, normal(scanned.text))
        if ends:
            _ask(tx, scanned, ends, "CONFIRM_PARCEL" if len(ends) == 1 else "SEVERAL_CODES")
    if len(known) > 1:
        known = _narrow(block, known)
        if len(known) > 1:
            _ask(tx, scanned, known, "SEVERAL_CODES")
    if block.state == "ACCEPTED":
        _reject(tx, scanned, "NOT_CHECKED_IN", None, code=_shown(scanned))
    if not known:
        _reject_unknown(tx, _likeliest(scanned), block, confirmed=_is_answer(question, scanned))
    scan_parcel(tx, scanned, known[0])


def _known(block: Block, scanned: Scanned) -> list[Parcel]:
    """The parcels that carry the code, by the best of its forms that the block knows; and those of the other codes."""
    known: dict[str, Parcel] = {}
    for one in (scanned, *scanned.others):
        for code in (*one.codes, one.text):
            found = block.codes.get(normal(code))
            if found:
                known |= {parcel_id: block.parcels[parcel_id] for parcel_id in found}
                break
    return list(known.values())


def _ends_with(block: Block, end: str) -> list[Parcel]:
    if len(end) < SHORT_ENTRY:
        return []
    return [parcel for parcel in block.parcels.values() if normal(parcel.tracking_number).endswith(end)]


def _narrow(block: Block, known: list[Parcel]) -> list[Parcel]:
    """Of several parcels with one code those that are expected here; else the first, which says why it is not. Those
    that are finished count only where all are, and then the one that came last."""
    known = [parcel for parcel in known if parcel.state not in PARCEL_ENDED] or known[-1:]
    stop = block.current_stop
    if block.state in {"LOADING", "LOADED"}:
        expected = [parcel for parcel in known if parcel.state in {"MANIFESTED", "MISSING"}]
    elif stop is not None and stop.kind == "return":
        expected = [parcel for parcel in known if parcel.state == "RETURN_PENDING"]
    else:
        aboard = [parcel for parcel in known if parcel.state == "OUT_FOR_DELIVERY" and parcel.dropped_at is None]
        expected = [parcel for parcel in aboard if stop is not None and parcel.stop_id == stop.stop_id] or aboard
    return expected or known[:1]


def _ask(tx: Transaction, scanned: Scanned, parcels: list[Parcel], code: str) -> NoReturn:
    question = Question("parcel", scan=scanned, parcel_ids=tuple(parcel.parcel_id for parcel in parcels))
    tx.momentary(question=question)
    choices = choices_of(tx.block, parcels)
    tx.tell(code, "attention", choices=choices)
    raise Refused(code, choices=choices)


def choices_of(block: Block, parcels: Iterable[Parcel]) -> list[dict[str, Any]]:
    """What a driver needs to tell parcels apart."""
    choices = []
    for parcel in parcels:
        stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
        choices.append(
            {
                "parcel_id": parcel.parcel_id,
                "tracking_number": parcel.tracking_number,
                "section": parcel.plan.section,
                "sequence": stop.plan.sequence if stop is not None else None,
            }
        )
    return choices


def _likeliest(scanned: Scanned) -> Scanned:
    """Of the codes of one view that the block does not know, the one that may be a parcel's number."""
    views = (scanned, *scanned.others)
    return min(views, key=lambda one: (one.kind in NOT_PARCELS, one.fault is not None, one.kind is None))


def _is_answer(question: Question | None, scanned: Scanned) -> bool:
    """Whether the driver has typed in what was asked about: it is a parcel's number, whatever speaks against it."""
    asked = question.scan if question is not None and question.kind == "number" else None
    return asked is not None and scanned.entry == "manual" and normal(asked.text) == normal(scanned.text)


def _shown(scanned: Scanned) -> str:
    """The number as people know it; the text as it was scanned where no form holds."""
    is_sound = scanned.kind is not None and scanned.kind not in NOT_PARCELS and scanned.fault is None
    return (scanned.codes[0] if is_sound and scanned.codes else scanned.text)[:LONGEST_TEXT]


def _is_number(scanned: Scanned) -> bool:
    """Whether what was scanned can be a parcel's number."""
    return scanned.kind not in NOT_PARCELS if scanned.kind is not None else _looks_like_one(scanned.text)


def _looks_like_one(text: str) -> bool:
    return _LIKE_A_NUMBER.fullmatch(normal(text)) is not None and _WORD.search(text) is None


def _may_be_kept(scanned: Scanned) -> bool:
    """Whether an event may hold the text of a rejected scan. What was typed is anything until it has proved itself."""
    is_label = scanned.entry != "manual" and len(normal(scanned.text)) >= _LEAST_KEPT
    return _is_number(scanned) and (scanned.kind is not None or is_label)


def _say(tx: Transaction, code: str, tone: Tone, parcel: Parcel | None, /, **params: Any) -> None:
    if parcel is None:
        tx.feedback = Feedback(code, tone, params)
        return
    stop = tx.block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    members = {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number, **params}
    tx.feedback = Feedback(code, tone, members, parcel.plan.section, stop.plan.sequence if stop is not None else None)


def _good(tx: Transaction, parcel: Parcel, act: str) -> None:
    _say(tx, "OK", "good", parcel, act=act)


def _seen(tx: Transaction, parcel: Parcel, first: Instant | None) -> None:
    _say(tx, "ALREADY_SCANNED", "repeat", parcel, first_time=text_of(first))


def _reject(tx: Transaction, scanned: Scanned, code: str, parcel: Parcel | None, /, **params: Any) -> NoReturn:
    """Every rejected scan is an event; the same label read again at once is the same scan."""
    _say(tx, code, "attention" if code in _NO_FAULTS else "bad", parcel, **params)
    if not scanned.repeat:
        data: dict[str, Any] = {"code": code, "entry": scanned.entry, "device": scanned.device}
        block = tx.state.block
        if parcel is not None:
            members = {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number}
            tx.add("scan.rejected", f"parcel/{parcel.parcel_id}", {"block_id": tx.block.block_id, **members, **data})
        elif block is not None and not block.ended:
            data |= {"block_id": block.block_id}
            data |= {"scanned": _shown(scanned)} if _may_be_kept(scanned) else {"characters": len(scanned.text)}
            if code == "NOT_ON_MANIFEST" and scanned.kind is None:
                data["unknown_form"] = True
            tx.add("scan.rejected", f"block/{block.block_id}", data)
        else:
            tx.add("scan.rejected", "unit", data)
    raise Refused(code, **(tx.feedback.params if tx.feedback is not None else params))


_NO_FAULTS = frozenset({"PAUSED", "NOT_ARRIVED", "OTHER_CODE"})
"""Rejected scans after which nothing has to be put aside."""


def _how(scanned: Scanned) -> dict[str, Any]:
    members = {"entry": scanned.entry, "device": scanned.device}
    return members if scanned.symbology is None else members | {"symbology": scanned.symbology}


def scan_parcel(tx: Transaction, scanned: Scanned, parcel: Parcel) -> None:
    """Decide about a scan once it is known which parcel of the block it is.

    :raises Refused: the scan is rejected; its event and its feedback are in the transaction
    """
    state = tx.block.state
    if state == "CHECKED_IN":
        _reject(tx, scanned, "NOT_LOADING", parcel, block_state=state)
    if state == "PAUSED":
        _reject(tx, scanned, "PAUSED", parcel)
    if parcel.state in {"MISSING", "UNLOCATED", "LOST"}:
        parcel = find(tx, parcel, entry=scanned.entry, device=scanned.device)
        settle(tx)
        parcel = tx.block.parcels[parcel.parcel_id]
        if parcel.state == "LOADED" or (_goes_on(parcel) and not _at_a_stop(tx.block)):
            _good(tx, parcel, "found")
            return
    stop = tx.block.current_stop
    if state in {"LOADING", "LOADED"}:
        _load(tx, scanned, parcel)
    elif stop is not None and stop.kind == "return" and stop.state == "ARRIVED":
        _return(tx, scanned, parcel, stop)
    else:
        _drop(tx, scanned, parcel, stop)


def _reject_unknown(tx: Transaction, scanned: Scanned, block: Block, *, confirmed: bool) -> NoReturn:
    shown = _shown(scanned)
    for code in (*scanned.codes, scanned.text):
        unit = block.elsewhere.get(normal(code))
        if unit is not None:
            _reject(tx, scanned, "OTHER_DRIVER", None, code=shown, unit=unit)
    if confirmed and _looks_like_one(scanned.text):
        scanned = replace(scanned, kind=scanned.kind if _is_number(scanned) else None, fault=None)
    elif not _is_number(scanned) and normal(scanned.text):
        _reject(tx, scanned, "OTHER_CODE", None, code=shown, **_ask_for_number(tx, scanned))
    elif scanned.fault is not None:
        _reject(tx, scanned, "BAD_LABEL", None, code=shown, fault=scanned.fault, **_ask_for_number(tx, scanned))
    if block.state == "LOADING" and (confirmed or scanned.kind is not None):
        parcel_id = f"{block.block_id}-x{block.unexpected + 1}"
        members = {"block_id": block.block_id, "parcel_id": parcel_id, "tracking_number": shown}
        tx.add("parcel.unexpected", f"parcel/{parcel_id}", members | _how(scanned))
        tx.changed = True
        _say(tx, "NOT_ON_MANIFEST", "bad", None, code=shown, parcel_id=parcel_id)
        raise Refused("NOT_ON_MANIFEST", code=shown, parcel_id=parcel_id)
    if block.state == "CHECKED_IN":
        _reject(tx, scanned, "NOT_LOADING", None, code=shown, block_state=block.state)
    if block.state == "PAUSED":
        _reject(tx, scanned, "PAUSED", None, code=shown)
    asks = _ask_for_number(tx, scanned, scanned_too=True) if block.state == "LOADING" else {}
    _reject(tx, scanned, "NOT_ON_MANIFEST", None, code=shown, **asks)


def _ask_for_number(tx: Transaction, scanned: Scanned, *, scanned_too: bool = False) -> dict[str, Any]:
    """Ask whether a text is a parcel's number: typing it in, or in again, says so. What the sentence needs to ask."""
    if scanned.entry != "manual" and not scanned_too:
        return {}
    tx.momentary(question=Question("number", scan=scanned))
    return {"act": "typed" if scanned.entry == "manual" else "scanned"}


def _scan_held(tx: Transaction, scanned: Scanned, block: Block, parcel: Parcel) -> None:
    """A parcel that the vehicle holds of a block that has ended: it goes back, here or elsewhere."""
    tx.turn_to(block.block_id)
    has_turned_up = parcel.state in {"MISSING", "UNLOCATED", "LOST"}
    if has_turned_up:
        parcel = find(tx, parcel, entry=scanned.entry, device=scanned.device)
    here = home_here(tx.state, block, parcel, tx.moment)
    if here is not None:
        give_back(tx, parcel, site_id=here, **_how(scanned))
        _good(tx, parcel, "returned")
    elif has_turned_up:
        _good(tx, parcel, "found")
    else:
        _reject(tx, scanned, "TO_RETURN", parcel, reason=parcel.reason, site=home_name(block, parcel))


def find(tx: Transaction, parcel: Parcel, **how: Any) -> Parcel:
    """A parcel that was missing, could not be located or was given up as lost is in the driver's hands."""
    block = tx.block
    if parcel.state == "LOST":
        # Nothing more can become of a lost parcel: it goes on as another one.
        parcel_id = f"{block.block_id}-x{block.unexpected + 1}"
        members = {"parcel_id": parcel_id, "tracking_number": parcel.tracking_number, "of_parcel_id": parcel.parcel_id}
        tx.add("parcel.unexpected", f"parcel/{parcel_id}", {"block_id": block.block_id, **members, **how})
        tx.on_parcel("parcel.adopted", tx.block.parcels[parcel_id], provisional=True)
    else:
        parcel_id = parcel.parcel_id
        tx.on_parcel("parcel.found", parcel, **how)
    parcel = tx.block.parcels[parcel_id]
    if not block.ended:
        move_on(tx, parcel, tx.block_id)
    if parcel.state == "LOADED" and block.state in {"ON_ROUTE", "PAUSED", "RETURNING"}:
        tx.on_parcel("parcel.out_for_delivery", parcel)
    if block.state == "RETURNING" or block.ended:
        # The route is over: what turns up now goes back with the rest.
        reason = "RECALLED" if parcel_id in tx.block.recalls else "FOUND_LATE"
        tx.on_parcel("parcel.return_pending", parcel, reason=reason, action="return")
    return tx.block.parcels[parcel_id]


def _goes_on(parcel: Parcel) -> bool:
    return parcel.state == "OUT_FOR_DELIVERY" or (parcel.state == "RETURN_PENDING" and parcel.reason != "RECALLED")


def _at_a_stop(block: Block) -> bool:
    """At a door a scan asks whether the parcel belongs there: a good tone would hand it to the wrong recipient."""
    return block.current_stop is not None and block.current_stop.state == "ARRIVED"


def _check_finished(tx: Transaction, scanned: Scanned, parcel: Parcel) -> None:
    """Reject a parcel that is never expected in its state, wherever it is scanned."""
    if parcel.state == "DELIVERED":
        _reject(tx, scanned, "ALREADY_DELIVERED", parcel, delivered_at=text_of(parcel.since))
    if parcel.state == "RECALLED_CLOSED" or (parcel.state == "RETURN_PENDING" and parcel.reason == "RECALLED"):
        _reject(tx, scanned, "RECALLED", parcel)
    if parcel.state == "UNEXPECTED":
        _reject(tx, scanned, "NOT_ON_MANIFEST", parcel, code=parcel.tracking_number)
    if parcel.state in {"REJECTED", "RETURNED", "LOST", "TRANSFERRED", "HANDED_BACK"}:
        _reject(tx, scanned, "ENDED", parcel, parcel_state=parcel.state)


def _load(tx: Transaction, scanned: Scanned, parcel: Parcel) -> None:
    if parcel.state == "MANIFESTED":
        if tx.block.state != "LOADING":
            _reject(tx, scanned, "NOT_LOADING", parcel, block_state=tx.block.state)
        store = _other_store(tx.block, parcel)
        if store is not None:
            _reject(tx, scanned, "WRONG_STORE", parcel, store=store)
        move_on(tx, parcel, tx.block_id)
        tx.on_parcel(
            "parcel.loaded", parcel, **({} if parcel.stop_id is None else {"stop_id": parcel.stop_id}), **_how(scanned)
        )
        _good(tx, parcel, "loaded")
        return
    _check_finished(tx, scanned, parcel)
    if parcel.state == "RETURN_PENDING":
        _reject(tx, scanned, "TO_RETURN", parcel, reason=parcel.reason, site=home_name(tx.block, parcel))
    _seen(tx, parcel, parcel.loaded_at)


def _other_store(block: Block, parcel: Parcel) -> str | None:
    """The name of the pickup place that a parcel belongs to, unless that place is open now."""
    if parcel.plan.pickup_stop_id is None:
        return None
    for stop in block.stops.values():
        if (
            stop.kind == "pickup"
            and stop.state == "ARRIVED"
            and parcel.plan.pickup_stop_id in {stop.stop_id, stop.of_stop_id}
        ):
            return None
    # Without any stop to pick up at, there is no other store that it could belong to.
    pickup = block.stops[parcel.plan.pickup_stop_id]
    site = block.sites.get(pickup.plan.site_id) if pickup.plan.site_id is not None else None
    point = site.points.get(parcel.plan.point_id) if site is not None and parcel.plan.point_id is not None else None
    if point is not None and point.name is not None:
        return point.name
    return (site.name or site.site_id) if site is not None else pickup.stop_id


def _drop(tx: Transaction, scanned: Scanned, parcel: Parcel, stop: Stop | None) -> None:
    """A scan on the road: the check that the right parcel is at the right stop."""
    block = tx.block
    _check_finished(tx, scanned, parcel)
    if parcel.state == "MANIFESTED":
        _reject(tx, scanned, "WRONG_STORE", parcel, store=_other_store(block, parcel))
    if parcel.state in {"RETURN_PENDING", "ATTEMPTED"}:
        if stop is not None and stop.kind == "return" and returns_at(block, parcel, stop):
            _reject(tx, scanned, "NOT_ARRIVED", parcel, stop_id=stop.stop_id)
        _reject(tx, scanned, "TO_RETURN", parcel, reason=parcel.reason, site=home_name(tx.block, parcel))
    if stop is None or parcel.stop_id != stop.stop_id:
        _reject(tx, scanned, "WRONG_STOP", parcel, **_right_stop(block, parcel))
    if stop.state == "EN_ROUTE":
        sight = geofence.sight(block, stop, tx.state.here, tx.state.policy, tx.moment)
        if sight.tier != 1:
            _reject(tx, scanned, "NOT_ARRIVED", parcel, stop_id=stop.stop_id)
        # In front of the right door with the right parcel in hand: no need to wait for the fence.
        tx.on_stop("stop.arrived", stop, method="scan", **sight.data)
    if parcel.dropped_at is not None:
        _seen(tx, parcel, parcel.dropped_at)
        return
    tx.on_parcel("pod.drop_scanned", parcel, stop_id=stop.stop_id, **_how(scanned))
    _good(tx, parcel, "drop_scanned")


def _right_stop(block: Block, parcel: Parcel) -> dict[str, Any]:
    stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    if stop is None or stop.state in STOP_ENDED:
        return {"stop_id": None}
    return {"stop_id": stop.stop_id, "sequence": stop.plan.sequence, "address": stop.plan.address}


def _return(tx: Transaction, scanned: Scanned, parcel: Parcel, stop: Stop) -> None:
    """A scan at a place where parcels go back."""
    block = tx.block
    if parcel.state == "RETURNED":
        _seen(tx, parcel, parcel.since)
        return
    if parcel.state not in {"RETURN_PENDING", "ATTEMPTED"}:
        _check_finished(tx, scanned, parcel)
        _reject(tx, scanned, "WRONG_STOP", parcel, **_right_stop(block, parcel))
    if not returns_at(block, parcel, stop) and stop.plan.site_id != block.fallback_site_id:
        site = block.sites.get(home(block, parcel) or "")
        _reject(tx, scanned, "WRONG_STORE", parcel, store=site.name or site.site_id if site is not None else None)
    give_back(tx, parcel, stop_id=stop.stop_id, site_id=stop.plan.site_id, **_how(scanned))
    _good(tx, parcel, "returned")


def give_back(tx: Transaction, parcel: Parcel, **where_and_how: Any) -> None:
    """A parcel changes hands where it goes back to."""
    if parcel.state != "RETURN_PENDING":
        tx.on_parcel("parcel.return_pending", parcel, reason=parcel.reason, action="return")
    data = {"reason": parcel.reason, **where_and_how}
    tx.on_parcel("parcel.returned", parcel, **{name: value for name, value in data.items() if value is not None})
