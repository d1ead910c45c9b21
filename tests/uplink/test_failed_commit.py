"""A message whose commit fails is taken again, and the key that opens its secrets is written together with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agent import unit as unit_module
from agent.delivery.model.decision import Effect, Feedback
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.state import Policy
from agent.identity.seal import Sealer
from agent.journal.entries import Batch, InboxEntry, JournalError
from agent.journal.store import Journal
from agent.unit import Unit
from agent.uplink.inbox import InboxReader, Incoming, Token
from tests.uplink.support import FLEET, UNIT, now
from tests.uplink.test_inbox import KEY, block, message


class FailsOnce:
    """A journal whose first batch is not written."""

    def __init__(self, journal: Journal) -> None:
        self._write = journal.write
        self.batches: list[Batch] = []

    def write(self, batch: Batch, done: Callable[[JournalError | None], None]) -> None:
        self.batches.append(batch)
        if len(self.batches) == 1:
            done(JournalError("the disk is full"))
        else:
            self._write(batch, done)


class Reloads:
    """What the app does when a commit has failed: the keys are again those of the disk."""

    def __init__(self, sealer: Sealer, journal: Journal) -> None:
        self._sealer, self._journal = sealer, journal

    def committed(self) -> None:
        pass

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        pass

    def carry_out(self, effect: Effect) -> None:
        pass

    def reloaded(self) -> None:
        self._sealer.reload(self._journal.keys())


def test_a_message_that_was_not_written_is_sealed_anew_and_written_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_module, "RETRY_MESSAGE_S", 0.05)
    journal = Journal.open(tmp_path, max_bytes=1 << 28, retain_days=30, confirm="broker")
    disk = FailsOnce(journal)
    monkeypatch.setattr(journal, "write", disk.write)
    sealer = Sealer(tmp_path, {})
    reader = InboxReader(sealer)

    async def run() -> None:
        durable = asyncio.Event()
        unit = Unit(journal, f"/{FLEET}/{UNIT}", Policy(), now)
        unit.tell(Reloads(sealer, journal))

        def take(incoming: Incoming) -> None:
            incoming = reader.current(incoming)
            assert isinstance(incoming.message, InboxMessage)
            unit.receive(incoming.message, incoming.body, incoming.keys, durable.set, partial(take, incoming))

        take(reader.read("block", message("block.assigned", block(ends_at="2090-01-01T00:00:00Z")), Token(1, 1)))
        await asyncio.wait_for(durable.wait(), 20)

    asyncio.run(run())
    failed, written = (batch for batch in disk.batches if batch.keys)
    assert failed.keys != written.keys, "the first key was never written, and is gone"
    journal.close()
    journal = Journal.open(tmp_path, max_bytes=1 << 28, retain_days=30, confirm="broker")
    stored = next(entry for entry in journal.replay(from_start=True).entries if isinstance(entry, InboxEntry))
    assert Sealer(tmp_path, journal.keys()).open("block/B7", json.loads(stored.body)["otp_key"]) == KEY
    journal.close()
