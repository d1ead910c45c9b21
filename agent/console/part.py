"""The driver's screen as a part of the agent."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from agent.console.backend import Backend
from agent.console.console import Console
from agent.parts import Fitted
from agent.settings import ConsoleSettings
from drivers.readings import Condition, PartState, Reading

log = logging.getLogger(__name__)


def console(settings: ConsoleSettings, backend: Backend) -> Iterator[Fitted[Reading]]:
    """The part; the agent has not started before there is a screen, or no way to have one."""
    server = Console(backend, settings.listen)

    def tell(state: PartState) -> None:
        if state.condition is Condition.READY:
            log.info("the driver's screen is at http://%s/", server.address)

    yield Fitted(server, on_state=tell, awaited=True)
