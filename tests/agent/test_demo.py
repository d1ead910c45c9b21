"""The demo as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_demo_proves_a_whole_block_in_spite_of_an_outage_and_kills() -> None:
    played = subprocess.run(
        [sys.executable, "-m", "agent.cli", "demo", "--json", "--speed", "60", "--outage", "5", "--kills", "2"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert played.returncode == 0, played.stderr
    result = json.loads(played.stdout)
    assert set(result) == {
        "events_written",
        "events_received",
        "duplicates_removed",
        "gaps",
        "chain_intact",
        "parcels",
        "outage_s",
        "kills",
        "scan_to_feedback_ms",
    }
    assert result["events_received"] == result["events_written"] > 50
    assert result["gaps"] == 0
    assert result["chain_intact"] is True
    assert result["outage_s"] == 5
    assert result["kills"] == 2
    assert sum(result["parcels"].values()) >= 13
    assert set(result["parcels"]) == {"DELIVERED", "RETURNED", "MISSING", "REJECTED", "HANDED_BACK"}
    assert 0 < result["scan_to_feedback_ms"]["p50"] <= result["scan_to_feedback_ms"]["p99"]


def test_the_demo_does_not_write_over_what_is_kept_in_a_folder() -> None:
    played = subprocess.run(
        [sys.executable, "-m", "agent.cli", "demo", "--keep", "agent"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert played.returncode == 2
    assert "agent: expected a new or empty folder" in played.stderr
