"""What a power cut may leave of a folder, at every moment of an operation: worked out, not waited for.

`crash_states` runs an operation once and follows its system calls. After each call it notes every content that the
folder may then have: names reach the disk in their order, any number of the last ones being lost until the folder is
synced; content that was not synced is there, is cut off in the middle, or is not there at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

State = frozenset[tuple[str, bytes]]

OPEN, WRITE, FSYNC, CLOSE, REPLACE, UNLINK = os.open, os.write, os.fsync, os.close, os.replace, os.unlink


class _Disk:
    """Stands between an operation and the kernel; only the files right below `folder` count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[tuple[bytes, bytes]] = []
        """Of each file: what is surely on the disk, and what was written."""
        self._synced: dict[str, int] = {}
        """Names that are surely on the disk."""
        self._changes: list[Mapping[str, int | None]] = []
        """Changes of names since then, each one whole or not at all; ``None`` removes a name."""
        self._descriptors: dict[int, int | None] = {}
        """The file that a descriptor stands for; ``None`` for the folder."""
        self.states: set[State] = set()
        for path in folder.iterdir():
            if path.is_file():
                self._files.append((path.read_bytes(),) * 2)
                self._synced[path.name] = len(self._files) - 1
        self._note()

    def _names(self, changes: int | None = None) -> dict[str, int]:
        names: dict[str, int | None] = dict(self._synced)
        for change in self._changes[:changes]:
            names.update(change)
        return {name: file for name, file in names.items() if file is not None}

    def _change(self, change: Mapping[str, int | None]) -> None:
        self._changes.append(change)
        self._note()

    def _note(self) -> None:
        self.states |= self.now()

    def now(self) -> set[State]:
        """What a cut at this moment may leave."""
        states = set()
        for count in range(len(self._changes) + 1):
            names = self._names(count)
            contents = (
                {synced, written[: (len(synced) + len(written)) // 2], written} for synced, written in self._files
            )
            for each in product(*contents):
                states.add(frozenset((name, each[file]) for name, file in names.items()))
        return states

    def _inside(self, path: Any) -> str | None:
        return Path(path).name if Path(path).parent == self._folder else None

    def open(self, path: Any, flags: int, *rest: Any, **more: Any) -> int:
        existed = os.path.lexists(path)
        descriptor = OPEN(path, flags, *rest, **more)
        name = self._inside(path)
        if Path(path) == self._folder:
            self._descriptors[descriptor] = None
        elif name is not None and flags & (os.O_WRONLY | os.O_RDWR):
            if not existed:
                self._files.append((b"", b""))
                self._change({name: len(self._files) - 1})
            self._descriptors[descriptor] = self._names()[name]
        return descriptor

    def write(self, descriptor: int, content: Any) -> int:
        size = WRITE(descriptor, content)
        file = self._descriptors.get(descriptor)
        if file is not None:
            synced, written = self._files[file]
            self._files[file] = synced, written + bytes(content[:size])
            self._note()
        return size

    def fsync(self, descriptor: int) -> None:
        FSYNC(descriptor)
        if descriptor in self._descriptors:
            file = self._descriptors[descriptor]
            if file is None:
                self._synced, self._changes = self._names(), []
            else:
                self._files[file] = (self._files[file][1],) * 2
            self._note()

    def close(self, descriptor: int) -> None:
        CLOSE(descriptor)
        self._descriptors.pop(descriptor, None)

    def replace(self, source: Any, target: Any) -> None:
        REPLACE(source, target)
        old, new = self._inside(source), self._inside(target)
        if old is not None and new is not None:
            self._change({old: None, new: self._names()[old]})

    def unlink(self, path: Any, **more: Any) -> None:
        UNLINK(path, **more)
        name = self._inside(path)
        if name is not None:
            self._change({name: None})


def crash_states(
    folder: Path, operation: Callable[[], object], made: Path, *, finished: bool = False
) -> Iterator[Path]:
    """Each folder that a cut may leave, one after the other at `made`; `finished`: a cut right after the operation."""
    disk = _Disk(folder)
    calls = ("open", "write", "fsync", "close", "replace", "unlink")
    with patch.multiple(os, **{name: getattr(disk, name) for name in calls}):
        operation()
    for state in disk.now() if finished else disk.states:
        made.mkdir()
        for name, content in state:
            (made / name).write_bytes(content)
        yield made
        shutil.rmtree(made)
