"""What a metered connection may carry in a calendar month, and what it has carried, kept over restarts.

Delivery facts are never held back; when the budget is used up, telemetry waits for the next month.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.delivery.model.inputs import Moment
from agent.files import LazyFile, read

SAVE_EVERY_BYTES: Final = 65_536
"""So much may be forgotten by a power cut; a file per message would wear the card."""


class Budget:
    """Counts bytes against `monthly_bytes`; 0 is no budget. Used by one thread."""

    def __init__(self, path: Path, monthly_bytes: int, now: Callable[[], Moment]) -> None:
        self._file = LazyFile(path, "the month's traffic")
        self._monthly_bytes = monthly_bytes
        self._now = now
        self._month, self._spent = read(path, _kept, "the month's traffic is counted anew") or ("", 0)
        self._saved = self._spent

    def spend(self, size: int) -> None:
        """So many bytes have been sent or received."""
        if not self._monthly_bytes:
            return
        month = self._now().time[:7]
        if month != self._month:
            self._month, self._spent, self._saved = month, 0, 0
        self._spent += size
        if self._spent - self._saved >= SAVE_EVERY_BYTES:
            self.save()

    @property
    def used_up(self) -> bool:
        """Whether this month's budget is gone."""
        return 0 < self._monthly_bytes <= self._spent and self._month == self._now().time[:7]

    @property
    def complaint(self) -> str:
        """What is wrong, in words; empty when all is well."""
        if not self.used_up:
            return ""
        return f"this month's {self._monthly_bytes} bytes (broker.monthly_bytes) are used up: telemetry waits"

    def save(self) -> None:
        """Keep the count; a file that cannot be written costs only the count."""
        if self._spent == self._saved:
            return
        if self._file.write(json.dumps({"month": self._month, "bytes": self._spent}).encode()):
            self._saved = self._spent


def _kept(content: bytes) -> tuple[str, int]:
    kept = json.loads(content)
    return str(kept["month"]), int(kept["bytes"])
