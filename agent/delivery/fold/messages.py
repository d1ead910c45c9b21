"""What a message of the cloud changes. It has passed the contract's models; its secrets are sealed tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from agent.delivery.fold.lookup import with_block
from agent.delivery.fold.manifest import with_manifest
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.messages import Advisory, Driver, Earnings, Message, Offer, RecipientFeedback, Roster
from agent.delivery.model.reading import read_pay, read_place
from agent.delivery.model.state import Block, State, replace
from agent.delivery.model.times import read_instant
from agent.delivery.model.weights import weight_of_text

KEPT_MESSAGES: Final = 50
KEPT_FEEDBACK: Final = 100
KEPT_ADVISORIES: Final = 50
KEPT_EARNINGS: Final = 30
KEPT_SETTINGS: Final = 100
KEPT_WEIGHT: Final = 100_000
"""Of the texts of each of them, too: whatever is over goes, the oldest first."""
KEPT_RECALLS_WEIGHT: Final = 20_000
"""Of recalled parcels that a block does not know: each of them may still turn up in it."""


def read_roster(data: Mapping[str, Any]) -> Roster:
    """The roster of a message."""
    drivers = (
        Driver(
            driver_id=driver["driver_id"],
            name=driver.get("name"),
            badge_hmac=driver.get("badge_hmac"),
            pin_hmac=driver.get("pin_hmac"),
            approved=bool(driver.get("approved")),
            reason=driver.get("reason"),
        )
        for driver in data.get("drivers") or ()
    )
    return Roster(data.get("key"), tuple(drivers))


def read_advisory(data: Mapping[str, Any], inbox_message_id: str | None) -> Advisory:
    """The advisory of a message, without its content."""
    validity = read_instant(data.get("valid_from")), read_instant(data.get("valid_to"))
    return Advisory(data["advisory_id"], data["format"], *validity, inbox_message_id)


def read_feedback(data: Mapping[str, Any]) -> RecipientFeedback:
    """What a recipient said, of a message."""
    return RecipientFeedback(data["feedback_id"], data.get("parcel_id"), data.get("rating"), data.get("text"))


def read_earnings(data: Mapping[str, Any]) -> Earnings:
    """The statement of a message."""
    return Earnings(data["block_id"], data["base"], data.get("tips"), data.get("currency"))


def _manifest(state: State, message: InboxMessage) -> State:
    manifest = message.manifest
    return with_block(state, with_manifest(state.blocks.get(manifest.block_id), manifest))


def _recalled(state: State, message: InboxMessage) -> State:
    named = dict.fromkeys(message.data["parcel_ids"], message.message_id)
    blocks = {
        block_id: block if block.ended else replace(block, recalls=_kept_recalls(block, named | block.recalls))
        for block_id, block in state.blocks.items()
    }
    return replace(state, blocks=blocks)


def _kept_recalls(block: Block, recalls: Mapping[str, str]) -> dict[str, str]:
    """The recalls of the block's own parcels, and the latest of others."""
    kept: dict[str, str] = {}
    weight = 0
    for parcel_id, message_id in recalls.items():  # the latest first
        if parcel_id not in block.parcels:
            weight += weight_of_text(parcel_id) + weight_of_text(message_id)
            if weight > KEPT_RECALLS_WEIGHT:
                continue
        kept[parcel_id] = message_id
    return kept


def _offer_made(state: State, message: InboxMessage) -> State:
    data = message.data
    offer = Offer(
        offer_id=data["offer_id"],
        block_id=data["block_id"],
        kind=data.get("kind"),
        place=data.get("place"),
        location=read_place(data.get("location")),
        distance_m=data.get("distance_m"),
        starts_at=read_instant(data.get("starts_at")),
        ends_at=read_instant(data.get("ends_at")),
        timezone=data.get("timezone"),
        pay=read_pay(data.get("pay")),
        expires_at=read_instant(data.get("expires_at")),
    )
    block = state.blocks.get(offer.block_id) or Block(
        offer.block_id,
        kind=offer.kind or "station",
        starts_at=offer.starts_at,
        ends_at=offer.ends_at,
        timezone=offer.timezone,
        pay=offer.pay,
    )
    return replace(with_block(state, block), offers={**state.offers, offer.offer_id: offer})


def _message_sent(state: State, message: InboxMessage) -> State:
    data = message.data
    sent = Message(data["message_id"], data["text"], needs_ack=bool(data.get("needs_ack")))
    rest = tuple(known for known in state.messages if known.message_id != sent.message_id)
    return replace(state, messages=_newest((*rest, sent)[-KEPT_MESSAGES:]))


def _feedback_given(state: State, message: InboxMessage) -> State:
    return replace(state, feedback=_newest((*state.feedback, read_feedback(message.data))[-KEPT_FEEDBACK:]))


T = TypeVar("T")
S = TypeVar("S", Message, RecipientFeedback)


def _newest(said: tuple[S, ...]) -> tuple[S, ...]:
    """What was said last, as much as is kept of it, and the very last in any case."""
    weight, kept = 0, len(said) - 1
    for index in range(len(said) - 1, -1, -1):
        weight += weight_of_text(said[index].text)
        if weight > KEPT_WEIGHT:
            break
        kept = index
    return said[kept:]


def _latest(known: Mapping[str, T], key: str, value: T, bound: int) -> dict[str, T]:
    """The mapping with this key as its latest; the oldest go over the bound."""
    items = [(name, item) for name, item in known.items() if name != key]
    return dict([*items, (key, value)][-bound:])


def _earnings_stated(state: State, message: InboxMessage) -> State:
    stated = read_earnings(message.data)
    return replace(state, earnings=_latest(state.earnings, stated.block_id, stated, KEPT_EARNINGS))


def _advisory_issued(state: State, message: InboxMessage) -> State:
    issued = read_advisory(message.data, message.message_id)
    return replace(state, advisories=_latest(state.advisories, issued.advisory_id, issued, KEPT_ADVISORIES))


def _roster_replaced(state: State, message: InboxMessage) -> State:
    return replace(state, roster=read_roster(message.data))


def _settings_changed(state: State, message: InboxMessage) -> State:
    rest = {name: value for name, value in state.settings.items() if name not in message.data}
    newest: dict[str, str | int | float | bool] = {}
    weight = 0
    for name, value in reversed([*rest.items(), *message.data.items()]):
        weight += weight_of_text(name) + weight_of_text(value)
        if weight > KEPT_WEIGHT or len(newest) == KEPT_SETTINGS:
            break
        newest[name] = value
    return replace(state, settings=dict(reversed(newest.items())))


MESSAGES: Final[Mapping[str, Callable[[State, InboxMessage], State]]] = {
    "block.assigned": _manifest,
    "block.revised": _manifest,
    "parcel.recalled": _recalled,
    "offer.made": _offer_made,
    "message.sent": _message_sent,
    "feedback.given": _feedback_given,
    "earnings.stated": _earnings_stated,
    "advisory.issued": _advisory_issued,
    "roster.replaced": _roster_replaced,
    "settings.changed": _settings_changed,
}
