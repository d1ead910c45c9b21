"""A clip out of a camera's ring: Matroska, written by Debian's ffmpeg in a process of its own, without encoding anew.

The pictures are handed to ffmpeg through a pipe with the times at which they arrived, as a Matroska stream without an
index; ffmpeg makes a file of it that can be searched. It gets little of the processor, is killed when it hangs, and the
file has its name only once it is whole and on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from drivers.jpeg import Data, size
from drivers.readings import DriverError
from drivers.ring import Ring, Shot

NICENESS: Final = 10
STALLED_AFTER_S: Final = 15.0
"""ffmpeg that has taken nothing for this long, or does not end in this time, hangs."""
END_WITHIN_S: Final = 2.0
LATE_S: Final = 1.0
"""How long after its instant a picture may still arrive."""
POLL_S: Final = 0.1
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"

# Identifiers of Matroska (RFC 9559) and of EBML (RFC 8794).
_EBML, _DOC_TYPE, _DOC_TYPE_VERSION, _DOC_TYPE_READ_VERSION = 0x1A45DFA3, 0x4282, 0x4287, 0x4285
_SEGMENT, _INFO, _TIMESTAMP_SCALE, _MUXING_APP, _WRITING_APP = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4D80, 0x5741
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER, _TRACK_UID, _TRACK_TYPE = 0x1654AE6B, 0xAE, 0xD7, 0x73C5, 0x83
_CODEC_ID, _FLAG_LACING, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0x86, 0x9C, 0xE0, 0xB0, 0xBA
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK = 0x1F43B675, 0xE7, 0xA3
_UNKNOWN_SIZE: Final = b"\x01\xff\xff\xff\xff\xff\xff\xff"
_MILLISECOND_NS: Final = 1_000_000
_KEY_FRAME_OF_TRACK_1: Final = b"\x81\x00\x00\x80"


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that is on the disk."""

    path: Path
    frames: int
    first_ns: int
    """When its first picture arrived, on the monotonic clock: the clip's time 0."""
    last_ns: int


