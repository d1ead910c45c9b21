"""Whether what is decided gets to the disk, as `/healthz` says it, and when a failed write is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

STUCK_S: Final = 10.0
"""A batch that waits longer for the disk will hardly get there."""
PROBE_S: Final = 30.0
"""After a batch that failed it is found out this often whether the disk takes one again."""
AGAIN_S: Final = 1.0


class Keeping:
    """The batches on their way to the disk, in order, and how the last one ended.

    :param clock: the monotonic time in seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handed_over_s: deque[float] = deque()
        self._failed_s: float | None = None
        """When the last batch failed; ``None`` when it got to the disk."""
        self.recover_after_s = 0.0
        """How long to wait before the store is read again: what fails each time must not be tried without a pause."""

    def handed_over(self) -> None:
        """One more batch is the writer's."""
        self._handed_over_s.append(self._clock())

    def written(self) -> None:
        """The oldest batch is on the disk."""
        self._handed_over_s.popleft()
        self._failed_s = None

    def failed(self, *, before: bool) -> None:
        """The oldest batch is not on the disk.

        :param before: one before it has failed, too, and the store was not read again since
        """
        self._handed_over_s.popleft()
        if not before:
            self.recover_after_s = 0.0 if self._failed_s is None else AGAIN_S
        self._failed_s = self._clock()

    @property
    def is_well(self) -> bool:
        """Whether the last batch got to the disk, and none waits for long."""
        waited_s = self._clock() - self._handed_over_s[0] if self._handed_over_s else 0.0
        return self._failed_s is None and waited_s < STUCK_S

    @property
    def is_to_be_tried(self) -> bool:
        """Whether it is time to find out if the disk takes something again."""
        return self._failed_s is not None and not self._handed_over_s and self._clock() - self._failed_s >= PROBE_S
