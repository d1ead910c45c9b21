"""Sends an image to a server as fast as the line allows, and goes on where the server is when something was lost.

The server's offset counts, not ours: every answer says what it has, and whatever was sent beside that is sent again.
It knows an upload by the SHA-256 of what is sent, so that one that broke off is resumed by simply starting it anew.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.link import OP, CommandId, GroupId, Link, Reply, is_number

FIRST_ANSWERS_S: Final = (0.5, 1.0, *[3.0] * 20)
"""For one attempt each; a server that is erasing takes the repetition for a question how far it is."""
LEAST_ANSWER_S: Final = 0.25
MOST_ANSWER_S: Final = 4.0
PATIENCE_S: Final = 10.0
"""A server that has taken nothing for so long is given up."""
MAX_STALLS: Final = 20
"""How often in a row a server may take nothing."""
MAX_RETURNS: Final = 10
"""How often a server may go back without getting further than it has been."""
MAX_REFUSALS: Final = 8
"""How often in a row a server may have no room or time for a piece."""
MOST_PAUSE_S: Final = 2.0
LEAST_CHUNK_BYTES: Final = 32
"""The image's header: servers want to see it at once."""


def upload(link: Link, content: bytes, progress: Callable[[int], None]) -> bool:
    """Send an image; `progress` gets the number of bytes that the server has.

    :returns: False where the server has lost its place at the very end: what it holds must be read from its slots
    :raises BridgeError: as `Link.request`; garbled or timeout from a server that does not get on, refused when it has
        written something else
    """
    return _Upload(link, content, progress).run()


class _Upload:
    def __init__(self, link: Link, content: bytes, progress: Callable[[int], None]) -> None:
        self._link = link
        self._content = content
        self._progress = progress
        self._best = 0
        self._taken_at = time.monotonic()
        self._returns = 0
        self._stalls = 0
        self._refusals = 0
        self._rtt_s = 0.25
        self._back_off = 1.0
        self._sent_last = False
        self._matches = True
        """The server knows what to compare with."""

    def run(self) -> bool:
        size, at = len(self._content), 0
        while at < size:
            before = at
            at = self._stream(at) if at else self._begin()
            self._judge(before, at)
            if at == 0 and self._sent_last:
                return False
        return True

    def _begin(self) -> int:
        """Send the first piece, by which the server knows the upload; the answer says where to go on."""
        size = len(self._content)
        first = {"len": size, "off": 0, "sha": hashlib.sha256(self._content).digest()}
        room = self._link.room(first)
        if room < min(LEAST_CHUNK_BYTES, size):
            # A server with messages so short cannot resume, nor say whether it has all.
            del first["sha"]
            self._matches = False
            room = self._link.room(first)
        if room < min(LEAST_CHUNK_BYTES, size):
            raise BridgeError(
                f"the microcontroller at {self._link.port} takes messages of {self._link.parameters.buffer_bytes} "
                "bytes, too few for an image: build its firmware with a larger CONFIG_MCUMGR_TRANSPORT_NETBUF_SIZE",
                Cause.INVALID,
            )
        payload = {**first, "data": self._content[:room]}
        for timeout_s in FIRST_ANSWERS_S[:-1]:
            try:
                return self._write(payload, timeout_s)
            except BridgeError as error:
                self._bear(error)
        return self._write(payload, FIRST_ANSWERS_S[-1])

    def _write(self, payload: Mapping[str, Any], timeout_s: float) -> int:
        group, command = GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.UPLOAD
        return self._offset(self._link.write(group, command, payload, timeout_s=timeout_s, retries=0))

    def _stream(self, at: int) -> int:
        """Send pieces from `at` on, several at a time; where the server is when something did not go as it should."""
        size, next_ = len(self._content), at
        under_way: deque[tuple[Reply, int, float]] = deque()
        while at < size:
            while len(under_way) < self._link.window and next_ < size:
                piece = self._content[next_ : next_ + self._link.room({"off": next_})]
                reply = self._link.post(
                    OP.WRITE,
                    GroupId.IMAGE_MANAGEMENT,
                    CommandId.ImageManagement.UPLOAD,
                    {"off": next_, "data": piece},
                    timeout_s=2 * MOST_ANSWER_S,
                )
                next_ += len(piece)
                self._sent_last = next_ == size
                under_way.append((reply, next_, time.monotonic()))
            reply, end, sent_at = under_way.popleft()
            try:
                offset = self._offset(reply.wait(self._patience_s()))
            except BridgeError as error:
                return self._after_loss(error, under_way, at)
            if offset != end:
                return self._drained(under_way, offset)
            at = offset
            self._taken(at)
            self._rtt_s = 0.8 * self._rtt_s + 0.2 * (time.monotonic() - sent_at)
            self._back_off = 1.0
        return at

    def _patience_s(self) -> float:
        """How long to wait for an answer: some round trips, and longer each time that one has not come."""
        return min(MOST_ANSWER_S, max(LEAST_ANSWER_S, 4 * self._rtt_s) * self._back_off)

    def _after_loss(self, error: BridgeError, under_way: deque[tuple[Reply, int, float]], at: int) -> int:
        self._bear(error)
        if time.monotonic() - self._taken_at > PATIENCE_S:
            raise error
        self._back_off *= 1.5
        return self._drained(under_way, at)

    def _drained(self, under_way: deque[tuple[Reply, int, float]], offset: int) -> int:
        """What the last of the answers says that are still to come: it is the newest."""
        for reply, _, _ in under_way:
            try:
                offset = self._offset(reply.wait(self._patience_s()))
            except BridgeError as error:
                if not (error.transient or error.cause in (Cause.TIMEOUT, Cause.GARBLED)):
                    raise
        return offset

    def _bear(self, error: BridgeError) -> None:
        """Leave a server alone for a while that has no room or time; what is no passing thing is raised."""
        if error.transient and self._refusals < MAX_REFUSALS:
            time.sleep(min(MOST_PAUSE_S, 0.1 * 2**self._refusals))
            self._refusals += 1
        elif error.cause not in (Cause.TIMEOUT, Cause.GARBLED):
            raise error

    def _offset(self, answer: Mapping[str, Any]) -> int:
        offset = answer.get("off")
        if is_number(offset) and 0 <= offset <= len(self._content):
            if self._matches and answer.get("match") is False:
                raise BridgeError(
                    f"what the microcontroller at {self._link.port} has written is not what was sent: try again; its "
                    "flash may be worn",
                    Cause.REFUSED,
                )
            return offset
        raise BridgeError(
            f"the microcontroller at {self._link.port} says that it has {str(offset)[:40]} bytes of the image: "
            f"expected a number up to {len(self._content)}",
            Cause.GARBLED,
        )

    def _taken(self, at: int) -> None:
        self._taken_at = time.monotonic()
        self._refusals = 0
        if at > self._best:
            self._best, self._returns = at, 0
            self._progress(at)

    def _judge(self, before: int, at: int) -> None:
        """Give up a server that does not get on, or goes back again and again."""
        if at > before:
            self._stalls = 0
            self._taken(at)
            return
        self._stalls += 1
        self._returns += at < before
        if self._stalls > MAX_STALLS or self._returns > MAX_RETURNS:
            raise BridgeError(
                f"the microcontroller at {self._link.port} has not got beyond byte {self._best:,} of the image: "
                "restart it (`kerbside firmware reset`) and try again",
                Cause.TIMEOUT,
            )
