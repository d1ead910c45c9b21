"""Everything that the driver's screen shows, as ``GET /api/state`` gives it. Secrets are opened here only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from agent import __version__, words
from agent.clock import Clock
from agent.delivery.model.decision import Answer
from agent.identity.seal import PREFIX as SEALED
from agent.identity.seal import Sealer, SealError
from agent.journal.store import Journal
from agent.parts import PartsShown, shown
from agent.settings import UnitSettings
from agent.unit import Unit
from agent.uplink.uplink import Uplink
from drivers.readings import Condition, PartState

log = logging.getLogger(__name__)

VIEW_EVERY_S = 0.1
"""The screen is redrawn at most this often."""


class ScreenState:
    """The unit as the driver's screen sees it (`agent.console.backend.Backend`).

    :param parts: states of the parts that the agent runs
    :param act: carries out a driver's action
    :param examine: checks the unit, in a thread: the document of ``kerbside doctor --json``
    :param extra: what else the member `unit` shows, each by its name
    """

    def __init__(
        self,
        settings: UnitSettings,
        unit: Unit,
        uplink: Uplink,
        journal: Journal,
        clock: Clock,
        sealer: Sealer,
        *,
        parts: Callable[[], PartsShown],
        act: Callable[[str, Mapping[str, Any]], Awaitable[Answer]],
        examine: Callable[[], dict[str, Any]],
        extra: Mapping[str, Callable[[], dict[str, Any] | None]],
    ) -> None:
        self._settings = settings
        self._unit = unit
        self._uplink = uplink
        self._journal = journal
        self._clock = clock
        self._sealer = sealer
        self._parts = parts
        self._act = act
        self._examine = examine
        self._examination: asyncio.Task[dict[str, Any]] | None = None
        self._extra = extra

    def view(self) -> dict[str, Any]:
        """All of ``GET /api/state``."""
        uplink = self._uplink.state
        moment = self._clock.now()
        status = self._journal.status()
        deliveries = self._unit.view()
        self._open_secrets(deliveries)
        broker = PartState(Condition.READY if uplink.online else Condition.FAULTY, uplink.reason, uplink.since_ns)
        return {
            "unit": {
                "id": self._settings.id,
                "fleet": self._settings.fleet,
                "version": __version__,
                "online": uplink.online,
                "sequence": status["sequence"],
                "backlog": status["backlog"],
                "clock": {"time": moment.time, "trust": moment.trust},
                **{name: show() for name, show in self._extra.items()},
                "parts": {**self._parts(), **shown({"broker": broker}, moment)},
            },
            **deliveries,
            "feedback": self._feedback(),
        }

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        """Carry out a driver's action."""
        return await self._act(action, arguments)

    async def checkup(self) -> dict[str, Any]:
        """All of ``GET /api/checkup``. Whoever asks while the unit is being checked gets the same result."""
        if self._examination is None or self._examination.done():
            self._examination = asyncio.create_task(asyncio.to_thread(self._examine), name="check-up")
        return await asyncio.shield(self._examination)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Views from now on, one a change, the first at once."""

        async def views(changed: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
            while True:
                changed.clear()
                yield self.view()
                await asyncio.sleep(VIEW_EVERY_S)
                await changed.wait()

        async with self._unit.watch() as changed:
            yield views(changed)

    def _feedback(self) -> dict[str, Any] | None:
        if self._unit.last_feedback is None:
            return None
        feedback, time = self._unit.last_feedback
        return {**words.feedback(feedback), "time": time}

    def _open_secrets(self, deliveries: dict[str, Any]) -> None:
        """Put in names and codes of the stop under way, which the core knows only sealed."""
        if (stop := deliveries["current_stop"]) is None:
            return

        def opened(sealed: Any) -> Any:
            if isinstance(sealed, dict):
                return {name: opened(each) for name, each in sealed.items()}
            if not isinstance(sealed, str) or not sealed.startswith(SEALED):
                return sealed
            try:
                return self._sealer.open(deliveries["block"]["block_id"], sealed)
            except SealError as error:
                log.warning("%s", error)
                return None

        stop["recipient"] = opened(stop["recipient"])
        stop["neighbour"] = opened(stop["neighbour"])
        codes = dict.fromkeys(map(opened, stop["access_codes"]))  # each once: parcels of one door share theirs
        stop["access_codes"] = [code for code in codes if code is not None]
