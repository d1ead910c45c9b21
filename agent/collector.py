"""When Python's garbage collector walks through everything: in a quiet moment, not while a driver waits for a beep.

A full collection keeps every thread from running for some 25 ms. The short ones, of what is new, stay Python's.
"""

from __future__ import annotations

import gc
from typing import Final

EVERY_S: Final = 60
AT_LEAST_EVERY_S: Final = 600
"""Although the driver scans without a pause."""
_NEVER: Final = 1_000_000


class Collector:
    """From when it is made, full collections are its own."""

    def __init__(self) -> None:
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        self._seconds = 0
        self._seen: object = None

    def loaded(self) -> None:
        """What is there now stays for good, and is not looked at again."""
        gc.collect()
        gc.freeze()

    def each_second(self, told: object) -> None:
        """Collect, if it is time.

        :param told: what the driver was told last; the same object as a second ago: it is quiet
        """
        self._seconds += 1
        quiet, self._seen = told is self._seen, told
        if self._seconds >= (EVERY_S if quiet else AT_LEAST_EVERY_S):
            self._seconds = 0
            gc.collect()
