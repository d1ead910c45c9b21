"""Who may use the console: only pages of this unit.

The ``Host`` must be one that we serve (a rebound DNS name is not), a foreign ``Origin`` is turned away, and whatever
changes something carries the token that only this unit and its screen get. Every answer gets its security headers.
"""

from __future__ import annotations

import secrets
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.console.problem import problem
from agent.settings import is_loopback, split_address

HEADERS: Final = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": (
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }.items()
)


class Guard:
    """Turns away what does not come from this unit's own screen, and gives every answer its security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        refused = self._refused(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refused(self, scope: Scope) -> Response | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return problem(421, "HOST_NOT_SERVED", f'This unit is not "{host[:100]}"; expected {min(self._hosts)}.')
        if not scope["path"].startswith("/api/"):
            return None
        origin = headers.get(b"origin", f"http://{host}".encode()).decode("latin-1").lower()
        site = headers.get(b"sec-fetch-site", b"none")
        if origin.removeprefix("http://") not in self._hosts or site not in (b"none", b"same-origin"):
            return problem(403, "FOREIGN_ORIGIN", "Only this unit's own page may use its API.")
        here = scope["client"] is not None and is_loopback(scope["client"][0])
        if here and scope["method"] in ("GET", "HEAD"):
            return None
        given = headers.get(b"x-kerbside-token", b"")
        if not secrets.compare_digest(given, self._token):
            return problem(403, "TOKEN", "Expected this unit's token in X-Kerbside-Token (GET /api/session).")
        return None


def served_hosts(listen: str, port: int) -> frozenset[str]:
    """What a ``Host`` header may say of a console at `listen`, in lower case, with the port where it is not 80."""
    asked, _ = split_address(listen)
    names = {"127.0.0.1", "localhost", "[::1]", f"[{asked}]" if ":" in asked else asked.lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))
