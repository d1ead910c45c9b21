"""The one loop that owns the state: takes inputs one at a time, asks the core, writes, and then tells everyone.

Everything here runs in the event loop's thread. An input is decided and evolved at once and handed to the journal's
writer; feedback, answers, acknowledgements and effects wait for the commit, in order. If a commit fails, the state
in memory is thrown away and loaded again from disk, and whoever waited is told that nothing was kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from agent.containment import Containment
from agent.delivery.decide import decide
from agent.delivery.evolve import evolve, evolve_all
from agent.delivery.fold.snapshot import dump, load
from agent.delivery.model.decision import Answer, Decision, Effect, Event, Feedback, Forget, Refusal, Reply
from agent.delivery.model.error import DeliveryError
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
from agent.delivery.model.state import Policy, State
from agent.delivery.screen.view import NOTHING, Drawn, view
from agent.journal.entries import Batch, EventEntry, InboxEntry, JournalError, JournalFull
from agent.journal.envelope import Chain, parse
from agent.journal.store import Journal
from agent.keeping import Keeping

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 256
"""Batches that may wait for the disk. Beyond, inputs are refused aloud instead of queueing unseen."""
MAX_UNIT_EVENTS = 1000
"""Events about the unit itself that wait for a store that can be written; beyond, the oldest are given up."""
RETRY_MESSAGE_S = 5.0
"""A message that could not be written is taken again after this; the broker keeps it until it is acknowledged."""


class Listener(Protocol):
    """Who is told once something is durable. Called in the loop's thread; must return at once."""

    def committed(self) -> None:
        """New events are in the journal."""

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        """The driver is to hear and see this; `device` is the scanner that asked, if one did."""

    def carry_out(self, effect: Effect) -> None:
        """What follows from what is durable now."""

    def reloaded(self) -> None:
        """What was not written is forgotten: the state and the keys are again those of the disk."""


class _Nobody:
    def committed(self) -> None:
        pass

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        pass

    def carry_out(self, effect: Effect) -> None:
        pass

    def reloaded(self) -> None:
        pass


@dataclass(slots=True)
class _Ticket:
    """One batch on its way to disk and who waits for it."""

    entries: tuple[EventEntry | InboxEntry, ...]
    state: State
    decision: Decision
    device: str | None = None
    answer: asyncio.Future[Answer] | None = None
    acknowledge: Callable[[], None] | None = None
    """Of the message that is answered, once the answer is durable."""
    again: Callable[[], None] | None = None
    """Takes that message once more, if it could not be written."""


RECOVERED = "unit.journal_recovered"
PANIC = "driver.panic"
NOT_STORED = "NOT_STORED"
STORE_FULL = "STORE_FULL"
BUSY = "BUSY"
FAULT = "FAULT"
_PROBE = Decision()  # nothing is decided; written with a snapshot, it shows whether the disk takes something
_NOTHING_DONE = Decision(refusal=Refusal(FAULT))
"""Where the core itself fails: nothing has changed, and whoever asked hears it."""


