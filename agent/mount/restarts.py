"""Restarts of the mount's microcontroller, each told once, also over restarts of the agent."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from agent.files import FileError, read, write_durably
from drivers.readings import Panel
from firmware_bridge.power import ALARMING

log = logging.getLogger(__name__)

MOUNT_FILE: Final = "mount.json"
"""Which start of the microcontroller was told last."""
SAME_START_MS: Final = 2_000
"""By how much two readings may differ over when the microcontroller started: an answer takes its time,"""
SAME_START_SHARE: Final = 0.01
"""and its clock may be one of resistors and capacitors."""


class Restarts:
    """Finds restarts in the readings of the panel.

    :param boot_id: of the unit; the starts of another boot are of no use
    """

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        self._file = state_dir / MOUNT_FILE
        self._boot_id = boot_id
        self._last: Panel | None = None

    def take(self, panel: Panel) -> bool:
        """Whether this reading is the first to show a restart that is worth telling; then `keep` it once it is told."""
        before, self._last = self._last, panel
        if before is None:
            return panel.reset_cause in ALARMING and not self._was_told(panel)
        # Its uptime alone does not tell: after a silence it may be more than before.
        return panel.uptime_ms < before.uptime_ms or panel.reset_cause != before.reset_cause

    def keep(self, panel: Panel) -> None:
        """Remember that the start that this reading speaks of was told; waits for the disk, never fails."""
        kept = {"boot_id": self._boot_id, "start_ms": _started_ms(panel)}
        try:
            write_durably(self._file, json.dumps(kept).encode())
        except FileError as fault:
            log.warning("the mount's restart may be told again when the agent starts: %s", fault)

    def _was_told(self, panel: Panel) -> bool:
        """Whether an agent before this one, since the unit was booted, has told of the start of this reading."""

        def is_same_start(content: bytes) -> bool:
            kept = json.loads(content)
            apart_ms = abs(_started_ms(panel) - int(kept["start_ms"]))
            return kept["boot_id"] == self._boot_id and apart_ms <= SAME_START_MS + panel.uptime_ms * SAME_START_SHARE

        return bool(read(self._file, is_same_start, "the mount's restart may be told again"))


def _started_ms(panel: Panel) -> int:
    """When the microcontroller started, on the unit's own uptime; negative when that was before the unit."""
    return panel.monotonic_ns // 1_000_000 - panel.uptime_ms
