"""The words of the contract, as data: states and their transitions, event names, reasons, actions.

Agent and cloud stand on these tables, and a program of somebody else can be held to them. Nothing is imported but the
standard library, and nothing is computed but what follows from a table.

>>> PARCEL_TRANSITIONS["LOADED", "parcel.damaged"]
'RETURN_PENDING'
>>> REASONS["WRONG_ADDRESS"].may_reattempt
False
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

# ------------------------------------------------------------------------------------------------ states

BlockState = Literal[
    "OFFERED",
    "ACCEPTED",
    "CHECKED_IN",
    "LOADING",
    "LOADED",
    "ON_ROUTE",
    "PAUSED",
    "RETURNING",
    "DECLINED",
    "EXPIRED",
    "FORFEITED",
    "CANCELLED",
    "NO_SHOW",
    "CLOSED",
]
StopState = Literal["PLANNED", "EN_ROUTE", "ARRIVED", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"]
ParcelState = Literal[
    "MANIFESTED",
    "UNEXPECTED",
    "LOADED",
    "OUT_FOR_DELIVERY",
    "ATTEMPTED",
    "UNLOCATED",
    "RETURN_PENDING",
    "DELIVERED",
    "MISSING",
    "REJECTED",
    "RETURNED",
    "LOST",
    "TRANSFERRED",
    "RECALLED_CLOSED",
    "HANDED_BACK",
]

BLOCK_ENDED: Final[frozenset[str]] = frozenset({"DECLINED", "EXPIRED", "FORFEITED", "CANCELLED", "NO_SHOW", "CLOSED"})
BLOCK_ACTIVE: Final[frozenset[str]] = frozenset({"CHECKED_IN", "LOADING", "LOADED", "ON_ROUTE", "PAUSED", "RETURNING"})
STOP_ENDED: Final[frozenset[str]] = frozenset({"COMPLETED", "PARTIAL", "FAILED", "CANCELLED"})
PARCEL_ENDED: Final[frozenset[str]] = frozenset(
    {"REJECTED", "RETURNED", "LOST", "TRANSFERRED", "RECALLED_CLOSED", "HANDED_BACK"}
)
"""Nothing more can happen to the parcel on this block; DELIVERED is not among them, because it can be voided."""
CUSTODY: Final[frozenset[str]] = frozenset({"LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED", "UNLOCATED", "RETURN_PENDING"})
"""States of a parcel that its vehicle is answerable for right now."""

PARCEL_BEGINS: Final[Mapping[str, ParcelState]] = {
    "parcel.manifested": "MANIFESTED",
    "parcel.unexpected": "UNEXPECTED",
}
"""The events with which a parcel becomes known, and its first state; a manifest may seed another one."""

BLOCK_TRANSITIONS: Final[Mapping[tuple[BlockState, str], BlockState]] = {
    ("OFFERED", "block.accepted"): "ACCEPTED",
    ("OFFERED", "block.declined"): "DECLINED",
    ("OFFERED", "block.expired"): "EXPIRED",
    ("ACCEPTED", "block.forfeited"): "FORFEITED",
    ("ACCEPTED", "block.cancelled"): "CANCELLED",
    ("ACCEPTED", "block.no_show"): "NO_SHOW",
    ("ACCEPTED", "block.checked_in"): "CHECKED_IN",
    ("CHECKED_IN", "block.released_unused"): "CLOSED",
    ("CHECKED_IN", "block.cancelled"): "CANCELLED",
    ("CHECKED_IN", "block.load_started"): "LOADING",
    ("LOADING", "block.load_closed"): "LOADED",
    ("LOADING", "block.aborted"): "RETURNING",
    ("LOADED", "block.load_reopened"): "LOADING",
    ("LOADED", "block.departed"): "ON_ROUTE",
    ("LOADED", "block.aborted"): "RETURNING",
    ("ON_ROUTE", "block.extra_pickup_started"): "LOADING",
    ("ON_ROUTE", "block.paused"): "PAUSED",
    ("PAUSED", "block.resumed"): "ON_ROUTE",
    ("PAUSED", "block.aborted"): "RETURNING",
    ("ON_ROUTE", "block.stops_done"): "RETURNING",
    ("ON_ROUTE", "block.closed"): "CLOSED",
    ("ON_ROUTE", "block.aborted"): "RETURNING",
    ("RETURNING", "block.closed"): "CLOSED",
}
"""(state, event) → the state that follows; what is not listed cannot happen."""

STOP_TRANSITIONS: Final[Mapping[tuple[StopState, str], StopState]] = {
    ("PLANNED", "stop.started"): "EN_ROUTE",
    ("PLANNED", "stop.cancelled"): "CANCELLED",
    ("EN_ROUTE", "stop.arrived"): "ARRIVED",
    ("PLANNED", "stop.arrived"): "ARRIVED",
    ("EN_ROUTE", "stop.skipped"): "PLANNED",
    ("EN_ROUTE", "stop.cancelled"): "CANCELLED",
    ("EN_ROUTE", "stop.failed"): "FAILED",
    ("ARRIVED", "stop.departed_open"): "PLANNED",
    ("ARRIVED", "stop.completed"): "COMPLETED",
    ("ARRIVED", "stop.partially_completed"): "PARTIAL",
    ("ARRIVED", "stop.failed"): "FAILED",
}

PARCEL_TRANSITIONS: Final[Mapping[tuple[ParcelState, str], ParcelState]] = {
    ("MANIFESTED", "parcel.loaded"): "LOADED",
    ("MANIFESTED", "parcel.missing_at_load"): "MISSING",
    ("MANIFESTED", "parcel.not_ready"): "MISSING",
    ("MANIFESTED", "parcel.rejected_at_load"): "REJECTED",
    ("MANIFESTED", "parcel.recalled"): "RECALLED_CLOSED",
    ("MISSING", "parcel.found"): "LOADED",
    ("UNEXPECTED", "parcel.adopted"): "LOADED",
    ("UNEXPECTED", "parcel.handed_back"): "HANDED_BACK",
    ("LOADED", "parcel.unloaded_at_site"): "MANIFESTED",
    ("LOADED", "parcel.out_for_delivery"): "OUT_FOR_DELIVERY",
    ("LOADED", "parcel.damaged"): "RETURN_PENDING",
    ("LOADED", "parcel.recalled"): "RETURN_PENDING",
    ("LOADED", "parcel.return_pending"): "RETURN_PENDING",
    ("LOADED", "parcel.transferred"): "TRANSFERRED",
    ("LOADED", "parcel.not_in_vehicle"): "UNLOCATED",
    ("OUT_FOR_DELIVERY", "parcel.delivered"): "DELIVERED",
    ("OUT_FOR_DELIVERY", "parcel.attempt_failed"): "ATTEMPTED",
    ("OUT_FOR_DELIVERY", "parcel.refused"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.damaged"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.recalled"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.not_in_vehicle"): "UNLOCATED",
    ("OUT_FOR_DELIVERY", "parcel.transferred"): "TRANSFERRED",
    ("OUT_FOR_DELIVERY", "parcel.return_pending"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.reattempt_started"): "OUT_FOR_DELIVERY",
    ("ATTEMPTED", "parcel.return_pending"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.recalled"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.damaged"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.transferred"): "TRANSFERRED",
    ("UNLOCATED", "parcel.found"): "OUT_FOR_DELIVERY",
    ("UNLOCATED", "parcel.lost"): "LOST",
    ("DELIVERED", "parcel.delivery_voided"): "OUT_FOR_DELIVERY",
    ("RETURN_PENDING", "parcel.reattempt_started"): "OUT_FOR_DELIVERY",
    ("RETURN_PENDING", "parcel.returned"): "RETURNED",
    ("RETURN_PENDING", "parcel.transferred"): "TRANSFERRED",
    ("RETURN_PENDING", "parcel.not_in_vehicle"): "UNLOCATED",
}


# ------------------------------------------------------------------------------------------------ events

BLOCK_EVENTS: Final = frozenset(event for _, event in BLOCK_TRANSITIONS)
STOP_EVENTS: Final = frozenset(event for _, event in STOP_TRANSITIONS)
PARCEL_EVENTS: Final = frozenset(event for _, event in PARCEL_TRANSITIONS)

STATELESS_EVENTS: Final = (
    "pod.photo_captured",
    "pod.photo_rejected",
    "pod.photo_excepted",
    "pod.signature_captured",
    "pod.otp_verified",
    "pod.otp_failed",
    "pod.age_verified",
    "pod.age_failed",
    "contact.attempted",
    "scan.rejected",
    "route.revised",
    "eta.late",
    "geofence.overridden",
    "handover.confirmed",
    "safety.event",
    "pod.drop_scanned",
    "stop.added",
    "block.acceptance_requested",
    "parcel.manifested",
    "driver.signed_in",
    "driver.signed_out",
    "driver.sign_in_refused",
    "message.rejected",
    "message.acknowledged",
    "location.suggested",
    "stop.tagged",
    "item.annotated",
    "driver.panic",
)
"""Events of the delivery day that move nothing from one state to another."""

UNIT_EVENTS: Final = (
    "unit.started",
    "unit.stopped",
    "unit.clock_synchronized",
    "unit.journal_recovered",
    "unit.session_reset",
    "firmware.booted",
    "firmware.confirmed",
    "firmware.failed",
    "firmware.refused",
    "firmware.restarted",
    "firmware.reverted",
    "firmware.test_started",
    "firmware.update_started",
    "media.stored",
    "media.dropped",
)
"""Events about the unit itself and the parts that it stands on."""

EVENTS: Final = frozenset(
    {*BLOCK_EVENTS, *STOP_EVENTS, *PARCEL_EVENTS, *PARCEL_BEGINS, *STATELESS_EVENTS, *UNIT_EVENTS}
)
"""Every event that a unit may write, without prefix and version."""

ClockTrust = Literal["gps", "ntp", "rtc", "unsynced"]
"""What a unit's clock was last set by; ``unsynced`` is not to be trusted."""

