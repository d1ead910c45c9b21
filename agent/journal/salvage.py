"""Reads rows out of a damaged SQLite file page by page, without asking the tree that leads to them.

Every page of the file and every page version of the write-ahead log is looked at, so that a broken root, header or
chain of pages costs only the rows on it. What is yielded may be stale or wrong: the caller lets each row prove itself.
Format: https://www.sqlite.org/fileformat2.html, for pages of 4096 bytes without reserved space.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from struct import unpack_from
from typing import NamedTuple

PAGE = 4096
TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x0A, 0x02
LARGEST = 16 << 20
"""Longer rows are not believed."""
WAL_MAGIC = (0x377F0682, 0x377F0683)

Value = int | str | bytes | None


class Row(NamedTuple):
    """One cell: `rowid` is ``None`` for a table without rowids; `latest` unless its page has a newer version."""

    rowid: int | None
    values: tuple[Value, ...]
    latest: bool


class _File:
    """A file that may be missing, short or unreadable in places."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self._descriptor).st_size
        except OSError:
            self._descriptor, self.size = -1, 0

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset) if self._descriptor >= 0 else b""
        except OSError:
            return b""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = page[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    value = value << 8 | page[at + 8]
    return (value - (1 << 64) if value >> 63 else value), at + 9


def _values(record: bytes) -> tuple[Value, ...]:
    end, at = _varint(record, 0)
    start = end
    values: list[Value] = []
    while at < end:
        kind, at = _varint(record, at)
        if kind in (0, 8, 9):
            values.append(None if kind == 0 else kind - 8)
            continue
        size = (0, 1, 2, 3, 4, 6, 8)[kind] if kind < 7 else (kind - 12) // 2
        content = record[start : start + size]
        if kind in (7, 10, 11) or size < 0 or len(content) < size:
            raise ValueError("no record")
        start += size
        if kind < 7:
            values.append(int.from_bytes(content, "big", signed=True))
        else:
            values.append(content.decode() if kind & 1 else content)
    return tuple(values)


def _frames(wal: _File) -> list[tuple[int, int, bool]]:
    """Page number, offset of the page and whether it ends a commit, of the frames that belong to this log."""
    header = wal.read(0, 32)
    if len(header) < 32 or unpack_from(">I", header)[0] not in WAL_MAGIC:
        return []
    frames = []
    for offset in range(32, wal.size - PAGE - 23, PAGE + 24):
        frame = wal.read(offset, 24)
        if len(frame) == 24 and frame[8:16] == header[16:24]:
            number, size = unpack_from(">II", frame)
            frames.append((number, offset + 24, size != 0))
    return frames


def commits_behind(path: Path, readable: int) -> int:
    """How many commits of the same log lie in the write-ahead log behind its first `readable` pages."""
    wal = _File(path.with_name(path.name + "-wal"))
    try:
        return sum(ends for _, offset, ends in _frames(wal) if offset > 32 + readable * (PAGE + 24))
    finally:
        wal.close()


def rows(path: Path) -> Iterator[Row]:
    """Every row that can be made out in a database file and its write-ahead log; older versions of a page first."""
    database, wal = _File(path), _File(path.with_name(path.name + "-wal"))
    try:
        frames = [(number, offset) for number, offset, _ in _frames(wal)]
        newest = dict(frames)

        def current(number: int) -> bytes:
            return wal.read(newest[number], PAGE) if number in newest else database.read((number - 1) * PAGE, PAGE)

        def cells(page: bytes, *, latest: bool) -> Iterator[Row]:
            kind = page[0]
            largest = PAGE - 35 if kind == TABLE_LEAF else (PAGE - 12) * 64 // 255 - 23
            smallest = (PAGE - 12) * 32 // 255 - 23
            for index in range(min(unpack_from(">H", page, 3)[0], PAGE // 4)):
                try:
                    at = unpack_from(">H", page, (12 if kind == INDEX_INTERIOR else 8) + 2 * index)[0]
                    at += 4 if kind == INDEX_INTERIOR else 0
                    length, at = _varint(page, at)
                    rowid = None
                    if kind == TABLE_LEAF:
                        rowid, at = _varint(page, at)
                    if not 0 < length <= LARGEST:
                        continue
                    local = length
                    if length > largest:
                        local = smallest + (length - smallest) % (PAGE - 4)
                        local = local if local <= largest else smallest
                    record = bytearray(page[at : at + local])
                    following = unpack_from(">I", page, at + local)[0] if local < length else 0
                    while len(record) < length and following:
                        overflow = current(following)
                        following = unpack_from(">I", overflow)[0]
                        record += overflow[4 : 4 + length - len(record)]
                    if len(record) == length:
                        yield Row(rowid, _values(bytes(record)), latest)
                except (LookupError, ValueError, struct.error):
                    continue

        pages = range(1, database.size // PAGE + 2)
        for file, offset, superseded in chain(
            ((database, (number - 1) * PAGE, number in newest) for number in pages),
            ((wal, offset, newest[number] != offset) for number, offset in frames),
        ):
            page = file.read(offset, PAGE)
            if len(page) == PAGE and page[0] in (TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR):
                yield from cells(page, latest=not superseded)
    finally:
        database.close()
        wal.close()
