"""A code was read or typed: which parcel it is, and what that means here and now.

The order of the checks: what the block knows comes first, so that a label with a wrong check digit or a number that
another vehicle carries is still loaded when our manifest has that very text; then the vehicle that does carry it; then
a label that can not be right; and only then a parcel nobody told us about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from agent.delivery.fold.manifest import normal
from agent.delivery.model import geofence
from agent.delivery.model.decision import Feedback, Refusal, Tone
from agent.delivery.model.inputs import Scanned
from agent.delivery.model.open_work import home, returns_at
from agent.delivery.model.state import Block, Parcel, Question, Stop
from agent.delivery.rules.follow_ups import settle
from agent.delivery.rules.transaction import Draft, refuse
from contract.vocabulary import STOP_ENDED

SHORT_ENTRY = 6
"""How many of a number's last characters are enough to type."""
LONGEST_TEXT = 80
"""How much of a text that no manifest knows is shown."""
_LIKE_A_NUMBER = re.compile(r"(?=.*[0-9])[A-Z0-9$%*./#_]{1,48}")
"""A parcel's number as it may be printed. Anything else that a label holds may be somebody's name, address or telephone
number: the driver sees it, and no event keeps it."""


def scan(d: Draft, scanned: Scanned) -> Refusal | None:
    """Decide about one scan; a Refusal says why it was rejected (only a typed code passes it on)."""
    block = d.state.block
    if d.here.question is not None and d.here.question.kind == "parcel":
        d.momentary(question=None)
    if block is None or block.ended:
        return _reject(d, scanned, "NO_BLOCK", None, code=_shown(scanned))
    known = _known(block, scanned)
    if not known and scanned.entry == "manual":
        ends = _ends_with(block, normal(scanned.text))
        if ends:
            return _ask(d, scanned, ends, "CONFIRM_PARCEL" if len(ends) == 1 else "SEVERAL_CODES")
    if len(known) > 1:
        known = _narrow(block, known)
        if len(known) > 1:
            return _ask(d, scanned, known, "SEVERAL_CODES")
    if block.state == "ACCEPTED":
        return _reject(d, scanned, "NOT_CHECKED_IN", None, code=_shown(scanned))
    if known:
        return scan_parcel(d, scanned, known[0])
    return _unknown(d, scanned, block)


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
    """Of several parcels with one code those that are expected here; else the first, which says why it is not."""
    stop = block.current_stop
    if block.state in {"LOADING", "LOADED"}:
        expected = [parcel for parcel in known if parcel.state in {"MANIFESTED", "MISSING"}]
    elif stop is not None and stop.kind == "return":
        expected = [parcel for parcel in known if parcel.state == "RETURN_PENDING"]
    else:
        aboard = [parcel for parcel in known if parcel.state == "OUT_FOR_DELIVERY" and parcel.dropped_at is None]
        expected = [parcel for parcel in aboard if stop is not None and parcel.stop_id == stop.stop_id] or aboard
    return expected or known[:1]


def _ask(d: Draft, scanned: Scanned, parcels: list[Parcel], code: str) -> Refusal:
    question = Question("parcel", scan=scanned, parcel_ids=tuple(parcel.parcel_id for parcel in parcels))
    d.momentary(question=question)
    choices = choices_of(d.block, parcels)
    d.tell(code, "attention", choices=choices)
    return refuse(code, choices=choices)


def choices_of(block: Block, parcels: Iterable[Parcel]) -> list[dict[str, Any]]:
    """What a driver needs to tell parcels apart."""
    choices = []
    for parcel in parcels:
        stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
        choices.append(
            {
                "parcel_id": parcel.parcel_id,
                "tracking_number": parcel.tracking_number,
                "section": parcel.section,
                "sequence": stop.sequence if stop is not None else None,
            }
        )
    return choices


def _shown(scanned: Scanned) -> str:
    return (scanned.codes[0] if scanned.codes else scanned.text)[:LONGEST_TEXT]


