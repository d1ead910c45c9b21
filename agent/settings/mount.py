"""Section `[mount]`: the mount's panel, and who may have signed its firmware."""

from __future__ import annotations

from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.settings.section import MisplacedError, OptionalText, Paths, Section, Text, empty_is_unset, valid_device

SIMULATED: Final = "simulated"
"""The mount's port for a vehicle without one: the demo's."""


def _port(text: str) -> str:
    return text if text == SIMULATED else valid_device(text)


class MountSettings(Section):
    """The mount's panel: ignition, supply voltage, buttons, buzzer and lamp."""

    port: Annotated[Annotated[Text, AfterValidator(_port)] | None, BeforeValidator(empty_is_unset)] = None
    """Its serial port, by path or numbers; unset: no panel."""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115_200
    """Its speed; for a mount on USB only the pace at which it is written to."""
    shutdown_after_s: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 600.0
    """How long after the ignition goes off the unit stays up."""
    firmware_keys: Paths = ()
    """The public keys (PEM; Ed25519 or ECDSA P-256) that may have signed its firmware; no other is ever sent to it."""
    vendor_id: OptionalText = None
    """Whose board it is: a UUID, or the domain name that imgtool was given (`--vid`); unset: images must name none."""
    class_id: OptionalText = None
    """Which board it is: a UUID, or the name that imgtool was given (`--cid`); unset: images must name none."""
    slot_bytes: Annotated[int, Field(ge=4096, le=268_435_456)] | None = None
    """How large an image may be, where the mount's firmware does not say."""
    confirm_after_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 10.0
    """How long new firmware must answer without a break before it is kept; otherwise the mount goes back."""

    @model_validator(mode="after")
    def _class_is_whose(self) -> Self:
        if self.class_id is not None and self.vendor_id is None:
            try:
                UUID(self.class_id)
            except ValueError:
                raise MisplacedError(
                    "vendor_id", "expected whose board it is with a class_id that is a name, got none"
                ) from None
        return self
