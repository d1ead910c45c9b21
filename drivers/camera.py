"""A camera, or what stands for one: a V4L2 device, a URL, a picture, a video, a folder of pictures.

OpenCV reads in a thread of its own, so that a device that hangs in the kernel or on the network hangs nobody else;
when it hangs for too long the part fails and the source is opened anew. Of a live source only the newest frame is
worth having, so a slow reader skips frames, which are counted; a file or a folder is read in full, each picture once
in a run. Where a source gives JPEGs their own bytes are handed on and kept for the last seconds, and nothing is decoded
that nobody looks at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from drivers import v4l2
from drivers.clip import Clip, export
from drivers.hotplug import Numbers, claim, resolve
from drivers.jpeg import SELECT_TIMEOUT_S, Jpeg, decode, encode, opencv
from drivers.readings import Condition, DriverError, Frame, PartState
from drivers.ring import MAX_BYTES, Ring
from drivers.same_device import Opened

PICTURES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FOLDER_POLL_S: Final = 0.25
SETTLED_AFTER_S: Final = 2.0
"""A picture without its end that has not grown for this long is taken as it is."""
MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024
NETWORK_TIMEOUT_S: Final = 5
END_WITHIN_S: Final = 2.0
STALE_AFTER_S: Final = 3.0
"""A live source that has given no picture for this long says so; it is opened anew only later."""
UNPLUGGED_WITHIN_S: Final = 0.3
"""The node of a camera that was unplugged goes a moment after its last picture."""
WAITED_S: Final = 0.002
"""A picture that came sooner had waited: while a stream is opened the first of them pile up."""
PILE_S: Final = 1.0
AGAIN_S: Final = 0.02
ENCODING_SHARE: Final = 0.1
"""Of one core's time, which encoding for the ring may take where a source gives no JPEGs."""
BROKEN: Final = 10
"""So many broken pictures, and a tenth of all, are no accident any more."""
CLIPS: Final = 2
"""Written at a time."""


class Counters:
    """What a camera has seen since it was made."""

    def __init__(self) -> None:
        self.frames = 0
        """Handed on."""
        self.received = 0
        """Whole pictures that were due."""
        self.skipped = 0
        """Frames of a live source that came faster than they were taken."""
        self.unreadable = 0
        """Files that are no pictures, and pieces of a stream that are no whole picture."""


class Camera:
    """The part ``camera``: a `Frame` for each picture of `source`, at most `fps` a second.

    `width`, `height` and `fps` are asked of a V4L2 device; where it gives something else the part's state says what.
    The pictures of the last `ring_s` seconds are kept in memory, at most `ring_max_bytes` of them.
    """

    name = "camera"

    def __init__(
        self,
        source: str,
        width: int = 1280,
        height: int = 720,
        fps: float = 10.0,
        *,
        ring_s: float = 10.0,
        ring_max_bytes: int = MAX_BYTES,
        hang_after_s: float = 15.0,
    ) -> None:
        self.counters = Counters()
        self.source = source
        self.width = width
        self.height = height
        self.fps = fps
        self.period_s = 1 / fps
        self.label = label_of(source)
        """The source as it may be shown."""
        self.ring = Ring(ring_s, ring_max_bytes)
        self.opened = Opened(source, "video4linux")
        self.read: set[str] = set()
        """Files of the source that were read; what has left the folder is forgotten."""
        self._hang_after_s = hang_after_s
        self._newest: Frame | None = None
        self._wanted = True
        self._reader: _Reader | None = None
        self._clips = 0

    def latest(self) -> Frame | None:
        """The newest frame, the very one that was or will be handed on; ``None`` while a live source gives none."""
        return self._newest

    def pause(self) -> None:
        """Hand on no frame for now: a live source goes on and its newest frame waits, files wait."""
        self._wanted = False

    def resume(self) -> None:
        """Hand on frames again, at once the one that waits."""
        self._wanted = True
        if self._reader:
            self._reader.news.set()

    async def clip(self, path: Path, before_s: float, after_s: float, at_ns: int | None = None) -> Clip:
        """Write what the ring holds around an instant, by default now, and what comes in the seconds after it.

        :raises DriverError: there is no ring, no picture of that time, no ffmpeg, or no room
        """
        if not self.ring.seconds:
            raise DriverError("no clip can be written: nothing is kept for one; set camera.ring_s above 0")
        if self._clips >= CLIPS:
            raise DriverError(f"no clip can be written now: {self._clips} are being written; ask again after")
        self._clips += 1
        try:
            return await export(self.ring, path, time.monotonic_ns() if at_ns is None else at_ns, before_s, after_s)
        finally:
            self._clips -= 1

    async def run(self, out: Callable[[Frame], None], report: Callable[[PartState], None]) -> None:
        """Read until cancelled; files that are read to their end leave the part ready.

        :raises DriverError: when the source is not there, gives no more pictures or hangs.
        """
        report(PartState.now(Condition.OPENING))
        self.ring.forget(time.monotonic_ns())
        if self._reader and self._reader.is_alive():
            raise DriverError(f"camera {self.label} still hangs: pull its plug and plug it in again, or restart it")
        self._reader = reader = _Reader(self)
        reader.start()
        said: tuple[Condition, str] | None = None
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(1.0, self._hang_after_s / 4)):
                        await reader.news.wait()
                reader.news.clear()
                if self._wanted and (frame := reader.take()):
                    self.counters.frames += 1
                    out(frame)
                if reader.error:
                    raise reader.error
                self._look_after(reader)
                if (state := reader.state()) and state != said:
                    report(PartState.now(*state))
                    said = state
                self.ring.forget(time.monotonic_ns())
        finally:
            reader.stop()
            if reader.live:
                self._newest = None
            if reader.busy_s() <= self._hang_after_s:
                await asyncio.to_thread(reader.join, END_WITHIN_S)

    def _look_after(self, reader: _Reader) -> None:
        if max(reader.busy_s(), reader.silent_s()) <= self._hang_after_s:
            return
        if reader.broken_in_a_row:
            what = f"{reader.broken_in_a_row} pieces of data and no whole picture among them"
            raise DriverError(
                f"camera {self.label} gives {what}: expected JPEG; check its cable, and that source is right"
            )
        raise DriverError(
            f"camera {self.label} has given nothing for {self._hang_after_s:g} s: check its plug or network"
        )


