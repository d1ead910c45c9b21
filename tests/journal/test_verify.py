"""Walking the chain: of a store, a live one too, and of an export; and `kerbside journal`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.journal.envelope import Chain
from agent.journal.verify import verify
from tests.journal.test_recovery import declare, filled, flip, place_of
from tests.journal.writing import SOURCE, Writer, at, message, opened, verified


def kerbside(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "agent.cli", "journal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=stdin, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("store")
    filled(directory, events=30)
    return directory


@pytest.fixture(scope="module")
def export(store: Path) -> list[bytes]:
    done = kerbside("export", "--state-dir", store, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def kinds(lines: list[bytes]) -> list[tuple[str, int | None]]:
    verdict = verify((f"line {number}", line) for number, line in enumerate(lines, start=1))
    return [(finding.kind, finding.sequence) for finding in verdict.findings]


def test_an_export_holds_the_envelopes_as_they_were_sent(export: list[bytes], store: Path) -> None:
    assert [int(json.loads(line)["sequence"]) for line in export] == list(range(1, 31))
    part = kerbside("export", "--state-dir", store, "--from", "5", "--to", "7").stdout.splitlines()
    assert part == export[4:7]


def test_a_whole_chain_has_no_findings(export: list[bytes]) -> None:
    assert kinds(export) == []
    assert kinds(export[10:]) == [], "an export may begin anywhere"
    assert kinds([]) == []


def test_an_export_in_another_spelling_is_as_good(export: list[bytes]) -> None:
    respelled = [json.dumps(dict(reversed(json.loads(line).items())), indent=None).encode() for line in export]
    assert respelled != export
    assert kinds(respelled) == []


def test_the_first_place_where_the_chain_is_not_whole_is_named(export: list[bytes]) -> None:
    changed = export[4].replace(b'"P1"', b'"P2"', 1)
    assert kinds([*export[:4], changed, *export[5:]])[0] == ("unreadable", None)
    assert kinds(export[:4] + export[6:]) == [("gap", 5)]
    assert kinds(export[:4] + export[3:]) == [("duplicate", 4)]
    assert kinds([export[1], export[0], *export[2:]]) == [("duplicate", 1)]
    assert kinds([*export[:4], b"{", *export[4:]]) == [("unreadable", None)]
    assert kinds([*export[:4], b'{"lane":"telemetry"}', *export[4:]]) == []


def test_an_event_of_another_chain_is_a_break(tmp_path: Path, export: list[bytes]) -> None:
    journal = opened(tmp_path)
    other = [event.payload for event in Writer(journal).events(6)]
    journal.close()
    lines = export[:5] + other[5:6]
    verdict = verify((f"line {number}", line) for number, line in enumerate(lines, start=1))
    assert [(finding.kind, finding.sequence, finding.place) for finding in verdict.findings] == [("break", 6, "line 6")]
    assert "event 6 does not follow 5" in verdict.findings[0].message


def test_a_first_event_with_a_past_is_a_break() -> None:
    assert kinds([Chain(SOURCE, 0, "ab" * 32).add("unit.started", "unit", {}, at()).payload]) == [("break", 1)]


def test_a_declared_recovery_is_told_from_a_loss(tmp_path: Path) -> None:
    filled(tmp_path, events=30)
    flip(tmp_path / "journal.db", place_of(tmp_path / "journal.db", b'"number":25,'))
    journal = opened(tmp_path)
    declare(journal)
    journal.close()
    done = kerbside("verify", "--state-dir", tmp_path, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(finding["kind"], finding["sequence"]) for finding in answer["findings"]] == [
        ("recovery", 26),
        ("recovery", 31),
    ]
    lines = kerbside("export", "--state-dir", tmp_path).stdout.splitlines()
    assert kinds(lines) == [("recovery", 26), ("recovery", 31)]
    assert kinds(lines[:20] + lines[21:]) == [("gap", 21), ("recovery", 26), ("recovery", 31)]


def test_a_running_agent_does_not_mind_a_reader(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    writer = Writer(journal)
    writer.write(message("m1"), *(writer.event() for _ in range(20)), snapshot=b"state")
    for command in ("status", "tail", "verify", "export"):
        done = kerbside(command, "--state-dir", tmp_path)
        assert done.returncode == 0, done.stderr
    assert writer.write(writer.event()) is None
    journal.close()
    assert verified(tmp_path).events == 21


def test_status_says_what_waits(store: Path) -> None:
    done = kerbside("status", "--state-dir", store)
    assert done.returncode == 0
    assert b"up to 20" in done.stdout
    assert b"10 events, 1 of telemetry" in done.stdout
    answer = json.loads(kerbside("status", "--state-dir", store, "--json").stdout)
    assert answer["sequence"] == 30
    assert answer["oldest_sequence"] == 1
    assert answer["backlog"] == {"events": 10, "telemetry": 1, "media": 0}
    assert answer["messages"] == 3


def test_tail_shows_events_and_messages_in_their_order(store: Path) -> None:
    lines = kerbside("tail", "-n", "12", "--state-dir", store).stdout.decode().splitlines()
    assert len(lines) == 12
    assert "block.assigned" in lines[1]
    assert "message m20" in lines[1]
    assert lines[-1].split()[0] == "30"
    answer: list[dict[str, Any]] = json.loads(kerbside("tail", "-n", "12", "--state-dir", store, "--json").stdout)
    assert answer[1]["message_id"] == "m20"
    assert answer[-1]["type"] == "org.kerbside.parcel.loaded.v1"


def test_a_file_and_standard_input_are_verified(tmp_path: Path, export: list[bytes]) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"\n".join(export) + b"\n")
    done = kerbside("verify", file)
    assert (done.returncode, b"the chain is whole" in done.stdout) == (0, True)
    file.write_bytes(b"\n".join(export[:9] + export[11:]) + b"\n")
    done = kerbside("verify", file)
    assert done.returncode == 1
    assert b"gap: line 10: events 10 to 11 are missing" in done.stdout
    assert kerbside("verify", "-", stdin=b"\n".join(export)).returncode == 0


def test_what_cannot_be_read_ends_with_a_sentence(tmp_path: Path) -> None:
    done = kerbside("status", "--state-dir", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(f"there is no journal in {tmp_path}: expected journal.db")
    done = kerbside("verify", tmp_path / "nothing.jsonl")
    assert done.returncode == 2
    assert b"cannot be read" in done.stderr
    (tmp_path / "journal.db").write_bytes(b"x" * 8192)
    done = kerbside("status", "--state-dir", tmp_path)
    assert done.returncode == 1
    assert b"the agent recovers what is readable when it starts" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_state_directory_is_taken_from_the_settings(tmp_path: Path, store: Path) -> None:
    settings = tmp_path / "agent.toml"
    settings.write_text(f'[unit]\nid = "u1"\nfleet = "testers"\nstate_dir = "{store}"\n')
    answer = json.loads(kerbside("status", "--settings", settings, "--json").stdout)
    assert answer["sequence"] == 30
    settings.write_text("[unit]\nid = 3\n")
    assert kerbside("status", "--settings", settings).returncode == 2


def test_a_format_that_is_not_offered_is_wrong_use(store: Path) -> None:
    assert kerbside("export", "--format", "xml", "--state-dir", store).returncode == 2
