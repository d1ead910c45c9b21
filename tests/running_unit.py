"""A unit with its real journal and sealer, without devices and broker: it takes messages as from the uplink."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.delivery.model.decision import Effect, Feedback, Forget
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.state import Policy
from agent.identity.seal import Sealer
from agent.unit import Unit
from agent.uplink.inbox import InboxReader, Incoming, Token
from tests.contract.examples import EXAMPLES, message
from tests.journal.writing import opened
from tests.uplink.support import FLEET, UNIT, now
from tests.waiting import wait_until


class RunningUnit:
    """To be made in a running loop."""

    def __init__(self, state_dir: Path, max_bytes: int = 64 << 20) -> None:
        self.journal = opened(state_dir, max_bytes=max_bytes)
        self.sealer = Sealer(state_dir, self.journal.keys())
        self.reader = InboxReader(self.sealer)
        self.unit = Unit(self.journal, f"/{FLEET}/{UNIT}", Policy(), now)
        self.unit.tell(self)
        self._messages = 0

    def committed(self) -> None:
        """Nobody sends anything."""

    def reloaded(self) -> None:
        self.sealer.reload(self.journal.keys())

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        """Nobody hears it."""

    def carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Forget):
            self.sealer.forget(effect.scope)

    def read(self, type_: str, payload: bytes) -> Incoming:
        return self.reader.read(EXAMPLES[type_][0], payload, Token(1, 1))

    async def receive(self, incoming: Incoming) -> None:
        """Until it is on the disk, or refused."""
        incoming = self.reader.current(incoming)
        assert isinstance(incoming.message, InboxMessage), incoming.message
        self.unit.receive(incoming.message, incoming.body, incoming.keys, lambda: None, lambda: None)
        await self.unit.settle()

    async def take(self, type_: str, data: Mapping[str, Any]) -> None:
        self._messages += 1
        await self.receive(self.read(type_, message(type_, data, id=f"M-{self._messages}")))

    async def wiped(self) -> None:
        """Until no forgotten key is in any byte of the journal."""
        await asyncio.to_thread(wait_until, lambda: not self.journal._wipe, "the wiping")
