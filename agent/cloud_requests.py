"""What the cloud asks of the unit itself: commands and settings, carried out and answered on `replies`.

A new command is a line in `CloudRequests.commands`; one whose result takes time is the core's effect `Work` and comes
back as its effect `Reply`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from agent.delivery.model.decision import Command, Reply
from agent.delivery.model.inputs import FAILURE, InboxMessage, InvalidMessage
from agent.delivery.model.state import Policy
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from agent.settings import Settings, SettingsError, change
from agent.unit import Unit
from agent.uplink.inbox import InboxReader, Incoming, command_id_of
from agent.uplink.uplink import Uplink
from drivers.limited_log import LimitedLog, printable

log = logging.getLogger(__name__)

refused: Final = LimitedLog(log, "messages of the inbox that were refused")
faults: Final = LimitedLog(log, "faults that messages of the inbox met")

NOT_TAKEN: Final = "NOT_TAKEN"
OUR_FAULT: Final = "a fault of the unit, which its log names"
FAULTS_TOLD: Final = 5
"""Of one message for the settings: an answer is as long as they are, and there may be thousands."""
ASKING = frozenset({"command", "settings"})
"""Kinds of messages that are answered on `replies`."""


def told(error: SettingsError) -> str:
    """What is wrong with changes, in an answer of some hundred characters whatever they hold."""
    first = [printable(str(fault)) for fault in error.faults[:FAULTS_TOLD]]
    more = len(error.faults) - len(first)
    return "\n".join([*first, f"and {more} more"] if more else first)


class RequestError(Exception):
    """A command cannot be carried out: the `error` of its reply."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **more}


