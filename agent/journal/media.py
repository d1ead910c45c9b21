"""Photos, signatures and clips: one file a content below ``state_dir/media``, named by its SHA-256.

`put` returns once the file and its name are on the disk, so the event that names it may be written then and not before:
a power cut in between leaves a file that no event names, never an event whose file is gone. The name is the hash of the
clear content, because that is what leaves the unit and what event and manifest name, whether the file is sealed or not.
(A short text that can be guessed can be guessed from its hash, too: who seals one adds random bytes to it.)

A file is the content, and a footer with what must be known to read it. Sealed content stands in frames, each sealed on
its own; their order is proved by the hash of the whole.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from zlib import crc32

from agent.files import Draft, FileError, remove_drafts, sync_directory
from agent.journal.entries import JournalError, JournalFull

if TYPE_CHECKING:
    from contract.upward import MediaManifest

log = logging.getLogger(__name__)

FOLDER: Final = "media"
SHARE: Final = 4
"""Media take at most this part of the journal's size."""
FRAME_BYTES: Final = 256 << 10
"""Of clear content in a sealed frame, at most."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_LENGTH: Final = struct.Struct(">I")
"""What a sealed frame begins with."""
_END: Final = struct.Struct(">II4s")
"""What a file ends with: length and checksum of its footer, and the magic."""
_MAGIC: Final = b"KBM1"


@dataclass(frozen=True, slots=True)
class Media:
    """One content that is kept."""

    sha256: str
    """Of the clear content, in hex."""
    bytes: int
    """Length of the clear content."""
    content_type: str
    """``image/jpeg``, say."""
    sealed_for: str | None = None
    """The scope whose key opens it; ``None`` when it is not sealed."""

    def manifest(self, part_bytes: int) -> MediaManifest:
        """What its event and ``R/media/{sha256}/manifest`` say of it when it is sent in parts of this size."""
        return {
            "sha256": self.sha256,
            "bytes": self.bytes,
            "content_type": self.content_type,
            "part_bytes": part_bytes,
            "parts": -(-self.bytes // part_bytes),
        }


class Stored(NamedTuple):
    """What `MediaStore.put` has done: the caller writes an event of each."""

    media: Media
    dropped: tuple[Media, ...]
    """Confirmed media that had to go for it."""


class Scope(Protocol):
    """Seals for one scope, as `agent.identity.seal.Scope` does; its keys go into the batch that names the media."""

    name: str

    def seal_bytes(self, content: bytes) -> bytes:
        """The content, sealed."""


@dataclass(frozen=True, slots=True)
class _File:
    media: Media
    path: Path
    size: int
    written_s: float
    """When, by the unit's own clock of then; Unix time."""


