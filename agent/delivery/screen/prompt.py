"""The one thing to do now, and the actions that belong to it, the likeliest first."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.inputs import Moment
from agent.delivery.model.manifest import as_json
from agent.delivery.model.messages import Offer
from agent.delivery.model.open_work import next_stop, pickup_is_open, waiting
from agent.delivery.model.state import Block, Parcel, State, Stop
from agent.delivery.model.times import text_of
from agent.delivery.rules.held import held, home_name
from agent.delivery.rules.loading import left_to_load, listed
from agent.delivery.rules.out_of_date import date_of, is_date_doubtful
from agent.delivery.rules.pickup import check_in_from
from agent.delivery.rules.proofs import missing_proofs
from agent.delivery.rules.scans import LONGEST_TEXT, choices_of
from contract.vocabulary import BLOCK_ACTIVE, CUSTODY


def prompt(state: State, moment: Moment) -> dict[str, Any]:
    """`code` (one of ``codes.PROMPTS``), its `params`, `actions`, and the first of them as `action`."""
    code, params, actions = _prompt(state, moment)
    return {"code": code, "params": params, "actions": actions, "action": actions[0] if actions else None}


Prompt = tuple[str, dict[str, Any], list[str]]


def _prompt(state: State, moment: Moment) -> Prompt:
    block, question = state.block, state.here.question
    if block is not None and block.state in BLOCK_ACTIVE:
        if question is not None and question.kind == "parcel":
            parcels = [block.parcels[name] for name in question.parcel_ids if name in block.parcels]
            return "CHOOSE_PARCEL", {"choices": choices_of(block, parcels)}, ["choose", "scan"]
        if question is not None and question.kind == "number" and question.scan is not None:
            text = question.scan.text[:LONGEST_TEXT]
            choice = {"parcel_id": text, "tracking_number": text, "section": None, "sequence": None}
            return "CONFIRM_NUMBER", {"code": text, "choices": [choice]}, ["choose", "scan"]
        if block.state in {"ON_ROUTE", "RETURNING"}:
            return _on_the_road(state, block)
        return _at_the_site(state, block)
    offer = next((offer for offer in state.offers.values() if offer.requested_at is None), None)
    if block is None or block.ended:
        if offer is not None:
            return _offer(offer)
        if left := list(held(state)):
            return _bring_back(left)
        if block is None:
            return "WAIT_FOR_BLOCK", {}, []
        return "BLOCK_ENDED", {"block_id": block.block_id, "block_state": block.state}, []
    opens = check_in_from(block, state.policy.check_in_early_s)
    if opens is not None and moment.wall_ms < opens.unix_ms and moment.is_trusted:
        if offer is not None:
            return _offer(offer)
        params = {"block_id": block.block_id, "starts_at": text_of(block.starts_at), "check_in_from": opens.text}
        return "WAIT_FOR_START", params, ["give_back"]
    if block.block_id in state.here.dates_asked and is_date_doubtful(block, opens, moment):
        return "CONFIRM_DATE", date_of(block), ["check_in", "give_back"]
    pickup = next(block.open_stops("pickup"), None)
    site = site_name(block, pickup) if pickup is not None else None
    params = {"block_id": block.block_id, "site": site, "starts_at": text_of(block.starts_at)}
    return "CHECK_IN", params, ["check_in"] if block.custody else ["check_in", "give_back"]


def _bring_back(left: list[tuple[Block, Parcel]]) -> Prompt:
    params = {"parcel_ids": [parcel.parcel_id for _, parcel in left], "site": home_name(*left[0])}
    is_sought = any(parcel.state == "UNLOCATED" for _, parcel in left)
    return "BRING_BACK", params, ["scan", "return", "transfer", "not_in_vehicle", *(["found", "lost"] * is_sought)]


def _offer(offer: Offer) -> Prompt:
    params = {
        "offer_id": offer.offer_id,
        "block_id": offer.block_id,
        "starts_at": text_of(offer.starts_at),
        "place": offer.place,
        "pay": as_json(offer.pay),
    }
    return "ANSWER_OFFER", params, ["accept_offer", "decline_offer"]


def site_name(block: Block, stop: Stop) -> str | None:
    """What the site of a stop is called."""
    site = block.sites.get(stop.plan.site_id) if stop.plan.site_id is not None else None
    return (site.name or site.site_id) if site is not None else stop.plan.site_id


def _at_the_site(state: State, block: Block) -> Prompt:
    parcels = block.parcels.values()
    if block.state == "CHECKED_IN":
        expected = sum(parcel.state == "MANIFESTED" for parcel in parcels)
        actions = ["start_loading"] if expected or block.custody else ["start_loading", "close_block"]
        return "START_LOADING", {"block_id": block.block_id, "parcels": expected}, actions
    if block.state == "PAUSED":
        return "RESUME", {"block_id": block.block_id}, ["resume", "abort"]
    if block.state == "LOADED":
        late = sum(parcel.state == "MANIFESTED" and not pickup_is_open(block, parcel) for parcel in parcels)
        if late:
            return "REOPEN_LOADING", {"count": late}, ["reopen_loading", "depart"]
        first = next_stop(block)
        params = {"next_stop_id": first.stop_id, "address": first.plan.address} if first is not None else {}
        return "DEPART", {"next_stop_id": None, "address": None} | params, ["depart", "reopen_loading"]
    left = left_to_load(block)
    loaded = sum(parcel.state in CUSTODY for parcel in parcels)
    counts = {
        "loaded": loaded,
        "expected": loaded + len(left),
        "unexpected": sum(parcel.state == "UNEXPECTED" for parcel in parcels),
    }
    if not left:
        return "CLOSE_LOADING", counts, ["close_loading", "scan", "hand_back", "undo"]
    if {parcel.parcel_id for parcel in left} <= state.here.looked_again:
        return "LOOK_AGAIN", {"missing": listed(left), "count": len(left)}, ["mark_missing", "scan", "close_loading"]
    return "SCAN_LOAD", counts | {"left": len(left)}, ["scan", "close_loading", "mark_missing", "reject", "undo"]


def _on_the_road(state: State, block: Block) -> Prompt:
    stop, left = block.current_stop, sum(1 for _ in block.open_stops())
    if stop is None:
        following = next_stop(block)
        if following is not None:
            return "CHOOSE_STOP", {"stop_id": following.stop_id, "left": left}, ["start_stop", "arrive"]
        unlocated = [parcel.parcel_id for parcel in block.parcels.values() if parcel.state == "UNLOCATED"]
        if unlocated:
            return "SEARCH_VEHICLE", {"parcel_ids": unlocated}, ["found", "lost"]
        return "CLOSE_BLOCK", {"block_id": block.block_id}, ["close_block", "void"]
    if stop.state == "EN_ROUTE":
        question = state.here.question
        if question is not None and question.kind == "location" and question.stop_id == stop.stop_id:
            asked = {"stop_id": stop.stop_id, "distance_m": question.distance_m}
            return "CONFIRM_LOCATION", asked, ["confirm_location", "start_stop"]
        params: dict[str, Any] = {
            "stop_id": stop.stop_id,
            "sequence": stop.plan.sequence,
            "address": stop.plan.address or site_name(block, stop),
            "kind": stop.kind,
            "left": left,
        }
        return "DRIVE_TO_STOP", params, ["arrive", "skip_stop", "start_stop", "fail", "pause"]
    here = waiting(block, stop)
    if stop.kind == "break":
        return "TAKE_BREAK", {"stop_id": stop.stop_id}, ["pause", "start_stop"]
    if stop.kind == "return":
        ids = [parcel.parcel_id for parcel in here]
        return (
            "SCAN_RETURN",
            {"stop_id": stop.stop_id, "site": site_name(block, stop), "parcel_ids": ids},
            ["scan", "return"],
        )
    instead = ["fail", "contact", "refuse", "damage", "not_in_vehicle", "suggest_location"]
    unscanned = [parcel.parcel_id for parcel in here if parcel.dropped_at is None]
    if unscanned:
        actions = ["scan", *(["deliver"] if len(unscanned) < len(here) else []), *instead]
        return "SCAN_DROP", {"stop_id": stop.stop_id, "parcel_ids": unscanned}, actions
    ids = [parcel.parcel_id for parcel in here]
    proofs = sorted({proof for parcel in here for proof in missing_proofs(parcel)})
    if proofs:
        needed: dict[str, Any] = {"stop_id": stop.stop_id, "proofs": proofs, "parcel_ids": ids}
        return "GIVE_PROOF", needed, [*(["skip_photo"] if "photo" in proofs else []), *instead]
    kind = here[0].plan.instruction.kind if here else "none"
    return "DELIVER", {"stop_id": stop.stop_id, "parcel_ids": ids, "instruction": kind}, ["deliver", *instead]