# ------------------------------------------------------------------------------------------------ blocks

StopKind = Literal["pickup", "delivery", "return", "break"]
PlaceKind = Literal["station", "retail", "partner"]
"""Where a block begins; `retail` is one or several stores of one site, `partner` a shop that delivers nearby."""
InstructionKind = Literal[
    "front_door", "resident", "household", "neighbour", "reception", "safe_place", "locker", "none"
]
"""With whom, or where, the recipient wants a parcel left."""


# ------------------------------------------------------------------------------------------------ reasons


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code: who it is charged to by default, and what it asks for."""

    code: str
    cause: str
    """Who it is charged to; only ``driver`` lowers a driver's score."""
    edifact_9013: str
    """UN/EDIFACT code list 9013."""
    evidence: tuple[str, ...]
    """What should be recorded with it."""
    reattempt: str
    goes_back_to: str | None
    action: str = "fail"
    """The action that it belongs to."""

    @property
    def asks_contact(self) -> bool:
        """Whether an attempt to contact the recipient must come first."""
        return any(item.startswith("contact") for item in self.evidence)

    @property
    def least_note(self) -> int:
        """How long a note must be; 0 where none is asked for."""
        return 10 if "free text >= 10 chars" in self.evidence else 1 if "note" in self.evidence else 0

    @property
    def may_reattempt(self) -> bool:
        """Whether the same block may try again."""
        return self.reattempt != "no"

    @property
    def next_action(self) -> str:
        """What follows, for the event's `action` member."""
        if self.reattempt == "ask dispatcher":
            return "ask_dispatcher"
        return "reattempt" if self.reattempt in {"yes", "yes, same day"} else "return"