def _is_number(scanned: Scanned) -> bool:
    """Whether what was scanned can be a parcel's number, so that an event may hold it."""
    if scanned.kind is not None:
        return scanned.kind != "gs1"  # elements that name no parcel, but perhaps the person it is for (AI 4301, 4308)
    return _LIKE_A_NUMBER.fullmatch(normal(_shown(scanned))) is not None


def _say(d: Draft, code: str, tone: Tone, parcel: Parcel | None, /, **params: Any) -> None:
    if parcel is None:
        d.feedback = Feedback(code, tone, params)
        return
    stop = d.block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    members = {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number, **params}
    d.feedback = Feedback(code, tone, members, parcel.section, stop.sequence if stop is not None else None)


def _good(d: Draft, parcel: Parcel, act: str) -> None:
    _say(d, "OK", "good", parcel, act=act)


def _seen(d: Draft, parcel: Parcel, first_time: str | None) -> None:
    _say(d, "ALREADY_SCANNED", "repeat", parcel, first_time=first_time)


def _reject(d: Draft, scanned: Scanned, code: str, parcel: Parcel | None, /, **params: Any) -> Refusal:
    """Every rejected scan is an event; the same label read again at once is the same scan."""
    _say(d, code, "attention" if code in {"PAUSED", "NOT_ARRIVED"} else "bad", parcel, **params)
    if not scanned.repeat:
        data: dict[str, Any] = {"code": code, "entry": scanned.entry, "device": scanned.device}
        block = d.state.block
        if parcel is not None:
            members = {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number}
            d.add("scan.rejected", f"parcel/{parcel.parcel_id}", {"block_id": d.block.block_id, **members, **data})
        elif block is not None and not block.ended:
            data |= {"block_id": block.block_id}
            data |= {"scanned": _shown(scanned)} if _is_number(scanned) else {"characters": len(scanned.text)}
            d.add("scan.rejected", f"block/{block.block_id}", data)
        else:
            d.add("scan.rejected", "unit", data)
    return Refusal(code, d.feedback.params if d.feedback is not None else params)


def _how(scanned: Scanned) -> dict[str, Any]:
    members = {"entry": scanned.entry, "device": scanned.device}
    return members if scanned.symbology is None else members | {"symbology": scanned.symbology}


def scan_parcel(d: Draft, scanned: Scanned, parcel: Parcel) -> Refusal | None:
    """Decide about a scan once it is known which parcel of the block it is."""
    state = d.block.state
    if state == "CHECKED_IN":
        return _reject(d, scanned, "NOT_LOADING", parcel, block_state=state)
    if state == "PAUSED":
        return _reject(d, scanned, "PAUSED", parcel)
    if parcel.state in {"MISSING", "UNLOCATED"}:
        parcel = find(d, parcel, entry=scanned.entry, device=scanned.device)
        settle(d)
        parcel = d.block.parcels[parcel.parcel_id]
        if parcel.state == "LOADED" or (_goes_on(parcel) and not _at_a_stop(d.block)):
            _good(d, parcel, "found")
            return None
    if state in {"LOADING", "LOADED"}:
        return _load(d, scanned, parcel)
    stop = d.block.current_stop
    if stop is not None and stop.kind == "return" and stop.state == "ARRIVED":
        return _return(d, scanned, parcel, stop)
    return _drop(d, scanned, parcel, stop)


