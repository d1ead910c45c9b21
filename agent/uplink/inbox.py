"""Bytes of the inbox become a message that may be used, or a reason that can be answered.

`parse` never raises, whatever the bytes are, and what it returns as `InboxMessage` fulfils its model and its
references. What is secret or personal is said by the model (`contract.secrecy`), and sealed here before anything is
stored; outside of this module nobody sees it open but who shows it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.delivery.model.inputs import InboxMessage, InvalidMessage
from agent.delivery.model.scopes import MESSAGES, ROSTER, SETTINGS, scope_of_block
from agent.identity.seal import Sealer, SealError
from contract import strict_json
from contract.faults import json_type
from contract.secrecy import EVERY, Plan, Secrecy
from contract.strict_json import StrictJsonError
from contract.topics import full_type
from contract.vocabulary import INBOX, MAX_MESSAGE_BYTES
from drivers.limited_log import LimitedLog

faults: Final = LimitedLog(logging.getLogger(__name__), "messages that could not be read")


@dataclass(frozen=True, slots=True)
class Token:
    """Acknowledges one message on the connection it came on."""

    generation: int
    mid: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of the inbox, ready to be taken: validated, its secrets sealed, and with what belongs to it."""

    kind: str
    """The topic's last level."""
    message: InboxMessage | InvalidMessage
    payload: bytes = field(repr=False)
    """As it came."""
    token: Token
    body: bytes = b""
    """What is stored: JSON of the message's data, with the secrets sealed. Empty when it is invalid."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The wrapped key that its secrets are sealed with, to be stored in the same transaction."""
    response_topic: str | None = None
    """Where the sender wants the answer (MQTT 5)."""
    correlation_data: bytes | None = None


