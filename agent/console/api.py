"""What the console serves: the pages, and a small HTTP API (contract §5)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.console.backend import Backend
from agent.console.encoding import encoded, unwritable
from agent.console.guard import Guard
from agent.console.problem import problem
from agent.console.stream import Streams
from contract import strict_json
from drivers.limited_log import LimitedLog

MAX_BODY_BYTES: Final = 128 * 1024
"""Room for a signature of several thousand points; nothing else comes near."""
BODY_TIMEOUT_S: Final = 10.0
_JSON: Final = re.compile(r'application/json *(; *charset="?utf-8"?)? *', re.IGNORECASE | re.ASCII)
PAGES: Final = Path(__file__).with_name("pages")
ROUTES: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/actions.js": ("actions.js", "text/javascript"),
    "/parts.js": ("parts.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
}


def app(backend: Backend, *, hosts: Collection[str], token: str, closing: asyncio.Event) -> Starlette:
    """The page and the API.

    :param hosts: what a ``Host`` header may say, in lower case, with the port where it is not 80
    :param token: what a request that changes something must carry
    :param closing: set when the server is about to stop: streams end, and no new one begins
    """
    routes = [Route(path, _file(name, media_type)) for path, (name, media_type) in ROUTES.items()]
    api = _Api(backend, token)
    routes += [
        Route("/healthz", api.health),
        Route("/api/state", api.state),
        Route("/api/stream", Streams(backend, closing).open),
        Route("/api/session", api.session),
        Route("/api/checkup", api.checkup),
        Route("/api/actions", api.act, methods=["POST"]),
    ]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=frozenset(hosts), token=token)],
        exception_handlers={HTTPException: _http_problem, ClientDisconnect: _gone, Exception: api.fault},
    )
    application.router.redirect_slashes = False
    return application


class _Api:
    def __init__(self, backend: Backend, token: str) -> None:
        self._backend = backend
        self._token = token
        self._faults = LimitedLog(logging.getLogger(__name__), "faults while answering")

    async def state(self, _request: Request) -> Response:
        return Response(encoded(self._backend.view()), media_type="application/json")

    async def health(self, _request: Request) -> Response:
        try:
            faults = [*self._backend.health(), *unwritable(self._backend.view())]
        except Exception as error:  # noqa: BLE001 - whatever it is, the unit is not well
            self._faults.warning("the unit cannot say how it is: %s", type(error).__name__, fault=error)
            faults = ["the state cannot be drawn"]
        return JSONResponse({"ok": False, "faults": faults}, 503) if faults else JSONResponse({"ok": True})

    async def fault(self, request: Request, error: Exception) -> Response:
        asked = f"{request.method} {request.scope['path']}"
        self._faults.warning("%s could not be answered: %s", asked, type(error).__name__, fault=error)
        return problem(500, "FAULT", "The unit could not answer; its log says why.")

    async def session(self, _request: Request) -> Response:
        return JSONResponse({"token": self._token})

    async def checkup(self, _request: Request) -> Response:
        return JSONResponse(await self._backend.checkup())

    async def act(self, request: Request) -> Response:
        if not _JSON.fullmatch(request.headers.get("content-type", "")):
            return problem(415, "NOT_JSON", "Expected the content type application/json, in UTF-8.")
        if "content-encoding" in request.headers:
            return problem(415, "NOT_JSON", "Expected JSON as it is, without a content-encoding.")
        try:
            body = await _body(request)
        except TimeoutError:
            return problem(408, "TIMEOUT", f"The body did not arrive within {BODY_TIMEOUT_S:.0f} s.")
        if body is None:
            return problem(413, "TOO_LARGE", f"Expected at most {MAX_BODY_BYTES} bytes.")
        try:
            asked = strict_json.parse(body)
        except strict_json.StrictJsonError as error:
            return problem(400, "INVALID_JSON", f"Expected one JSON object: {error}.")
        action = asked.pop("action", None) if isinstance(asked, dict) else None
        if not isinstance(action, str):
            return problem(400, "INVALID", 'Expected an object with the name of an action: {"action": "scan", …}.')
        answer = await self._backend.act(action, asked)
        if (refusal := answer.refusal) is None:
            return JSONResponse({"accepted": True, "events": list(answer.events)})
        return JSONResponse({"accepted": False, "reason": refusal.reason, "message": answer.message}, 409)


async def _body(request: Request) -> bytes | None:
    """The whole body, or ``None`` when it is too large.

    :raises TimeoutError: it does not arrive
    """
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async with asyncio.timeout(BODY_TIMEOUT_S):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
    return bytes(body)


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    content = (PAGES / name).read_bytes()

    async def file(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return file


async def _http_problem(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    response = problem(status, detail.upper().replace(" ", "_"), f"{detail}.")
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _gone(_request: Request, _error: Exception) -> Response:
    return problem(400, "GONE", "The client went away in the middle of its request.")
