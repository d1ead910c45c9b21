"""A camera, or what stands for one: a picture, a video, a folder of pictures, a V4L2 device or a URL.

OpenCV reads in a thread of its own, so that a device that hangs in the kernel or on the network hangs nobody else;
when it hangs for too long the part fails and the source is opened anew. Of a live source only the newest frame is
worth having, so a slow reader skips frames, which are counted; a file or a folder is read in full, each picture once
in a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from drivers.readings import Condition, DriverError, Frame, PartState

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FOLDER_POLL_S = 0.25
SETTLED_AFTER_S = 2.0
"""A picture without its end that has not grown for this long is taken as it is."""
MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_PICTURE_PIXELS = 64_000_000
"""What OpenCV may decode: 192 MB, so that one file can not eat the memory of the board."""
NETWORK_TIMEOUT_MS = 5000
END_WITHIN_S = 2.0


@dataclass(slots=True)
class Counters:
    """What a camera has seen since it was made."""

    frames: int = 0
    skipped: int = 0
    """Frames of a live source that came faster than they were taken."""
    unreadable: int = 0
    """Files that are no pictures."""


class Camera:
    """The part ``camera``: a `Frame` for each picture of `source`, at most `fps` a second.

    `width` and `height` are asked of a V4L2 device, which may give something else.
    """

    name = "camera"

    def __init__(
        self, source: str, width: int = 1280, height: int = 720, fps: float = 10.0, *, hang_after_s: float = 15.0
    ) -> None:
        self.counters = Counters()
        self.source = source
        self.width = width
        self.height = height
        self.period_s = 1 / fps
        self.label = _without_password(source)
        """The source as it may be shown."""
        self.wanted = asyncio.Event()
        """Clear it while no frame is wanted: a live source goes on and its newest frame waits, files wait."""
        self.wanted.set()
        self.read: set[str] = set()
        """Files of the source that were read; what has left the folder is forgotten."""
        self._hang_after_s = hang_after_s
        self._reader: _Reader | None = None

    async def run(self, out: Callable[[Frame], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled; files that are read to their end leave the part ready.

        :raises DriverError: when the source is not there, gives no more pictures or hangs.
        """
        report(PartState.now(Condition.OPENING))
        if self._reader and self._reader.is_alive():
            raise DriverError(f"camera {self.label} still hangs: pull its plug and plug it in again")
        self._reader = reader = _Reader(self, report)
        reader.start()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._hang_after_s / 4):
                        await reader.news.wait()
                reader.news.clear()
                await self.wanted.wait()
                if frame := reader.take():
                    self.counters.frames += 1
                    out(frame)
                if reader.error:
                    raise reader.error
                if reader.busy_s() > self._hang_after_s:
                    raise DriverError(
                        f"camera {self.label} has given nothing for {self._hang_after_s:g} s: check its plug or network"
                    )
        finally:
            reader.stop()
            if reader.busy_s() <= self._hang_after_s:
                await asyncio.to_thread(reader.join, END_WITHIN_S)


