"""What follows from one input: events to write, feedback to give, work for others.

Pure: no clock, no I/O, no random; the moment comes with the input. Bad input of any kind is answered, never raised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agent.delivery.model.decision import Decision, Feedback, Refusal
from agent.delivery.model.inputs import (
    Acted,
    Finished,
    InboxMessage,
    Input,
    InvalidMessage,
    Located,
    Moment,
    NotRead,
    Panel,
    Scanned,
    Tick,
)
from agent.delivery.model.numbers import normal
from agent.delivery.model.state import Block, State
from agent.delivery.rules import (
    closing,
    driving,
    handover,
    held,
    loading,
    messages,
    notes,
    offers,
    pickup,
    proofs,
    safety,
    scans,
    timeouts,
)
from agent.delivery.rules.arguments import Arguments, Field, check, ids, maybe, named_id, one_of, reason, text, word
from agent.delivery.rules.follow_ups import settle
from agent.delivery.rules.transaction import Refused, Transaction
from contract import vocabulary
from contract.vocabulary import (
    ABORT_REASONS,
    BLOCK_ACTIVE,
    CONTACT_METHODS,
    CONTACT_OUTCOMES,
    FAIL_REASONS,
    HANDOVERS,
    INSTEAD_REASONS,
    NOT_READY_REASONS,
    REJECT_REASONS,
    STOP_ENDED,
    TAGS,
)


def decide(state: State, given: Input, moment: Moment) -> Decision:
    """Decide about one input on the state as it is."""
    if isinstance(given, InboxMessage):
        return messages.received(state, given, moment)
    if isinstance(given, InvalidMessage):
        return messages.invalid(state, given, moment)
    tx = Transaction(state, given, moment)
    try:
        _apply(tx, given)
    except Refused as refused:
        # A refused scan is an event of its own; whatever else is refused leaves none.
        if isinstance(given, Acted):
            if given.action not in SCANS:
                tx.events.clear()
            return tx.decision(refused.refusal)
    tx.turn_to(None)
    settle(tx)
    if isinstance(given, Acted) and tx.feedback is None:
        if not tx.events and not tx.effects:
            # Whoever is told that it was done must find that something was.
            return tx.decision(Refusal("NOTHING_DONE", {"action": given.action}))
        _confirm(tx, given.action, state.block)
    return tx.decision()


def _apply(tx: Transaction, given: Input) -> None:
    if isinstance(given, Acted):
        _perform(tx, given)
        question = tx.here.question
        if given.action not in SCANS and question is not None and question.kind in scans.QUESTIONS:
            tx.momentary(question=None)  # the driver has gone on without choosing
    elif isinstance(given, Scanned):
        scans.scan(tx, given)
    elif isinstance(given, NotRead):
        tx.tell("NOT_READ", "attention")
    elif isinstance(given, Located):
        driving.located(tx, given)
    elif isinstance(given, Panel):
        safety.panel(tx, given)
    elif isinstance(given, Tick):
        timeouts.tick(tx)
    elif isinstance(given, Finished):
        messages.finished(tx, given)


SCANS = frozenset({"scan", "choose"})


def _confirm(tx: Transaction, action: str, before: Block | None) -> None:
    """Feedback of an action that had nothing to say itself: the stop it has ended, or that it was done."""
    block, stop_id = tx.state.block, before.current_stop_id if before is not None else None
    stop = block.stops.get(stop_id) if block is not None and stop_id is not None else None
    if block is not None and stop is not None and stop.state in STOP_ENDED:
        params = {"stop_id": stop.stop_id, "stop_state": stop.state, "next_stop_id": block.current_stop_id}
        tx.feedback = Feedback("STOP_DONE", "good", params)
    else:
        tx.feedback = Feedback("DONE", "good", {"action": action})


MAX_NAME: Final = 64
"""Characters of an unknown action's name that are said back."""


