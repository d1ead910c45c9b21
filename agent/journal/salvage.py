"""Reads rows out of a damaged SQLite file page by page, without asking the tree that leads to them.

Every page of the file and every page version of the write-ahead log is looked at, so that a broken root, header or
chain of pages costs only the rows on it. What is yielded may be stale or wrong: the caller lets each row prove itself.
Format: https://www.sqlite.org/fileformat2.html, for pages of 4096 bytes without reserved space.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from
from typing import NamedTuple

PAGE = 4096
TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 0x0D, 0x0A, 0x02
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


def rows(path: Path) -> Iterator[Row]:
    """Every row that can be made out in a database file and its write-ahead log; older versions of a page first."""
    database, wal = _File(path), _File(path.with_name(path.name + "-wal"))
    try:
        header = wal.read(0, 32)
        frames: list[tuple[int, int]] = []
        if len(header) == 32 and unpack_from(">I", header)[0] in WAL_MAGIC:
            for offset in range(32, wal.size - PAGE - 23, PAGE + 24):
                frame = wal.read(offset, 24)
                if len(frame) == 24 and frame[8:16] == header[16:24]:
                    frames.append((unpack_from(">I", frame)[0], offset + 24))
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
                    if not 0 < length <= database.size + wal.size:
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
                except (IndexError, ValueError, ArithmeticError, LookupError):
                    continue
                except Exception as fault:  # struct.error derives from nothing narrower
                    if type(fault).__name__ != "error":
                        raise

        versions = [
            (number, number in newest, database, (number - 1) * PAGE) for number in range(1, database.size // PAGE + 2)
        ]
        versions += [(number, newest[number] != offset, wal, offset) for number, offset in frames]
        for _, superseded, file, offset in versions:
            page = file.read(offset, PAGE)
            if len(page) == PAGE and page[0] in (TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR):
                yield from cells(page, latest=not superseded)
    finally:
        database.close()
        wal.close()
