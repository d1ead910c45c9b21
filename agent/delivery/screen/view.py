"""What the driver's screen shows of the deliveries: the core's part of ``GET /api/state``.

Whatever is about people and their doors is the sealed token that it came as. Recipients appear only for the stop under
way, access codes and neighbours only near it; material of one-time codes never appears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from agent.delivery.model import geofence
from agent.delivery.model.inputs import Moment
from agent.delivery.model.manifest import Place, as_json
from agent.delivery.model.messages import Advisory, Message, Offer, Roster
from agent.delivery.model.open_work import home
from agent.delivery.model.state import Block, Note, Parcel, State, Stop
from agent.delivery.model.times import text_of
from agent.delivery.rules.conflicts import conflicts
from agent.delivery.rules.held import held, home_name
from agent.delivery.rules.proofs import missing_proofs
from agent.delivery.screen.attempts import Attempts, Plain
from agent.delivery.screen.earnings import earnings
from agent.delivery.screen.prompt import prompt, site_name
from agent.delivery.screen.scorecard import scorecard
from contract.vocabulary import BLOCK_ACTIVE

AT_STOP = "AT_STOP"
"""Stands for a parcel's access codes: `current_stop` has them once the vehicle is there."""


class Drawn:
    """The parcels as they were drawn last: of a few hundred hardly ever more than one has changed since."""

    def __init__(self) -> None:
        self._parcels: dict[str, tuple[Parcel, Stop | None, dict[str, Any]]] = {}

    def parcels(self, block: Block, attempts: Attempts) -> list[dict[str, Any]]:
        """All parcels of the block; those that are the same objects as before are not drawn again."""
        before, self._parcels = self._parcels, {}

        def draw(parcel: Parcel) -> dict[str, Any]:
            stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
            drawn = before.get(parcel.parcel_id)
            if drawn is None or drawn[0] is not parcel or drawn[1] is not stop:
                drawn = parcel, stop, _parcel(parcel, stop)
            self._parcels[parcel.parcel_id] = drawn
            return drawn[2]

        return attempts.attempt_each("parcels", block.parcels.values(), draw)


NOTHING: Final[Mapping[str, Any]] = {
    "driver": None,
    "offers": [],
    "conflicts": [],
    "held": [],
    "block": None,
    "stops": [],
    "parcels": [],
    "current_stop": None,
    "prompt": None,
    "position": None,
    "route": [],
    "messages": [],
    "notes": [],
    "roster": None,
    "advisories": [],
    "recipient_feedback": [],
    "scorecard": {},
    "earnings": {"agreed": None, "elapsed_s": None, "stated": []},
}
"""Each member where there is nothing to show, or where it cannot be shown."""


def view(state: State, moment: Moment, drawn: Drawn | None = None, attempts: Attempts | None = None) -> dict[str, Any]:
    """Members of contract §5 that the core knows. JSON values only, which must not be changed.

    :param drawn: what was drawn last, so that less has to be drawn now
    :param attempts: what becomes of a member that cannot be drawn; without it the fault is raised
    """
    drawn, attempts = drawn or Drawn(), attempts or Plain()
    block = attempts.attempt("block under way", lambda: state.block, None)
    shown = {
        **NOTHING,
        "driver": attempts.attempt("driver", lambda: _driver(state, block), None),
        "offers": attempts.attempt_each("offers", state.offers.values(), _offer),
        "conflicts": attempts.attempt("conflicts", lambda: _conflicts(state, moment), []),
        "held": attempts.attempt("held", lambda: [_held(block, parcel) for block, parcel in held(state)], []),
        "prompt": attempts.attempt("prompt", lambda: prompt(state, moment), None),
        "position": attempts.attempt("position", lambda: _position(state, moment), None),
        "messages": attempts.attempt_each("messages", state.messages, _message),
        "notes": attempts.attempt_each("notes", state.here.notes, _note),
        "roster": attempts.attempt("roster", lambda: _roster(state.roster), None),
        "advisories": attempts.attempt_each("advisories", _holding(state, moment), _advisory),
        "recipient_feedback": attempts.attempt_each("recipient_feedback", state.feedback, as_json),
        "earnings": attempts.attempt("earnings", lambda: earnings(state, block, moment), NOTHING["earnings"]),
    }
    return shown if block is None else shown | _of_block(state, block, moment, drawn, attempts)


