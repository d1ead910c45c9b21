"""What a scanner hands over: its codes as scans, and word of those that it has read and that did not arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from drivers.readings import NotRead, Scan
from drivers.scanner.code import Code, Repeats
from drivers.scanner.framing import Counters

TOLD_IN_A_ROW: Final = 3
WITHIN_NS: Final = 1_000_000_000
"""So many losses with no code between are told within this time at most: a line that babbles must not drown everything
else, and a scanner may wait for the answer to each."""


class HandOver:
    """Gives what one session of a scanner brings to `out`, in the order in which it came.

    :param repeats: outlives the session, as a driver does not scan anew because a plug was loose
    """

    def __init__(
        self, device: str, counters: Counters, repeats: Repeats, out: Callable[[Scan | NotRead], None]
    ) -> None:
        self._device = device
        self._counters = counters
        self._repeats = repeats
        self._out = out
        self._lost = counters.lost
        self._told_ns: int | None = None
        """When the first loss of a row was told; ``None`` once a code has come."""
        self._told = 0

    def give(self, codes: Iterable[Code], now_ns: int) -> None:
        """Hand over what was found by now.

        :param now_ns: when the last byte came
        """
        lost, self._lost = self._counters.lost > self._lost, self._counters.lost
        if lost and not self._counters.ends_with_loss:
            self._tell(now_ns)
        for code in codes:
            self._told_ns = None
            self._out(self._repeats.scan(self._device, code, now_ns))
        if lost and self._counters.ends_with_loss:
            self._tell(now_ns)

    def _tell(self, now_ns: int) -> None:
        if self._told_ns is None or now_ns - self._told_ns >= WITHIN_NS:
            self._told_ns, self._told = now_ns, 0
        if self._told < TOLD_IN_A_ROW:
            self._told += 1
            self._out(NotRead(self._device, now_ns))