async def export(ring: Ring, path: Path, at_ns: int, before_s: float, after_s: float) -> Clip:
    """Write what the camera saw around an instant of the monotonic clock; waits until the time after it is over.

    What the ring no longer holds is missing at the beginning, and what a camera did not give is missing at the end. A
    file of that name is replaced. Cancelled, it leaves nothing half written behind.

    :raises DriverError: there is no ffmpeg, no picture of that time, or no room
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise DriverError("no clip can be written: ffmpeg is not installed; `apt-get install ffmpeg` does it")
    first_ns = at_ns - round(before_s * 1e9)
    # Held until they are written, which takes a moment: starting ffmpeg must not cost the oldest of them.
    waiting = deque(ring.since(first_ns))
    shots = _shots(ring, waiting, first_ns, at_ns + round(after_s * 1e9))
    try:
        first = await anext(shots, None)
        if first is None:
            raise DriverError(
                "no clip can be written: there is no picture of that time; `kerbside doctor` looks at the camera"
            )
        async with _beside(path) as part:
            frames, last_ns = await _write(ffmpeg, part, first, shots)
            await asyncio.to_thread(_finish, part, path)
    except OSError as error:
        raise DriverError(f"clip {path} cannot be written: {error.strerror or error}") from error
    finally:
        await shots.aclose()
    return Clip(path, frames, first.monotonic_ns, last_ns)


async def _shots(ring: Ring, waiting: deque[Shot], next_ns: int, until_ns: int) -> AsyncGenerator[Shot, None]:
    """The pictures from `next_ns` to `until_ns`, those of the future as they come."""
    while True:
        while waiting:
            shot = waiting.popleft()
            if shot.monotonic_ns > until_ns:
                return
            next_ns = shot.monotonic_ns + 1
            yield shot
        over = time.monotonic_ns() > until_ns + LATE_S * 1e9
        waiting.extend(ring.since(next_ns))
        if not waiting:
            if over:
                return
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def _beside(path: Path) -> AsyncIterator[Path]:
    """A new file in the same folder for the time of the block, for this user only."""
    making = asyncio.ensure_future(asyncio.to_thread(_make, path))
    try:
        part = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_discard)
        raise
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _discard(making: asyncio.Future[Path]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().unlink(missing_ok=True)


def _make(path: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    return Path(name)


def _finish(part: Path, path: Path) -> None:
    """Give the file its name once all of it is on the disk."""
    _sync(part, os.O_RDONLY)
    part.replace(path)
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def _write(ffmpeg: str, part: Path, first: Shot, shots: AsyncIterator[Shot]) -> tuple[int, int]:
    """How many pictures went into the file, and when the last one arrived."""
    quiet = ("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
    taking = ("-f", "matroska", "-i", "pipe:0", "-map", "0:v", "-c", "copy", "-f", "matroska", f"file:{part}")
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", str(NICENESS), ffmpeg, *quiet, *taking),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        # An interrupt from the terminal is for the agent.
        start_new_session=True,
    )
    stdin, stderr = cast("asyncio.StreamWriter", process.stdin), cast("asyncio.StreamReader", process.stderr)
    complaints = asyncio.create_task(_last_line(stderr))
    written = None
    try:
        # What ffmpeg does not take any more because it has ended, it explains itself.
        with contextlib.suppress(ConnectionError):
            written = await _feed(stdin, first, shots)
        stdin.close()
        async with asyncio.timeout(STALLED_AFTER_S):
            await process.wait()
    except TimeoutError as error:
        why = f"ffmpeg took nothing for {STALLED_AFTER_S:g} s and was ended"
        raise DriverError(f"no clip can be written to {part.parent}: {why}; see whether the disk is well") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # One that hangs in the kernel cannot be ended; it is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                await process.wait()
        said = await _said(complaints)
    if process.returncode or written is None:
        raise DriverError(f"no clip can be written to {part.parent}: ffmpeg says: {said or 'nothing'}")
    return written


async def _feed(stdin: asyncio.StreamWriter, first: Shot, shots: AsyncIterator[Shot]) -> tuple[int, int]:
    """Hand the pictures over as they come.

    :raises TimeoutError: when they are not taken
    """
    stdin.write(_opening(first.data))
    shot: Shot | None = first
    frames, last_ns = 0, first.monotonic_ns
    while shot is not None:
        frames, last_ns = frames + 1, shot.monotonic_ns
        stdin.write(_block_header((last_ns - first.monotonic_ns) // _MILLISECOND_NS, len(shot.data)))
        stdin.write(shot.data)
        async with asyncio.timeout(STALLED_AFTER_S):
            await stdin.drain()
        shot = await anext(shots, None)
    return frames, last_ns


async def _said(complaints: asyncio.Task[str]) -> str:
    # Whoever else holds the pipe open is not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_WITHIN_S):
            return await complaints
    return ""


async def _last_line(stream: asyncio.StreamReader) -> str:
    last = b""
    while piece := await stream.read(4096):
        last = (last + piece)[-1000:]
    return last.decode(errors="replace").strip().rpartition("\n")[2]


def _opening(data: Data) -> bytes:
    """The beginning of a Matroska stream of JPEGs as large as this one, with times in milliseconds."""
    width, height = size(data)
    header = _element(_DOC_TYPE, b"matroska") + _element(_DOC_TYPE_VERSION, 4) + _element(_DOC_TYPE_READ_VERSION, 2)
    info = _element(_TIMESTAMP_SCALE, _MILLISECOND_NS) + _element(_MUXING_APP, b"-") + _element(_WRITING_APP, b"-")
    track = _element(_TRACK_NUMBER, 1) + _element(_TRACK_UID, 1) + _element(_TRACK_TYPE, 1) + _element(_FLAG_LACING, 0)
    video = _element(_PIXEL_WIDTH, width) + _element(_PIXEL_HEIGHT, height)
    track += _element(_CODEC_ID, b"V_MJPEG") + _element(_VIDEO, video)
    body = _element(_INFO, info) + _element(_TRACKS, _element(_TRACK_ENTRY, track))
    return _element(_EBML, header) + _identifier(_SEGMENT) + _UNKNOWN_SIZE + body


def _block_header(at_ms: int, length: int) -> bytes:
    """What comes before a picture of `length` bytes: a cluster of its own."""
    timestamp = _element(_TIMESTAMP, at_ms)
    block = _identifier(_SIMPLE_BLOCK) + _size(len(_KEY_FRAME_OF_TRACK_1) + length) + _KEY_FRAME_OF_TRACK_1
    return _identifier(_CLUSTER) + _size(len(timestamp) + len(block) + length) + timestamp + block


def _element(identifier: int, value: int | bytes) -> bytes:
    content = value.to_bytes(8, "big") if isinstance(value, int) else value
    return _identifier(identifier) + _size(len(content)) + content


def _identifier(identifier: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")


def _size(length: int) -> bytes:
    # The length of the length stands in its leading zeros: seven bytes follow a first one of 1.
    return b"\x01" + length.to_bytes(7, "big")
