"""Section `[delivery]`: rules of the delivery that a fleet may set."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from agent.settings.section import Count, Metres, Positive, Section


class DeliverySettings(Section):
    """Rules of the delivery that a fleet may set."""

    geofence_inner_m: Metres = 75.0
    """Within this distance of a stop the unit has arrived."""
    geofence_outer_m: Metres = 200.0
    """Beyond this distance of a stop the unit has left."""
    allow_adoption: bool = False
    """Whether a parcel that is on no manifest may be taken along."""
    check_in_early_s: Count = 3600
    """How long before a block's start its driver may check in."""
    no_show_after_s: Positive = 3600
    """How long after a block's start a driver who has not checked in counts as absent."""
    photo_retakes: Count = 2
    """How often a photo is asked for again before it may be skipped."""
    max_attempts: Positive = 3
    """How often a parcel is taken to its recipient."""

    @model_validator(mode="after")
    def _outer_is_outside(self) -> Self:
        if self.geofence_outer_m <= self.geofence_inner_m:
            raise ValueError(
                f"expected geofence_outer_m above geofence_inner_m, got {self.geofence_outer_m:g} and "
                f"{self.geofence_inner_m:g}"
            )
        return self