def _unknown(d: Draft, scanned: Scanned, block: Block) -> Refusal:
    shown = _shown(scanned)
    for code in (*scanned.codes, scanned.text):
        unit = block.elsewhere.get(normal(code))
        if unit is not None:
            return _reject(d, scanned, "OTHER_DRIVER", None, code=shown, unit=unit)
    if scanned.fault is not None or not _is_number(scanned):
        return _reject(d, scanned, "BAD_LABEL", None, code=shown, fault=scanned.fault)
    if block.state == "LOADING":
        parcel_id = f"{block.block_id}-x{block.unexpected + 1}"
        members = {"block_id": block.block_id, "parcel_id": parcel_id, "tracking_number": shown}
        d.add("parcel.unexpected", f"parcel/{parcel_id}", members | _how(scanned))
        d.changed = True
        _say(d, "NOT_ON_MANIFEST", "bad", None, code=shown, parcel_id=parcel_id)
        return refuse("NOT_ON_MANIFEST", code=shown, parcel_id=parcel_id)
    if block.state == "CHECKED_IN":
        return _reject(d, scanned, "NOT_LOADING", None, code=shown, block_state=block.state)
    if block.state == "PAUSED":
        return _reject(d, scanned, "PAUSED", None, code=shown)
    return _reject(d, scanned, "NOT_ON_MANIFEST", None, code=shown)


def find(d: Draft, parcel: Parcel, **how: Any) -> Parcel:
    """A parcel that was missing or could not be located is in the driver's hands."""
    was_missing = parcel.state == "MISSING"
    d.on_parcel("parcel.found", parcel, **how)
    if was_missing and d.block.state in {"ON_ROUTE", "PAUSED", "RETURNING"}:
        d.on_parcel("parcel.out_for_delivery", parcel)
    if d.block.state == "RETURNING":
        # The route is over: what turns up now goes back with the rest.
        reason = "RECALLED" if parcel.parcel_id in d.block.recalls else "FOUND_LATE"
        d.on_parcel("parcel.return_pending", parcel, reason=reason, action="return")
    return d.block.parcels[parcel.parcel_id]


def _goes_on(parcel: Parcel) -> bool:
    return parcel.state == "OUT_FOR_DELIVERY" or (parcel.state == "RETURN_PENDING" and parcel.reason != "RECALLED")


def _at_a_stop(block: Block) -> bool:
    """At a door a scan asks whether the parcel belongs there: a good tone would hand it to the wrong recipient."""
    return block.current_stop is not None and block.current_stop.state == "ARRIVED"


def _finished(d: Draft, scanned: Scanned, parcel: Parcel) -> Refusal | None:
    """The answer for a parcel that is never expected in its state, wherever it is scanned."""
    if parcel.state == "DELIVERED":
        return _reject(d, scanned, "ALREADY_DELIVERED", parcel, delivered_at=parcel.since)
    if parcel.state == "RECALLED_CLOSED" or (parcel.state == "RETURN_PENDING" and parcel.reason == "RECALLED"):
        return _reject(d, scanned, "RECALLED", parcel)
    if parcel.state == "UNEXPECTED":
        return _reject(d, scanned, "NOT_ON_MANIFEST", parcel, code=parcel.tracking_number)
    if parcel.state in {"REJECTED", "RETURNED", "LOST", "TRANSFERRED", "HANDED_BACK"}:
        return _reject(d, scanned, "ENDED", parcel, parcel_state=parcel.state)
    return None


def _load(d: Draft, scanned: Scanned, parcel: Parcel) -> Refusal | None:
    if parcel.state == "MANIFESTED":
        if d.block.state != "LOADING":
            return _reject(d, scanned, "NOT_LOADING", parcel, block_state=d.block.state)
        store = _other_store(d.block, parcel)
        if store is not None:
            return _reject(d, scanned, "WRONG_STORE", parcel, store=store)
        d.on_parcel(
            "parcel.loaded", parcel, **({} if parcel.stop_id is None else {"stop_id": parcel.stop_id}), **_how(scanned)
        )
        _good(d, parcel, "loaded")
        return None
    finished = _finished(d, scanned, parcel)
    if finished is not None:
        return finished
    if parcel.state == "RETURN_PENDING":
        return _reject(d, scanned, "TO_RETURN", parcel, reason=parcel.reason)
    _seen(d, parcel, parcel.loaded_at)
    return None