def _of_block(state: State, block: Block, moment: Moment, drawn: Drawn, attempts: Attempts) -> dict[str, Any]:
    least = {"block_id": block.block_id, "state": block.state, "counts": {}}
    return {
        "block": attempts.attempt("block", lambda: _block(block, state.here.distance_m), least),
        "stops": attempts.attempt_each("stops", block.route, lambda stop_id: _stop(block, block.stops[stop_id])),
        "parcels": drawn.parcels(block, attempts),
        "current_stop": attempts.attempt("current_stop", lambda: _current_stop(state, block, moment), None),
        "route": attempts.attempt("route", lambda: [stop.stop_id for stop in block.open_stops()], []),
        "scorecard": attempts.attempt("scorecard", lambda: scorecard(block), {}),
    }


def _driver(state: State, block: Block | None) -> dict[str, Any] | None:
    driver_id = state.driver_id or (block.driver_id if block is not None else None)
    if driver_id is None and state.roster is None:
        return None
    known = () if state.roster is None else state.roster.drivers
    name = next((driver.name for driver in known if driver.driver_id == driver_id), None)
    signed_in = state.driver_id is not None
    asked = state.roster is not None and not signed_in
    return {"driver_id": driver_id, "name": name, "signed_in": signed_in, "sign_in_asked": asked}


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "offer_id": offer.offer_id,
        "block_id": offer.block_id,
        "kind": offer.kind,
        "place": offer.place,
        "distance_m": offer.distance_m,
        "starts_at": text_of(offer.starts_at),
        "ends_at": text_of(offer.ends_at),
        "pay": as_json(offer.pay),
        "expires_at": text_of(offer.expires_at),
        "requested_at": text_of(offer.requested_at),
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "text": message.text,
        "needs_ack": message.needs_ack,
        "acknowledged": message.acknowledged,
    }


def _note(note: Note) -> dict[str, Any]:
    return {"item": note.item, "text": note.text, "time": note.time}


def _roster(roster: Roster | None) -> dict[str, int] | None:
    return None if roster is None else {"drivers": len(roster.drivers)}


def _holding(state: State, moment: Moment) -> list[Advisory]:
    """The advisories that hold, or will: by a clock that can be trusted."""
    return [
        each
        for each in state.advisories.values()
        if each.valid_to is None or not moment.is_trusted or each.valid_to.unix_ms >= moment.wall_ms
    ]


def _advisory(advisory: Advisory) -> dict[str, Any]:
    return {
        "advisory_id": advisory.advisory_id,
        "format": advisory.format,
        "valid_from": text_of(advisory.valid_from),
        "valid_to": text_of(advisory.valid_to),
    }


def _block(block: Block, driven_m: float | None) -> dict[str, Any]:
    distance_m = driven_m if block.state in BLOCK_ACTIVE else block.distance_m
    return {
        "block_id": block.block_id,
        "state": block.state,
        "counts": dict(Counter(parcel.state for parcel in block.parcels.values())),
        "custody": len(block.custody),
        "kind": block.kind,
        "starts_at": text_of(block.starts_at),
        "ends_at": text_of(block.ends_at),
        "timezone": block.timezone,
        "manifest_version": block.manifest_version,
        "pay": as_json(block.pay),
        "reason": block.reason,
        "checked_in_at": text_of(block.checked_in_at),
        "departed_at": text_of(block.departed_at),
        "ended_at": text_of(block.ended_at),
        "distance_m": None if distance_m is None else round(distance_m),
        "owed": [parcel.parcel_id for parcel in block.custody] if block.ended else [],
    }


def _conflicts(state: State, moment: Moment) -> list[dict[str, Any]]:
    return [
        {
            "block_id": block.block_id,
            "starts_at": text_of(block.starts_at),
            "ends_at": text_of(block.ends_at),
            "other_block_id": other.block_id,
        }
        for block, other in conflicts(state, moment)
    ]


