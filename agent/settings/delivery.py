"""Section `[delivery]`: rules of the delivery that a fleet may set."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from agent.settings.section import MisplacedError, Section


class DeliverySettings(Section):
    """Rules of the delivery that a fleet may set."""

    geofence_inner_m: Annotated[float, Field(ge=10, le=2000, allow_inf_nan=False)] = 75.0
    """Within this distance of a stop the unit has arrived."""
    geofence_outer_m: Annotated[float, Field(ge=20, le=10_000, allow_inf_nan=False)] = 200.0
    """Beyond this distance of a stop the unit has left."""
    allow_adoption: bool = False
    """Whether a parcel that is on no manifest may be taken along."""
    check_in_early_s: Annotated[int, Field(ge=0, le=86_400)] = 3600
    """How long before a block's start its driver may check in."""
    no_show_after_s: Annotated[int, Field(ge=60, le=86_400)] = 3600
    """How long after a block's start a driver who has not checked in counts as absent."""
    photo_retakes: Annotated[int, Field(ge=0, le=20)] = 2
    """How often a photo is asked for again before it may be skipped."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """How often a parcel is taken to its recipient."""

    @model_validator(mode="after")
    def _outer_is_outside(self) -> Self:
        if self.geofence_outer_m <= self.geofence_inner_m:
            raise MisplacedError(
                "geofence_outer_m",
                f"expected more than geofence_inner_m ({self.geofence_inner_m:g}), got {self.geofence_outer_m:g}",
            )
        return self
