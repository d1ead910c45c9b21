"""`kerbside contract`, as a cloud developer uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.model.inputs import Moment
from agent.journal.envelope import Chain
from contract.vocabulary import MAX_MESSAGE_BYTES
from tests.contract import examples


def kerbside(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from agent.cli import main; main()", "contract", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def message(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "M1",
        "source": "/dispatch",
        "type": "org.kerbside.message.sent.v1",
        "data": data,
    }


@pytest.fixture
def event() -> dict[str, Any]:
    entry = Chain("/fleet/u1", 0, "0" * 64).add("parcel.loaded", "parcel/P1", {"a": "ü"}, Moment(1, 2, "boot", "ntp"))
    return dict(json.loads(entry.payload))


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_schema_of_a_message_is_printed_and_the_names_are_listed() -> None:
    names = kerbside("schema").stdout.split()
    assert "block.assigned" in names
    schema = json.loads(kerbside("schema", "block.assigned").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {*json.loads(kerbside("schema", "--json").stdout)} == {*names}


def test_a_name_that_is_no_message_is_wrong_use() -> None:
    answer = kerbside("schema", "block.flown")
    assert answer.returncode == 2
    assert "block.assigned" in answer.stderr


def test_a_good_message_and_a_good_event_are_fine(tmp_path: Path, event: dict[str, Any]) -> None:
    for content in (message({"message_id": "N1", "text": "hello"}), event):
        answer = kerbside("validate", written(tmp_path / "m.json", content))
        assert (answer.returncode, "fine" in answer.stdout) == (0, True), answer


def test_every_fault_of_a_message_is_named_by_its_path(tmp_path: Path) -> None:
    answer = kerbside("validate", written(tmp_path / "m.json", message({"message_id": 5})))
    assert answer.returncode == 1
    assert "message_id: expected a text, got a number" in answer.stdout
    assert "text: it must be there" in answer.stdout


def test_the_faults_are_one_json_document_for_programs(tmp_path: Path) -> None:
    answer = kerbside("validate", "--json", written(tmp_path / "m.json", message({"message_id": "N1"})))
    assert answer.returncode == 1
    document = json.loads(answer.stdout)
    assert document["ok"] is False
    assert document["faults"] == [{"path": "text", "expected": "it must be there"}]


def test_an_altered_event_is_found_by_its_hash(tmp_path: Path, event: dict[str, Any]) -> None:
    answer = kerbside("validate", written(tmp_path / "e.json", {**event, "data": {"a": "u"}}))
    assert answer.returncode == 1
    assert answer.stdout.startswith("hash:")


def test_a_message_that_a_unit_would_not_take_for_its_size_is_a_finding(tmp_path: Path) -> None:
    document = json.loads(examples.message("message.sent", {"message_id": "N1", "text": "x"}))
    document["more"] = ""
    room = MAX_MESSAGE_BYTES - len(json.dumps(document))
    assert kerbside("validate", written(tmp_path / "most.json", document | {"more": "x" * room})).returncode == 0
    answer = kerbside("validate", written(tmp_path / "more.json", document | {"more": "x" * (room + 1)}))
    assert answer.returncode == 1
    assert "expected at most 1048576 bytes, got 1048577" in answer.stdout


def test_what_is_no_json_is_a_finding_and_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    assert kerbside("validate", written(tmp_path / "m.json", "{")).returncode == 1
    assert kerbside("validate", str(tmp_path / "nothing.json")).returncode == 2