REASONS: Final[Mapping[str, Reason]] = {
    reason.code: reason
    for reason in (
        Reason("CUSTOMER_UNAVAILABLE", "recipient", "6", ("contact", "photo of door optional"), "yes", "station"),
        Reason(
            "ACCESS_PROBLEM",
            "recipient/address data",
            "32",
            ("contact", "all access codes tried (logged)", "photo of gate"),
            "yes",
            "station",
        ),
        Reason("ADDRESS_NOT_FOUND", "address data", "9", ("contact", "location fix"), "yes", "station"),
        Reason("WRONG_ADDRESS", "shipper data", "30", ("contact",), "no", "station"),
        Reason("NO_SAFE_PLACE", "address", "6", ("contact", "photo"), "yes", "station"),
        Reason("BUSINESS_CLOSED", "recipient", "7", ("contact", "photo of door/hours"), "yes", "station"),
        Reason("REFUSED", "recipient", "90", ("name or note",), "no", "station or store", "refuse"),
        Reason("DAMAGED", "network/driver", "14", ("2 photos",), "no", "station or store", "damage"),
        Reason("NOT_IN_VEHICLE", "network/driver", "83", ("vehicle search step",), "yes", None, "not_in_vehicle"),
        Reason("WRONG_ITEM", "network", "53", ("label scan",), "no", "station"),
        Reason("UNSAFE_PLACE", "environment", "121", ("note", "photo only when safe"), "ask dispatcher", "station"),
        Reason("WEATHER", "environment", "63", (), "next block", "station"),
        Reason("ROAD_CLOSED", "environment", "32", ("location fix",), "yes", "station"),
        Reason("VEHICLE_BREAKDOWN", "vehicle", "35", (), "rescue/transfer", "station"),
        Reason("ACCIDENT", "vehicle", "88", ("incident flow",), "rescue/transfer", "station"),
        Reason("OTP_FAILED", "recipient", "32", ("attempt count", "fallback tried"), "yes, same day", "station"),
        Reason("AGE_CHECK_FAILED", "recipient", "90", ("result only, no ID image",), "no", "station"),
        Reason("OUT_OF_TIME", "plan/driver", "131", (), "next block", "station"),
        Reason("CUSTOMER_RESCHEDULED", "recipient", "15", ("contact log",), "per new date", "station"),
        Reason("RECALLED", "shipper", "89", ("cloud message id",), "no", "station or store", "recall"),
        Reason("PACKAGE_NOT_READY", "merchant", "43", ("store wait timer",), "same block", None, "not_ready"),
        Reason("STORE_CLOSED", "merchant", "7", ("photo",), "same block", None, "not_ready"),
        Reason("OTHER", "unknown", "62", ("free text >= 10 chars",), "ask dispatcher", "station"),
    )
}
"""Why something did not go as planned: the code → what it says (twin of the reasons of ``codes.json``)."""

