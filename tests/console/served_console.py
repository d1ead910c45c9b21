"""The real console on a free loopback port, in a thread with its own event loop, before a unit of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from agent.console.console import Console
from agent.delivery.model.decision import Answer, Refusal
from drivers.readings import PartState

TIMEOUT_S = 20.0


class FakeBackend:
    """Shows whatever dict the test sets, remembers the actions, refuses ``refuse`` and takes its time over ``wait``."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {"unit": {"id": "u1"}, "n": 0}
        self.acted: list[tuple[str, dict[str, Any]]] = []
        self.watchers: set[asyncio.Event] = set()
        self.views = 0
        self.faults: list[str] = []

    def view(self) -> dict[str, Any]:
        self.views += 1
        return self.shown

    def health(self) -> list[str]:
        return self.faults

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        self.acted.append((action, dict(arguments)))
        if action == "refuse":
            return Answer(refusal=Refusal("NO_STOP"), message="No stop is under way.")
        if action == "break":
            raise RuntimeError("the backend is broken")
        if action == "wait":
            await asyncio.sleep(3600)
        return Answer(("0190-1", "0190-2"))

    async def checkup(self) -> dict[str, Any]:
        return {"ok": True, "checks": []}

    def show(self, shown: dict[str, Any]) -> None:
        self.shown = shown
        for watcher in self.watchers:
            watcher.set()

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        changed = asyncio.Event()

        async def views() -> AsyncIterator[dict[str, Any]]:
            while True:
                changed.clear()
                yield self.view()
                await changed.wait()

        self.watchers.add(changed)
        try:
            yield views()
        finally:
            self.watchers.discard(changed)


class Served:
    """A console that runs, its backend, and a client's view of both."""

    def __init__(self, backend: FakeBackend, console: Console, loop: asyncio.AbstractEventLoop) -> None:
        self.backend = backend
        self.console = console
        self.loop = loop
        assert console.address is not None
        self.host, _, port = console.address.rpartition(":")
        self.port = int(port)

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    def show(self, shown: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._show(shown), self.loop).result(TIMEOUT_S)

    async def _show(self, shown: dict[str, Any]) -> None:
        self.backend.show(shown)

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        status, _, content = self.ask(method, path, body, headers)
        return status, json.loads(content)

    def token(self) -> str:
        status, session = self.json("GET", "/api/session")
        assert status == 200
        return str(session["token"])

    def post(self, body: bytes | str, **headers: str) -> tuple[int, Any]:
        """An action with the right token and type, but for what `headers` says (``content_type="…"``)."""
        given = {"x-kerbside-token": self.token(), "content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.json("POST", "/api/actions", body, given)


@contextlib.contextmanager
def serving(listen: str = "127.0.0.1:0", backend: FakeBackend | None = None) -> Iterator[Served]:
    backend = backend or FakeBackend()
    console = Console(backend, listen)
    ready = threading.Event()
    states: list[PartState] = []
    failure: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def report(state: PartState) -> None:
        states.append(state)
        if state.condition == "ready":
            ready.set()

    async def main() -> None:
        task = asyncio.ensure_future(console.run(lambda _reading: None, report))
        running.append((asyncio.get_running_loop(), task))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    if failure:
        thread.join(TIMEOUT_S)
        raise failure[0]
    loop, task = running[0]
    try:
        yield Served(backend, console, loop)
    finally:
        with contextlib.suppress(RuntimeError):  # the loop of a console that was stopped by the test is closed
            loop.call_soon_threadsafe(task.cancel)
        thread.join(TIMEOUT_S)
        assert not thread.is_alive(), "the console did not stop"
        assert not failure, failure
