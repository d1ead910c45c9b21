"""Connections of the driver's screen: there is always a place for the next one, and no request is waited for for ever.

Of `MAX_CONNECTIONS` places the oldest connection without a request under way makes room for a new one: first those from
other machines, then those that have never asked anything. Where all have one, the newest that only reads makes room; an
action is never cut. A program on this unit never makes room for another machine.

A request has to be there in time, and has to have one reading: what names its host, its length or its sender twice is
refused. Each refusal says why, in the form of `problem`.
"""

from __future__ import annotations

import re
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections import Counter
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from agent.console.guard import HEADERS
from agent.console.problem import problem
from agent.settings import is_loopback

MAX_CONNECTIONS: Final = 32
HEAD_TIMEOUT_S: Final = 10.0
"""From the connection, or the answer before, to the end of a request's headers."""
BODY_TIMEOUT_S: Final = 15.0
"""From there to the end of its body; whoever reads the body answers before."""
MAX_HEAD_BYTES: Final = 16 * 1024
LINGER_S: Final = 1.0
"""How long a refused client has for reading why, before the connection is cut."""

_TOO_LONG: Final = f"Expected headers of at most {MAX_HEAD_BYTES} bytes."
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_SINGLE: Final = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"x-kerbside-token",
    }
)
"""What decides how a request is read, and who may send it."""


class Connection(H11Protocol):
    """One connection, as uvicorn serves it, with a deadline and a place among the others."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: _OneReading = _OneReading(h11.SERVER, MAX_HEAD_BYTES)
        self._deadline: TimerHandle | None = None
        self._waits_for: object = None
        """The state of a request that is not all there; ``None`` while one is being answered."""
        self._since_s = self.loop.time()
        """When it began to wait for what it waits for, or its reader ceased to read."""
        self._has_asked = False
        self._is_refused = False

    # --- what the transport tells ---------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A new one: it has a place, or another makes room."""
        super().connection_made(transport)
        self._watch()
        others = [each for each in self.connections if isinstance(each, Connection) and each.is_open]
        if len(others) > MAX_CONNECTIONS:
            leaving = [
                each for each in others if each is not self and each.may_leave and each.is_local <= self.is_local
            ]
            if leaving:
                min(leaving, key=Connection.staying).transport.abort()
                return
            self._refuse(503, "BUSY", f"All {MAX_CONNECTIONS} connections are in use; close one.")

    def data_received(self, data: bytes) -> None:
        """Part of a request, or of several."""
        if not self._is_refused:
            super().data_received(data)
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Its reader does not keep up."""
        super().pause_writing()
        self._since_s = self.loop.time()

    # --- its place among the others -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed by us."""
        return not self.transport.is_closing()

    @property
    def is_local(self) -> bool:
        """Whether a program on this unit has opened it."""
        return self.client is not None and is_loopback(self.client[0])

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way: none has come to its end, or nobody reads the answer."""
        return self._is_refused or self._waits_for is not None or self.flow.write_paused

    @property
    def may_leave(self) -> bool:
        """Whether nothing is lost with it that cannot be asked again."""
        return self.is_idle or self.scope["method"] in {"GET", "HEAD"}

    def staying(self) -> tuple[bool, bool, bool, bool, float]:
        """Who has the smallest makes room first: the one that has waited longest, or else the newest at work."""
        age_s = self.loop.time() - self._since_s
        waits = self._waits_for is not None
        return self.is_local, not self.is_idle, self._has_asked, not waits, -age_s if self.is_idle else age_s

    # --- a request in time ----------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """An answer has gone out: the next request may come."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Have a deadline exactly as long as a request is not all there."""
        state = self.conn.their_state
        waits_for = state if state in (h11.IDLE, h11.SEND_BODY) and self.is_open and not self._is_refused else None
        if waits_for is self._waits_for and self._deadline is not None:
            return
        self._cancel_deadline()
        self._waits_for = waits_for
        self._has_asked = self._has_asked or waits_for is None
        if waits_for is not None:
            self._since_s = self.loop.time()
            wait_s = HEAD_TIMEOUT_S if waits_for is h11.IDLE else BODY_TIMEOUT_S
            self._deadline = self.loop.call_later(wait_s, self._give_up, wait_s)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, wait_s: float) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # it has begun nothing, so there is nothing to answer
        else:
            self._refuse(408, "TIMEOUT", f"The request did not arrive within {wait_s:.0f} s.")

    # --- a request with one reading -------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """What came cannot be read as HTTP, or in two ways."""
        self._refuse(400, "BAD_REQUEST", self.conn.fault or "Expected a request of HTTP/1.1.")

    def _refuse(self, status: int, reason: str, message: str) -> None:
        """Say why, and leave once the client can have read it."""
        self._is_refused = True
        self._watch()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # in the middle of an answer there is no place for another one
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        answer = problem(status, reason, message)
        headers = [*answer.raw_headers, *HEADERS, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()  # a close with something unread would take the answer back
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)


class _OneReading(h11.Connection):
    """HTTP/1.1 as h11 reads it, without requests of which another program could make a different one."""

    fault = ""
    """Why the last request was refused."""

    def next_event(self) -> Any:
        """The next event.

        :raises h11.RemoteProtocolError: the peer has misbehaved
        """
        if self.their_state is h11.IDLE:
            received = self.trailing_data[0]
            if (end := _END_OF_HEAD.search(received)) and (fault := _fault(received[: end.start()])):
                self.fault = fault
                raise h11.RemoteProtocolError(fault)
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            self.fault = _TOO_LONG if error.error_status_hint == 431 else ""
            raise


def _fault(head: bytes) -> str:
    """Why the headers of a request are not read: they are too long, or have two readings; empty where they are fine."""
    if len(head) > MAX_HEAD_BYTES:
        return _TOO_LONG
    fields = [line.partition(b":") for line in head.split(b"\n")[1:]]
    names = Counter(name.strip().lower() for name, _, _ in fields)
    for name in sorted(_SINGLE):
        if names[name] > 1:
            return f"Expected one header {name.decode()}, got {names[name]}."
    if names[b"content-length"] and names[b"transfer-encoding"]:
        return "Expected the header content-length or transfer-encoding, got both."
    if any(name.strip().lower() == b"content-length" and not value.strip().isdigit() for name, _, value in fields):
        return "Expected one whole number as content-length."
    return ""