class Unit:
    """The loop. `now` gives the moment; `source` is the unit's name in every event (``/{fleet}/{unit}``)."""

    def __init__(self, journal: Journal, source: str, policy: Policy, now: Callable[[], Moment]) -> None:
        self._journal = journal
        self._source = source
        self._policy = policy
        self._now = now
        self._listener: Listener = _Nobody()
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Ticket] = deque()
        self._failure: JournalError | None = None
        self._keeping = Keeping(self._loop.time)
        self._unit_events: deque[Event] = deque(maxlen=MAX_UNIT_EVENTS)
        self._watchers: set[asyncio.Event] = set()
        self._in_flight: dict[str, list[Callable[[], None]]] = {}
        self.containment = Containment()
        """What only shows or tells something goes through it."""
        self.last_feedback: tuple[Feedback, str] | None = None
        """What the driver was told last, and when."""
        self._state, self._chain = self._from_disk()
        self._shown = self._state
        self._drawn = Drawn()
        dump(self._state)  # the first one prepares the others, which takes longer than a scan may wait

    def tell(self, listener: Listener) -> None:
        """From now on tell this one; before, nobody is told."""
        self._listener = listener

    # --- what comes in ------------------------------------------------------------------------------------------

    def take(self, what: Input, *, device: str | None = None) -> None:
        """Decide on an input that nobody waits for: a scan, a reading, a tick, a worker's result.

        A reading that comes while nothing can be written is given up; a result and a pressed button are taken again.
        """
        if refusal := self._refusal():
            if isinstance(what, Scanned | NotRead):
                self._tell(Feedback(refusal.reason, "bad", refusal.params), device)
            elif isinstance(what, Finished) or (isinstance(what, Panel) and what.buttons):
                self.later(partial(self.take, what))
            return
        if isinstance(what, Tick):
            self._flush_unit_events()
            if self._keeping.is_to_be_tried:
                self._submit(_PROBE, self._now())
        moment = self._now()
        decision = self._decide(what, moment)
        if decision.events or decision.effects:
            self._submit(decision, moment, device=device)
        elif not self._pending:
            if decision.here is not None:
                self._shown = self._shown.with_here(decision.here)
            if decision.feedback:
                self._tell(decision.feedback, device)
            elif isinstance(what, Located):
                self._changed()
        elif decision.feedback:  # in order: behind what is still being written
            self._submit(decision, moment, device=device)

    async def act(self, acted: Acted) -> Answer:
        """Carry out a driver's action; the answer comes when its events are durable."""
        if refusal := self._refusal():
            return Answer(refusal=refusal)
        moment = self._now()
        decision = self._decide(acted, moment)
        if not decision.events and not decision.effects and not self._pending:
            if decision.here is not None:
                self._shown = self._shown.with_here(decision.here)
            if decision.feedback:
                self._tell(decision.feedback, None)
            else:
                self._changed()
            return Answer(refusal=decision.refusal)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._submit(decision, moment, answer=answer)
        return await answer

    def receive(
        self,
        message: InboxMessage,
        body: bytes,
        keys: Mapping[str, bytes],
        acknowledge: Callable[[], None],
        again: Callable[[], None],
    ) -> None:
        """Take a valid message: its log entry and the events it causes are one batch. The same id has one effect.

        :param body: what is stored: JSON of its data
        :param keys: new scope keys, wrapped, to be stored in the same transaction
        :param acknowledge: called once the message is durable
        :param again: called later when it could not be written: take the message anew
        """
        message_id = message.message_id
        if message_id in self._in_flight:
            self._in_flight[message_id].append(acknowledge)
            return
        if self._journal.seen(message_id):
            acknowledge()
            return
        if self._refusal():
            self.later(again)
            return
        moment = self._now()
        decision = self._decide(message, moment)
        self._in_flight[message_id] = [acknowledge]
        try:
            self._submit(
                decision,
                moment,
                message=message,
                body=body,
                keys=keys,
                acknowledge=partial(self._acknowledge, message_id),
                again=partial(self._take_again, message_id, again),
            )
        except BaseException:
            del self._in_flight[message_id]  # nobody is told of what never went to the writer
            raise

    def reject(self, message: InvalidMessage, acknowledge: Callable[[], None]) -> None:
        """Take an invalid message: answered by an event (rate-limited), and then acknowledged."""
        if self._refusal():
            self.later(partial(self.reject, message, acknowledge))
            return
        moment = self._now()
        decision = self._decide(message, moment)
        if decision.events:
            self._submit(decision, moment, acknowledge=acknowledge, again=partial(self.reject, message, acknowledge))
        else:
            acknowledge()

    def record(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Write an event about the unit itself; what cannot be written now is written later."""
        self._unit_events.append(Event(event_type, "unit", dict(data)))
        self._flush_unit_events()

    def distrust(self, fault: JournalError) -> None:
        """Somebody found the store damaged while reading it: recover it, and go on with what it still holds."""
        if self._failure is None:
            self._failure = fault
            if not self._pending:
                self._recover()

    async def settle(self) -> None:
        """Wait until everything that was handed to the writer is on disk or has failed."""
        while self._pending:
            await asyncio.sleep(0.005)

    def adopt(self, policy: Policy) -> None:
        """Decide by these rules from now on."""
        self._policy = policy
        self._state = self._state.with_policy(policy)
        self._shown = self._shown.with_policy(policy)

    def snapshot(self) -> None:
        """Store the state, so that the next start need not replay the log."""
        if not self._refusal():
            self._journal.write(Batch((), snapshot=dump(self._state)), lambda _error: None)

    @property
    def is_writing(self) -> bool:
        """Whether something is on its way to disk: somebody may wait for a beep. From any thread."""
        return bool(self._pending)

    # --- what others see ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state as far as it is durable."""
        return self._shown

    def view(self) -> dict[str, Any]:
        """The deliveries' part of ``GET /api/state``, of what is durable."""
        return self.containment.attempt("deliveries", self._draw, dict(NOTHING))

    def _draw(self) -> dict[str, Any]:
        return view(self._shown, self._now(), self._drawn, self.containment)

    @property
    def is_keeping(self) -> bool:
        """Whether what is decided gets to the disk."""
        return self._failure is None and self._keeping.is_well

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set at each change; a slow reader finds it set once for many changes."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            yield changed
        finally:
            self._watchers.discard(changed)

    def changed(self) -> None:
        """Tell the watchers that something they show (a part's state, the link) is different."""
        self._changed()

    def _decide(self, what: Input, moment: Moment) -> Decision:
        """Ask the core; what is only momentary holds from now on, whatever becomes of the events."""
        if isinstance(what, InboxMessage | InvalidMessage):
            decision = decide(self._state, what, moment)  # what a message raises is answered by who reads the inbox
        else:
            faulty = Decision(feedback=Feedback(FAULT, "bad")) if isinstance(what, Scanned) else _NOTHING_DONE
            decision = self.containment.attempt(
                f"decisions ({type(what).__name__})", lambda: decide(self._state, what, moment), faulty
            )
        if decision.here is not None:
            self._state = self._state.with_here(decision.here)
        return decision

    def _flush_unit_events(self) -> None:
        """Hand the events about the unit that wait to the writer, one batch each."""
        while self._unit_events and not self._refusal():
            moment = self._now()
            self._submit(Decision(events=(replace(self._unit_events.popleft(), time=moment.time),)), moment)

    # --- the way to disk ----------------------------------------------------------------------------------------

    def _submit(
        self,
        decision: Decision,
        moment: Moment,
        *,
        device: str | None = None,
        answer: asyncio.Future[Answer] | None = None,
        message: InboxMessage | None = None,
        body: bytes = b"",
        keys: Mapping[str, bytes] = {},
        acknowledge: Callable[[], None] | None = None,
        again: Callable[[], None] | None = None,
    ) -> None:
        entries: list[EventEntry | InboxEntry] = []
        state = self._state if decision.after is None else decision.after.with_here(self._state.here)
        accepted = message if decision.refusal is None else None
        if accepted:
            entries.append(InboxEntry(accepted.message_id, accepted.kind, accepted.type, moment.time, body))
            if decision.after is None:
                state = evolve(state, accepted)
        # Only now may the chain move on: a sequence number that was given is written, or there is a gap.
        link = self._chain.sequence, self._chain.last_hash
        try:
            entries += [self._chain.add(event.type, event.subject, event.data, moment) for event in decision.events]
        except JournalError as error:
            self._chain.sequence, self._chain.last_hash = link
            raise DeliveryError(str(error)) from error
        self._state = state
        ticket = _Ticket(tuple(entries), state, decision, device, answer, acknowledge, again)
        self._pending.append(ticket)
        self._keeping.handed_over()
        batch = Batch(
            ticket.entries,
            keys=keys if accepted else {},
            forget=tuple(effect.scope for effect in decision.effects if isinstance(effect, Forget)),
            snapshot=dump(state) if (entries and self._journal.snapshot_due) or decision is _PROBE else None,
        )
        self._journal.write(batch, self._written)

    def _written(self, error: Exception | None) -> None:
        """Called by the writer thread, in the order of submission."""
        # The loop is closed only after the journal is, except when the process is being torn down.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        ticket = self._pending.popleft()
        if error is not None:
            self._keeping.failed(before=self._failure is not None)
            self._fail(ticket, error)
            return
        self._keeping.written()
        self._shown = ticket.state.with_here(self._state.here)
        decision = ticket.decision
        if decision.feedback:
            self._tell(decision.feedback, ticket.device)
        if ticket.answer and not ticket.answer.done():
            ids = tuple(entry.id for entry in ticket.entries if isinstance(entry, EventEntry))
            ticket.answer.set_result(Answer(ids, decision.refusal))
        # Whoever is told must not keep the others from being told.
        if ticket.acknowledge:
            self.containment.attempt("acknowledgement", ticket.acknowledge, None)
        self.containment.attempt("news for the uplink", self._listener.committed, None)
        if decision.effects:
            self.containment.attempt_each("effects", decision.effects, self._listener.carry_out)
        self._changed()

    def _fail(self, ticket: _Ticket, error: Exception) -> None:
        if self._failure is None:
            log.error("not written, going back to what is on disk: %s", error)
            self._failure = error if isinstance(error, JournalError) else JournalError(str(error))
        refusal = self._refusal() or Refusal(NOT_STORED)
        if ticket.device is not None:
            self._tell(Feedback(refusal.reason, "bad", refusal.params), ticket.device)
        if ticket.answer and not ticket.answer.done():
            ticket.answer.set_result(Answer(refusal=refusal))
        if ticket.again:
            self.later(ticket.again)
        elif not ticket.entries:
            # There was nothing to keep: whoever is only to be answered need not wait for the disk.
            for effect in ticket.decision.effects:
                if isinstance(effect, Reply):
                    self._listener.carry_out(effect)
        # Nobody does again what the unit says of itself, nor presses for help again: that is written later.
        self._unit_events.extend(
            event
            for event in ticket.decision.events
            if event.type == PANIC or (event.subject == "unit" and event.type != RECOVERED)
        )
        if not self._pending:
            if wait_s := self._keeping.recover_after_s:
                self._loop.call_later(wait_s, self._recover)
            else:
                self._recover()

    def _recover(self) -> None:
        """All that was in the writer's hands has failed: start again from what is on disk."""
        try:
            self._journal.reload()
            here = self._state.here
            state, self._chain = self._from_disk()
            self._state = self._shown = state.with_here(here)
            self._failure = None
            self._listener.reloaded()
            self._flush_unit_events()
        except JournalError as error:
            log.warning("the journal cannot be read again yet: %s", error)
            self._loop.call_later(1.0, self._recover)
        self._changed()

    def _from_disk(self) -> tuple[State, Chain]:
        replay = self._journal.replay()
        state = State(policy=self._policy)
        if replay.snapshot:
            try:
                state = load(replay.snapshot, self._policy)
            except DeliveryError as error:
                log.warning("%s: replaying every entry that is kept", error)
                replay = self._journal.replay(from_start=True)
        entries = [parse(entry) for entry in replay.entries]
        try:
            state = evolve_all(state, entries)
        except DeliveryError:
            state = _what_follows(state, entries)
        if recovered := self._journal.recovered:
            # Nothing else may come before it: it declares the gap that the next event leaves.
            self._unit_events.appendleft(Event(RECOVERED, "unit", recovered._asdict()))
        head = self._journal.head
        return state, Chain(self._source, head.sequence, head.hash)

    def _refusal(self) -> Refusal | None:
        if self._failure is not None:
            return Refusal(STORE_FULL if isinstance(self._failure, JournalFull) else NOT_STORED)
        return Refusal(BUSY) if len(self._pending) >= MAX_UNWRITTEN else None

    def _acknowledge(self, message_id: str) -> None:
        for acknowledge in self._in_flight.pop(message_id, ()):
            acknowledge()

    def _take_again(self, message_id: str, again: Callable[[], None]) -> None:
        self._in_flight.pop(message_id, None)
        again()

    def later(self, again: Callable[[], None]) -> None:
        """Do something again that could not be done while nothing can be written."""
        self._loop.call_later(RETRY_MESSAGE_S, again)

    # --- telling ------------------------------------------------------------------------------------------------

    def _tell(self, feedback: Feedback, device: str | None) -> None:
        self.last_feedback = feedback, self._now().time
        self.containment.attempt("feedback", lambda: self._listener.feedback(feedback, device), None)
        self._changed()

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()


def _what_follows(state: State, entries: list[Event | InboxMessage]) -> State:
    """The state after a log with holes: a recovered store may lack the message that an event follows from."""
    for entry in entries:
        try:
            state = evolve(state, entry)
        except DeliveryError as error:
            log.warning("an entry of the log is passed over: %s", error)
    return state
