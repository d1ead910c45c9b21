"""Bytes of the inbox become a message that may be used, or a reason that can be answered.

`parse` never raises, whatever the bytes are, and what it returns as `Inbound` fulfils its model and its references.
Secrets are found by their place in the message, never by their looks, and only `seal_secrets` sees them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from agent.delivery.model.inputs import InboxMessage, InvalidMessage

SAFE_INTEGER = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly (RFC 8259 §6)."""

MAX_DEPTH = 64
"""Levels of nesting; the deepest message of the contract has seven."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A valid message. `data` still holds its secrets: it goes through `seal_secrets` before anybody keeps it."""

    message_id: str
    kind: str
    type: str
    """Without prefix and version: ``block.assigned``."""
    data: dict[str, Any] = field(repr=False)

    @property
    def scope(self) -> str:
        """Whose key seals its secrets: the block's, or the ``roster``'s; empty where there can be none."""
        return "roster" if self.type == "roster.replaced" else str(self.data.get("block_id", ""))

    @property
    def has_secrets(self) -> bool:
        """Whether `seal_secrets` would seal anything."""
        return next(_secrets(self.type, self.data), None) is not None

    def received(self, data: dict[str, Any]) -> InboxMessage:
        """The core's input, with the data that `seal_secrets` returned."""
        return InboxMessage(self.message_id, self.kind, self.type, data)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that changes nothing: why, and where the fault is. It repeats no value of the message but its id."""

    message_id: str | None
    reason: str
    """``INVALID_JSON``, ``TOO_LARGE``, ``UNKNOWN_KIND``, ``UNKNOWN_TYPE`` or ``INVALID``."""
    path: str | None = None
    expected: str = ""

    def not_understood(self) -> InvalidMessage:
        """The core's input."""
        return InvalidMessage(self.message_id, self.reason, self.path, self.expected)


class _UnusableError(ValueError):
    """A number or text that JSON allows and that not every reader can keep."""


def parse(kind: str, payload: bytes, *, max_bytes: int) -> Inbound | Unreadable:
    """What the payload of `R/inbox/{kind}` says. Never raises.

    `max_bytes` is checked before anything is parsed.
    """
    if len(payload) > max_bytes:
        return Unreadable(None, "TOO_LARGE", None, f"expected at most {max_bytes} bytes, got {len(payload)}")
    envelope = decode(payload)
    return envelope if isinstance(envelope, Unreadable) else _read(kind, envelope)


def decode(payload: bytes) -> Any:
    """The JSON of a payload, or `Unreadable` where not every reader would understand it."""
    try:
        value = json.loads(payload, parse_int=_integer, parse_float=_number, parse_constant=_constant)
        if b"\\u" in payload:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate could never be written again
        _check_depth(value)
    except UnicodeEncodeError:
        return Unreadable(None, "INVALID_JSON", None, "expected text without lone surrogates")
    except _UnusableError as error:
        return Unreadable(None, "INVALID_JSON", None, str(error))
    except RecursionError:
        return Unreadable(None, "INVALID_JSON", None, f"expected at most {MAX_DEPTH} levels of nesting")
    except ValueError:
        return Unreadable(None, "INVALID_JSON", None, "expected one JSON object in UTF-8")
    return value


def _read(kind: str, envelope: Any) -> Inbound | Unreadable:
    from agent.uplink import messages  # building the models costs memory and time: only once a message has come

    if not isinstance(envelope, dict):
        return Unreadable(None, "INVALID", None, f"expected an object, got {messages.json_type(envelope)}")
    around = messages.envelope_faults(envelope)
    message_id = None if any(fault.path == "id" for fault in around) else str(envelope["id"])
    if around:
        return Unreadable(message_id, "INVALID", around[0].path, around[0].expected)
    types = messages.KINDS.get(kind)
    if types is None:
        return Unreadable(message_id, "UNKNOWN_KIND", None, "expected one of " + ", ".join(messages.KINDS))
    by_name = {f"{messages.PREFIX}{each}.v1": each for each in types}
    type_ = by_name.get(envelope["type"])
    if type_ is None:
        return Unreadable(message_id, "UNKNOWN_TYPE", "type", "expected " + " or ".join(by_name))
    data = envelope.get("data")
    found = messages.faults(type_, data)
    if found or not isinstance(data, dict):
        return Unreadable(message_id, "INVALID", found[0].path or "data", found[0].expected)
    _fill_in(type_, data)
    return Inbound(message_id or "", kind, type_, data)


def _fill_in(type_: str, data: dict[str, Any]) -> None:
    """What the message leaves to the reader: the only pickup stop, and sequence numbers as numbers."""
    if type_ in {"block.assigned", "block.revised"}:
        pickups = [stop["stop_id"] for stop in data["stops"] if stop["kind"] == "pickup"]
        for parcel in data["parcels"]:
            if parcel.get("pickup_stop_id") is None:
                parcel["pickup_stop_id"] = pickups[0]
    elif type_ == "command.requested":
        for member in ("from_sequence", "to_sequence", "sequence"):
            if data.get(member) is not None:
                data[member] = int(data[member])


def seal_secrets(inbound: Inbound, seal: Callable[[str, str], str]) -> dict[str, Any]:
    """The message's data with every secret replaced by `seal(scope, text)`.

    Secrets are a block's `otp_key`, its access codes, and the names and telephone numbers of recipients and neighbours,
    and the roster's key; HMACs are kept as they are, they are worth nothing without the key.
    """
    if not inbound.has_secrets:
        return inbound.data
    data = deepcopy(inbound.data)
    scope = inbound.scope
    for holder, member in _secrets(inbound.type, data):
        holder[member] = seal(scope, holder[member])
    return data


def _secrets(type_: str, data: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    if type_ == "roster.replaced":
        yield data, "key"
    if type_ in {"block.assigned", "block.revised"}:
        if data.get("otp_key") is not None:
            yield data, "otp_key"
        for stop in data["stops"]:
            yield from _texts(stop, "recipient")
        for parcel in data["parcels"]:
            if asked := parcel.get("instruction"):
                yield from _texts(asked, "neighbour")
                yield from _texts(asked, "access_codes")


def _texts(holder: Any, member: Any) -> Iterator[tuple[Any, Any]]:
    """Every text in a member, each as where it is held and under what."""
    value = holder[member] if isinstance(holder, list) else holder.get(member)
    if isinstance(value, str):
        yield holder, member
    elif isinstance(value, dict | list):
        for inner in value if isinstance(value, dict) else range(len(value)):
            yield from _texts(value, inner)


def _check_depth(value: Any) -> None:
    """What is nested deeper could be read here and then break a reader with a fuller stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise _UnusableError(f"expected at most {MAX_DEPTH} levels of nesting")


def _integer(text: str) -> int:
    if len(text) > 17 or not -SAFE_INTEGER <= (value := int(text)) <= SAFE_INTEGER:
        raise _UnusableError(f"expected whole numbers between -{SAFE_INTEGER} and {SAFE_INTEGER}")
    return value


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _UnusableError("expected numbers that a 64-bit float can hold")
    return value


def _constant(text: str) -> float:
    raise _UnusableError(f"expected JSON, which does not know {text}")
