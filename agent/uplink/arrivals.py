"""What comes in on one connection: messages of the inbox, to be acknowledged, and what is said about this unit.

Inbox messages are acknowledged when their owner says so, in the order they came. What one of them raises ends that
message: with the connection it would only come again, and end the next one as well.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import MQTTMessage

from agent.uplink.connection import Connection
from agent.uplink.inbox import InboxReader, Incoming, Token
from agent.uplink.lanes import StatusLane
from contract import strict_json
from contract.topics import Topics
from drivers.limited_log import LimitedLog

faults: Final = LimitedLog(logging.getLogger(__name__), "messages that came")

HAND_OVER_TRIES: Final = 3
HAND_OVER_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HandOver:
    """A message of the inbox on its way to its owner."""

    incoming: Incoming
    tries: int = HAND_OVER_TRIES
    due_s: float = 0.0


class Acknowledgements:
    """PUBACKs for inbox messages: sent in the order in which the messages came (MQTT 5 §4.6)."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._durable: set[int] = set()

    def came(self, mid: int) -> None:
        """A message has come."""
        self._waiting.append(mid)

    def durable(self, mid: int) -> None:
        """Its owner has it."""
        if mid in self._waiting:  # else a later message with the same identifier would count as durable, too
            self._durable.add(mid)

    def due(self) -> Iterator[int]:
        """Those that may be sent now."""
        while self._waiting and self._waiting[0] in self._durable:
            mid = self._waiting.popleft()
            self._durable.discard(mid)
            yield mid


class Arrivals:
    """What comes in on one connection.

    :param acknowledged: inbox messages that are durable; filled by any thread
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        status: StatusLane,
        reader: InboxReader,
        on_message: Callable[[Incoming], None],
        acknowledged: deque[Token],
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._status = status
        self._reader = reader
        self._on_message = on_message
        self._acknowledged = acknowledged
        self._acknowledgements = Acknowledgements()
        self._handed_over: deque[HandOver] = deque()
        """Messages whose owner failed at them, to be handed over again."""

    def take_in(self) -> None:
        """Hand over what has come, and acknowledge what is durable."""
        while self._connection.arrived:
            message = self._connection.arrived.popleft()
            try:
                self._take(message)
            except Exception as fault:  # noqa: BLE001 (it ends this message; with the connection it would only come again)
                faults.warning("uplink: a message that came: %s", type(fault).__name__, fault=fault)
                self._acknowledgements.durable(message.mid)
        while self._handed_over and self._handed_over[0].due_s <= time.monotonic():
            self._hand_over(self._handed_over.popleft())
        self._acknowledge()

    def _take(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        if topic == self._topics.status:
            self._on_own_status(message)
            return
        if message.qos > 0:
            self._acknowledgements.came(message.mid)
        if (kind := self._topics.inbox_kind(topic)) is None:
            faults.warning("uplink: a message on a topic that we did not ask for is ignored")
            self._acknowledgements.durable(message.mid)
            return
        token = Token(self._connection.generation, message.mid)
        given = message.properties
        answer_to = getattr(given, "ResponseTopic", None), getattr(given, "CorrelationData", None)
        self._hand_over(HandOver(self._reader.read(kind, bytes(message.payload), token, *answer_to)))

    def _hand_over(self, what: HandOver) -> None:
        """To the owner of the inbox; where that fails, a few times more."""
        try:
            self._on_message(what.incoming)
        except Exception as fault:  # noqa: BLE001 (the messages behind it are taken)
            faults.warning("uplink: a message could not be handed over: %s", type(fault).__name__, fault=fault)
            if what.tries > 1:
                due_s = time.monotonic() + HAND_OVER_AGAIN_S
                self._handed_over.append(HandOver(what.incoming, what.tries - 1, due_s))
            else:
                self._acknowledgements.durable(what.incoming.token.mid)

    def _on_own_status(self, message: MQTTMessage) -> None:
        """A late will of an earlier connection says that we are offline: say again that we are not."""
        if message.retain:
            return
        try:
            said = strict_json.parse(bytes(message.payload))
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("state") != "online":
            self._status.say_again()

    def _acknowledge(self) -> None:
        while self._acknowledged:
            token = self._acknowledged.popleft()
            if token.generation == self._connection.generation:
                self._acknowledgements.durable(token.mid)
        for mid in self._acknowledgements.due():
            self._connection.acknowledge(mid)