class InboxReader:
    """Makes messages ready to be taken: parses, validates and seals them. May be used from any thread."""

    def __init__(self, sealer: Sealer, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._sealer = sealer
        self._max_bytes = max_bytes

    def read(
        self,
        kind: str,
        payload: bytes,
        token: Token,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
    ) -> Incoming:
        """What came on `R/inbox/{kind}`. Never raises: what cannot be read or sealed here is refused as `NOT_TAKEN`."""
        body: bytes = b""
        keys: Mapping[str, bytes] = {}
        message: InboxMessage | InvalidMessage | None = None
        try:
            message = parse(kind, payload, max_bytes=self._max_bytes)
            if isinstance(message, InboxMessage):
                keys = self._seal(message)
                body = _dump(message.data).encode()
                message.prepare()
        except Exception as fault:  # noqa: BLE001 (one message must not keep the others back)
            why = str(fault) if isinstance(fault, SealError) else f"a fault of this unit: {type(fault).__name__}"
            faults.warning("uplink: a message on inbox/%s is refused: %s", kind, why, fault=fault)
            message_id = message.message_id if message else message_id_of(payload)
            message, body, keys = InvalidMessage(message_id, "NOT_TAKEN", None, why), b"", {}
        return Incoming(kind, message, payload, token, body, keys, response_topic, correlation_data)

    def _seal(self, message: InboxMessage) -> Mapping[str, bytes]:
        """Replace what the message's model says to seal by tokens; gives the key, wrapped."""
        from contract.models import PLANS

        plan = PLANS.get(message.type)
        if plan is None or isinstance(plan, Secrecy):
            return {}
        scope = self._sealer.scope(SCOPES[message.type](message.data))
        return scope.keys if _seal(message.data, plan, scope.seal) else {}

    def current(self, incoming: Incoming) -> Incoming:
        """The same, read anew where the key that it was sealed with has gone meanwhile: ask before it is written."""
        if self._sealer.holds(incoming.keys):
            return incoming
        known = incoming.response_topic, incoming.correlation_data
        return self.read(incoming.kind, incoming.payload, incoming.token, *known)

    def settings(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings that a message holds, with what was sealed in it."""
        return {name: self._sealer.opened(SETTINGS, value) for name, value in data.items()}


def parse(kind: str, payload: bytes, *, max_bytes: int) -> InboxMessage | InvalidMessage:
    """What the payload of `R/inbox/{kind}` says, secrets still open. Never raises.

    `max_bytes` is checked before anything is parsed. What is refused is named by its id wherever that can be read.
    """
    try:
        if len(payload) > max_bytes:
            why = f"expected at most {max_bytes} bytes, got {len(payload)}"
            return InvalidMessage(message_id_of(payload), "TOO_LARGE", None, why)
        envelope = strict_json.parse(payload)
    except StrictJsonError as error:
        return InvalidMessage(message_id_of(payload), "INVALID_JSON", None, str(error))
    return _read(kind, envelope)


def message_id_of(payload: bytes) -> str | None:
    """The id of a message that cannot be taken as a whole, wherever it stands; ``None`` where it is not one text.

    It must be found without parsing the message: that may be impossible, or too much.
    """
    from contract.members import is_identifier

    message_id = strict_json.text_member(payload, "id")
    return message_id if message_id is not None and is_identifier(message_id) else None


def command_id_of(payload: bytes) -> str | None:
    """By which the sender of a command knows it, also where the rest is invalid; ``None`` where it cannot be read."""
    from contract.members import is_identifier

    try:
        envelope = strict_json.parse(payload)
        command_id = envelope["data"]["command_id"]
    except (StrictJsonError, LookupError, TypeError):
        return None
    return command_id if isinstance(command_id, str) and is_identifier(command_id) else None


def _read(kind: str, envelope: Any) -> InboxMessage | InvalidMessage:
    from contract import models  # building them costs memory and time: only once a message has come

    if not isinstance(envelope, dict):
        return InvalidMessage(None, "INVALID", None, f"expected an object, got {json_type(envelope)}")
    around = models.envelope_faults(envelope)
    message_id = None if any(fault.path == "id" for fault in around) else str(envelope["id"])
    if around:
        return InvalidMessage(message_id, "INVALID", around[0].path, around[0].expected)
    types = INBOX.get(kind)
    if types is None:
        return InvalidMessage(message_id, "UNKNOWN_KIND", None, "expected one of " + ", ".join(INBOX))
    by_name = {full_type(each): each for each in types}
    type_ = by_name.get(envelope["type"])
    if type_ is None:
        return InvalidMessage(message_id, "UNKNOWN_TYPE", "type", "expected " + " or ".join(by_name))
    try:
        data = models.read(type_, envelope.get("data"))
    except models.MessageError as error:
        first = error.faults[0]
        return InvalidMessage(message_id, "INVALID", first.path or "data", first.expected)
    if (fill_in := FILL_IN.get(type_)) is not None:
        fill_in(data)
    return InboxMessage(message_id or "", kind, type_, data)


def _seal(value: Any, plan: Mapping[str, Plan] | list[Plan], seal: Callable[[Any], str]) -> int:
    """Put tokens into a list or an object where the plan says so; gives how many.

    Numbers, truth values and what is absent stay as they are.
    """
    places: list[tuple[Any, Plan]]
    if isinstance(plan, list):
        places = [(index, plan[0]) for index in range(len(value))]
    else:
        members = dict.fromkeys(value, plan[EVERY]) if EVERY in plan else plan
        places = [(name, part) for name, part in members.items() if name in value]
    sealed = 0
    for place, part in places:
        inner = value[place]
        if not isinstance(inner, str | list | dict):
            continue
        if isinstance(part, Secrecy):
            value[place] = seal(inner)
            sealed += 1
        else:
            sealed += _seal(inner, part, seal)
    return sealed


def _fill_in_block(data: dict[str, Any]) -> None:
    pickups = [stop["stop_id"] for stop in data["stops"] if stop["kind"] == "pickup"]
    for parcel in data["parcels"]:
        if parcel.get("pickup_stop_id") is None:
            parcel["pickup_stop_id"] = pickups[0]
    for stop in data["stops"]:
        if (stop.get("address") or {}).get("business"):
            stop["is_business"] = True  # the address itself will be sealed


FILL_IN: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "block.assigned": _fill_in_block,
    "block.revised": _fill_in_block,
}
"""Writes what a type of message leaves to the reader."""

SCOPES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "block.assigned": lambda data: scope_of_block(data["block_id"]),
    "block.revised": lambda data: scope_of_block(data["block_id"]),
    "roster.replaced": lambda _data: ROSTER,
    "message.sent": lambda _data: MESSAGES,
    "feedback.given": lambda _data: MESSAGES,
    "settings.changed": lambda _data: SETTINGS,
}
"""Whose key seals what the models of these types say is to be sealed."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dump(value: Any, depth: int = 2) -> str:
    """JSON, made in pieces: one call for a whole block would keep every other thread from running meanwhile."""
    if depth and isinstance(value, dict):
        return "{" + ",".join([f"{_encode(name)}:{_dump(inner, depth - 1)}" for name, inner in value.items()]) + "}"
    if depth and isinstance(value, list):
        return "[" + ",".join([_dump(inner, depth - 1) for inner in value]) + "]"
    return _encode(value)