class _Reader(threading.Thread):
    """Reads one source in its own thread and holds one frame for the loop."""

    def __init__(self, camera: Camera) -> None:
        super().__init__(name=f"camera {camera.label}", daemon=True)
        self.news = asyncio.Event()
        self.error: Exception | None = None
        self.live = False
        self.broken_in_a_row = 0
        self._camera = camera
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._frame: Frame | None = None
        self._stopped = threading.Event()
        self._busy_since: float | None = None
        self._ready = False
        self._notes: dict[str, str] = {}
        """What is to be said although it works, by subject."""
        self._heard = time.monotonic()
        """When the last picture of a live source came."""
        self._encode_after = 0.0

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

    def silent_s(self) -> float:
        """How long a whole picture of a live source has been due."""
        return time.monotonic() - self._heard - self._camera.period_s if self.live else 0.0

    def state(self) -> tuple[Condition, str] | None:
        """What the part is, once it is ready."""
        if not self._ready:
            return None
        if self.silent_s() > STALE_AFTER_S:
            return Condition.STALE, f"it has given no picture for more than {STALE_AFTER_S:g} s"
        return Condition.READY, "; ".join(self._notes.values())

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
            why = str(error).replace(self._camera.source, self._camera.label)
            self.error = DriverError(f"camera {self._camera.label} failed: {type(error).__name__}: {why}")
        self._tell()

    def _read_source(self) -> None:
        source, shown = self._camera.source, f"camera {self._camera.label}"
        path = Path(source)
        if "://" in source:
            self._read_stream(shown)
        elif Numbers.parse(source) or path.is_char_device():
            self._read_device(shown)
        elif path.is_dir():
            self._read_pictures(folder=path)
        elif path.is_file() and path.suffix.lower() in PICTURES:
            self._read_pictures(folder=None)
        elif path.exists():
            self._read_video(shown)
        else:
            raise v4l2.absent(shown)

    def _tell(self) -> None:
        # The loop may be gone when a hanging call comes back at last.
        with contextlib.suppress(RuntimeError):
            if not self._stopped.is_set():
                self._loop.call_soon_threadsafe(self.news.set)

    def _is_ready(self, **notes: str) -> None:
        self._ready = True
        self._notes |= notes
        self._tell()

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None

    # --- what becomes of a picture ------------------------------------------------------------------------------

    def _give(self, picture: Any, stamp_ns: int, origin: str | None) -> None:
        camera = self._camera
        frame = Frame(camera.name, stamp_ns, picture, origin)
        camera.counters.received += 1
        self._keep(picture, stamp_ns)
        with self._room:
            if self.live:
                camera.counters.skipped += self._frame is not None
            else:
                self._room.wait_for(lambda: self._frame is None or self._stopped.is_set())
            if self._stopped.is_set():
                return
            self._frame = camera._newest = frame  # noqa: SLF001 - the camera's own thread
        self._tell()

    def _keep(self, picture: Any, stamp_ns: int) -> None:
        ring = self._camera.ring
        if not ring.seconds:
            return
        if isinstance(picture, Jpeg):
            ring.add(stamp_ns, picture.data)
        elif (began := time.monotonic()) >= self._encode_after:
            spent = time.thread_time()
            if (data := encode(picture)) is not None:
                ring.add(stamp_ns, data)
            self._encode_after = began + (time.thread_time() - spent) / ENCODING_SHARE
        if ring.short_s is not None and "ring" not in self._notes:
            self._notes["ring"] = (
                f"only its last {ring.short_s:.1f} s are kept, not {ring.seconds:g} s (camera.ring_s): "
                "camera.ring_max_bytes has room for no more"
            )

    def _broken(self) -> None:
        counters = self._camera.counters
        counters.unreadable += 1
        self.broken_in_a_row += 1
        if counters.unreadable >= BROKEN and counters.unreadable * 10 > counters.received:
            self._notes["broken"] = "many of its pictures are broken: check its cable, hub or network"

    # --- devices, streams and videos ----------------------------------------------------------------------------

    def _read_device(self, shown: str) -> None:
        camera = self._camera
        with self._busy():
            node = resolve(camera.source, "video4linux", camera.name)
        # For as long as the thread has the device, however it hangs.
        with claim(node, camera.name):
            self._listen()
            with self._busy():
                seen = camera.opened.look(camera.name)
                capture, given = v4l2.open_capture(node, shown, camera.width, camera.height, camera.fps)
                camera.opened.keep(seen, camera.name)
            notes = {}
            rate = capture.get(opencv().CAP_PROP_FPS)
            if 0 < rate < 0.9 * camera.fps:
                notes["rate"] = f"it gives {rate:g} pictures a second, not {camera.fps:g}"
            self._read_frames(capture, shown, given, node, notes)

    def _read_stream(self, shown: str) -> None:
        self._listen()
        with self._busy():
            cv2 = opencv()
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
            options = [word for limit in limits for word in (limit, NETWORK_TIMEOUT_S * 1000)]
            capture = cv2.VideoCapture(self._camera.source, cv2.CAP_FFMPEG, options)
            if not capture.isOpened():
                raise DriverError(_why_no_stream(self._camera.source, shown))
        self._read_frames(capture, shown, _as_it_comes(capture), None, {})

    def _read_video(self, shown: str) -> None:
        with self._busy():
            cv2 = opencv()
            capture = cv2.VideoCapture(self._camera.source, cv2.CAP_FFMPEG)
            if not capture.isOpened():
                raise DriverError(f"{shown} is no video and no picture: expected a file of which one sees the pictures")
        self._read_frames(capture, shown, _as_it_comes(capture), None, {})

    def _listen(self) -> None:
        self.live = True
        self._heard = time.monotonic()

    def _read_frames(self, capture: Any, shown: str, given: str, node: str | None, notes: dict[str, str]) -> None:
        if given not in v4l2.JPEGS and self._camera.ring.seconds and self.live:
            share = f"for at most {ENCODING_SHARE:.0%} of a core"
            notes["format"] = f"it gives {given}, not MJPG: its pictures are encoded anew to be kept, {share}"
        try:
            if node is None and self.live:
                self._skip_pile(capture)
            self._follow(capture, shown, given, node, notes)
        finally:
            with self._busy():
                capture.release()

    def _skip_pile(self, capture: Any) -> None:
        """Pass over what has piled up while the stream was opened; those pictures are older than they seem."""
        until = time.monotonic() + PILE_S
        while not self._stopped.is_set():
            began = time.monotonic()
            with self._busy():
                grabbed = capture.grab()
            now = time.monotonic()
            if not grabbed or now - began > WAITED_S or now > until:
                return

    def _follow(self, capture: Any, shown: str, given: str, node: str | None, notes: dict[str, str]) -> None:
        camera, cv2 = self._camera, opencv()
        origin = None if self.live else camera.source
        due, looked, stamp = time.monotonic(), time.monotonic(), 0.0
        while not self._stopped.is_set():
            with self._busy():
                grabbed = capture.grab()
            now = time.monotonic()
            if not grabbed:
                if self.live:
                    raise self._ended(shown, node)
                if not self._ready:
                    raise DriverError(f"{shown} holds no picture: expected a video")
                return
            if node:
                # After an unplug the last picture may be had again and again.
                before, stamp = stamp, capture.get(cv2.CAP_PROP_POS_MSEC)
                if stamp and stamp == before:
                    self._stopped.wait(AGAIN_S)
                    continue
                if now - looked > 1.0:
                    looked = now
                    if not Path(node).exists():
                        raise self._ended(shown, node)
            # A live source must be read as fast as it gives, or its frames grow old; only what is due is taken. A
            # picture that comes a little early is the one that is due: clocks differ.
            if self.live and now < due - camera.period_s / 2:
                continue
            stamp_ns = time.monotonic_ns()
            with self._busy():
                picture = self._retrieve(capture, given)
            if picture is None:
                self._broken()
                continue
            if not self.live:
                self._stopped.wait(due - now)
                stamp_ns = time.monotonic_ns()
            due = max(due + camera.period_s, now)
            self._heard, self.broken_in_a_row = time.monotonic(), 0
            if not self._ready:
                width, height = (picture.width, picture.height) if isinstance(picture, Jpeg) else picture.shape[1::-1]
                if node and (width, height) != (camera.width, camera.height):
                    notes["size"] = f"it gives {width}x{height}, not {camera.width}x{camera.height}"
                self._is_ready(**notes)
            self._give(picture, stamp_ns, origin)

    def _retrieve(self, capture: Any, given: str) -> Any:
        good, image = capture.retrieve()
        if not good or image is None or not image.size:
            return None
        if given in v4l2.JPEGS:
            return Jpeg.whole(image.reshape(-1).data)
        if image.ndim == 3 and image.shape[2] == 3:
            return image
        # Of a camera whose pictures need no conversion OpenCV gives the bytes in one row.
        cv2 = opencv()
        width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return image.reshape(height, width, 3) if image.size == height * width * 3 else None

    def _ended(self, shown: str, node: str | None) -> DriverError:
        if node is None:
            if self.silent_s() >= NETWORK_TIMEOUT_S - 1:
                return DriverError(f"{shown} has given nothing for {NETWORK_TIMEOUT_S} s: check its power and network")
            return DriverError(f"{shown} has ended its stream: check its power and network; it is asked again")
        self._stopped.wait(UNPLUGGED_WITHIN_S)
        if not Path(node).exists():
            return v4l2.absent(shown)
        if not self._ready:
            return DriverError(
                f"{shown} starts and gives no picture: pull its plug and plug it in again; beside other devices on one "
                "hub it may need a port of its own, or a smaller camera.width and camera.height"
            )
        since = f" for {SELECT_TIMEOUT_S} s" if self.silent_s() >= SELECT_TIMEOUT_S - 1 else ""
        return DriverError(f"{shown} gives no more pictures{since}: check its plug; pull it and plug it in again")

    # --- pictures -----------------------------------------------------------------------------------------------

    def _read_pictures(self, folder: Path | None) -> None:
        """Every picture of `folder`, or the one that is the source, as it is complete."""
        camera = self._camera
        growing: dict[str, tuple[tuple[int, int], float]] = {}
        with self._busy():
            opencv()
        self._is_ready()
        due = time.monotonic()
        while not self._stopped.is_set():
            names = _pictures(folder) if folder else [camera.source]
            camera.read &= set(names)
            growing = {name: seen for name, seen in growing.items() if name in names}
            for name in names:
                if name in camera.read or self._stopped.is_set():
                    continue
                content, image = b"", None
                with contextlib.suppress(OSError), self._busy():
                    if (whole := self._complete(name, growing)) is None:
                        continue
                    content, image = whole, decode(whole)
                camera.read.add(name)
                if image is None:
                    camera.counters.unreadable += 1
                    count = camera.counters.unreadable
                    self._is_ready(files=f"{count} files are no pictures, the last one {Path(name).name}")
                    continue
                self._stopped.wait(due - time.monotonic())
                due = max(due, time.monotonic()) + camera.period_s
                self._give(Jpeg.whole(content, image) or image, time.monotonic_ns(), name)
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


