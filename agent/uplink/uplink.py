"""The uplink: one thread that owns the MQTT connection, sends what the journal holds and hands over what comes in.

Events go out in the order of their sequence and before any telemetry; the journal's cursor moves over the unbroken
prefix of what was acknowledged with success. Inbox messages are acknowledged when their owner says so, in the order
they came, and only on the connection they came on. No fault ends the thread: it is shown in `link`, and the next
connection begins where this one left off. The methods of `Uplink` may be called from any thread and never wait.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent import __version__
from agent.delivery.model.inputs import Moment
from agent.files import FileError, read, write_durably
from agent.identity.seal import SealError
from agent.journal.entries import EventEntry, JournalError, TelemetryEntry
from agent.journal.envelope import telemetry
from agent.journal.store import Journal
from agent.settings import BrokerSettings, is_loopback
from agent.uplink import connection
from agent.uplink.budget import Budget
from agent.uplink.connection import Connection, UplinkError, Will
from agent.uplink.inbox import InboxReader, Incoming, Token
from agent.uplink.lanes import Stream

log = logging.getLogger(__name__)

MAX_REPLIES: Final = 200
MAX_REPLAYS: Final = 16
SESSION_FILE: Final = "uplink.session"
BUDGET_FILE: Final = "uplink.traffic"
CONNECTING: Final = "connecting"
SESSION_RESET: Final = "unit.session_reset"
_TELEMETRY_BATCH: Final = 20
_SHORT_LIVES: Final = 3
"""So many short connections in a row that ended without a word look like another client with our id."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the uplink waits for what, in seconds."""

    connack_s: float = 15.0
    puback_s: float = 30.0
    """Silence: nothing acknowledged for so long although something is under way."""
    retry_min_s: float = 0.5
    retry_max_s: float = 60.0
    takeover_s: float = 300.0
    """Between two attempts when somebody else keeps using our client id."""
    stable_s: float = 10.0
    """A connection that lived so long starts the back-off anew."""
    telemetry_s: float = 10.0
    """Between two looks for samples to send."""
    resend_s: float = 600.0
    """Without a new high-water mark for so long, events are sent again (`confirm = "cloud"`)."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the connection to the broker is doing."""

    online: bool = False
    reason: str = "not started"
    """Why it is offline, or what is wrong although it is online; empty when all is well."""
    since_ns: int = 0
    """Since when it is online or offline, on the monotonic clock."""
    protocol: str | None = None
    """``5`` or ``3.1.1``, while online."""
    inflight: int = 0
    last_transfer_ns: int | None = None
    """When the broker last acknowledged something, on the monotonic clock."""


class Listener(Protocol):
    """Whom the uplink tells; called in the uplink's thread, so it should only pass things on."""

    def on_message(self, incoming: Incoming) -> None:
        """An inbox message has come; `Uplink.acknowledge` once it is durable."""

    def on_link(self) -> None:
        """The connection came, went, or has another reason: see `Uplink.link`."""

    def on_damage(self, fault: JournalError) -> None:
        """The journal can not be read: somebody has to repair it."""

    def on_session_lost(self) -> None:
        """The broker has forgotten our session: write `unit.session_reset`.

        It is told again with each connection, also after a restart, until such an event has been acknowledged.
        """


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer to a wish for a replay."""

    accepted: bool
    oldest_sequence: int
    """The oldest event that is kept."""


@dataclass(slots=True)
class _Pause:
    """Back-off of one lane after the broker answered, but did not accept."""

    failures: int = 0
    until_s: float = 0.0
    reason: str = ""
    pending: bool = False
    """A refusal has come, and other answers are still awaited."""

    def refused(self, reason: str) -> None:
        self.pending = True
        self.reason = reason

    def begin(self, timing: Timing) -> None:
        self.pending = False
        self.failures += 1
        self.until_s = time.monotonic() + _jittered(timing, self.failures)

    def accepted(self) -> None:
        if not self.pending:
            self.failures, self.reason = 0, ""

    def open(self, outstanding: int) -> bool:
        """Whether the lane may send; after a refusal one message at a time, until one is accepted."""
        waiting = self.failures > 0 and (outstanding > 0 or time.monotonic() < self.until_s)
        return not self.pending and not waiting


@dataclass(frozen=True, slots=True)
class _Reply:
    topic: str
    payload: bytes
    described: Properties


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a packet identifier stands for."""

    what: Literal["event", "reset", "telemetry", "status", "reply"]
    sequence: int = 0
    stream: Stream | None = None
    reply: _Reply | None = None


