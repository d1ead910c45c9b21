"""SMP over a serial line to the microcontroller of the mount."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from smp.header import OP

from firmware_bridge.errors import BridgeError, Cause

__all__ = ["OP", "BridgeError", "Cause", "Link", "Parameters", "Reply"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the server can take (OS group, command 6)."""

    buffer_bytes: int
    """One SMP message with its header, and the four bytes of its framing."""
    buffers: int
    told: bool
    """False when the server does not say: then a size is assumed that every server takes."""


class Reply:
    """The answer that is still to come to a request sent by `Link.post`."""

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The answer's map. One attempt: a request posted is never sent again by the link.

        :raises BridgeError: timeout, garbled, refused, unsupported, gone
        """
        raise NotImplementedError


class Link:
    """One serial line with an SMP server at its other end; `open` it, or use it as a context manager."""

    def __init__(
        self,
        port: str,
        baud: int = 115_200,
        *,
        timeout_s: float = 1.0,
        retries: int = 3,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.port = port
        self.parameters = Parameters(256, 1, told=False)

    def open(self) -> None:
        """Open the line and ask the server for its parameters. Also opens again what was closed or is gone.

        :raises BridgeError: gone, busy, line, timeout, garbled
        """

    def close(self) -> None:
        """Give the line back. Whoever waits for an answer gets `Cause.GONE`."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        op: OP,
        group: int,
        command: int,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> dict[str, Any]:
        """Send a request and give back the map of its answer; one request at a time, from any thread.

        `timeout_s` is for one attempt as a whole. Ends within (1 + retries) * timeout_s and the back-off between.

        :raises BridgeError: timeout, garbled, refused, unsupported, gone, invalid (longer than the server takes)
        """
        raise NotImplementedError

    def read(self, group: int, command: int, payload: Mapping[str, Any] | None = None, **limits: Any) -> dict[str, Any]:
        """`request` with `OP.READ`."""
        return self.request(OP.READ, group, command, payload, **limits)

    def write(
        self, group: int, command: int, payload: Mapping[str, Any] | None = None, **limits: Any
    ) -> dict[str, Any]:
        """`request` with `OP.WRITE`."""
        return self.request(OP.WRITE, group, command, payload, **limits)

    def post(self, op: OP, group: int, command: int, payload: Mapping[str, Any] | None = None) -> Reply:
        """Send a request without waiting for its answer: for uploads, up to `window` of them at a time.

        :raises BridgeError: gone, invalid, timeout (the line does not take the bytes)
        """
        raise NotImplementedError

    @property
    def window(self) -> int:
        """How many requests may be under way at once, by the server's number of buffers: 1 or 2."""
        return 1

    def room(self, payload: Mapping[str, Any], member: str = "data") -> int:
        """How many bytes fit into `member` of a message with this payload (0 when not even the rest fits)."""
        raise NotImplementedError

    def echo(self, text: str) -> str:
        """What the server echoes."""
        raise NotImplementedError

    def reset(self, *, force: bool = False) -> bool:
        """Ask the server to restart; asked once. False: it said nothing, as servers do that restart at once."""
        raise NotImplementedError
