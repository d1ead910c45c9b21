"""What one check has found, for whoever shows it: the doctor, the cloud's diagnostics, the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

TIMEOUT_S: Final = 5.0
"""The longest that a check waits for what does not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found, in words without secrets."""

    name: str
    """The subject, as in the table of `agent.checkup`."""
    state: Literal["ok", "warning", "fault"]
    message: str
    advice: str | None = None
    """What to do about it."""
