"""The driver's screen as a part of the agent: it listens, serves inside the agent's own loop, and leaves quickly."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from agent.console.api import app
from agent.console.backend import Backend
from agent.console.connections import Connection
from agent.console.guard import served_hosts
from agent.settings import split_address
from drivers.readings import Condition, DriverError, PartState, Reading

UNREAD_BYTES: Final = 64 * 1024
"""How much of a stream the kernel may hold for one reader, so that what a slow one reads next is not minutes old."""
UNREAD_TIMEOUT_MS: Final = 30_000
"""A reader that takes nothing for so long is disconnected; its place among the streams is free again."""
SHUTDOWN_GRACE_S: Final = 0.5


class ConsoleError(DriverError):
    """The driver's screen cannot be served: says where, what happened and what to do."""


class Console:
    """The server as a part of the agent: runs until it is cancelled, and then leaves within a second or two.

    :param listen: ``host:port``, an address of this unit; port 0 takes a free one
    """

    name = "console"

    def __init__(self, backend: Backend, listen: str) -> None:
        self._backend = backend
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
        server = _server(app(self._backend, hosts=served_hosts(self._listen, port), token=self._token, closing=closing))
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
            f"the driver's screen cannot listen at {listen}: {error.strerror}; "
            "stop the program that does, or choose another console.listen"
        ) from error
    listener.setblocking(False)
    return listener


def _server(application: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,  # what anybody can repeat at will is told by `api`, in few lines
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
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