def _perform(tx: Transaction, given: Acted) -> None:
    action = ACTIONS.get(given.action)
    if action is None:
        code = "NOT_AVAILABLE" if given.action in vocabulary.ACTIONS else "UNKNOWN_ACTION"
        raise Refused(code, action=given.action[:MAX_NAME])
    arguments = check(action.arguments, given.arguments)
    for block_id, part in action.by_block(tx.state, arguments).items():
        if block_id is None and action.states is not None:
            block = tx.state.block
            if block is None:
                raise Refused("NO_BLOCK", action=given.action)
            if block.state not in action.states:
                expected = sorted(action.states)
                raise Refused("WRONG_TIME", action=given.action, block_state=block.state, expected=expected)
        tx.turn_to(block_id)
        action.perform(tx, part)


def _scan(tx: Transaction, a: dict[str, Any]) -> None:
    """A number is typed in; the same again confirms the parcel that its end was found to mean."""
    question = tx.here.question
    asked = question.scan if question is not None and question.kind == "parcel" else None
    if (
        question is not None
        and asked is not None
        and normal(asked.text) == normal(a["code"])
        and len(question.parcel_ids) == 1
    ):
        _choose(tx, {"code": question.parcel_ids[0]})
        return
    typed = tx.given.facts.scanned if isinstance(tx.given, Acted) else None
    scans.scan(tx, typed or Scanned(a["code"], (a["code"],), device="console", entry="manual"))


def _choose(tx: Transaction, a: dict[str, Any]) -> None:
    """One of several parcels that a code may mean, or that a text is a parcel's number."""
    question, block = tx.here.question, tx.state.block
    if question is None or question.kind not in scans.QUESTIONS or question.scan is None or block is None:
        raise Refused("NO_CHOICE", code=a["code"])
    if question.kind == "number":
        if normal(a["code"]) != normal(question.scan.text):
            raise Refused("NO_CHOICE", code=a["code"])
        scans.scan(tx, replace(question.scan, entry="manual", repeat=False))
        return
    offered = [block.parcels[name] for name in question.parcel_ids if name in block.parcels]
    chosen = [parcel for parcel in offered if parcel.parcel_id == a["code"]] or [
        parcel for parcel in offered if a["code"] in {parcel.tracking_number, *parcel.plan.aliases}
    ]
    if len(chosen) != 1:
        raise Refused("NO_CHOICE", code=a["code"])
    tx.momentary(question=None)
    scans.scan_parcel(tx, replace(question.scan, repeat=False), chosen[0])


@dataclass(frozen=True, slots=True)
class Action:
    """How an action is carried out, what it needs, and in which states of the block it is possible."""

    perform: Callable[[Transaction, dict[str, Any]], None]
    states: frozenset[str] | None = None
    """``None`` where no block is needed."""
    arguments: Arguments = field(default_factory=dict)
    by_block: held.ByBlock = held.of_own_block
    """The arguments for each block: some actions are possible with what the vehicle holds of ended blocks, too."""


def _in(*states: str) -> frozenset[str]:
    return frozenset(states)


PARCEL: dict[str, Field] = {"parcel_id": text()}
ROAD = _in("ON_ROUTE", "RETURNING")