class Uplink:
    """The unit's connection to its broker.

    :param now: the unit's clock; called in the uplink's and in the journal's thread
    :param confirm: whose word frees an event: the ``broker``'s PUBACK, or the ``cloud``'s high-water mark
    :raises UplinkError: the settings can not lead to a connection
    """

    def __init__(
        self,
        broker: BrokerSettings,
        fleet: str,
        unit: str,
        journal: Journal,
        reader: InboxReader,
        listener: Listener,
        *,
        state_dir: Path,
        now: Callable[[], Moment],
        confirm: Literal["broker", "cloud"] = "broker",
        timing: Timing = Timing(),
    ) -> None:
        if not broker.tls and not is_loopback(broker.host):
            raise UplinkError(
                f"broker.url: expected mqtts:// for {broker.host}, mqtt:// is allowed only on loopback; use mqtts://"
            )
        self.client_id: Final = f"{fleet}-{unit}"
        self.root: Final = f"{broker.topic_root}/{fleet}/{unit}"
        self._broker = broker
        self._journal = journal
        self._reader = reader
        self._listener = listener
        self._source = f"/{fleet}/{unit}"
        self._boot_id = now().boot_id
        self._session_file = state_dir / SESSION_FILE
        self._budget = Budget(state_dir / BUDGET_FILE, broker.monthly_bytes, now)
        self._now = now
        self._confirm = confirm
        self._timing = timing

        self._wake_here, self._wake_there = socket.socketpair()
        self._wake_here.setblocking(False)
        self._wake_there.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._stopping = threading.Event()
        self._stop_by_s = 0.0
        # Filled by any thread, emptied by the uplink's: deque operations are atomic.
        self._acknowledge: deque[Token] = deque()
        self._replies: deque[_Reply] = deque(maxlen=MAX_REPLIES)
        self._asked_replays: deque[tuple[int, int]] = deque(maxlen=MAX_REPLAYS)
        self._parts: Mapping[str, Any] = {}
        self._status_due = False
        self._news = True

        # Owned by the uplink's thread.
        self._link = Link(since_ns=time.monotonic_ns())
        self._last_transfer_ns: int | None = None
        self._generation = 0
        self._protocol: connection.Protocol = "3.1.1" if broker.protocol == "3.1.1" else "5"
        self._silent_closes = 0
        self._failures = 0
        self._takeovers: deque[float] = deque(maxlen=2)
        self._sent: dict[int, _Sent] = {}
        self._inbox: deque[list[Any]] = deque()
        self._events = Stream(journal.events_after, journal.confirmed)
        self._replays: deque[Stream] = deque()
        self._telemetry: deque[TelemetryEntry] = deque()
        self._telemetry_sent: set[int] = set()
        self._telemetry_look_s = 0.0
        self._pauses = {"event": _Pause(), "telemetry": _Pause(), "status": _Pause()}
        self._oversized: dict[int, str] = {}
        self._inbox_fault = ""
        self._since = ""
        self._progress_s = 0.0
        self._online_s = 0.0
        self._short_lives = 0
        self._subscription: int | None = None
        self._subscribe_at_s: float | None = None
        self._lost_at: int | None = None
        self._unheard = 0
        """The first event for which there was no subscriber, since there last was one."""
        self._high_water = journal.confirmed
        self._high_water_s = time.monotonic()

    # ---------------------------------------------------------------- from any thread

    @property
    def link(self) -> Link:
        """What the connection is doing now."""
        return replace(self._link, inflight=len(self._sent), last_transfer_ns=self._last_transfer_ns)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Send what is under way, say offline and disconnect; false if that took longer than the time given."""
        self._stop_by_s = time.monotonic() + timeout_s * 0.8
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._wake_here.close()
        self._wake_there.close()
        return True

    def wake(self) -> None:
        """The journal holds more than before."""
        self._news = True
        self._wake()

    def acknowledge(self, token: Token) -> None:
        """The inbox message is durable. A token of an earlier connection does nothing: the broker sends it again."""
        self._acknowledge.append(token)
        self._wake()

    def set_status(self, parts: Mapping[str, Any]) -> None:
        """The states of the unit's parts, as the status topic shows them: ``{name: {state, reason, since}}``."""
        if parts != self._parts:
            self._parts = dict(parts)
            self._status_due = True
            self._wake()

    def reply(self, answer: Mapping[str, Any], to: Incoming | None = None) -> None:
        """Answer a message on the topic it asked for, else on `replies`.

        Kept over reconnects, not over a restart; of more than `MAX_REPLIES` the oldest is dropped.
        """
        described = connection.properties(PacketTypes.PUBLISH, ContentType="application/json")
        topic = f"{self.root}/replies"
        if to is not None and to.correlation_data is not None:
            described.CorrelationData = to.correlation_data
        if to is not None and _may_be_published(to.response_topic):
            topic = to.response_topic or topic
        self._replies.append(_Reply(topic, json.dumps(answer, ensure_ascii=False).encode(), described))
        self._wake()

    def high_water(self, sequence: int) -> None:
        """The cloud's consumer has everything up to here; frees events where its word counts."""
        if self._confirm == "cloud":
            self._journal.confirm_through(min(sequence, self._journal.head.sequence))

    def replay(self, from_sequence: int, to_sequence: int | None = None) -> Replay:
        """Send stored events again, the same bytes on the same topics, before newer ones.

        Not accepted when `from_sequence` is below what is kept, or when too many replays wait already.
        """
        oldest, last = self._journal.oldest_sequence, self._journal.head.sequence
        accepted = from_sequence >= oldest and len(self._asked_replays) + len(self._replays) < MAX_REPLAYS
        if accepted:
            self._asked_replays.append((from_sequence - 1, last if to_sequence is None else min(to_sequence, last)))
            self._wake()
        return Replay(accepted, oldest)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # a full one wakes as well; a closed one has nobody to wake
            self._wake_there.send(b"w")

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        self._tell(online=False, reason=CONNECTING)
        while not self._stopping.is_set():
            started_s = time.monotonic()
            least_s = 0.0
            try:
                least_s = self._one_connection()
            except UplinkError as error:
                self._tell(online=False, reason=str(error))
            except JournalError as error:
                self._tell(online=False, reason=str(error))
                self._listener.on_damage(error)
            except Exception as error:
                log.exception("uplink: unforeseen fault, the connection starts anew")
                self._tell(online=False, reason=f"unforeseen fault: {type(error).__name__}")
            if time.monotonic() - started_s >= self._timing.stable_s:
                self._failures = 0
            self._failures += 1
            if not self._stopping.is_set():
                self._stopping.wait(max(_jittered(self._timing, self._failures), least_s))
        self._budget.save()
        self._tell(online=False, reason="stopped")

    def _one_connection(self) -> float:
        """From CONNECT to the end; gives the least time to wait before the next."""
        self._generation += 1
        will = Will(f"{self.root}/status", self._status("offline"))
        link = Connection(self._broker, self.client_id, self._protocol, will, self._generation)
        try:
            try:
                link.open(self._wake_here)
            except (OSError, ValueError) as error:
                self._tell(online=False, reason=_unreachable(self._broker, error))
                return 0.0
            return self._serve(link)
        finally:
            link.close()
            self._forget_connection()

    def _forget_connection(self) -> None:
        for sent in reversed(self._sent.values()):
            if sent.reply is not None:
                self._replies.appendleft(sent.reply)
        self._sent.clear()
        self._inbox.clear()
        self._acknowledge.clear()
        self._events.rewind()
        for replay_ in self._replays:
            replay_.rewind()
        self._telemetry.clear()
        self._telemetry_sent.clear()
        self._telemetry_look_s = 0.0
        for pause in self._pauses.values():
            if pause.pending:
                pause.begin(self._timing)
        self._oversized.clear()
        self._inbox_fault = ""
        self._subscription = self._subscribe_at_s = None

    def _serve(self, link: Connection) -> float:
        deadline_s = time.monotonic() + self._timing.connack_s
        while not link.connected and link.ended is None:
            if self._stopping.is_set():
                return 0.0
            if time.monotonic() > deadline_s:
                link.ended = f"no answer to CONNECT within {self._timing.connack_s:g} s"
                break
            link.step(0.5)
            self._drain_wakes()
        if link.connected and link.ended is None:
            self._silent_closes = 0
            self._begin(link)
            while link.ended is None and not self._leave_if_stopping(link):
                self._turn(link)
        return self._end(link)

    def _end(self, link: Connection) -> float:
        reason = link.ended or "stopped"
        least_s = 0.0
        if link.refusal == connection.UNSUPPORTED_VERSION or link.refusal == 1:
            self._fall_back(reason)
        elif link.silent_close:
            self._silent_closes += 1
            if self._silent_closes >= 2:
                self._fall_back(reason)
        if link.ended_by == connection.TAKEN_OVER:
            now_s = time.monotonic()
            again = bool(self._takeovers) and now_s - self._takeovers[-1] < 2 * self._timing.takeover_s + 60
            self._takeovers.append(now_s)
            reason = f'another client uses our client id "{self.client_id}"'
            if again:
                reason += ": is this unit's card copied into a second one?"
                least_s = self._timing.takeover_s * (0.5 + _random() / 2)
        elif link.lost and time.monotonic() - self._online_s < self._timing.stable_s:
            self._short_lives += 1
            if self._short_lives >= _SHORT_LIVES:
                reason += f', soon after it began: does another client use our client id "{self.client_id}"?'
        else:
            self._short_lives = 0
        self._tell(online=False, reason=reason)
        return least_s

    def _fall_back(self, reason: str) -> None:
        """`protocol = "auto"`: MQTT 3.1.1 once the broker does not want 5, and 5 again if it wants neither."""
        self._silent_closes = 0
        if self._broker.protocol == "auto":
            self._protocol = "3.1.1" if self._protocol == "5" else "5"
            log.info("uplink: %s; trying MQTT %s", reason, self._protocol)

    def _leave_if_stopping(self, link: Connection) -> bool:
        if not self._stopping.is_set():
            return False
        self._turn_once(link)
        while link.ended is None and self._sent and time.monotonic() < self._stop_by_s:
            link.step(0.1)
            self._answers(link)
        if link.ended is None:
            mid = link.publish(
                f"{self.root}/status", self._status("offline"), connection.STATUS_PROPERTIES, retain=True
            )
            self._sent[mid] = _Sent("status")
            until_s = max(self._stop_by_s, time.monotonic() + 0.2)
            while link.ended is None and mid in self._sent and time.monotonic() < until_s:
                link.flush()
                link.step(0.05)
                self._answers(link)
            self._move_cursor()
            link.leave()
        return True

    def _begin(self, link: Connection) -> None:
        """CONNACK has come."""
        self._since = self._now().time
        self._progress_s = self._online_s = time.monotonic()
        self._news = True
        self._status_due = True
        state = self._session_state()
        if state == "lost" or (state == "established" and not link.session_present):
            if state != "lost":
                self._write_session_state("lost")
            log.warning("uplink: the broker has lost our session")
            self._lost_at = self._journal.head.sequence
            if self._confirm == "cloud":
                self._events.rewind(self._journal.confirmed)
            self._listener.on_session_lost()
        self._subscribe(link)
        log.info("uplink: online, MQTT %s, window %d", link.protocol, link.window)
        self._tell(online=True, reason="", protocol=link.protocol)

    def _subscribe(self, link: Connection) -> None:
        self._subscribe_at_s = None
        self._subscription = link.subscribe(f"{self.root}/inbox/+", f"{self.root}/status")

    def _turn(self, link: Connection) -> None:
        self._turn_once(link)
        self._budget.spend(link.traffic_bytes)
        link.traffic_bytes = 0
        if link.ended is None:
            link.step(self._patience_s(link))
        self._drain_wakes()
        self._check_silence(link)

    def _turn_once(self, link: Connection) -> None:
        self._answers(link)
        self._hand_over(link)
        self._send_acknowledgements(link)
        self._fill(link)
        link.flush()
        self._move_cursor()
        self._tell(online=True, reason=self._complaint(), protocol=link.protocol)

    def _move_cursor(self) -> None:
        """Once for all that was acknowledged since."""
        if self._confirm == "broker" and self._events.prefix > self._journal.confirmed:
            self._journal.confirm_through(self._events.prefix)

    def _patience_s(self, link: Connection) -> float:
        """How long nothing needs to be done, unless something happens."""
        now_s = time.monotonic()
        patience_s = 1.0
        for pause in self._pauses.values():
            if pause.failures and not pause.pending:
                patience_s = min(patience_s, max(pause.until_s - now_s, 0.01))
        return patience_s

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._wake_here.recv(4096)) == 4096:
                pass

    def _check_silence(self, link: Connection) -> None:
        now_s = time.monotonic()
        if not self._sent:
            self._progress_s = now_s
        elif now_s - self._progress_s > self._timing.puback_s and link.ended is None:
            link.ended = f"nothing was acknowledged for {self._timing.puback_s:g} s"
        if self._subscribe_at_s is not None and now_s >= self._subscribe_at_s:
            self._subscribe(link)
        if self._confirm == "cloud":
            self._check_high_water(now_s)

    def _check_high_water(self, now_s: float) -> None:
        confirmed = self._journal.confirmed
        if confirmed != self._high_water or confirmed >= self._events.prefix:
            self._high_water, self._high_water_s = confirmed, now_s
        elif now_s - self._high_water_s > self._timing.resend_s and self._events.idle:
            log.warning("uplink: no high-water mark since event %d, sending again from there", confirmed)
            self._high_water_s = now_s
            self._events.rewind(confirmed)

    # ---------------------------------------------------------------- what comes in

    def _answers(self, link: Connection) -> None:
        """PUBACKs and SUBACKs."""
        done: list[int] = []
        while link.published:
            mid, code = link.published.popleft()
            sent = self._sent.pop(mid, None)
            if sent is not None:
                self._answer(sent, code, done)
        if done:
            self._journal.telemetry_done(done)
        for pause, outstanding in (
            (self._pauses["event"], self._events.outstanding + sum(each.outstanding for each in self._replays)),
            (self._pauses["telemetry"], len(self._telemetry_sent)),
            (self._pauses["status"], 0),
        ):
            if pause.pending and outstanding == 0:
                pause.begin(self._timing)
                if pause is self._pauses["event"]:
                    self._rewind_refused()
        while link.subscribed:
            self._suback(link, *link.subscribed.popleft())

    def _rewind_refused(self) -> None:
        self._events.rewind()
        for replay_ in self._replays:
            replay_.rewind()

    def _answer(self, sent: _Sent, code: int, done: list[int]) -> None:
        self._progress_s = time.monotonic()
        accepted = code < connection.FAILURE
        if accepted:
            self._last_transfer_ns = time.monotonic_ns()
        if sent.stream is not None:
            if code == connection.NO_SUBSCRIBERS and self._waits_for_subscribers():
                self._unheard = min(self._unheard or sent.sequence, sent.sequence)
                sent.stream.refused()
                self._pauses["event"].refused("nobody subscribes to the events")
            elif accepted:
                sent.stream.acknowledged(sent.sequence)
                if code != connection.NO_SUBSCRIBERS:
                    self._unheard = 0
                if sent.what == "reset":
                    self._lost_at = None
                    self._write_session_state("established")
                self._pauses["event"].accepted()
            else:
                sent.stream.refused()
                self._pauses["event"].refused(_not_accepted("events", code))
        elif sent.what == "telemetry":
            self._telemetry_sent.discard(sent.sequence)
            if accepted:
                done.append(sent.sequence)
                self._pauses["telemetry"].accepted()
            else:
                self._telemetry.clear()
                self._pauses["telemetry"].refused(_not_accepted("telemetry", code))
        elif sent.what == "status":
            if accepted:
                self._pauses["status"].accepted()
            else:
                self._status_due = True
                self._pauses["status"].refused(_not_accepted("the status", code))
        elif not accepted:
            log.warning("uplink: a reply was not accepted: %s (0x%02X)", _reason_name(code), code)

    def _waits_for_subscribers(self) -> bool:
        """Whether events wait until somebody subscribes: only where the cloud has to confirm them by a message.

        Some brokers hand events to rules that are no subscribers; a mark beyond such an event shows that.
        """
        return self._confirm == "cloud" and not (self._unheard and self._journal.confirmed >= self._unheard)

    def _suback(self, link: Connection, mid: int, codes: list[int]) -> None:
        if mid != self._subscription:
            return
        refused = [code for code in codes[:1] if code >= connection.FAILURE]
        if refused:
            self._inbox_fault = (
                f"the broker does not let us read our inbox: {_reason_name(refused[0])} (0x{refused[0]:02X}); "
                f"allow {self.client_id} to subscribe to {self.root}/inbox/+"
            )
            self._subscribe_at_s = time.monotonic() + self._timing.retry_max_s
            return
        self._inbox_fault = ""
        if self._session_state() is None:
            self._write_session_state("established")

    def _hand_over(self, link: Connection) -> None:
        while link.arrived:
            message = link.arrived.popleft()
            try:
                topic = message.topic
            except UnicodeDecodeError:
                topic = ""
            if topic == f"{self.root}/status":
                self._look_in_the_mirror(message)
                continue
            ours = topic.startswith(f"{self.root}/inbox/")
            if message.qos > 0:
                self._inbox.append([message.mid, not ours])
            if not ours:
                log.warning("uplink: a message on a topic that we did not ask for is ignored")
                continue
            self._read(link, topic.rpartition("/")[2], message)

    def _read(self, link: Connection, kind: str, message: MQTTMessage) -> None:
        given = message.properties
        token = Token(link.generation, message.mid)
        answer_to = getattr(given, "ResponseTopic", None), getattr(given, "CorrelationData", None)
        try:
            incoming = self._reader.read(kind, bytes(message.payload), token, *answer_to)
        except SealError as error:
            # Not acknowledged: the broker sends it again with the next connection, when somebody may have mended it.
            log.error("uplink: a message of the inbox waits: %s", error)  # noqa: TRY400
            self._inbox_fault = str(error)
            return
        self._listener.on_message(incoming)

    def _look_in_the_mirror(self, message: MQTTMessage) -> None:
        """A late will of an earlier connection says that we are offline."""
        if message.retain or self._stopping.is_set():
            return
        try:
            said = json.loads(message.payload)
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("state") != "online":
            self._status_due = True

    def _send_acknowledgements(self, link: Connection) -> None:
        while self._acknowledge:
            token = self._acknowledge.popleft()
            if token.generation == link.generation:
                for entry in self._inbox:
                    if entry[0] == token.mid:
                        entry[1] = True
        while self._inbox and self._inbox[0][1]:
            link.acknowledge(self._inbox.popleft()[0])

    # ---------------------------------------------------------------- what goes out

    def _fill(self, link: Connection) -> None:
        """Fill the window: status, replies, replays, events, and telemetry only when no event waits."""
        if self._news:
            self._news = False
            self._events.news()
        while self._asked_replays:
            after, until = self._asked_replays.popleft()
            self._replays.append(Stream(self._journal.events_after, after, until))
        if self._status_due and self._subscription is not None and self._pauses["status"].open(0):
            self._status_due = False
            self._publish(
                link, _Sent("status"), f"{self.root}/status", self._status("online"), connection.STATUS_PROPERTIES
            )
        while self._replies and len(self._sent) < link.window:
            reply = self._replies.popleft()
            self._publish(link, _Sent("reply", reply=reply), reply.topic, reply.payload, reply.described)
        self._fill_events(link)
        if not self._replays and self._events.idle and not self._budget.used_up:
            self._fill_telemetry(link)

    def _fill_events(self, link: Connection) -> None:
        pause = self._pauses["event"]
        window, sent = link.window, self._sent
        while self._replays and self._replays[0].done:
            self._replays.popleft()
        replaying = bool(self._replays)
        stream = self._replays[0] if replaying else self._events
        while len(sent) < window and not pause.pending:
            if pause.failures and not pause.open(stream.outstanding):
                return
            entry = stream.take()
            if entry is None:
                return
            if not self._fits(link, entry):
                stream.refused()
                continue
            mid = link.publish(self._topic(entry), entry.payload, connection.EVENT_PROPERTIES)
            reset = self._lost_at is not None and entry.type == SESSION_RESET and entry.sequence > self._lost_at
            sent[mid] = _Sent("reset" if reset else "event", entry.sequence, stream)

    def _fits(self, link: Connection, entry: EventEntry) -> bool:
        size = len(entry.payload) + len(self.root) + len(entry.type) + connection.PACKET_OVERHEAD_BYTES
        if size <= link.max_packet_bytes:
            return True
        if entry.sequence not in self._oversized:
            self._oversized[entry.sequence] = (
                f"event {entry.sequence} ({entry.type}, {size} bytes) is larger than the broker or "
                f"broker.max_packet_bytes allows ({link.max_packet_bytes}); raise the smaller one"
            )
            log.error("uplink: %s", self._oversized[entry.sequence])
        return False

    def _topic(self, entry: EventEntry) -> str:
        entity, _, verb = entry.type.partition(".")
        return f"{self.root}/events/{entity}/{verb}"

    def _fill_telemetry(self, link: Connection) -> None:
        pause = self._pauses["telemetry"]
        now_s = time.monotonic()
        if not self._telemetry and not self._telemetry_sent and now_s >= self._telemetry_look_s:
            self._telemetry.extend(self._journal.telemetry_waiting(_TELEMETRY_BATCH))
            if not self._telemetry:
                self._telemetry.extend(self._journal.pack_telemetry(self._pack, _TELEMETRY_BATCH))
            if not self._telemetry:
                self._telemetry_look_s = now_s + self._timing.telemetry_s
        while self._telemetry and len(self._sent) < link.window and pause.open(len(self._telemetry_sent)):
            entry = self._telemetry.popleft()
            self._telemetry_sent.add(entry.sequence)
            self._publish(
                link,
                _Sent("telemetry", entry.sequence),
                f"{self.root}/telemetry/{entry.stream}",
                entry.payload,
                connection.EVENT_PROPERTIES,
            )

    def _pack(self, sequence: int, stream: str, samples: list[dict[str, Any]]) -> bytes:
        return telemetry(self._source, sequence, stream, samples, self._now())

    def _publish(self, link: Connection, sent: _Sent, topic: str, payload: bytes, described: Properties) -> None:
        self._sent[link.publish(topic, payload, described, retain=sent.what == "status")] = sent

    # ---------------------------------------------------------------- what is told

    def _status(self, state: Literal["online", "offline"]) -> bytes:
        """The retained word. A will is written when we connect, so it can not say since when we are gone."""
        online = state == "online"
        return json.dumps(
            {
                "state": state,
                "version": __version__,
                "boot_id": self._boot_id,
                "since": self._since if online else self._now().time if self._stopping.is_set() else None,
                "parts": self._parts if online else {},
            },
            ensure_ascii=False,
        ).encode()

    def _complaint(self) -> str:
        """What is wrong although we are online."""
        reasons = [pause.reason for pause in self._pauses.values() if pause.reason]
        if self._budget.used_up:
            reasons.append(
                f"this month's {self._broker.monthly_bytes} bytes (broker.monthly_bytes) are used up: telemetry waits"
            )
        if self._inbox_fault:
            reasons.append(self._inbox_fault)
        if self._oversized:
            reasons.append(next(iter(self._oversized.values())))
        return "; ".join(reasons)

    def _tell(self, *, online: bool, reason: str, protocol: str | None = None) -> None:
        before = self._link
        if (online, reason, protocol) == (before.online, before.reason, before.protocol):
            return
        # Told once for each reason, not once for each try.
        if reason and reason not in {CONNECTING, before.reason} and not self._stopping.is_set():
            log.warning("uplink: %s: %s", "online" if online else "offline", reason)
        since_ns = before.since_ns if before.online == online else time.monotonic_ns()
        self._link = Link(online=online, reason=reason, since_ns=since_ns, protocol=protocol)
        try:
            self._listener.on_link()
        except Exception:
            log.exception("uplink: the listener failed")

    # ---------------------------------------------------------------- the session, over restarts

    def _session_state(self) -> str | None:
        """``established``, ``lost`` while that still has to be written as an event, or ``None``."""
        return read(self._session_file, lambda content: content.decode("ascii").strip(), "the session counts as new")

    def _write_session_state(self, state: str) -> None:
        try:
            write_durably(self._session_file, f"{state}\n".encode())
        except FileError as fault:
            log.warning("uplink: %s", fault)


