"""Updates of the mount's firmware in the unit's own records: their events, and what a later start must see through.

An update that has begun and not ended stands in `state_dir/firmware.json`, so that whoever next speaks to the mount,
the agent or a technician's command, keeps the new image or says what became of it. `Records` is the journal for a
command that runs while the agent does not.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from agent.clock import Clock
from agent.delivery.model.decision import Command, Feedback
from agent.delivery.model.state import Block, Policy
from agent.journal.directory import sync_directory, write_durably
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from agent.settings import Settings
from agent.unit import Unit
from contract.vocabulary import BLOCK_ACTIVE
from firmware_bridge.update import PASSING, Note, Wanted

T = TypeVar("T")

FILE: Final = "firmware.json"
MOVING_MPS: Final = 1.0
_ENDS: Final = frozenset({"firmware.confirmed", "firmware.reverted", "firmware.refused", "firmware.failed"})
AWAY: Final = frozenset(cause.upper() for cause in PASSING)
"""Reasons of a failure after which the mount may still come back, with either image."""
_FINAL: Final = frozenset({"INTERRUPTED", "UNHEALTHY"})
"""Reasons of a failure after which the mount does not change its image any more, whatever it was told before."""


def pending(state_dir: Path) -> Wanted | None:
    """The update that has begun and not ended; ``None`` when there is none."""
    try:
        kept = json.loads((state_dir / FILE).read_bytes())
        hash_, booted = bytes.fromhex(kept["hash"]), kept.get("booted", False)
        return Wanted(kept["version"], hash_, panel=kept["panel"], tried=kept["tried"], booted=booted)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def begin(state_dir: Path, event: str, data: Mapping[str, Any]) -> None:
    """Keep in mind what an event of an update is about to begin: called before it is written."""
    if event in ("firmware.update_started", "firmware.test_started", "firmware.booted"):
        known = pending(state_dir)
        panel = data.get("panel", known.panel if known else None)
        tried, booted = event != "firmware.update_started", event == "firmware.booted"
        kept = {"version": data["version"], "hash": data["hash"], "panel": panel, "tried": tried, "booted": booted}
        write_durably(state_dir / FILE, json.dumps(kept).encode())


def end(state_dir: Path, event: str, data: Mapping[str, Any]) -> None:
    """Forget the update that an event of it has ended: called once it is written.

    While the mount may still change its image, the update stands, so that it is told later which one runs.
    """
    known = pending(state_dir)
    if event not in _ENDS or known is None or known.hash.hex() != data.get("hash"):
        return
    reason = data.get("reason")
    if event == "firmware.failed" and reason not in _FINAL and (known.tried or reason in AWAY):
        return
    (state_dir / FILE).unlink(missing_ok=True)
    sync_directory(state_dir)


def note(state_dir: Path, event: str, data: Mapping[str, Any], write: Note) -> None:
    """`write` an event of an update, and keep what it begins or ends."""
    begin(state_dir, event, data)
    write(event, data)
    end(state_dir, event, data)


def objection(blocks: Iterable[Block], speed_mps: float | None) -> tuple[str, str] | None:
    """Why the mount's firmware may not be touched now: a code and a sentence. A speed that is not known is none."""
    for block in blocks:
        if block.state in BLOCK_ACTIVE:
            return "BLOCK_ACTIVE", f"block {block.block_id} is {block.state}: firmware is updated between blocks"
    if speed_mps is not None and speed_mps > MOVING_MPS:
        return "MOVING", f"the vehicle moves ({speed_mps * 3.6:.0f} km/h): firmware is updated while it stands"
    return None


class Records:
    """The unit's journal while the agent is not running, as a context manager; its methods may be called anywhere.

    :raises JournalError: the journal can not be opened, or the agent has it
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
        note(self._settings.unit.state_dir, event, data, self.record)

    def record(self, event: str, data: Mapping[str, Any]) -> None:
        """Write an event that begins and ends no update; returns once it is durable."""
        self._call(self._record(event, data))

    async def _make_unit(self) -> Unit:
        settings = self._settings
        source = f"/{settings.unit.fleet}/{settings.unit.id}"
        policy = Policy(**settings.delivery.model_dump())
        return Unit(self._journal, source, policy, Clock(settings.unit.state_dir).now, _Nobody())

    async def _record(self, event: str, data: Mapping[str, Any]) -> None:
        before = self._journal.head.sequence
        self._unit.record(event, data)
        await self._unit.settle()
        if self._journal.head.sequence == before:
            raise JournalError(f"{event} can not be written into the journal of {self._settings.unit.state_dir}")

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _close(self) -> None:
        self._journal.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Nobody:
    """Nobody waits for what becomes durable here: the agent sends it to the cloud once it runs."""

    def committed(self) -> None:
        pass

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        pass

    def command(self, command: Command) -> None:
        pass

    def forget(self, scope: str) -> None:
        pass

    def reloaded(self) -> None:
        pass