class MediaStore:
    """All media of a unit. Any thread may call it; `put`, `read` and the removing wait for the disk."""

    def __init__(self, state_dir: Path, *, max_bytes: int, unseal: Callable[[str, bytes], bytes]) -> None:
        """Look at what is kept, and remove what a power cut has left of files that were being written.

        :param max_bytes: the journal's size, of which media take their share
        :param unseal: opens what `Scope.seal_bytes` gave, by the scope's name; what it raises comes out of `read`
        :raises FileError: the folder cannot be used
        """
        self._folder = state_dir / FOLDER
        self._max_bytes = max_bytes // SHARE
        self._unseal = unseal
        self._changing = threading.Lock()
        self._confirmed: set[str] = set()
        self._coming = 0
        """Bytes of files that are being written."""
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700)
                sync_directory(state_dir)
            remove_drafts(self._folder)
            found = [file for path in sorted(self._folder.iterdir()) if (file := _examined(path))]
        except OSError as fault:
            raise FileError(self._folder, "used", fault) from fault
        self._files = {file.path: file for file in sorted(found, key=lambda file: file.written_s)}
        self._found = set(self._files)

    # ------------------------------------------------------------------ what is kept

    def all(self) -> list[Media]:
        """Everything that is kept, the oldest first; twice what is kept clear and sealed."""
        with self._changing:
            return [file.media for file in self._files.values()]

    def waiting(self) -> list[Media]:
        """What nobody has confirmed to have, the oldest first."""
        with self._changing:
            return [file.media for file in self._files.values() if file.media.sha256 not in self._confirmed]

    @property
    def size(self) -> int:
        """What all of it takes on the disk."""
        with self._changing:
            return sum(file.size for file in self._files.values())

    # ------------------------------------------------------------------ keeping and reading

    def put(self, content: bytes | Iterable[bytes], content_type: str, sealed_for: Scope | None = None) -> Stored:
        """Keep a content, given whole or in pieces; once this returns, a power cut cannot take it any more.

        The same content is kept once, and once for each scope that it is sealed for.

        :raises JournalFull: there is no room for it, even if all that is confirmed went
        :raises JournalError: the content is empty
        :raises FileError: the disk does not take it
        """
        scope = sealed_for.name if sealed_for else None
        known = self._path(sha256(content).hexdigest(), scope) if isinstance(content, bytes) else None
        pieces = [content] if isinstance(content, bytes) else content
        digest, length, size = sha256(), 0, 0
        try:
            with Draft(self._folder / "content") as draft:
                for piece in pieces if sealed_for is None else _frames(pieces):
                    digest.update(piece)
                    length += len(piece)
                    stored = piece if sealed_for is None else _framed(sealed_for.seal_bytes(piece))
                    size += self._reserve(len(stored), instead_of=known)
                    draft.write(stored)
                if not length:
                    raise JournalError("media of no bytes cannot be kept: expected at least one")
                media = Media(digest.hexdigest(), length, content_type, scope)
                footer = _footer(media)
                size += self._reserve(len(footer), instead_of=known)
                draft.write(footer)
                path = self._path(media.sha256, scope)
                with self._changing:
                    self._found.discard(path)
                # Not under the lock, which a screen may want. A file that is there is replaced: it may be damaged.
                draft.keep(path, durably=True)
                with self._changing:
                    self._coming -= size
                    file, size = _File(media, path, size, time.time()), 0
                    self._files.pop(path, None)
                    self._files[path] = file
                    return Stored(media, tuple(self._drop(file)))
        except FileError as fault:
            if fault.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JournalFull(f"{fault.finding}: media cannot be kept; free space on the disk") from fault
            raise
        finally:
            with self._changing:
                self._coming -= size

    def read(self, sha256: str) -> bytes:
        """The clear content: what was put in, or an error.

        :raises JournalError: it is not kept, or what is there is not what was put in
        """
        with self._changing:
            files = [file for file in self._files.values() if file.media.sha256 == sha256]
        fault: Exception = JournalError(f"media {sha256[:64]!r} are not kept here")
        for file in files:
            try:
                return self._content(file)
            except Exception as found:  # noqa: BLE001 (whoever asked gets it, unless another copy can be read)
                fault = found
        raise fault

    def _content(self, file: _File) -> bytes:
        try:
            return _checked(_read(file.path), file.media, self._unseal)
        except (OSError, ValueError) as fault:
            raise JournalError(f"{file.path} cannot be used ({fault}): the file was altered or removed") from fault

    # ------------------------------------------------------------------ letting go

    def confirm(self, sha256: str) -> None:
        """The cloud has it: it may go when its room is needed. Told anew after a restart, because the log says it."""
        with self._changing:
            self._confirmed.add(sha256)

    def remove(self, sha256: str) -> None:
        """Remove a content in all its copies, so that a power cut does not bring it back.

        :raises FileError: it cannot be removed
        """
        with self._changing:
            self._remove([file for file in self._files.values() if file.media.sha256 == sha256])

    def remove_orphans(self, named: Collection[str], *, older_than_s: float = 0.0) -> list[Media]:
        """Remove what no event names: the power went between the file and its event. Returns what has gone.

        What was put since the start may still wait for its event, and stays.

        :param named: the digests that the log names
        :param older_than_s: by the unit's own clock; what is younger stays
        :raises FileError: one cannot be removed
        """
        before_s = time.time() - older_than_s
        with self._changing:
            orphans = [
                file
                for file in self._files.values()
                if file.path in self._found and file.media.sha256 not in named and file.written_s <= before_s
            ]
            self._remove(orphans)
        return [file.media for file in orphans]

    def _remove(self, files: list[_File]) -> None:
        try:
            for file in files:
                file.path.unlink(missing_ok=True)
                del self._files[file.path]
            sync_directory(self._folder)
        except OSError as fault:
            raise FileError(self._folder, "changed", fault) from fault

    def _path(self, digest: str, scope: str | None) -> Path:
        return self._folder / _name(digest, scope)

    def _reserve(self, size: int, instead_of: Path | None) -> int:
        """Count bytes that come; `JournalFull` unless they fit beside what is not confirmed."""
        with self._changing:
            waiting = self._coming + sum(
                file.size
                for file in self._files.values()
                if file.media.sha256 not in self._confirmed and file.path != instead_of
            )
            if waiting + size <= self._max_bytes:
                self._coming += size
                return size
        raise JournalFull(
            f"there is no room for {size} bytes more of media: {waiting} of {self._max_bytes} bytes (a quarter of "
            "journal.max_bytes) are in use and not confirmed; connect the unit so that they can be sent, or raise "
            "journal.max_bytes"
        )

    def _drop(self, stored: _File) -> Iterator[Media]:
        """Let confirmed media go, the oldest first, until the rest is within bounds; not what has just been stored."""
        excess = sum(file.size for file in self._files.values()) - self._max_bytes
        for file in list(self._files.values()):
            if excess > 0 and file != stored and file.media.sha256 in self._confirmed:
                try:
                    file.path.unlink(missing_ok=True)
                except OSError as fault:
                    log.warning("%s", FileError(file.path, "removed", fault))
                    continue
                del self._files[file.path]
                excess -= file.size
                yield file.media


