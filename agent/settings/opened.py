"""A file that a setting names, opened: its content, or why it cannot be used."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from agent.secret_files import AGENT_USER, may_use
from drivers.limited_log import printable

MAX_BYTES: Final = 4_194_304
_REASONS: Final = {
    errno.ENOENT: ("nothing", "put it there, or correct the path"),
    errno.ENOTDIR: ("nothing", "put it there, or correct the path"),
    errno.ELOOP: ("a link that leads nowhere", "correct the link"),
}


class UnusableError(Exception):
    """A file is not what a setting needs.

    :param timely: whether only the clock says so
    """

    def __init__(self, path: Path, expected: str, found: str, step: str, *, timely: bool = False) -> None:
        self.finding = f"expected {expected}, found {found} at {shown_path(path)}"
        self.step = step
        self.timely = timely
        super().__init__(f"{self.finding}: {step}")


def shown_path(path: Path) -> str:
    """A path that may be shown: one that is none may be the very secret that belongs into the file."""
    text = str(path)
    return printable(text) if path.is_absolute() and len(text) <= 200 else "a path that does not begin with /"


def read(path: Path, expected: str, *, most: int = MAX_BYTES) -> bytes:
    """What a file holds, or its first bytes where that is enough.

    :raises UnusableError: it is not there, is no file, is empty, or may not be read by the agent
    """
    barred = f"let the group {AGENT_USER} read it: `chgrp {AGENT_USER}` and `chmod 640`"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise UnusableError(path, expected, "a file that this user may not read", barred) from None
    except (OSError, ValueError) as error:
        found, step = _REASONS.get(getattr(error, "errno", None) or 0, ("what cannot be opened", "correct the path"))
        raise UnusableError(path, expected, found, step) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnusableError(path, expected, "a folder", "name the file in it")
        if not stat.S_ISREG(mode):
            raise UnusableError(path, expected, "what is no file", "correct the path")
        content = os.read(descriptor, most)
    except OSError as error:
        found = f"a file that cannot be read ({error.strerror})"
        raise UnusableError(path, expected, found, "check the disk") from None
    finally:
        os.close(descriptor)
    if not content:
        raise UnusableError(path, expected, "an empty file", "put its content there anew")
    if not may_use(path):
        raise UnusableError(path, expected, f"a file that the user {AGENT_USER} may not read", barred)
    return content