def _jittered(timing: Timing, failures: int) -> float:
    """Twice as long each time, and never the same for two units that lost their broker together."""
    ceiling_s = min(timing.retry_max_s, timing.retry_min_s * 2.0 ** min(failures - 1, 30))
    return ceiling_s * (0.5 + _random() / 2)


def _random() -> float:
    return secrets.randbelow(1_000_000) / 1_000_000


def _not_accepted(what: str, code: int) -> str:
    return f"the broker does not accept {what}: {_reason_name(code)} (0x{code:02X})"


def _reason_name(code: int) -> str:
    return {
        0x80: "unspecified error",
        0x83: "implementation specific error",
        0x87: "not authorized",
        0x8F: "topic filter invalid",
        0x90: "topic name invalid",
        0x91: "packet identifier in use",
        0x97: "quota exceeded",
        0x99: "payload format invalid",
    }.get(code, "failure")


def _may_be_published(topic: str | None) -> bool:
    return bool(topic) and topic is not None and len(topic.encode()) <= 1024 and not set("+#\0") & set(topic)


def _unreachable(broker: BrokerSettings, error: Exception) -> str:
    where = f"{broker.host}:{broker.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where}: the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{where}: no TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return f"{where}: no answer"
    return f"{where}: {getattr(error, 'strerror', None) or error}"