class _Reader(threading.Thread):
    """Reads one source in its own thread and holds one frame for the loop."""

    def __init__(self, camera: Camera, report: Callable[[PartState], None]) -> None:
        super().__init__(name=f"camera {camera.label}", daemon=True)
        self.news = asyncio.Event()
        self.error: Exception | None = None
        self._camera = camera
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._frame: Frame | None = None
        self._stopped = threading.Event()
        self._busy_since: float | None = None

    def take(self) -> Frame | None:
        """The frame that waits; makes room for the next."""
        with self._room:
            frame, self._frame = self._frame, None
            self._room.notify()
        return frame

    def busy_s(self) -> float:
        """How long OpenCV or the file system has kept the thread so far."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def stop(self) -> None:
        """Ask the thread to end; it does so when the call it is in returns."""
        self._stopped.set()
        with self._room:
            self._room.notify()

    def run(self) -> None:
        try:
            self._read_source()
        except DriverError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever happens here is the part's fault, told on the loop
            self.error = DriverError(f"camera {self._camera.label} failed: {type(error).__name__}: {error}")
        self._on_loop(self.news.set)

    def _read_source(self) -> None:
        path = Path(self._camera.source)
        if "://" in self._camera.source:
            self._read_stream(live=True)
        elif path.is_dir():
            self._read_pictures(folder=path)
        elif path.is_file() and path.suffix.lower() in PICTURES:
            self._read_pictures(folder=None)
        elif path.exists():
            self._read_stream(live=path.is_char_device())
        else:
            raise DriverError(
                f"camera {path} is not there: plug it in, or correct camera.source (`kerbside devices` lists cameras)",
                Condition.ABSENT,
            )

    def _on_loop(self, call: Callable[..., Any], *arguments: Any) -> None:
        # The loop may be gone when a hanging call comes back at last.
        with contextlib.suppress(RuntimeError):
            if not self._stopped.is_set():
                self._loop.call_soon_threadsafe(call, *arguments)

    def _ready(self, reason: str = "") -> None:
        self._on_loop(self._report, PartState.now(Condition.READY, reason))

    @contextlib.contextmanager
    def _busy(self) -> Any:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None

    def _give(self, image: Any, stamp_ns: int, origin: str | None, *, live: bool) -> None:
        frame = Frame(self._camera.name, stamp_ns, image, origin)
        with self._room:
            if live:
                self._camera.counters.skipped += self._frame is not None
            else:
                self._room.wait_for(lambda: self._frame is None or self._stopped.is_set())
            self._frame = frame
        self._on_loop(self.news.set)

    def _read_stream(self, *, live: bool) -> None:
        camera, shown = self._camera, self._camera.label
        device = live and "://" not in camera.source
        if device and not os.access(camera.source, os.R_OK | os.W_OK):
            raise DriverError(f"camera {shown} may not be opened by this user: add the user to the group video")
        with self._busy():
            cv2 = _opencv()
            if device:
                capture = cv2.VideoCapture(camera.source, cv2.CAP_V4L2)
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, camera.width)
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, camera.height)
                capture.set(cv2.CAP_PROP_FPS, 1 / camera.period_s)
            elif live:
                limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
                capture = cv2.VideoCapture(
                    camera.source, cv2.CAP_FFMPEG, [word for limit in limits for word in (limit, NETWORK_TIMEOUT_MS)]
                )
            else:
                capture = cv2.VideoCapture(camera.source)
        try:
            if not capture.isOpened():
                raise DriverError(f"camera {shown} gives no pictures: expected a video source that no one else uses")
            self._read_frames(capture, live=live)
        finally:
            with self._busy():
                capture.release()

    def _read_frames(self, capture: Any, *, live: bool) -> None:
        shown, period_s = self._camera.label, self._camera.period_s
        origin = None if live else self._camera.source
        due, first = time.monotonic(), True
        while not self._stopped.is_set():
            with self._busy():
                grabbed = capture.grab()
            now = time.monotonic()
            if not grabbed:
                if live:
                    gone = "://" not in self._camera.source and not Path(self._camera.source).exists()
                    raise DriverError(
                        f"camera {shown} gives no more pictures: check its plug or network",
                        Condition.ABSENT if gone else Condition.FAULTY,
                    )
                if first:
                    raise DriverError(f"camera {shown} holds no picture: expected a video")
                return
            # A live source must be read as fast as it gives, or its frames grow old; only what is due is decoded.
            if live and now < due:
                continue
            stamp_ns = time.monotonic_ns()
            with self._busy():
                good, image = capture.retrieve()
            if not good:
                self._camera.counters.unreadable += 1
                continue
            if first:
                first = False
                self._ready()
            if not live:
                self._stopped.wait(due - now)
            due = max(due, now) + period_s
            self._give(image, stamp_ns, origin, live=live)

    def _read_pictures(self, folder: Path | None) -> None:
        """Every picture of `folder`, or the one that is the source, as it is complete."""
        camera = self._camera
        growing: dict[str, tuple[tuple[int, int], float]] = {}
        with self._busy():
            _opencv()
        self._ready()
        due = time.monotonic()
        while not self._stopped.is_set():
            names = _pictures(folder) if folder else [camera.source]
            camera.read &= set(names)
            growing = {name: seen for name, seen in growing.items() if name in names}
            for name in names:
                if name in camera.read or self._stopped.is_set():
                    continue
                try:
                    with self._busy():
                        content = self._complete(name, growing)
                        if content is None:
                            continue
                        image = _decode(content)
                except OSError:
                    image = None
                camera.read.add(name)
                if image is None:
                    camera.counters.unreadable += 1
                    self._ready(f"{camera.counters.unreadable} files are no pictures, the last one {Path(name).name}")
                    continue
                self._stopped.wait(due - time.monotonic())
                due = max(due, time.monotonic()) + camera.period_s
                self._give(image, time.monotonic_ns(), name, live=False)
            if folder is None and camera.source in camera.read:
                return
            self._stopped.wait(FOLDER_POLL_S)
            if folder and not folder.is_dir():
                raise DriverError(f"camera {folder} is not there any more: create the folder again", Condition.ABSENT)

    def _complete(self, name: str, growing: dict[str, tuple[tuple[int, int], float]]) -> bytes | None:
        """The file's bytes once it has been written in full, else ``None``: more may still come."""
        status = Path(name).stat()
        state = (status.st_size, status.st_mtime_ns)
        now = time.monotonic()
        known, since = growing.get(name, (None, now))
        if known != state:
            growing[name] = (state, now)
            since = now
        settled = now - since >= SETTLED_AFTER_S
        if status.st_size > MAX_PICTURE_BYTES:
            return b"" if settled else None
        if known == state and not settled:
            return None
        content = Path(name).read_bytes()
        return content if settled or _ends(content) else None


def _opencv() -> Any:
    # Read once when the library is loaded.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PICTURE_PIXELS))
    import cv2  # late: 40 MB that a unit without a camera does not need

    return cv2


def _decode(content: bytes) -> Any:
    """The picture, upright as its EXIF says, or ``None``."""
    cv2 = _opencv()
    import numpy as np

    if not content:
        return None
    with contextlib.suppress(cv2.error):
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None


def _ends(content: bytes) -> bool:
    """Whether the last bytes are the end of a JPEG or a PNG; other forms do not tell."""
    return content.rstrip(b"\0").endswith(b"\xff\xd9") or content[-8:-4] == b"IEND"


def _pictures(folder: Path) -> list[str]:
    """The pictures of a folder by name; what begins with a dot is still being copied."""
    try:
        with os.scandir(folder) as entries:
            found: Iterable[str] = [
                entry.path
                for entry in entries
                if not entry.name.startswith(".") and Path(entry.name).suffix.lower() in PICTURES and entry.is_file()
            ]
    except OSError:
        return []
    return sorted(found)


def _without_password(source: str) -> str:
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