def _other_store(block: Block, parcel: Parcel) -> str | None:
    """The name of the pickup place that a parcel belongs to, unless that place is open now."""
    if parcel.pickup_stop_id is None:
        return None
    for stop in block.stops.values():
        if (
            stop.kind == "pickup"
            and stop.state == "ARRIVED"
            and parcel.pickup_stop_id in {stop.stop_id, stop.of_stop_id}
        ):
            return None
    # Without any stop to pick up at, there is no other store that it could belong to.
    pickup = block.stops[parcel.pickup_stop_id]
    site = block.sites.get(pickup.site_id) if pickup.site_id is not None else None
    point = site.points.get(parcel.point_id) if site is not None and parcel.point_id is not None else None
    if point is not None and point.name is not None:
        return point.name
    return (site.name or site.site_id) if site is not None else pickup.stop_id


def _drop(d: Draft, scanned: Scanned, parcel: Parcel, stop: Stop | None) -> Refusal | None:
    """A scan on the road: the check that the right parcel is at the right stop."""
    block = d.block
    finished = _finished(d, scanned, parcel)
    if finished is not None:
        return finished
    if parcel.state == "MANIFESTED":
        return _reject(d, scanned, "WRONG_STORE", parcel, store=_other_store(block, parcel))
    if parcel.state in {"RETURN_PENDING", "ATTEMPTED"}:
        if stop is not None and stop.kind == "return" and returns_at(block, parcel, stop):
            return _reject(d, scanned, "NOT_ARRIVED", parcel, stop_id=stop.stop_id)
        return _reject(d, scanned, "TO_RETURN", parcel, reason=parcel.reason)
    if stop is None or parcel.stop_id != stop.stop_id:
        return _reject(d, scanned, "WRONG_STOP", parcel, **_right_stop(block, parcel))
    if stop.state == "EN_ROUTE":
        sight = geofence.sight(block, stop, d.state.here, d.state.policy, d.moment)
        if sight.tier != 1:
            return _reject(d, scanned, "NOT_ARRIVED", parcel, stop_id=stop.stop_id)
        # In front of the right door with the right parcel in hand: no need to wait for the fence.
        d.on_stop("stop.arrived", stop, method="scan", **sight.data)
    if parcel.dropped_at is not None:
        _seen(d, parcel, parcel.dropped_at)
        return None
    d.on_parcel("pod.drop_scanned", parcel, stop_id=stop.stop_id, **_how(scanned))
    _good(d, parcel, "drop_scanned")
    return None


def _right_stop(block: Block, parcel: Parcel) -> dict[str, Any]:
    stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    if stop is None or stop.state in STOP_ENDED:
        return {"stop_id": None}
    return {"stop_id": stop.stop_id, "sequence": stop.sequence, "address": stop.address}


def _return(d: Draft, scanned: Scanned, parcel: Parcel, stop: Stop) -> Refusal | None:
    """A scan at a place where parcels go back."""
    block = d.block
    if parcel.state == "RETURNED":
        _seen(d, parcel, parcel.since)
        return None
    if parcel.state not in {"RETURN_PENDING", "ATTEMPTED"}:
        finished = _finished(d, scanned, parcel)
        return finished or _reject(d, scanned, "WRONG_STOP", parcel, **_right_stop(block, parcel))
    if not returns_at(block, parcel, stop) and stop.site_id != block.fallback_site_id:
        site = block.sites.get(home(block, parcel) or "")
        return _reject(d, scanned, "WRONG_STORE", parcel, store=site.name or site.site_id if site is not None else None)
    give_back(d, parcel, stop, **_how(scanned))
    _good(d, parcel, "returned")
    return None


def give_back(d: Draft, parcel: Parcel, stop: Stop, **how: Any) -> None:
    """A parcel changes hands at a return stop."""
    if parcel.state == "ATTEMPTED":
        d.on_parcel("parcel.return_pending", parcel, reason=parcel.reason, action="return")
    data = {"stop_id": stop.stop_id, "site_id": stop.site_id, "reason": parcel.reason, **how}
    d.on_parcel("parcel.returned", parcel, **{name: value for name, value in data.items() if value is not None})
