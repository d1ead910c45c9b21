"""The driver's screen: a local web page and its small HTTP API (contract §5), served inside the agent's own loop.

It promises that only pages of this unit can act on it: the ``Host`` must be one that we serve (a rebound DNS name is
not), a foreign ``Origin`` is turned away, and whatever changes something carries the token that only this unit and its
screen get. A reader that does not keep up gets fewer, newer states and costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent import words
from agent.console.desk import Desk
from agent.settings import is_loopback, split_address
from contract import strict_json
from drivers.readings import Condition, DriverError, PartState, Reading

MAX_BODY_BYTES: Final = 128 * 1024
"""Room for a signature of several thousand points; nothing else comes near."""
BODY_TIMEOUT_S: Final = 10.0
MAX_STREAMS: Final = 8
MAX_CONNECTIONS: Final = 32
KEEP_ALIVE_S: Final = 15.0
UNREAD_BYTES: Final = 64 * 1024
"""How much of a stream the kernel may hold for one reader, so that what a slow one reads next is not minutes old."""
UNREAD_TIMEOUT_MS: Final = 30_000
"""A reader that takes nothing for so long is disconnected; its place among the streams is free again."""
SHUTDOWN_GRACE_S: Final = 0.5

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
PAGE: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


class ConsoleError(DriverError):
    """The driver's screen can not be served: says where, what happened and what to do."""


def app(desk: Desk, *, hosts: Collection[str], token: str, closing: asyncio.Event) -> Starlette:
    """The page and the API.

    :param hosts: what a ``Host`` header may say, in lower case, with the port where it is not 80
    :param token: what a request that changes something must carry
    :param closing: set when the server is about to stop: streams end, and no new one begins
    """
    routes = [Route(path, _file(name, media_type)) for path, (name, media_type) in PAGE.items()]
    api = _Api(desk, token, closing)
    routes += [
        Route("/healthz", _health),
        Route("/api/state", api.state),
        Route("/api/stream", api.stream),
        Route("/api/session", api.session),
        Route("/api/actions", api.act, methods=["POST"]),
    ]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(_Guard, hosts=frozenset(hosts), token=token)],
        exception_handlers={HTTPException: _http_problem, ClientDisconnect: _gone, Exception: _fault},
    )
    application.router.redirect_slashes = False
    return application


class Console:
    """The server as a part of the agent: runs until it is cancelled, and then leaves within a second or two.

    :param listen: ``host:port``, an address of this unit; port 0 takes a free one
    """

    name = "console"

    def __init__(self, desk: Desk, listen: str) -> None:
        self._desk = desk
        self._listen = listen
        self._token = secrets.token_urlsafe(32)
        self.address: str | None = None
        """``host:port`` while it listens."""

    async def run(self, out: Callable[[Reading], None], report: Callable[[PartState], None]) -> None:
        """Serve until cancelled.

        :raises ConsoleError: the address is not usable
        """
        report(PartState.now(Condition.OPENING))
        listener = _listener(self._listen)
        host, port = listener.getsockname()[:2]
        closing = asyncio.Event()
        server = _server(app(self._desk, hosts=_hosts(self._listen, port), token=self._token, closing=closing))
        try:
            await server.startup(sockets=[listener])
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            report(PartState.now(Condition.READY))
            await asyncio.get_running_loop().create_future()
        finally:
            self.address = None
            closing.set()
            if server.started:
                await _stop(server, listener)
            listener.close()


