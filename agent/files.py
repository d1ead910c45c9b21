"""Small files that outlive a restart: written whole or not at all, and read without being trusted.

`write_durably` is for what must not be lost; `LazyFile` for counters that may fall back a little, whose writer must not
wait for a memory card. `read` takes what it can understand, `read_strictly` is for who must know that it could not.
A file is 0600. While it is written it has a name of its own, which ends in ``.new``; who locks a state directory
removes those that a power cut has left.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

DRAFT: Final = ".new"
_ADVICE: Final = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space on the disk",
    errno.EROFS: "its file system is mounted read-only",
    errno.EACCES: "check the rights of its folder",
    errno.EPERM: "check the rights of its folder",
    errno.ENOENT: "check that its folder exists",
}


class FileError(OSError):
    """A file cannot be kept, read or understood: says which, why, and what to do."""

    def __init__(self, path: Path, what: str, fault: Exception) -> None:
        number = fault.errno if isinstance(fault, OSError) else None
        reason = fault.strerror if isinstance(fault, OSError) else f"{type(fault).__name__}: {fault}"[:200]
        super().__init__(number, reason)
        self.damaged = not isinstance(fault, OSError)
        """Whether the file could be read, and what it holds makes no sense."""
        advice = _ADVICE.get(number or 0, "remove or restore it" if self.damaged else "check the disk")
        self.finding = f"{path} cannot be {what} ({reason})"
        self._advice = advice

    def __str__(self) -> str:
        return f"{self.finding}: {self._advice}"


class Draft:
    """A new file that has no name yet, as a context manager: unless it is kept, nothing is left of it.

    :param path: beside this it is written, and by this it is called in errors
    :raises FileError: from every method
    """

    def __init__(self, path: Path) -> None:
        self._called = path
        self._path = path.with_name(f"{path.name}.{secrets.token_hex(6)}{DRAFT}")

    def __enter__(self) -> Self:
        with _named(self._called, "written"):
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self

    def write(self, content: bytes) -> None:
        """Append all of it: the kernel may take less at a time."""
        left = memoryview(content)
        with _named(self._called, "written"):
            while left:
                left = left[os.write(self._descriptor, left) :]

    def keep(self, path: Path, *, durably: bool) -> None:
        """Give it its name, in place of what had it; `durably`: first its content is on the disk, then its name."""
        with _named(self._called, "written"):
            if durably:
                os.fsync(self._descriptor)
            self._path.replace(path)
            if durably:
                sync_directory(path.parent)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make the names in this directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file: after a power cut at any moment it holds the old content or the new one, from here on the new.

    :raises FileError: it cannot be written; it holds the old content, or the new one without a promise that it stays
    """
    _write(path, content, durably=True)


def remove_durably(path: Path) -> None:
    """Remove a file, so that it does not come back after a power cut.

    :raises FileError: it cannot be removed
    """
    with _named(path, "removed"):
        path.unlink(missing_ok=True)
        sync_directory(path.parent)


class LazyFile:
    """A file that is replaced without waiting for the disk: after a power cut it may be old, empty or damaged.

    A disk that does not take it costs no more than what it holds: one warning, until it can be written again.

    :param what: what it holds, for that warning: ``the odometer``
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._warned = False

    def write(self, content: bytes) -> bool:
        """Replace its content; whether that went well."""
        try:
            _write(self._path, content, durably=False)
        except FileError as fault:
            self._warn(fault)
            return False
        self._warned = False
        return True

    def remove(self) -> None:
        """From now on there is none."""
        try:
            with _named(self._path, "removed"):
                self._path.unlink(missing_ok=True)
        except FileError as fault:
            self._warn(fault)

    def _warn(self, fault: FileError) -> None:
        if not self._warned:
            log.warning("%s cannot be kept: %s", self._what, fault)
        self._warned = True


def read_strictly(path: Path, parse: Callable[[bytes], T]) -> T | None:
    """What `parse` makes of a file; ``None`` where there is none.

    :raises FileError: it cannot be read, or `parse` does not understand it
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise FileError(path, "read", fault) from fault
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as fault:
        raise FileError(path, "understood", fault) from fault


def read(path: Path, parse: Callable[[bytes], T], otherwise: str) -> T | None:
    """What `parse` makes of a file; ``None`` where there is none, or where it cannot be read or understood.

    :param otherwise: what follows from a damaged file, for the warning: ``the odometer begins anew``
    """
    try:
        return read_strictly(path, parse)
    except FileError as fault:
        log.warning("%s: %s", fault.finding, otherwise)
        return None


def remove_drafts(folder: Path) -> None:
    """Remove what a power cut has left of files that were being written; only while nobody writes."""
    for draft in folder.glob(f"*{DRAFT}"):
        with contextlib.suppress(OSError):
            draft.unlink()


def _write(path: Path, content: bytes, *, durably: bool) -> None:
    with Draft(path) as draft:
        draft.write(content)
        draft.keep(path, durably=durably)


@contextlib.contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """What the kernel says of a file, as a `FileError`."""
    try:
        yield
    except OSError as fault:
        raise FileError(path, what, fault) from fault
