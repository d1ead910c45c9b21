"""Section `[journal]`: the durable store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.settings.section import Section


class JournalSettings(Section):
    """The durable store."""

    max_bytes: Annotated[int, Field(ge=1_048_576, le=17_592_186_044_416)] = 1_073_741_824
    """The most that the store may take."""
    retain_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """How long a confirmed event is kept at least."""
    confirm: Literal["broker", "cloud"] = "broker"
    """Whose word frees an event: the broker's acknowledgement or the consumer's high-water mark."""