def _held(block: Block, parcel: Parcel) -> dict[str, Any]:
    return {
        "block_id": block.block_id,
        "parcel_id": parcel.parcel_id,
        "tracking_number": parcel.tracking_number,
        "state": parcel.state,
        "reason": parcel.reason,
        "site_id": home(block, parcel),
        "site": home_name(block, parcel),
    }


def _place(place: Place | None) -> dict[str, float] | None:
    return None if place is None else {"latitude": place.latitude, "longitude": place.longitude}


def _stop(block: Block, stop: Stop) -> dict[str, Any]:
    return {
        "stop_id": stop.stop_id,
        "kind": stop.kind,
        "state": stop.state,
        "sequence": stop.plan.sequence,
        "site_id": stop.plan.site_id,
        "site": site_name(block, stop),
        "address": stop.plan.address,
        "location": _place(geofence.place_of(block, stop)),
        "window": as_json(stop.plan.window),
        "zone": stop.plan.zone,
        "parcel_ids": list(stop.parcel_ids),
        "of_stop_id": stop.of_stop_id,
        "arrived_at": text_of(stop.arrived_at),
        "reason": stop.reason,
        "left_open": stop.left_open,
        "tags": list(stop.tags),
    }


def _current_stop(state: State, block: Block, moment: Moment) -> dict[str, Any] | None:
    stop = block.current_stop
    if stop is None:
        return None
    contacts = [{"method": c.method, "outcome": c.outcome, "time": text_of(c.time)} for c in stop.contacts]
    near = stop.state == "ARRIVED" or geofence.sight(block, stop, state.here, state.policy, moment).tier in {1, 2}
    asked = [parcel.plan.instruction for parcel in block.parcels_of(stop)] if near else []
    neighbours = [each.neighbour for each in asked if each.neighbour is not None]
    return _stop(block, stop) | {
        "access_codes": [code for each in asked for code in each.access_codes],
        "recipient": without_phone(stop.plan.recipient),
        "neighbour": without_phone(neighbours[0]) if neighbours else None,
        "contacts": contacts,
    }


def without_phone(person: Any) -> Any:
    """What may be shown of somebody; a token, which cannot be looked into, stays as it is."""
    if not isinstance(person, Mapping):
        return person
    return {name: value for name, value in person.items() if name != "phone" and value is not None} or None


def _parcel(parcel: Parcel, stop: Stop | None) -> dict[str, Any]:
    wanted, asked = parcel.plan.requirements, parcel.plan.instruction
    return {
        "parcel_id": parcel.parcel_id,
        "tracking_number": parcel.tracking_number,
        "state": parcel.state,
        "stop_id": parcel.stop_id,
        "sequence": stop.plan.sequence if stop is not None else None,
        "section": parcel.plan.section,
        "pickup_stop_id": parcel.plan.pickup_stop_id,
        "return_to": parcel.plan.return_to,
        "weight_g": parcel.plan.weight_g,
        "requirements": {
            "photo": wanted.photo,
            "signature": wanted.signature,
            "otp": wanted.otp_hmac is not None,
            "minimum_age": wanted.minimum_age,
        },
        "instruction": {
            "kind": asked.kind,
            "text": asked.text,
            "access_codes": AT_STOP if asked.access_codes else None,
        },
        "missing_proofs": missing_proofs(parcel),
        "scanned": parcel.dropped_at is not None,
        "since": text_of(parcel.since),
        "reason": parcel.reason,
        "handover": parcel.handover,
        "attempts": len(parcel.attempts),
        "provisional": parcel.provisional,
    }


def _position(state: State, moment: Moment) -> dict[str, Any] | None:
    fix = state.here.fix
    if fix is None or state.here.is_lost:
        return None
    return {
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "accuracy_m": fix.accuracy_m,
        "speed_mps": fix.speed_mps,
        "heading": fix.heading,
        "age_s": max(0, moment.uptime_ms - fix.uptime_ms) / 1000,
        "source": fix.source,
    }
