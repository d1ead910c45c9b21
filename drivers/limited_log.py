"""Log lines about what comes from outside: few of them whatever comes, and none that a stranger's text could forge.

Whoever can send messages could otherwise fill the disk with lines, or write lines of his own by a line feed in a name.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import Final

LINES: Final = 5
WITHIN_S: Final = 60.0
MAX_CHARACTERS: Final = 200
"""Of one text from outside."""


class LimitedLog:
    """Writes at most `lines` lines in `within_s`; the others are counted, and the next line says how many.

    :param what: the lines' subject, as in: 12 more lines about ``messages of the inbox``
    :param characters: how much of one text among the arguments is written
    """

    def __init__(
        self,
        logger: logging.Logger,
        what: str,
        *,
        lines: int = LINES,
        within_s: float = WITHIN_S,
        characters: int = MAX_CHARACTERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held_back = 0
        """Lines that no other line has told of yet."""
        self._logger = logger
        self._what = what
        self._lines = lines
        self._within_s = within_s
        self._characters = characters
        self._clock = clock
        self._began_s = float("-inf")
        self._written = 0

    def warning(self, text: str, *arguments: object, fault: BaseException | None = None) -> None:
        """As `line`, as a warning."""
        self.line(logging.WARNING, text, *arguments, fault=fault)

    def line(self, level: int, text: str, *arguments: object, fault: BaseException | None = None) -> None:
        """Write the line, or count it. Texts among the arguments are escaped and shortened.

        :param fault: an exception that nobody foresaw: where it was raised is written as well, but not what it says,
            which may be a secret
        """
        now_s = self._clock()
        if now_s - self._began_s >= self._within_s:
            self._began_s, self._written = now_s, 0
        if self._written >= self._lines:
            self.held_back += 1
            return
        self._written += 1
        shown = [printable(each, self._characters) if isinstance(each, str) else each for each in arguments]
        if self.held_back:
            text += " (%d more lines about %s were not written)"
            shown += [self.held_back, self._what]
            self.held_back = 0
        if self._written == self._lines:
            text += " (more of them are only counted for %g s)"
            shown.append(self._within_s)
        if fault is not None:
            text += "\n%s"
            shown.append("".join(traceback.format_tb(fault.__traceback__)).rstrip())
        self._logger.log(level, text, *shown)


def printable(text: str, limit: int = MAX_CHARACTERS) -> str:
    """A text from outside as it may stand in a line: nothing that moves a cursor or begins a line, and not too long."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:limit])
    return shown if len(text) <= limit else shown + "…"
