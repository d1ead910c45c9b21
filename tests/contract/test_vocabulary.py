"""The words of the contract are those of the design's tables, and the agent's code uses no others."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from agent.settings import Settings
from contract import vocabulary

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLES: dict[str, Any] = json.loads((HERE / "state_machine.json").read_text())
CODES: dict[str, Any] = json.loads((HERE / "codes.json").read_text())

TRANSITIONS: Mapping[str, Mapping[tuple[Any, str], Any]] = {
    "block": vocabulary.BLOCK_TRANSITIONS,
    "stop": vocabulary.STOP_TRANSITIONS,
    "parcel": vocabulary.PARCEL_TRANSITIONS,
}
STATES = {
    "block": get_args(vocabulary.BlockState),
    "stop": get_args(vocabulary.StopState),
    "parcel": get_args(vocabulary.ParcelState),
}
ENDED = {"block": vocabulary.BLOCK_ENDED, "stop": vocabulary.STOP_ENDED, "parcel": vocabulary.PARCEL_ENDED}


@pytest.mark.parametrize("kind", TRANSITIONS)
def test_the_transitions_are_those_of_the_design_and_no_more(kind: str) -> None:
    assert TRANSITIONS[kind] == {(start, event): end for start, event, end, _ in TABLES[kind]["transitions"]}


@pytest.mark.parametrize("kind", TRANSITIONS)
def test_every_state_of_the_design_has_its_name_and_the_final_ones_are_final(kind: str) -> None:
    moving = {state for start, _, end, _ in TABLES[kind]["transitions"] for state in (start, end)}
    assert set(STATES[kind]) == moving
    assert set(TABLES[kind]["terminal"]) == ENDED[kind]
    assert not {start for start, _ in TRANSITIONS[kind]} & ENDED[kind]


def test_a_block_is_offered_or_accepted_active_or_ended_and_never_two_of_them() -> None:
    assert {"OFFERED", "ACCEPTED"} | vocabulary.BLOCK_ACTIVE | vocabulary.BLOCK_ENDED == set(STATES["block"])
    assert not vocabulary.BLOCK_ACTIVE & vocabulary.BLOCK_ENDED
    assert not vocabulary.CUSTODY & vocabulary.PARCEL_ENDED


def test_a_parcel_begins_where_the_design_says() -> None:
    begins = {vocabulary.PARCEL_BEGINS["parcel.manifested"], vocabulary.PARCEL_BEGINS["parcel.unexpected"]}
    assert begins == {TABLES["parcel"]["initial"], *TABLES["parcel"]["extra_initial"]}


def test_the_events_that_change_no_state_are_those_of_the_design_and_the_panic_button() -> None:
    assert [*TABLES["non_state_events"], "driver.panic"] == [*vocabulary.STATELESS_EVENTS]


@pytest.mark.parametrize("row", CODES["reasons"], ids=lambda row: row[0])
def test_every_reason_has_its_cause_number_evidence_and_way_on(row: list[Any]) -> None:
    reason = vocabulary.REASONS[row[0]]
    evidence = "; ".join(reason.evidence) or "-"
    assert (reason.cause, reason.edifact_9013, evidence, reason.reattempt) == (row[2], row[3], row[6], row[7])
    assert (reason.goes_back_to or "-") == row[8]


def test_there_are_no_reasons_but_these() -> None:
    assert [row[0] for row in CODES["reasons"]] == list(vocabulary.REASONS)


ENTITIES = {name.partition(".")[0] for name in vocabulary.EVENTS}
EVENT = re.compile(rf"({'|'.join(sorted(ENTITIES))})\.(?!json$)[a-z_]+")


def _events_named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and EVENT.fullmatch(node.value):
            yield node.value


def test_the_code_names_no_event_or_message_that_the_contract_does_not_know() -> None:
    from contract.models import MODELS

    files = [path for room in ("agent", "demo", "cloud") for path in (ROOT / room).rglob("*.py")]
    named = {(name, path.name) for path in files for name in _events_named(path)}
    assert len(named) > 100
    settings = {
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", ())
    }
    assert {found for found in named if found[0] not in {*vocabulary.EVENTS, *MODELS, *settings}} == set()


@pytest.mark.parametrize(
    ("modules", "not_loaded"),
    [
        ("contract.vocabulary, contract.topics", ["pydantic", "rfc8785"]),
        (
            "contract.canonical, contract.references, contract.strict_json, cloud.consumer",
            ["pydantic", "pydantic_core"],
        ),
    ],
)
def test_what_a_cloud_needs_loads_no_library_that_it_does_not_have(modules: str, not_loaded: list[str]) -> None:
    line = f"import sys, {modules}; print([name for name in {not_loaded} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
