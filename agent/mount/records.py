"""The unit's journal for a command that runs while the agent does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from agent.clock import Clock
from agent.delivery.model.state import Block, Policy
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from agent.mount import updates
from agent.settings import Settings
from agent.unit import Unit

T = TypeVar("T")


class Records:
    """The unit's journal while the agent is not running, as a context manager; its methods may be called anywhere.

    :raises JournalError: the journal cannot be opened, or the agent has it
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="records", daemon=True)

    def __enter__(self) -> Self:
        settings, state_dir = self._settings, self._settings.unit.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = settings.journal
        self._journal = Journal.open(
            state_dir, max_bytes=kept.max_bytes, retain_days=kept.retain_days, confirm=kept.confirm
        )
        self._thread.start()
        try:
            self._unit = self._call(self._make_unit())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def blocks(self) -> Iterable[Block]:
        """Of the unit's state."""
        return self._unit.state.blocks.values()

    def note(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event of an update, and what it begins or ends; returns once it is durable."""
        updates.note(self._settings.unit.state_dir, event, data, self.record)

    def record(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event that begins and ends no update; returns once it is durable."""
        self._call(self._record(event, data))

    async def _make_unit(self) -> Unit:
        settings = self._settings
        source = f"/{settings.unit.fleet}/{settings.unit.id}"
        policy = Policy(**settings.delivery.model_dump())
        return Unit(self._journal, source, policy, Clock(settings.unit.state_dir).now)

    async def _record(self, event: str, data: Mapping[str, Any]) -> None:
        before = self._journal.head.sequence
        self._unit.record(event, data)
        await self._unit.settle()
        if self._journal.head.sequence == before:
            raise JournalError(f"{event} cannot be written into the journal of {self._settings.unit.state_dir}")

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _close(self) -> None:
        self._journal.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
