"""One decision in the making: each event is applied as it is added, so that a later step sees what the earlier did.

What a transaction holds in the end has passed `evolve` already: the loop that writes it down cannot meet an impossible
transition. A rule that cannot do what was asked for raises `Refused`, wherever it finds out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.delivery.evolve import evolve_all
from agent.delivery.model import geofence
from agent.delivery.model.decision import Decision, Effect, Event, Feedback, Forget, Refusal, Tone
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.inputs import Acted, InboxMessage, Input, Moment
from agent.delivery.model.scopes import scope_of_block
from agent.delivery.model.state import Block, Here, Note, Parcel, State, Stop, replace
from contract.vocabulary import BLOCK_ACTIVE, BLOCK_ENDED

MOST_NOTES = 50
"""Of the driver's notes that are shown; an older one goes for a newer one."""


class Refused(Exception):  # noqa: N818 - an answer to what was asked for, not an error
    """What was asked for is not possible: a code of ``codes.REFUSALS`` and what the sentence needs.

    Raised inside a rule; caught once, where the input is decided.
    """

    def __init__(self, code: str, /, **params: Any) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, params)


class Transaction:
    """Collects the events, feedback and effects that one input causes."""

    __slots__ = (
        "_about",
        "_block_id",
        "_driver_id",
        "_pending",
        "_state",
        "_time",
        "_where",
        "_where_known",
        "changed",
        "effects",
        "events",
        "feedback",
        "given",
        "here",
        "moment",
        "start_next",
    )

    def __init__(self, state: State, given: Input, moment: Moment) -> None:
        self._state = state
        self._pending: list[Event] = []
        self._about: str | None = None
        self._block_id: str | None = None
        self._driver_id = state.driver_id
        self.given = given
        self.moment = moment
        self.here: Here = state.here
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.feedback: Feedback | None = None
        self.changed = False
        """Whether a block, stop or parcel changed its state: what follows from that is settled at the end."""
        self.start_next = False
        """Whether the next stop is to be started: a stop has ended, or the vehicle has departed."""
        self._time = moment.time
        self._where: dict[str, Any] | None = None
        # Positions may be recorded only while a block is active, and what the cloud sends did not happen here.
        checks_in = isinstance(given, Acted) and given.action == "check_in"
        block = state.block
        at_work = checks_in or (block is not None and block.state in BLOCK_ACTIVE)
        self._where_known = isinstance(given, InboxMessage) or not at_work

    @property
    def state(self) -> State:
        """The state after the events so far."""
        if self._pending:
            self._state, self._pending = evolve_all(self._state, self._pending), []
        return self._state

    @property
    def block_id(self) -> str:
        """The id of the block that the driver works on."""
        if self._block_id is None:
            self._block_id = self.block.block_id
        return self._block_id

    @property
    def block(self) -> Block:
        """The block that the driver works on, or the one that `turn_to` has named."""
        block = self.state.block if self._about is None else self.state.blocks[self._about]
        if block is None:
            raise DeliveryError("there is no block; ask for it only where one is expected")
        return block

    def turn_to(self, block_id: str | None) -> None:
        """From now on this is about another block than the one that the driver works on; ``None``: about that again."""
        self._about, self._block_id = block_id, None

    def parcel_in(self, parcel_id: str, *states: str) -> Parcel:
        """The parcel of an action.

        :raises Refused: unknown, or not in one of the states in which the action is possible
        """
        parcel = self.block.parcels.get(parcel_id)
        if parcel is None:
            raise Refused("UNKNOWN_PARCEL", parcel_id=parcel_id)
        if parcel.state not in states:
            raise Refused("WRONG_STATE", parcel_id=parcel_id, parcel_state=parcel.state, expected=list(states))
        return parcel

    def stop_under_way(self) -> Stop:
        """The stop that is EN_ROUTE or ARRIVED.

        :raises Refused: there is none
        """
        stop = self.block.current_stop
        if stop is None:
            raise Refused("NO_STOP")
        return stop

    def add(self, type_: str, subject: str, data: dict[str, Any]) -> None:
        """Append an event and apply it."""
        if self._driver_id is not None:
            data.setdefault("driver_id", self._driver_id)
        if not self._where_known:
            self._where, self._where_known = geofence.where(self.here, self.moment), True
        if self._where is not None:
            data["where"] = self._where
        event = Event(type_, subject, data, self._time)
        self._pending.append(event)
        self.events.append(event)

    def on_block(self, type_: str, block: Block, /, **data: Any) -> None:
        """An event about a block."""
        members = {"block_id": block.block_id, **data}
        if block.driver_id is not None:
            members.setdefault("driver_id", block.driver_id)
        self.add(type_, f"block/{block.block_id}", members)
        self.changed = True
        self._block_id = None
        if self.state.blocks[block.block_id].state in BLOCK_ENDED and block.state not in BLOCK_ENDED:
            self.effects.append(Forget(scope_of_block(block.block_id)))
            self.momentary(notes=())

    def on_stop(self, type_: str, stop: Stop, /, **data: Any) -> None:
        """An event about a stop of the block under way."""
        members = {"block_id": self.block_id, "stop_id": stop.stop_id, "kind": stop.kind, **data}
        self.add(type_, f"stop/{stop.stop_id}", members)
        self.changed = True

    def on_parcel(self, type_: str, parcel: Parcel, /, **data: Any) -> None:
        """An event about a parcel of the block under way."""
        self.of_parcel(self.block_id, type_, parcel, **data)

    def of_parcel(self, block_id: str, type_: str, parcel: Parcel, /, **data: Any) -> None:
        """An event about a parcel of any block."""
        members = {
            "block_id": block_id,
            "parcel_id": parcel.parcel_id,
            "tracking_number": parcel.tracking_number,
            **data,
        }
        if parcel.plan.merchant_id is not None:
            members["merchant_id"] = parcel.plan.merchant_id
        if parcel.provisional:
            members["provisional"] = True
        self.add(type_, f"parcel/{parcel.parcel_id}", members)
        self.changed = self.changed or not type_.startswith("pod.")

    def each(self, type_: str, parcels: Iterable[Parcel], /, **data: Any) -> None:
        """The same event about several parcels."""
        for parcel in parcels:
            self.on_parcel(type_, parcel, **data)

    def tell(self, code: str, tone: Tone, /, **params: Any) -> None:
        """What the driver hears and sees of this input; the last word counts."""
        self.feedback = Feedback(code, tone, params)

    def momentary(self, **members: Any) -> None:
        """Change what is not in the log."""
        self.here = replace(self.here, **members)

    def note(self, item: str, text: str) -> None:
        """Keep the driver's own words on the screen, and nowhere else, until the block ends."""
        notes = (*self.here.notes, Note(item, text, self._time))
        self.momentary(notes=notes[-MOST_NOTES:])

    def decision(self, refusal: Refusal | None = None) -> Decision:
        """The finished decision."""
        after = self.state  # applies what is left to apply
        here = self.here if self.here is not after.here else None
        events = tuple(self.events)
        return Decision(events, self.feedback, tuple(self.effects), refusal, here, after if events else None)
