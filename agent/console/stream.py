"""The stream of states: server-sent events, one a change, for several screens at once.

A state is drawn once, however many follow. A reader that does not keep up gets fewer, newer states and costs a bounded
amount of memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent.console.backend import Backend
from agent.console.encoding import encoded
from agent.console.problem import problem

MAX_STREAMS: Final = 8
KEEP_ALIVE_S: Final = 15.0


class Streams:
    """``GET /api/stream`` for everybody who follows.

    :param closing: set when the server is about to stop: streams end, and no new one begins
    """

    def __init__(self, backend: Backend, closing: asyncio.Event) -> None:
        self._backend = backend
        self._closing = closing
        self._followers: set[asyncio.Event] = set()
        """What is set when there is a newer state, for each that follows."""
        self._newest = b""
        self._drawing: asyncio.Task[None] | None = None

    async def open(self, request: Request) -> Response:
        """A stream for one more screen, as long as there are not too many."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if len(self._followers) >= MAX_STREAMS or self._closing.is_set():
            return problem(503, "TOO_MANY_SCREENS", f"At most {MAX_STREAMS} screens can follow; close one.")
        return _Stream(self._follow)

    async def _follow(self, receive: Receive, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the state now and after each change, until the reader or the server goes."""
        news = asyncio.Event()
        self._followers.add(news)
        if self._drawing is None or self._drawing.done():
            self._newest = b""
            self._drawing = asyncio.create_task(self._draw())
        elif self._newest:
            news.set()
        try:
            await self._relay(receive, send, news, self._drawing)
        finally:
            self._followers.discard(news)
            if not self._followers and (drawing := self._drawing) is not None:
                self._drawing = None
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)

    async def _draw(self) -> None:
        """Make of each change what a screen gets, once for all who follow."""
        async with self._backend.watch() as views:
            async for view in views:
                newest = encoded(view)
                if newest != self._newest:
                    self._newest = newest
                    for news in self._followers:
                        news.set()

    async def _relay(
        self,
        receive: Receive,
        send: Callable[[bytes], Awaitable[None]],
        news: asyncio.Event,
        drawing: asyncio.Task[None],
    ) -> None:
        gone = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(self._closing.wait())
        change = asyncio.create_task(news.wait())
        try:
            await send(b"retry: 1000\n\n")
            while not (gone.done() or closing.done()):
                await asyncio.wait(
                    (gone, closing, change, drawing), timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
                )
                if change.done():
                    news.clear()
                    change = asyncio.create_task(news.wait())
                    await send(b"data: " + self._newest + b"\n\n")
                elif drawing.done():
                    drawing.result()
                    return
                else:
                    await send(b": still here\n\n")
        finally:
            tasks = (gone, closing, change)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Stream(Response):
    """Server-sent events. It ends by itself when its reader is gone, so it needs no task that watches over it."""

    media_type = "text/event-stream"

    def __init__(self, follow: Callable[[Receive, Callable[[bytes], Awaitable[None]]], Awaitable[None]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_chunk(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._follow(receive, send_chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
