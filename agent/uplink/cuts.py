"""Which message a broker ends the connection for, where it does not say so.

Brokers that speak MQTT 3.1.1 cannot refuse a message: some end the connection when a topic is not allowed or a packet
is too large for them, and with each new connection the same message ends it again. So after two such cuts in a row the
next connection is a careful one: it is quiet at first, and then each packet goes out alone, until all that were under
way before have been answered. What is under way alone when a careful connection ends is what it ended for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SUSPICIOUS_CUTS: Final = 2
"""So many connections in a row that were cut with messages under way are looked into."""


class Cuts:
    """What the connections before have shown; packets are known by anything that can be compared."""

    def __init__(self) -> None:
        self.careful = False
        """Whether each packet goes out alone."""
        self._in_a_row = 0
        self._suspects: set[object] = set()

    def cut(self, under_way: Collection[object], *, short: bool, alone: bool) -> object | None:
        """A connection was cut with these packets under way; gives the one that it was cut for, if that is known.

        :param short: whether it was cut soon after it began
        :param alone: whether the packet was sent with nothing else under way, although the connection was not careful
        """
        if not under_way:
            return None
        if len(under_way) == 1 and (self.careful or alone):
            (found,) = under_way
            self.answered(found)
            return found
        self._in_a_row = self._in_a_row + 1 if short else 1
        self._suspects = set(under_way)
        self.careful = self._in_a_row >= SUSPICIOUS_CUTS
        return None

    def answered(self, packet: object) -> None:
        """The broker has answered this packet, or is known to end connections for it."""
        if self.careful:
            self._suspects.discard(packet)
            if not self._suspects:
                self.calm()

    def calm(self) -> None:
        """There is nothing to be found out any more."""
        self.careful, self._in_a_row = False, 0
        self._suspects.clear()
