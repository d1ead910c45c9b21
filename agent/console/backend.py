"""What the console needs of the unit: look at it, act on it, be told of changes.

The console knows the unit by these shapes only; who composes the agent plugs the real one in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from agent.delivery.model.decision import Answer


class Backend(Protocol):
    """The unit, as a driver's screen sees it. Everything is called in the event loop's thread."""

    def view(self) -> dict[str, Any]:
        """All of ``GET /api/state``: JSON values only."""

    def health(self) -> list[str]:
        """What is wrong with the agent itself; nothing where all is well."""

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        """Carry out a driver's action (contract §5); an unknown one or a wrong argument is refused, not raised.

        A refusal comes with its message.
        """

    async def checkup(self) -> dict[str, Any]:
        """All of ``GET /api/checkup``, the document of ``kerbside doctor --json``; takes seconds."""

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """Views: one at once, then one a change; a slow reader misses those between, never the last."""