def _name(digest: str, scope: str | None) -> str:
    """One file a content and scope: who may open it differs."""
    return digest if scope is None else f"{digest}.{sha256(scope.encode()).hexdigest()[:16]}"


def _footer(media: Media) -> bytes:
    told = json.dumps([media.sha256, media.bytes, media.content_type, media.sealed_for]).encode()
    return told + _END.pack(len(told), crc32(told), _MAGIC)


def _parsed(stored: bytes) -> Media:
    """What a footer says; `ValueError` when it is none."""
    if len(stored) >= _END.size:
        length, check, magic = _END.unpack(stored[-_END.size :])
        told = stored[-_END.size - length : -_END.size]
        if magic == _MAGIC and crc32(told) == check:
            match json.loads(told):
                case [str(digest), int(size), str(content_type), str() | None as scope] if _DIGEST.fullmatch(digest):
                    return Media(digest, size, content_type, scope)
    raise ValueError("it has no footer: it is cut off or of another kind")


def _checked(stored: bytes, media: Media, unseal: Callable[[str, bytes], bytes]) -> bytes:
    """The clear content of a file; `ValueError` when it is not the one that was put in."""
    if _parsed(stored) != media:
        raise ValueError("its footer is another one")
    content = stored[: -len(_footer(media))]
    if media.sealed_for is not None:
        content = b"".join(unseal(media.sealed_for, frame) for frame in _unframed(content))
    if sha256(content).hexdigest() != media.sha256:
        raise ValueError("its content does not match its name")
    return content


def _read(path: Path, last: int | None = None) -> bytes:
    """A regular file, or the end of it; a link is not followed, and a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode):
            raise ValueError("it is no file")
        if last is not None:
            file.seek(max(told.st_size - last, 0))
        return file.read()


def _examined(path: Path) -> _File | None:
    """What a file of the folder is; ``None``, and a warning, when it is nothing that was put there."""
    try:
        media, told = _parsed(_read(path, last=64 << 10)), path.lstat()
        why = "" if path.name == _name(media.sha256, media.sealed_for) else "its name is not that of its content"
    except (OSError, ValueError) as fault:
        why = str(fault)
    if why:
        log.warning("%s is passed over (%s): it is nothing that can be sent; remove it", path, why)
        return None
    return _File(media, path, told.st_size, told.st_mtime)


def _frames(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same content in pieces of the size that is sealed at a time."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        while len(gathered) >= FRAME_BYTES:
            yield bytes(gathered[:FRAME_BYTES])
            del gathered[:FRAME_BYTES]
    if gathered:
        yield bytes(gathered)


def _framed(sealed: bytes) -> bytes:
    return _LENGTH.pack(len(sealed)) + sealed


def _unframed(stored: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(stored):
        start = at + _LENGTH.size
        if start > len(stored):
            raise ValueError("a frame is cut off")
        at = start + _LENGTH.unpack(stored[start - _LENGTH.size : start])[0]
        if at > len(stored):
            raise ValueError("a frame is cut off")
        yield stored[start:at]