FAIL_REASONS: Final = tuple(code for code, reason in REASONS.items() if reason.action == "fail")
INSTEAD_REASONS: Final = ("REFUSED", "DAMAGED", "NOT_IN_VEHICLE")
"""Reasons with an action of their own; given to `fail` they lead to the event of that action."""
NOT_READY_REASONS: Final = tuple(code for code, reason in REASONS.items() if reason.action == "not_ready")
REJECT_REASONS: Final = ("DAMAGED", "MIS_SORT")
UNREACHABLE_REASONS: Final = ("ROAD_CLOSED", "WEATHER", "VEHICLE_BREAKDOWN", "ACCIDENT", "UNSAFE_PLACE", "OUT_OF_TIME")
"""Reasons for which a stop may fail before the vehicle has arrived."""
ABORT_REASONS: Final = ("VEHICLE_BREAKDOWN", "ACCIDENT", "ILLNESS", "OUT_OF_TIME", "WEATHER", "UNSAFE_PLACE", "OTHER")

AWAY_REASONS: Final = ("pin_wrong", "no_position", "parked_away", "other")
"""Why the driver is at the place although the position says otherwise: `check_in`, `arrive`."""
MISSING_REASONS: Final = ("not_found", "not_handed_over", "other")
"""Of `mark_missing`."""
LATER_REASONS: Final = ("not_open_yet", "no_parking", "traffic", "other")
"""Of `skip_stop`."""
NO_PHOTO_REASONS: Final = ("recipient_objects", "handed_over", "too_dark", "unsafe", "no_camera", "other")
"""Of `skip_photo`."""
OTHERWISE_REASONS: Final = ("recipient_asked", "label_unreadable", "no_other_way", "other")
"""Why a handover differs from what was asked for: `deliver`."""
MISTAKE_REASONS: Final = ("wrong_parcel", "wrong_door", "not_handed_over", "pressed_by_mistake", "other")
"""Of `void`."""
OWED_REASONS: Final = ("place_closed", "out_of_time", "no_way_back", "other")
"""Why parcels go back only after the block: `close_block`."""

# ------------------------------------------------------------------------------------------------ the driver

TAGS: Final = ("fuel", "toilet", "break", "traffic", "parking", "wait", "other")
"""What a driver may say about a halt."""

