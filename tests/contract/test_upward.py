"""What a unit sends has the form that is promised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.delivery.model.inputs import Moment
from agent.journal.envelope import Chain, telemetry
from contract.canonical import GENESIS
from contract.models import model_faults
from contract.upward import UPWARD
from drivers.readings import Condition


def test_an_event_of_the_journal_has_the_form_that_is_promised() -> None:
    chain = Chain("/fleet/u1", 0, GENESIS)
    entry = chain.add("parcel.loaded", "parcel/P1", {"n": 1}, Moment(1, 2, "boot", "ntp"))
    assert model_faults(UPWARD["event"], json.loads(entry.payload)) == []


def test_telemetry_has_the_form_that_is_promised() -> None:
    payload = telemetry("/fleet/u1", 1, "position", [{"latitude": 52.0}], Moment(1, 2, "boot", "gps"))
    assert model_faults(UPWARD["telemetry"], json.loads(payload)) == []


@pytest.mark.parametrize("condition", Condition)
def test_a_part_may_be_in_every_condition_that_drivers_know(condition: Condition) -> None:
    part = {"state": condition.value, "reason": None, "since": "2026-11-21T09:00:00.000Z"}
    status = {"state": "online", "version": "1", "boot_id": "boot", "since": None, "parts": {"gps": part}}
    assert model_faults(UPWARD["status"], status) == []


MANIFEST: dict[str, Any] = {
    "sha256": "a" * 64,
    "bytes": 300_000,
    "content_type": "image/jpeg",
    "part_bytes": 65_536,
    "parts": 5,
}


@pytest.mark.parametrize(
    ("changes", "path"),
    [({}, None), ({"sha256": "A" * 64}, "sha256"), ({"parts": 0}, "parts"), ({"bytes": "300"}, "bytes")],
)
def test_the_manifest_of_a_photo_says_what_its_parts_come_to(changes: dict[str, Any], path: str | None) -> None:
    found = model_faults(UPWARD["media_manifest"], {**MANIFEST, **changes})
    assert [fault.path for fault in found] == ([] if path is None else [path])