class _Api:
    def __init__(self, desk: Desk, token: str, closing: asyncio.Event) -> None:
        self._desk = desk
        self._token = token
        self._closing = closing
        self._streams = 0

    async def state(self, _request: Request) -> Response:
        return JSONResponse(_worded(self._desk.view()))

    async def session(self, _request: Request) -> Response:
        return JSONResponse({"token": self._token})

    async def act(self, request: Request) -> Response:
        media_type, _, _ = request.headers.get("content-type", "").partition(";")
        if media_type.strip().lower() != "application/json":
            return _problem(415, "NOT_JSON", "Expected the content type application/json.")
        try:
            body = await _body(request)
        except TimeoutError:
            return _problem(408, "TIMEOUT", f"The body did not arrive within {BODY_TIMEOUT_S:.0f} s.")
        if body is None:
            return _problem(413, "TOO_LARGE", f"Expected at most {MAX_BODY_BYTES} bytes.")
        try:
            asked = strict_json.parse(body)
        except strict_json.StrictJsonError as error:
            return _problem(400, "INVALID_JSON", f"Expected one JSON object: {error}.")
        action = asked.pop("action", None) if isinstance(asked, dict) else None
        if not isinstance(action, str):
            return _problem(400, "INVALID", 'Expected an object with the name of an action: {"action": "scan", …}.')
        answer = await self._desk.act(action, asked)
        if answer.accepted:
            return JSONResponse({"accepted": True, "events": list(answer.events)})
        return JSONResponse({"accepted": False, "reason": answer.reason, "message": answer.message}, 409)

    async def stream(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self._streams >= MAX_STREAMS or self._closing.is_set():
            return _problem(503, "TOO_MANY_SCREENS", f"At most {MAX_STREAMS} screens can follow; close one.")
        return _Stream(self._follow)

    async def _follow(self, receive: Receive, send: Callable[[bytes], Any]) -> None:
        """Send the state now and after each change, until the reader or the server goes."""
        self._streams += 1
        try:
            await self._relay(receive, send)
        finally:
            self._streams -= 1

    async def _relay(self, receive: Receive, send: Callable[[bytes], Any]) -> None:
        async with self._desk.watch() as views:
            gone = asyncio.ensure_future(_disconnected(receive))
            closing = asyncio.ensure_future(self._closing.wait())
            change = asyncio.ensure_future(anext(views))
            try:
                sent = b""
                await send(b"retry: 1000\n\n")
                while not (gone.done() or closing.done()):
                    await asyncio.wait(
                        (gone, closing, change), timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not change.done():
                        await send(b": still here\n\n")
                        continue
                    try:
                        latest = _encoded(_worded(change.result()))
                    except StopAsyncIteration:
                        return
                    change = asyncio.ensure_future(anext(views))
                    if latest != sent:
                        await send(b"data: " + latest + b"\n\n")
                        sent = latest
            finally:
                tasks = (gone, closing, change)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


class _Stream(Response):
    """Server-sent events. It ends by itself when its reader is gone, so it needs no task that watches over it."""

    media_type = "text/event-stream"

    def __init__(self, follow: Callable[[Receive, Callable[[bytes], Any]], Any]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_chunk(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._follow(receive, send_chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Guard:
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

        problem = self._problem(scope)
        await (problem or self._app)(scope, receive, send_guarded)

    def _problem(self, scope: Scope) -> Response | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return _problem(421, "HOST_NOT_SERVED", f'This unit is not "{host}"; expected {min(self._hosts)}.')
        if not scope["path"].startswith("/api/"):
            return None
        origin = headers.get(b"origin", f"http://{host}".encode()).decode("latin-1").lower()
        site = headers.get(b"sec-fetch-site", b"none")
        if origin.removeprefix("http://") not in self._hosts or site not in (b"none", b"same-origin"):
            return _problem(403, "FOREIGN_ORIGIN", "Only this unit's own page may use its API.")
        here = scope["client"] is not None and is_loopback(scope["client"][0])
        if here and scope["method"] in ("GET", "HEAD"):
            return None
        given = headers.get(b"x-kerbside-token", b"")
        if not secrets.compare_digest(given, self._token):
            return _problem(403, "TOKEN", "Expected this unit's token in X-Kerbside-Token (GET /api/session).")
        return None


def _listener(listen: str) -> socket.socket:
    """A listening socket.

    :raises ConsoleError: it is not an address of this unit, or someone else listens there
    """
    try:
        address = split_address(listen)
    except ValueError as error:
        raise ConsoleError(f'console.listen: {error}, got "{listen}"') from None
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConsoleError(f'console.listen: "{listen}" is not an address of this unit ({error.strerror})') from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Set here because the sockets of accepted connections inherit them, and the server does not hand those out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)
        listener.bind(resolved)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConsoleError(
            f"the driver's screen can not listen at {listen}: {error.strerror}; "
            "stop the program that does, or choose another console.listen"
        ) from error
    listener.setblocking(False)
    return listener


def _hosts(listen: str, port: int) -> set[str]:
    asked, _ = split_address(listen)
    names = {"127.0.0.1", "localhost", "[::1]", f"[{asked}]" if ":" in asked else asked.lower()}
    return {f"{name}:{port}" for name in names} | (names if port == 80 else set())


def _server(application: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.ERROR,  # broken requests are the client's affair, and a flood of them must not fill the log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    # The rest of `Server.serve` is signal handlers, which belong to the agent, and a clock that wakes ten times a
    # second; `startup` and `shutdown` are all that a server inside a running loop needs.
    server.lifespan = config.lifespan_class(config)
    return server


async def _stop(server: uvicorn.Server, listener: socket.socket) -> None:
    def abort() -> None:
        for connection in list(server.server_state.connections):
            transport: asyncio.Transport | None = connection.transport
            if transport is not None:
                transport.abort()

    # Whoever is still there after the grace does not read; waiting for it would hold up the whole agent.
    timer = asyncio.get_running_loop().call_later(SHUTDOWN_GRACE_S, abort)
    try:
        await server.shutdown(sockets=[listener])
    finally:
        timer.cancel()


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


def _worded(view: dict[str, Any]) -> dict[str, Any]:
    """The view, its prompt in words."""
    prompt = view.get("prompt")
    if not prompt:
        return view
    return {**view, "prompt": {**prompt, "text": words.prompt(prompt["code"], prompt["params"])}}


def _encoded(view: dict[str, Any]) -> bytes:
    return json.dumps(view, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    content = Path(__file__).with_name(name).read_bytes()

    async def file(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return file


async def _health(_request: Request) -> Response:
    return JSONResponse({"ok": True})


def _problem(status: int, reason: str, message: str) -> Response:
    return JSONResponse({"reason": reason, "message": message}, status)


async def _http_problem(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    response = _problem(status, detail.upper().replace(" ", "_"), f"{detail}.")
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _gone(_request: Request, _error: Exception) -> Response:
    return _problem(400, "GONE", "The client went away in the middle of its request.")


async def _fault(_request: Request, _error: Exception) -> Response:
    return _problem(500, "FAULT", "The unit could not answer; its log says why.")
