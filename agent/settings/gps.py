"""Section `[gps]`: the satellite receiver, through gpsd."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from agent.settings.section import DeviceMatch, OptionalAddress, Section, empty_is_unset


class GpsSettings(Section):
    """The GNSS receiver, through gpsd."""

    gpsd: OptionalAddress = "127.0.0.1:2947"
    """Where gpsd listens; empty: no receiver."""
    device: Annotated[DeviceMatch | None, BeforeValidator(empty_is_unset)] = None
    """The receiver, handed to gpsd when it is plugged in; unset: gpsd knows its devices itself."""
    stale_after_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 4.0
    """A position older than this is no position."""