class CloudRequests:
    """Takes the messages of the inbox and carries out what is not a matter of deliveries. Belongs to the loop.

    :param settings: those that the parts were made by; `settings` is what the cloud has made of them since
    :param file: those of file and environment, which bound what the cloud may set
    """

    def __init__(
        self, settings: Settings, file: Settings, unit: Unit, uplink: Uplink, journal: Journal, reader: InboxReader
    ) -> None:
        self.settings = settings
        self._file = file
        self._unit = unit
        self._uplink = uplink
        self._journal = journal
        self._reader = reader
        self._asked: dict[str, Incoming] = {}
        """Messages that wait for their reply, by their id."""
        self.commands: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "high_water": self._high_water,
            "replay": self._replay,
        }
        """What carries out each command and gives the `result` of its reply; raises `RequestError`."""

    def take(self, incoming: Incoming) -> None:
        """A message of the inbox: to the unit; acknowledged once it is durable. Never raises.

        What a message raises ends that message: it is refused as `NOT_TAKEN`, so that the broker does not send it again
        and again, at each start, before all the others.
        """
        try:
            self._take(incoming)
        except JournalError as fault:  # not the message's: it is taken again
            self._unit.distrust(fault)
            self._unit.later(partial(self.take, incoming))
        except Exception as fault:  # noqa: BLE001 (what one message raises ends that message)
            faults.warning("a message on inbox/%s: %s", incoming.kind, type(fault).__name__, fault=fault)
            self._end(incoming)

    def _end(self, incoming: Incoming) -> None:
        """Refuse a message that cannot be taken; where even that fails, the broker need not send it again."""
        message_id = incoming.message.message_id
        self._asked.pop(message_id or "", None)
        try:
            self._reject(incoming, InvalidMessage(message_id, NOT_TAKEN, None, OUR_FAULT), NOT_TAKEN)
        except Exception as fault:  # noqa: BLE001 (what one message raises ends that message)
            faults.warning("a message on inbox/%s, refused: %s", incoming.kind, type(fault).__name__, fault=fault)
            self._uplink.acknowledge(incoming.token)

    def _take(self, incoming: Incoming) -> None:
        incoming = self._reader.current(incoming)
        message, acknowledge = incoming.message, partial(self._uplink.acknowledge, incoming.token)
        if isinstance(message, InvalidMessage):
            self._reject(incoming, message, NOT_TAKEN if message.reason == NOT_TAKEN else "INVALID")
            return
        if message.kind == "settings":
            try:
                change(self.settings, self._reader.settings(message.data), self._file)
            except SettingsError as error:
                first = error.faults[0]
                invalid = InvalidMessage(message.message_id, "INVALID", printable(first.path), first.expected)
                self._reject(incoming, invalid, "INVALID", told(error))
                return
        if self._journal.full and message.data.get("command") == "high_water":
            # The cloud's word is what makes room: it must count although it cannot be written down.
            with contextlib.suppress(RequestError):
                self._high_water(message.data)
            acknowledge()
            return
        if message.kind in ASKING and not self._journal.seen(message.message_id):
            self._asked[message.message_id] = incoming
        self._unit.receive(message, incoming.body, incoming.keys, acknowledge, partial(self.take, incoming))

    def command(self, command: Command) -> None:
        """Carry out what a durable message asks for, and answer. Never raises."""
        try:
            result = self._change(command.data) if command.kind == "settings" else self._command(command.data)
        except RequestError as error:
            self._answer(command.message_id, error=error.error)
        except Exception as fault:  # noqa: BLE001 (what one message raises ends that message)
            faults.warning("a message on inbox/%s: %s", command.kind, type(fault).__name__, fault=fault)
            self._answer(command.message_id, error={"code": NOT_TAKEN, "message": OUR_FAULT})
        else:
            self._answer(command.message_id, result=result)

    def reply(self, reply: Reply) -> None:
        """Answer a command whose work is done, or has failed."""
        if FAILURE in reply.result:
            self._answer(reply.message_id, error=reply.result[FAILURE])
        else:
            self._answer(reply.message_id, result=reply.result)

    def _command(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if (carry_out := self.commands.get(data["command"])) is None:
            raise RequestError("NOT_AVAILABLE", f"this version does not know {data['command']}")
        return carry_out(data)

    def _high_water(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self._within_the_log(data, "sequence")
        self._uplink.high_water(data["sequence"])
        return {"confirmed": self._journal.confirmed}

    def _replay(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        first, last = data["from_sequence"], data.get("to_sequence")
        self._within_the_log(data, "from_sequence")
        if last is not None and last < first:
            raise RequestError("INVALID", f"to_sequence: expected {first} or more, got {last}")
        replay = self._uplink.replay(first, last)
        if replay.accepted:
            return {"from_sequence": first}
        if first < (oldest := replay.oldest_sequence):
            raise RequestError("gone", f"events before {oldest} are no longer kept", oldest_sequence=oldest)
        raise RequestError("busy", "too many replays are waiting: ask again later")

    def _within_the_log(self, data: Mapping[str, Any], member: str) -> None:
        """:raises RequestError: the member names an event that does not exist yet"""
        if data[member] > (newest := self._journal.head.sequence):
            raise RequestError("INVALID", f"{member}: expected {newest} at most, the newest event, got {data[member]}")

    def _change(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        self.settings = changed_by_cloud(self.settings, self._reader.settings(changes), self._file)
        self._unit.adopt(Policy(**self.settings.delivery.model_dump()))
        restart_needed = any(not key.startswith("delivery.") for key in changes)
        return {"changed": sorted(changes), "restart_needed": restart_needed}

    def _reject(self, incoming: Incoming, message: InvalidMessage, code: str, why: str = "") -> None:
        """Answer a message that is not taken by an event, and where somebody waits for a reply, by that as well.

        :param why: what the reply says; by default what was expected and where
        """
        kind, found = incoming.kind, (message.reason, message.path or "the message", message.expected)
        refused.warning("a message on inbox/%s is refused: %s at %s: %s", kind, *found)
        self._unit.reject(message, partial(self._uplink.acknowledge, incoming.token))
        if kind in ASKING and message.message_id is not None:
            wrong = {"code": code, "message": why or ": ".join(filter(None, (message.path, message.expected)))}
            readable = kind == "command" and message.reason != "TOO_LARGE"
            command_id = (command_id_of(incoming.payload) if readable else None) or message.message_id
            self._uplink.reply({"command_id": command_id, "ok": False, "error": wrong}, incoming)

    def _answer(self, message_id: str, **outcome: Mapping[str, Any]) -> None:
        incoming = self._asked.pop(message_id, None)
        command_id = message_id
        if incoming and isinstance(incoming.message, InboxMessage):
            command_id = incoming.message.data.get("command_id", message_id)
        self._uplink.reply({"command_id": command_id, "ok": "error" not in outcome, **outcome}, incoming)


def changed_by_cloud(settings: Settings, changes: Mapping[str, Any], file: Settings) -> Settings:
    """The settings with what the cloud has set above them. A key that is wrong by now is left out.

    :param file: those of file and environment, which bound what the cloud may set
    """
    try:
        return change(settings, changes, file)
    except SettingsError:
        for key, value in changes.items():
            try:
                settings = change(settings, {key: value}, file)
            except SettingsError as error:
                log.warning("a setting of the cloud is not used: %s", error)
    return settings
