"""Bytes of the inbox become a message that may be used, or a reason that can be answered.

`parse` never raises, whatever the bytes are, and what it returns as `InboxMessage` fulfils its model and its
references. Secrets are found by their place in the message, never by their looks; outside of this module nobody sees
them open.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.delivery.model.inputs import InboxMessage, InvalidMessage
from agent.identity.seal import Sealer, SealError
from contract import strict_json
from contract.faults import json_type
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
        """Replace every secret in the message's data by its token; gives the key, wrapped."""
        needs = NEEDS.get(message.type, Needs())
        secrets = [*needs.secrets(message.data)]
        if not secrets:
            return {}
        scope = self._sealer.scope(needs.scope(message.data))
        for holder, member in secrets:
            holder[member] = scope.seal(holder[member])
        return scope.keys

    def current(self, incoming: Incoming) -> Incoming:
        """The same, read anew where the key that it was sealed with has gone meanwhile: ask before it is written."""
        if self._sealer.holds(incoming.keys):
            return incoming
        known = incoming.response_topic, incoming.correlation_data
        return self.read(incoming.kind, incoming.payload, incoming.token, *known)


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
    NEEDS.get(type_, Needs()).fill_in(data)
    return InboxMessage(message_id or "", kind, type_, data)


Place = tuple[Any, Any]
"""Where a text is held, and under what: a dictionary and a name, or a list and an index."""


def _no_secrets(_data: Mapping[str, Any]) -> Iterable[Place]:
    return ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a type of message needs besides its model, to be ready."""

    fill_in: Callable[[dict[str, Any]], None] = lambda _data: None
    """Writes what the message leaves to the reader."""
    secrets: Callable[[Mapping[str, Any]], Iterable[Place]] = _no_secrets
    """Finds what must never be stored in the open. HMACs may: they are worth nothing without their key."""
    scope: Callable[[Mapping[str, Any]], str] = lambda data: str(data["block_id"])
    """Whose key seals them."""


def _fill_in_pickup_stops(data: dict[str, Any]) -> None:
    pickups = [stop["stop_id"] for stop in data["stops"] if stop["kind"] == "pickup"]
    for parcel in data["parcels"]:
        if parcel.get("pickup_stop_id") is None:
            parcel["pickup_stop_id"] = pickups[0]


def _secrets_of_block(data: Mapping[str, Any]) -> Iterable[Place]:
    """The key of its one-time codes, its access codes, and names and telephone numbers of recipients and neighbours."""
    if data.get("otp_key") is not None:
        yield data, "otp_key"
    for stop in data["stops"]:
        yield from _texts(stop, "recipient")
    for parcel in data["parcels"]:
        if asked := parcel.get("instruction"):
            yield from _texts(asked, "neighbour")
            yield from _texts(asked, "access_codes")


def _texts(holder: Any, member: Any) -> Iterable[Place]:
    """Every text in a member."""
    value = holder[member] if isinstance(holder, list) else holder.get(member)
    if isinstance(value, str):
        yield holder, member
    elif isinstance(value, dict | list):
        for inner in value if isinstance(value, dict) else range(len(value)):
            yield from _texts(value, inner)


_BLOCK: Final = Needs(fill_in=_fill_in_pickup_stops, secrets=_secrets_of_block)
NEEDS: Final[Mapping[str, Needs]] = {
    "block.assigned": _BLOCK,
    "block.revised": _BLOCK,
    "roster.replaced": Needs(secrets=lambda data: [(data, "key")], scope=lambda _data: "roster"),
}
"""Of the types that need something. A new kind is a line in the contract's `INBOX` and its model, and one here."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dump(value: Any, depth: int = 2) -> str:
    """JSON, made in pieces: one call for a whole block would keep every other thread from running meanwhile."""
    if depth and isinstance(value, dict):
        return "{" + ",".join([f"{_encode(name)}:{_dump(inner, depth - 1)}" for name, inner in value.items()]) + "}"
    if depth and isinstance(value, list):
        return "[" + ",".join([_dump(inner, depth - 1) for inner in value]) + "]"
    return _encode(value)
