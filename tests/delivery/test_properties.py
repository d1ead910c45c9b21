"""Whatever a driver, a scanner, the vehicle and the cloud do in whatever order: what must always hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.delivery.decide import ACTIONS
from agent.delivery.evolve import evolve, evolve_all
from agent.delivery.fold import snapshot
from agent.delivery.model import codes
from agent.delivery.model.decision import Decision, Event
from agent.delivery.model.inputs import Acted, InboxMessage, InvalidMessage, Scanned, Tick
from agent.delivery.model.state import Policy, State
from agent.delivery.rules.follow_ups import settle
from agent.delivery.rules.transaction import Transaction
from agent.delivery.screen.prompt import prompt
from agent.delivery.screen.view import view
from agent.uplink.inbox import parse
from contract import vocabulary
from contract.vocabulary import STOP_ENDED
from tests.delivery.support import (
    SHOP,
    STATION,
    CoreUnit,
    assigned,
    at_door,
    block_data,
    door,
    loaded,
    loading,
    on_route,
)

FINAL = vocabulary.PARCEL_ENDED

Step = tuple[str, int, int]
"""What happens, and two numbers that choose among what is possible then."""

PROOFS = {"photo": True, "signature": True, "otp_hmac": "a1", "minimum_age": 18}
STAGES: list[Callable[[], CoreUnit]] = [
    lambda: assigned(5, 2),
    lambda: loading(5, 2),
    lambda: loaded(5, 2),
    lambda: on_route(5, 2),
    lambda: at_door(5, 2),
    lambda: at_door(3, 1, requirements={"photo": True}),
    lambda: at_door(2, 1, requirements=PROOFS),
    lambda: loading(4, 2, policy=Policy(allow_adoption=True)),
    lambda: two_pickups(),
    lambda: owing(),
]


def owing() -> CoreUnit:
    """A block is closed with a parcel in the vehicle and one that was lost; the next one is being loaded."""
    unit = at_door(3, 1)
    unit.must("refuse")
    unit.must("not_in_vehicle", parcel_id="P2")
    unit.stand(door(3))
    unit.must("refuse")
    unit.must("lost", parcel_id="P2")
    unit.must("close_block", reason="place_closed")
    unit.receive("block.assigned", block_data(3, 1, block_id="B2", ends_at="2026-11-21T20:00:00Z"))
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    return unit


def two_pickups() -> CoreUnit:
    """A mall and a shop: one block with two places to pick up at, a break and a planned return."""
    data = block_data(4, 1, kind="retail")
    data["stops"] += [
        {"stop_id": "T9", "kind": "pickup", "site_id": "S2", "sequence": 2},
        {"stop_id": "T10", "kind": "break", "sequence": 3},
        {"stop_id": "T11", "kind": "return", "site_id": "S2", "sequence": 9},
    ]
    for parcel in data["parcels"][2:]:
        parcel |= {"pickup_stop_id": "T9", "return_to": "S2"}
    unit = CoreUnit(Policy(allow_adoption=True))
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    return unit


def _pick(items: list[Any], number: int) -> Any:
    return items[number % len(items)] if items else None


def an_action(unit: CoreUnit, a: int, b: int) -> Acted:
    """One of the unit's actions, with arguments that are mostly right."""
    block = unit.state.block
    name = _pick(sorted(ACTIONS), a)
    parcels = list(block.parcels) if block is not None else ["P1"]
    stops = list(block.stops) if block is not None else ["T1"]
    values: dict[str, Any] = {
        "parcel_id": _pick(parcels, b),
        "parcel_ids": [_pick(parcels, b), _pick(parcels, b // 7)],
        "stop_id": _pick(stops, b),
        "site_id": _pick(["S1", "S2", "S9"], b),
        "code": f"TBA{b % 7:012d}",
        "handover": _pick(list(vocabulary.HANDOVERS), b),
        "reason": _pick([*vocabulary.REASONS, *vocabulary.REJECT_REASONS, *vocabulary.ABORT_REASONS], b),
        "kind": _pick(list(vocabulary.TAGS), b),
        "method": "call",
        "outcome": "no_answer",
        "note": "the gate was locked",
        "driver_id": "D2",
        "message_id": _pick([message.message_id for message in unit.state.messages], b),
        "offer_id": _pick(list(unit.state.offers), b),
        "block_id": _pick(list(unit.state.blocks), b),
        "item": "parcel/P1",
        "text": "as it was",
    }
    wanted = ACTIONS[name].arguments
    given = {key: values[key] for key in wanted if key in values and (wanted[key].needed or b % 3 == 0)}
    return Acted(name, given)


def a_message(unit: CoreUnit, a: int, b: int) -> InboxMessage:
    version = unit.state.block.manifest_version + b % 3 if unit.state.block is not None else b % 3
    revised = block_data(3 + a % 4, 1 + b % 2, version=version)
    del revised["parcels"][: b % 2]
    messages: list[tuple[str, dict[str, Any]]] = [
        ("block.revised", revised),
        ("block.assigned", block_data(3, 1, version=version)),
        ("block.assigned", block_data(2, 1, block_id="B2", starts_at="2026-11-21T15:00:00Z")),
        ("block.assigned", {"block_id": "B3"}),
        ("parcel.recalled", {"parcel_ids": [f"P{b % 6}"], "reason": "unsafe toy"}),
        ("block.cancelled", {"block_id": _pick(["B1", "B2", "B7"], b), "reason": "weather"}),
        ("offer.made", {"offer_id": f"O{b % 3}", "block_id": f"B{4 + b % 3}", "expires_at": "2026-11-21T09:10:00Z"}),
        ("offer.confirmed", {"block_id": f"B{4 + b % 3}"}),
        ("offer.refused", {"block_id": f"B{4 + b % 3}", "reason": "taken"}),
        ("message.sent", {"message_id": f"M{b % 4}", "text": "drive safely", "needs_ack": True}),
        ("roster.replaced", {"key": "sealed:v1:roster", "drivers": [{"driver_id": "D1", "name": "Somebody"}]}),
        ("feedback.given", {"feedback_id": "F1", "parcel_id": "P1", "rating": 5, "text": "thanks"}),
        ("earnings.stated", {"block_id": "B1", "base": "80.00", "tips": "4.00", "currency": "EUR"}),
        ("advisory.issued", {"advisory_id": f"A{b % 60}", "format": "cap", "content": "fog"}),
        ("command.requested", {"command_id": "C1", "command": "diag"}),
        ("settings.changed", {"delivery.photo_retakes": 1}),
        ("strange.thing", {}),
    ]
    type_, data = _pick(messages, a)
    return InboxMessage(f"r{a}-{b}-{len(unit.log)}", type_.partition(".")[0], type_, data)


def perform(unit: CoreUnit, step: Step) -> Decision:
    what, a, b = step
    if what == "wait":
        unit.wait(_pick([0.5, 6.0, 40.0, 1000.0, 4000.0], a))
        return unit.give(Tick())
    if what == "drive":
        places = [STATION, SHOP, *(door(number) for number in range(1, 7))]
        unit.at(_pick(places, a), _pick([0.0, 12.0], b))
        unit.wait(6)
        return unit.at(_pick(places, a), _pick([0.0, 12.0], b))
    if what == "scan":
        number = f"TBA{a % 8:012d}"
        code = _pick([number, number.lower(), "TBA300000000099", "12345", f"0034043416{a % 8:010d}"], b)
        return unit.give(
            Scanned(code, (code,), "hand", fault=_pick([None, None, "check digit"], b), repeat=b % 11 == 0)
        )
    if what == "message":
        return unit.give(a_message(unit, a, b))
    if what == "asked":
        wanted = prompt(unit.state, unit.moment)["actions"] or ["acknowledge"]
        return unit.give(an_action(unit, sorted(ACTIONS).index(_pick(wanted, a)), b))
    if what == "nonsense":
        return unit.give(InvalidMessage(f"n{a}", "INVALID_JSON", None))
    return unit.give(an_action(unit, a, b))


steps = st.lists(
    st.tuples(
        st.sampled_from([*["asked"] * 4, *["act"] * 3, *["scan"] * 3, "drive", "message", "wait", "nonsense"]),
        st.integers(0, 999),
        st.integers(0, 999),
    ),
    min_size=10,
    max_size=60,
)
stages = st.sampled_from(STAGES)
often = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_state(state: State) -> None:
    for block in state.blocks.values():
        under_way = [stop.stop_id for stop in block.stops.values() if stop.state in {"EN_ROUTE", "ARRIVED"}]
        if not block.ended:
            assert under_way == ([block.current_stop_id] if block.current_stop_id else [])
        assert set(block.route) == set(block.stops)
        assert len(block.route) == len(block.stops)
        for parcel in block.parcels.values():
            stop = block.stops[parcel.stop_id] if parcel.stop_id is not None else None
            if block.state in {"ON_ROUTE", "RETURNING"} and parcel.state == "OUT_FOR_DELIVERY" and stop is not None:
                assert stop.state not in STOP_ENDED, "a parcel that is out for delivery has a stop to go to"
            if block.state == "RETURNING" and parcel.state == "RETURN_PENDING":
                assert any(True for _ in block.open_stops("return")), "a parcel that goes back has a stop for it"
        if block.state == "CLOSED":
            assert {parcel.state for parcel in block.custody} <= {"RETURN_PENDING", "UNLOCATED"}


def check_step(before: State, step: Step, decision: Decision, after: State) -> None:
    for name, block in before.blocks.items():
        now = after.blocks.get(name)
        if now is None:
            assert block.ended or name != before.block_id
            assert not block.custody
            continue
        for parcel in block.parcels.values():
            if now.ended and parcel.parcel_id not in now.parcels:
                assert parcel.state not in vocabulary.CUSTODY, "only what the vehicle holds is kept of an ended block"
                continue
            assert parcel.parcel_id in now.parcels
            if parcel.state in FINAL:
                assert now.parcels[parcel.parcel_id].state == parcel.state
        for stop in block.stops.values():
            if stop.state in STOP_ENDED and not (now.ended and stop.stop_id not in now.stops):
                assert now.stops[stop.stop_id].state == stop.state, "ended stops never reopen"
        here = block.standing
        if here is not None and now.current_stop_id == here.stop_id and now.standing is not None:
            assert now.standing.plan == here.plan, "where the driver stands stays what it was"
        assert now.held_back is None or now.standing is not None
    if decision.feedback is not None:
        said = codes.FEEDBACK[decision.feedback.code]
        assert set(decision.feedback.params) <= set(said.params)
        assert decision.feedback.tone in {said.tone, "attention"}
    if step[0] in {"act", "asked", "message"} and decision.refusal is None:
        told = decision.feedback is not None and decision.feedback.code not in {"DONE", "STOP_DONE"}
        seen = view(after, CoreUnit().moment) != view(before, CoreUnit().moment)
        assert decision.events or decision.effects or told or seen or step[0] == "message", "nothing came of it"
    if decision.refusal is not None and step[0] != "message":
        refused = codes.REFUSALS[decision.refusal.reason]
        assert set(decision.refusal.params) <= set(refused.params), decision.refusal
        # Only a scan leaves something behind when it is refused: that it was made, and that a parcel turned up.
        assert not decision.events or decision.feedback is not None
    if decision.refusal is not None and step[0] == "message":
        assert decision.refusal.reason in vocabulary.MESSAGE_REJECTIONS
        assert after == before
    shown = view(after, CoreUnit().moment)
    json.dumps(shown, allow_nan=False)
    prompt = codes.PROMPTS[shown["prompt"]["code"]]
    assert set(shown["prompt"]["params"]) == set(prompt.params)
    assert set(shown["prompt"]["actions"]) <= set(ACTIONS)


@often
@given(stages, steps)
def test_nothing_that_happens_breaks_the_core(stage: Callable[[], CoreUnit], happening: list[Step]) -> None:
    unit = stage()
    for step in happening:
        before = unit.state
        decision = perform(unit, step)
        check_state(unit.state)
        check_step(before, step, decision, unit.state)


@often
@given(stages, steps)
def test_after_every_step_nothing_more_follows_by_itself(stage: Callable[[], CoreUnit], happening: list[Step]) -> None:
    unit = stage()
    for step in happening:
        perform(unit, step)
        again = Transaction(unit.state, Tick(), unit.moment)
        again.changed = True
        settle(again)
        assert again.events == []
        again.start_next = True  # as after a stop that has ended: that the next one starts is settled at once, too
        settle(again)
        started = len(again.events)
        settle(again)
        assert len(again.events) == started <= 1


@often
@given(stages, steps, st.integers(0, 10_000))
def test_the_log_gives_the_same_state_from_its_start_and_from_any_snapshot(
    stage: Callable[[], CoreUnit], happening: list[Step], cut: int
) -> None:
    unit = stage()
    for step in happening:
        perform(unit, step)
    # Once through JSON, as the journal keeps it.
    log = [_stored(entry) for entry in unit.log]
    states = [State(policy=unit.policy)]
    for entry in log:
        states.append(evolve(states[-1], entry))  # every prefix of the log is a state: the power may fail after any
    assert states[-1] == unit.state
    assert evolve_all(State(policy=unit.policy), log) == unit.state
    cut %= len(states)
    again = snapshot.load(snapshot.dump(states[cut]), unit.policy)
    assert again == states[cut]
    assert evolve_all(again, log[cut:]) == unit.state


def _stored(entry: Event | InboxMessage) -> Event | InboxMessage:
    data = json.loads(json.dumps(entry.data))
    if isinstance(entry, Event):
        return Event(entry.type, entry.subject, data, entry.time)
    return InboxMessage(entry.message_id, entry.kind, entry.type, data)


@often
@given(stages, steps)
def test_a_parcel_in_custody_never_leaves_it_without_an_event(
    stage: Callable[[], CoreUnit], happening: list[Step]
) -> None:
    unit = stage()
    state = State(policy=unit.policy)
    for step in happening:
        perform(unit, step)
    leaving = {
        "parcel.delivered",
        "parcel.returned",
        "parcel.lost",
        "parcel.transferred",
        "parcel.unloaded_at_site",
    }
    for entry in unit.log:
        following = evolve(state, entry)
        for name, block in state.blocks.items():
            now = following.blocks.get(name)
            if now is None:
                assert not block.custody or block.ended
                continue
            left = {p.parcel_id for p in block.custody} - {p.parcel_id for p in now.custody}
            assert not left or (isinstance(entry, Event) and entry.type in leaving and len(left) == 1)
            if now.state == "CLOSED" and block.state != "CLOSED":
                assert isinstance(entry, Event)
                owed = entry.data.get("obligation", {}).get("parcel_ids", [])
                assert {p.parcel_id for p in now.custody} == set(owed)
        state = following


@often
@given(stages, steps, st.integers(0, 999), st.integers(0, 999))
def test_every_rejected_scan_is_an_event(stage: Callable[[], CoreUnit], happening: list[Step], a: int, b: int) -> None:
    unit = stage()
    for step in happening:
        perform(unit, step)
    number = f"TBA{a % 8:012d}"
    code = _pick([number, "TBA300000000099", "12345"], b)
    decision = unit.give(Scanned(code, (code,), "hand", fault=_pick([None, "check digit"], a)))
    assert decision.feedback is not None
    written = [event.type for event in decision.events if event.type in {"scan.rejected", "parcel.unexpected"}]
    assert len(written) == (
        decision.feedback.tone in {"bad", "attention"} and decision.feedback.code != "SEVERAL_CODES"
    )


@often
@given(
    stages,
    st.sampled_from(sorted(ACTIONS)),
    st.dictionaries(
        st.sampled_from(
            ["parcel_id", "parcel_ids", "reason", "stop_id", "code", "handover", "note", "scanned", "text"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
        max_size=5,
    ),
)
def test_an_action_with_any_arguments_is_answered(
    stage: Callable[[], CoreUnit], action: str, arguments: dict[str, Any]
) -> None:
    unit = stage()
    decision = unit.give(Acted(action, arguments))
    if decision.refusal is not None and decision.refusal.reason == "BAD_ARGUMENT":
        assert decision.refusal.params["path"]
        assert decision.refusal.params["expected"]


def valid_block(**members: Any) -> dict[str, Any]:
    """A block with everything that a message may have."""
    key, digest = "A" * 43, "0" * 64
    data = block_data(3, 2, requirements={"photo": True, "otp_hmac": digest, "minimum_age": 18}, **members)
    data |= {"otp_key": key, "fallback_site_id": "S2", "pay": {"amount": "84.00", "currency": "EUR"}}
    data["stops"][1]["window"] = {"from": "2026-11-21T09:00:00Z", "to": "2026-11-21T10:00:00Z"}
    data["parcels"][0] |= {"weight_g": 900, "instruction": {"kind": "neighbour", "neighbour": {"house": "14"}}}
    return data


@often
@given(st.booleans(), st.data())
def test_whatever_the_edge_lets_through_the_core_can_work_with(revised: bool, data: st.DataObject) -> None:
    unit = loading(3, 2) if revised else CoreUnit()
    body = valid_block(version=2)
    place: Any = body
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
            place[key] = data.draw(st.sampled_from([None, 0, 7, -1.5, "", "x", "T1", "S2", "P1", [], {}, True]))
            break
        place = place[key]
    kind, type_ = ("revision", "block.revised") if revised else ("block", "block.assigned")
    envelope = {
        "specversion": "1.0",
        "id": "m",
        "source": "/dispatch",
        "type": f"org.kerbside.{type_}.v1",
        "data": body,
    }
    message = parse(kind, json.dumps(envelope).encode(), max_bytes=1_000_000)
    if not isinstance(message, InboxMessage):
        return
    unit.give(message)
    for action in ("check_in", "start_loading"):
        unit.act(action, reason="no reception")
    for number in (1, 2, 3):
        unit.scan_parcel(number)
    unit.act("close_loading")
    unit.act("close_loading")
    for number in (1, 2, 3):
        unit.act("mark_missing", parcel_id=f"P{number}", reason="NOT_FOUND")
    unit.act("close_loading")
    unit.act("depart")
    unit.act("arrive", reason="no reception")
    unit.scan_parcel(1)
    unit.act("deliver", handover="recipient")
    json.dumps(view(unit.state, unit.moment), allow_nan=False)
    check_state(unit.state)
    assert snapshot.load(snapshot.dump(unit.state), unit.policy) == unit.state


def test_the_block_that_is_broken_above_is_whole_at_first() -> None:
    envelope = {"specversion": "1.0", "id": "m", "source": "/dispatch", "type": "org.kerbside.block.assigned.v1"}
    message = parse("block", json.dumps(envelope | {"data": valid_block()}).encode(), max_bytes=1_000_000)
    assert isinstance(message, InboxMessage)
