"""What of an update of the mount's firmware is kept in mind, and until when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.mount import updates

MINE = {"version": "2.0.0", "hash": "ab" * 32}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("firmware.refused", {"reason": "IMAGE"}),
        ("firmware.refused", {"version": "2.0.0", "hash": "cd" * 32, "reason": "SIGNATURE"}),
        ("firmware.confirmed", {"version": "2.0.0", "hash": "cd" * 32}),
        ("firmware.failed", {**MINE, "reason": "REFUSED"}),
        ("firmware.failed", {**MINE, "reason": "TIMEOUT"}),
    ],
)
def test_an_update_that_is_not_over_is_not_forgotten(tmp_path: Path, event: str, data: dict[str, Any]) -> None:
    for begun in ("firmware.update_started", "firmware.test_started", "firmware.booted"):
        updates.begin(tmp_path, begun, MINE)

    updates.end(tmp_path, event, data)

    kept = updates.pending(tmp_path)
    assert kept is not None
    assert (kept.hash.hex(), kept.tried, kept.booted) == ("ab" * 32, True, True)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("firmware.confirmed", None),
        ("firmware.reverted", "NOT_CONFIRMED"),
        ("firmware.refused", "BOOT_LOADER"),
        ("firmware.failed", "UNHEALTHY"),
    ],
)
def test_an_update_that_is_over_is_forgotten(tmp_path: Path, event: str, reason: str | None) -> None:
    updates.begin(tmp_path, "firmware.test_started", MINE)

    updates.end(tmp_path, event, {**MINE, "reason": reason})

    assert updates.pending(tmp_path) is None