CONTACT_METHODS: Final = ("doorbell", "call", "text", "other")
CONTACT_OUTCOMES: Final = ("no_answer", "reached", "other")
"""How the driver tried to reach the recipient, and what came of it."""

ITEMS: Final = ("block", "stop", "parcel", "vehicle", "unit", "other")
"""What a note may be about; of a stop or a parcel also with its id, as ``parcel/P1``."""

HANDOVERS: Final = ("recipient", "household", "neighbour", "reception", "front_door", "safe_place", "locker")


SCAN_RESULTS: Final = (
    "OK",
    "ALREADY_SCANNED",
    "NOT_ON_MANIFEST",
    "OTHER_DRIVER",
    "WRONG_STORE",
    "WRONG_STOP",
    "RECALLED",
    "ALREADY_DELIVERED",
    "BAD_LABEL",
    "SEVERAL_CODES",
)
"""What a scan comes to (contract §6)."""

ACTIONS: Final = (
    "sign_in", "sign_out",
    "accept_offer", "decline_offer", "give_back",
    "check_in", "start_loading", "scan", "choose", "confirm_store", "not_ready", "leave_store", "mark_missing",
    "reject", "unload", "adopt", "hand_back", "close_loading", "reopen_loading", "depart",
    "start_stop", "arrive", "skip_stop", "sign", "otp", "age", "contact", "capture_photo", "retake", "skip_photo",
    "deliver", "fail", "refuse", "damage", "not_in_vehicle", "found", "lost", "void", "reattempt", "return", "transfer",
    "pause", "resume", "abort", "confirm_location", "suggest_location", "tag_stop", "annotate", "set_preferences",
    "acknowledge", "undo", "panic", "close_block",
)  # fmt: skip
"""What a driver can ask for; a unit that cannot do one of them yet says ``NOT_AVAILABLE``."""

# ------------------------------------------------------------------------------------------------ the cloud

INBOX: Final[Mapping[str, tuple[str, ...]]] = {
    "offer": ("offer.made", "offer.confirmed", "offer.refused"),
    "block": ("block.assigned", "block.cancelled"),
    "revision": ("block.revised",),
    "recall": ("parcel.recalled",),
    "roster": ("roster.replaced",),
    "advisory": ("advisory.issued",),
    "message": ("message.sent",),
    "feedback": ("feedback.given",),
    "earnings": ("earnings.stated",),
    "settings": ("settings.changed",),
    "command": ("command.requested",),
}
"""The types of message that each inbox topic carries, without prefix and version."""

COMMAND_ARGUMENTS: Final[Mapping[str, str | None]] = {
    "replay": "from_sequence",
    "high_water": "sequence",
    "media_stored": "sha256",
    "media_send": "sha256",
    "diag": None,
    "update_check": None,
}
"""Commands of the cloud, and the argument that each cannot do without."""

CHANGEABLE_SECTIONS: Final = ("delivery", "route", "gps", "camera")
"""The sections of the settings that a message of the cloud may change."""
SETTING_NAME: Final = rf"^({'|'.join(CHANGEABLE_SECTIONS)})\.[a-z0-9_]+$"
SETTING_NAME_LENGTH: Final = 60
"""What such a setting's name looks like, and its most characters."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of every message to a unit: a block of three hundred stops with its travel times has 800 KB."""

MESSAGE_REJECTIONS: Final[Mapping[str, str]] = {
    "INVALID_JSON": "not JSON that every reader understands alike",
    "TOO_LARGE": "more bytes than a unit takes",
    "UNKNOWN_KIND": "an inbox topic that this unit does not know",
    "UNKNOWN_TYPE": "a type that this unit does not know",
    "INVALID": "a member is missing or wrong; `path` says which",
    "STALE": "older than what the unit knows, or the same version; or out of date (`path` says by which time)",
    "UNKNOWN_BLOCK": "no such block on this unit",
    "UNKNOWN_PARCEL": "none of the parcels is known",
    "BLOCK_ENDED": "the block has ended",
    "TOO_LATE": "the block, or each of the named parcels, has gone too far for this",
    "NO_ROOM": "more than a unit keeps at once; send it again when other blocks have ended",
    "NOT_REQUESTED": "the driver has not asked for the block",
    "NOT_TAKEN": "a fault of the unit, which its log names; send it again once that is mended",
}
"""Reasons of ``message.rejected``."""
