"""What the cloud asks of the unit itself: commands and settings, carried out and answered on `replies`.

A new command is a line in `CloudRequests.commands`; one whose result takes time is the core's effect `Work` and comes
back as its effect `Reply`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agent.delivery.model.decision import Command, Reply
from agent.delivery.model.inputs import FAILURE, InboxMessage, InvalidMessage
from agent.delivery.model.state import Policy
from agent.journal.store import Journal
from agent.settings import Settings, SettingsError, change
from agent.unit import Unit
from agent.uplink.inbox import InboxReader, Incoming
from agent.uplink.uplink import Uplink

log = logging.getLogger(__name__)

ASKING = frozenset({"command", "settings"})
"""Kinds of messages that are answered on `replies`."""


class RequestError(Exception):
    """A command cannot be carried out: the `error` of its reply."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **more}


class CloudRequests:
    """Takes the messages of the inbox and carries out what is not a matter of deliveries. Belongs to the loop.

    :param settings: those that the parts were made by; `settings` is what the cloud has made of them since
    """

    def __init__(self, settings: Settings, unit: Unit, uplink: Uplink, journal: Journal, reader: InboxReader) -> None:
        self.settings = settings
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
        """A message of the inbox: to the unit; acknowledged once it is durable."""
        incoming = self._reader.current(incoming)
        message, acknowledge = incoming.message, partial(self._uplink.acknowledge, incoming.token)
        if isinstance(message, InvalidMessage):
            log.warning("a message of the inbox is %s at %s: %s", message.reason, message.path, message.expected)
            self._unit.reject(message, acknowledge)
            if incoming.kind in ASKING and message.message_id is not None:
                self._refuse(message.message_id, ": ".join(filter(None, (message.path, message.expected))), incoming)
            return
        if message.kind == "settings":
            try:
                change(self.settings, message.data)
            except SettingsError as error:
                self._unit.reject(InvalidMessage(message.message_id, "INVALID", error.faults[0].path), acknowledge)
                self._refuse(message.message_id, str(error), incoming)
                return
        if self._journal.full and message.data.get("command") == "high_water":
            # The cloud's word is what makes room: it must count although it cannot be written down.
            self._uplink.high_water(message.data["sequence"])
            acknowledge()
            return
        if message.kind in ASKING and not self._journal.seen(message.message_id):
            self._asked[message.message_id] = incoming
        self._unit.receive(message, incoming.body, incoming.keys, acknowledge, partial(self.take, incoming))

    def command(self, command: Command) -> None:
        """Carry out what a durable message asks for, and answer."""
        try:
            result = self._change(command.data) if command.kind == "settings" else self._command(command.data)
        except RequestError as error:
            self._answer(command.message_id, error=error.error)
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
        self._uplink.high_water(data["sequence"])
        return {"confirmed": self._journal.confirmed}

    def _replay(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        replay = self._uplink.replay(data["from_sequence"], data.get("to_sequence"))
        if replay.accepted:
            return {"from_sequence": data["from_sequence"]}
        if data["from_sequence"] < (oldest := replay.oldest_sequence):
            raise RequestError("gone", f"events before {oldest} are no longer kept", oldest_sequence=oldest)
        raise RequestError("busy", "too many replays are waiting: ask again later")

    def _change(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        self.settings = changed_by_cloud(self.settings, changes)
        self._unit.adopt(Policy(**self.settings.delivery.model_dump()))
        restart_needed = any(not key.startswith("delivery.") for key in changes)
        return {"changed": sorted(changes), "restart_needed": restart_needed}

    def _refuse(self, message_id: str, why: str, incoming: Incoming) -> None:
        wrong = {"code": "INVALID", "message": why}
        self._uplink.reply({"command_id": message_id, "ok": False, "error": wrong}, incoming)

    def _answer(self, message_id: str, **outcome: Mapping[str, Any]) -> None:
        incoming = self._asked.pop(message_id, None)
        command_id = message_id
        if incoming and isinstance(incoming.message, InboxMessage):
            command_id = incoming.message.data.get("command_id", message_id)
        self._uplink.reply({"command_id": command_id, "ok": "error" not in outcome, **outcome}, incoming)


def changed_by_cloud(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with what the cloud has set above them. A key that is wrong by now is left out."""
    try:
        return change(settings, changes)
    except SettingsError:
        for key, value in changes.items():
            try:
                settings = change(settings, {key: value})
            except SettingsError as error:
                log.warning("a setting of the cloud is not used: %s", error)
    return settings
