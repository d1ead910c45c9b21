"""What is still to be sent, in order: the events lane, replays of it, and telemetry.

A lane remembers which of its messages are acknowledged and where the unbroken prefix of them ends. It knows nothing of
MQTT; the uplink asks it for the next message and tells it what became of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from agent.journal.entries import EventEntry

READ_AHEAD: Final = 256
"""Events read from the journal at a time."""


class Stream:
    """Stored events after one sequence number, in order, up to another.

    :param read: gives the events after a sequence number, at most so many, in order
    :param after: the last event that needs no sending
    :param until: the last event that is sent; ``None`` follows the log as it grows
    """

    def __init__(self, read: Callable[[int, int], list[EventEntry]], after: int, until: int | None = None) -> None:
        self.prefix = after
        """Everything up to here is acknowledged."""
        self.outstanding = 0
        """Sent and not answered yet."""
        self._read = read
        self._until = until
        self._read_through = after
        self._exhausted = False
        self._waiting: deque[EventEntry] = deque()
        self._order: deque[int] = deque()
        self._acknowledged: set[int] = set()

    def news(self) -> None:
        """The log has grown."""
        self._exhausted = False

    def take(self) -> EventEntry | None:
        """The next event to send; it is outstanding until `acknowledged`, `refused` or `rewind`."""
        while True:
            if not self._waiting and not self._refill():
                return None
            entry = self._waiting.popleft()
            self._order.append(entry.sequence)
            if entry.sequence not in self._acknowledged:
                self.outstanding += 1
                return entry
            self._advance()

    def acknowledged(self, sequence: int) -> None:
        """This event has arrived."""
        self.outstanding -= 1
        self._acknowledged.add(sequence)
        self._advance()

    def refused(self) -> None:
        """An event was answered, but not accepted: it stays unacknowledged, and `rewind` brings it up again."""
        self.outstanding -= 1

    def rewind(self, to: int | None = None) -> None:
        """Begin again after the unbroken prefix, or after an earlier event; what is acknowledged is not sent again.

        Going back before the prefix forgets what was acknowledged: then everything is sent again.
        """
        if to is not None and to < self.prefix:
            self.prefix = to
            self._acknowledged.clear()
        self._waiting.clear()
        self._order.clear()
        self._read_through = self.prefix
        self._exhausted = False
        self.outstanding = 0

    @property
    def idle(self) -> bool:
        """Nothing waits, and everything sent was answered."""
        return self.outstanding == 0 and not self._waiting and not self._refill()

    @property
    def done(self) -> bool:
        """Everything up to `until` is acknowledged, or can not be sent."""
        return self._until is not None and self.idle

    def _advance(self) -> None:
        while self._order and self._order[0] in self._acknowledged:
            self.prefix = self._order.popleft()
            self._acknowledged.discard(self.prefix)

    def _refill(self) -> bool:
        if self._exhausted:
            return False
        entries = self._read(self._read_through, READ_AHEAD)
        if self._until is not None:
            entries = [entry for entry in entries if entry.sequence <= self._until]
        self._exhausted = not entries
        if entries:
            self._read_through = entries[-1].sequence
            self._waiting.extend(entries)
        return bool(entries)
