"""What thousands of valid messages that want to be large make of a unit: its state and its memory keep their bounds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_STATE = 4_000_000


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
def test_hostile_but_valid_messages_leave_the_state_and_the_memory_within_their_bounds(
    count: int, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.flood", str(count), str(tmp_path / "state")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    limit = re.search(r"^MemoryMax=(\d+)M$", (ROOT / "systemd" / "kerbside.service").read_text(), re.MULTILINE)
    assert limit is not None
    assert found["taken"] > count / 2
    assert found["state"] <= MOST_STATE, found
    assert found["snapshot"] <= MOST_STATE, found
    assert found["memory"] <= int(limit[1]) << 20, found