ACTIONS: dict[str, Action] = {
    "accept_offer": Action(offers.accept_offer, None, {"offer_id": text()}),
    "decline_offer": Action(offers.decline_offer, None, {"offer_id": text()}),
    "give_back": Action(offers.give_back, None, {"block_id": text()}),
    "check_in": Action(pickup.check_in, BLOCK_ACTIVE | {"ACCEPTED"}, {"reason": maybe(reason())}),
    "start_loading": Action(loading.start_loading, _in("CHECKED_IN")),
    "scan": Action(_scan, None, {"code": text()}),
    "choose": Action(_choose, None, {"code": text()}),
    "not_ready": Action(loading.not_ready, _in("LOADING"), {"parcel_ids": ids(), "reason": one_of(NOT_READY_REASONS)}),
    "mark_missing": Action(loading.mark_missing, _in("LOADING"), PARCEL | {"reason": reason()}),
    "reject": Action(loading.reject, _in("LOADING"), PARCEL | {"reason": one_of(REJECT_REASONS)}),
    "unload": Action(loading.unload, _in("LOADING"), PARCEL),
    "adopt": Action(loading.adopt, _in("LOADING", "LOADED", "ON_ROUTE", "PAUSED"), PARCEL),
    "hand_back": Action(loading.hand_back, BLOCK_ACTIVE, PARCEL),
    "close_loading": Action(loading.close_loading, _in("LOADING")),
    "reopen_loading": Action(loading.reopen_loading, _in("LOADED")),
    "depart": Action(loading.depart, _in("LOADED")),
    "start_stop": Action(driving.start_stop, ROAD, {"stop_id": text()}),
    "arrive": Action(driving.arrive, ROAD, {"reason": maybe(reason())}),
    "confirm_location": Action(driving.confirm_location, ROAD),
    "skip_stop": Action(driving.skip_stop, ROAD, {"reason": reason()}),
    "contact": Action(handover.contact, ROAD, {"method": word(CONTACT_METHODS), "outcome": word(CONTACT_OUTCOMES)}),
    "skip_photo": Action(proofs.skip_photo, ROAD, {"reason": reason()}),
    "deliver": Action(
        handover.deliver,
        ROAD,
        {
            "handover": one_of(HANDOVERS),
            "name": maybe(text()),
            "parcel_ids": maybe(ids()),
            "reason": maybe(reason()),
        },
    ),
    "fail": Action(
        handover.fail,
        ROAD,
        {
            "reason": one_of((*FAIL_REASONS, *INSTEAD_REASONS)),
            "note": maybe(text(500)),
            "parcel_ids": maybe(ids()),
        },
    ),
    "refuse": Action(handover.refuse_parcels, ROAD, {"parcel_ids": maybe(ids())}),
    "damage": Action(handover.damage, BLOCK_ACTIVE, PARCEL),
    "not_in_vehicle": Action(
        handover.not_in_vehicle, _in("LOADED", "ON_ROUTE", "PAUSED", "RETURNING"), PARCEL, held.named
    ),
    "found": Action(loading.found, BLOCK_ACTIVE, PARCEL, held.named),
    "lost": Action(handover.lost, ROAD, PARCEL, held.named),
    "void": Action(handover.void, BLOCK_ACTIVE, PARCEL | {"reason": reason()}),
    "reattempt": Action(handover.reattempt, ROAD, PARCEL),
    "return": Action(closing.return_parcels, ROAD, {"site_id": text(), "parcel_ids": maybe(ids())}, held.at_site),
    "transfer": Action(
        closing.transfer,
        _in("LOADING", "LOADED", "ON_ROUTE", "PAUSED", "RETURNING"),
        {"parcel_ids": ids(), "driver_id": maybe(named_id()), "point_id": maybe(named_id())},
        held.named,
    ),
    "pause": Action(driving.pause, _in("ON_ROUTE")),
    "resume": Action(driving.resume, _in("PAUSED")),
    "abort": Action(closing.abort, _in("LOADING", "LOADED", "ON_ROUTE", "PAUSED"), {"reason": one_of(ABORT_REASONS)}),
    "suggest_location": Action(handover.suggest_location, ROAD),
    "tag_stop": Action(notes.tag_stop, BLOCK_ACTIVE, {"kind": one_of(TAGS)}),
    "annotate": Action(notes.annotate, None, {"item": text(), "text": text(1000)}),
    "acknowledge": Action(notes.acknowledge, None, {"message_id": text()}),
    "undo": Action(loading.undo, _in("LOADING")),
    "panic": Action(safety.panic, None),
    "close_block": Action(closing.close_block, _in("CHECKED_IN", "ON_ROUTE", "RETURNING"), {"reason": maybe(reason())}),
}
"""Every action that this unit can carry out."""
