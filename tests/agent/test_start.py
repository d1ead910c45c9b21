"""An agent that cannot start puts away what it has started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.app import App
from agent.identity.seal import SealError
from agent.journal.store import Journal
from agent.settings import Settings, UnitSettings


def test_a_fault_while_starting_leaves_the_journal_to_the_next_agent(tmp_path: Path) -> None:
    (tmp_path / "seal.key").write_bytes(b"too short")
    with pytest.raises(SealError):
        asyncio.run(App(Settings(unit=UnitSettings(state_dir=tmp_path))).run())
    journal = Journal.open(tmp_path, max_bytes=1 << 24, retain_days=30)
    assert journal.head.sequence == 0
    journal.close()
