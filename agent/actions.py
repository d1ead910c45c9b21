"""A driver's action on its way to the core: what has to be found out about it first, and then the decision.

The core knows no secrets and no pictures: whatever it needs of them is a fact that a function of `FACTS` finds before
the decision. Such a function is quick (1 ms at most), since it runs in the loop; slow work is `agent.workers`'.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from agent.delivery.model.decision import Answer
from agent.delivery.model.inputs import Acted, Facts
from agent.labels.identity import to_input
from drivers.readings import Scan

FactFinder = Callable[[Mapping[str, Any]], Facts]
"""Finds facts about an action by its arguments, which are not checked yet; never raises."""


def typed_code(arguments: Mapping[str, Any]) -> Facts:
    """What the number is that the driver has typed in."""
    code = arguments.get("code")
    return Facts(to_input(Scan("console", code, time.monotonic_ns()), "manual")) if isinstance(code, str) else Facts()


FACTS: Final[Mapping[str, FactFinder]] = {"scan": typed_code}
"""By the name of the action; one that is not here needs no facts."""


class Actions:
    """Carries out actions; `decide` is the unit's decision about one."""

    def __init__(self, decide: Callable[[Acted], Awaitable[Answer]], facts: Mapping[str, FactFinder] = FACTS) -> None:
        self._decide = decide
        self._facts = facts

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        """Carry out a driver's action; the answer comes when its events are durable."""
        find = self._facts.get(action)
        return await self._decide(Acted(action, arguments, find(arguments) if find else Facts()))