def _as_it_comes(capture: Any) -> str:
    """The format of what FFmpeg has opened; from then on JPEGs come as they are."""
    cv2 = opencv()
    given = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace").strip("\0 ").upper()
    if given in v4l2.JPEGS:
        capture.set(cv2.CAP_PROP_FORMAT, -1)
    return given


def label_of(source: str) -> str:
    """The source without user, password and key, in whatever way they were written into it."""
    scheme, slashes, rest = source.partition("://")
    return f"{scheme}{slashes}{re.split('[?#]', rest.rpartition('@')[2])[0]}" if slashes else source


def _why_no_stream(source: str, shown: str) -> str:
    """What keeps a stream from being opened, as far as its address can tell."""
    try:
        parts = urlsplit(source)
        port = parts.port or {"rtsp": 554, "http": 80, "https": 443}.get(parts.scheme)
        host = parts.hostname
    except ValueError:
        host = port = None
    if not host or not port:
        return f"{shown} gives no video: expected an address such as rtsp://host/path or http://host/path"
    try:
        socket.create_connection((host, port), NETWORK_TIMEOUT_S).close()
    except socket.gaierror:
        return f"{shown} is not found: no device is called {host}; check the network, or correct camera.source"
    except ConnectionRefusedError:
        return f"{shown} refuses connections at port {port}: let the camera give its stream, or correct camera.source"
    except OSError:
        return f"{shown} does not answer: check the camera's power and network, or correct camera.source"
    return f"{shown} answers and gives no video: check path, user and password of camera.source"
