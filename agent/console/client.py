"""The one HTTP client of the driver's screen: for commands beside a running agent, the demo and the tests.

An agent that is away, is another unit's or is no agent at all gives nothing: whoever asks goes on without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from agent.settings import UnitSettings, split_address


class Client:
    """The screen's HTTP API (contract §5) at `address`, ``host:port``."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._token = ""

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self._address}/"

    def state(self) -> dict[str, Any] | None:
        """All that the screen shows; ``None`` while nothing answers there."""
        try:
            status, body = self._request("GET", "/api/state", None)
        except (OSError, HTTPException, ValueError):
            return None
        return body if status == 200 and isinstance(body, dict) else None

    def state_of(self, unit: UnitSettings) -> dict[str, Any] | None:
        """The state of this very unit; ``None`` where nothing answers, or another unit does."""
        state = self.state()
        try:
            return state if state and (state["unit"]["id"], state["unit"]["fleet"]) == (unit.id, unit.fleet) else None
        except (LookupError, TypeError):
            return None

    def act(self, action: str, **arguments: Any) -> dict[str, Any] | None:
        """Carry out a driver's action; ``None`` when the unit went away before it answered."""
        body = None
        try:
            for _ in range(2):
                status, body = self._request("POST", "/api/actions", {"action": action, **arguments})
                if status != 403:
                    break
                # A unit that was restarted hands out a new token.
                _, session = self._request("GET", "/api/session", None)
                self._token = session["token"]
        except (OSError, HTTPException, ValueError):
            return None
        return body

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        connection = HTTPConnection(*split_address(self._address), timeout=self._timeout_s)
        try:
            headers = {"Content-Type": "application/json", "X-Kerbside-Token": self._token}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
