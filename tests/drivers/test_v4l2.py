"""Nodes of cameras: those that cannot be used say why, by the kernel's own answers; a real one is read as it is.

What needs a camera takes the one that ``KERBSIDE_TEST_CAMERA`` names, such as ``/dev/video0``: nobody's is turned on
unasked. Any that gives pictures will do.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from watched_part import needs, watching

from drivers import v4l2
from drivers.camera import Camera
from drivers.readings import Condition, DriverError
from tests.waiting import wait_until

DEVICE_CAPS, CAPTURE, METADATA, OUTPUT = 0x80000000, 0x1, 0x00800000, 0x2


class Kernel:
    """Answers the calls of <linux/videodev2.h> as a camera's driver does."""

    def __init__(self, abilities: int, formats: tuple[bytes, ...] = (), fault: int = 0) -> None:
        self._abilities = abilities
        self._formats = formats
        self._fault = fault

    def ioctl(self, _handle: int, call: int, told: bytearray) -> int:
        if call == 0x80685600:  # VIDIOC_QUERYCAP
            told[84:92] = struct.pack("II", DEVICE_CAPS | CAPTURE | METADATA, self._abilities)
        elif call == 0xC0145608 and self._fault:  # VIDIOC_REQBUFS
            raise OSError(self._fault, os.strerror(self._fault))
        elif call == 0xC0405602:  # VIDIOC_ENUM_FMT
            index = struct.unpack_from("I", told)[0]
            if index >= len(self._formats):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            told[44:48] = self._formats[index]
        return 0


def ask(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> tuple[str, ...]:
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    return v4l2._ask(-1, "/dev/video7", "camera /dev/video7")


def test_the_formats_of_a_camera_are_asked_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(monkeypatch, Kernel(CAPTURE, (b"MJPG", b"Y8  ", b"Y16\xa0"))) == ("MJPG", "Y8", "Y16-BE")
    assert ask(monkeypatch, Kernel(CAPTURE)) == ()


def test_the_node_of_the_metadata_names_the_one_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError, match=r"/dev/video7 gives metadata and gives no pictures.* index0"):
        ask(monkeypatch, Kernel(METADATA))
    with pytest.raises(DriverError, match="takes pictures and gives no pictures"):
        ask(monkeypatch, Kernel(OUTPUT))


def test_a_camera_of_another_program_is_busy_and_says_how_to_find_that_program(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError, match=r"is in use by another program: .*fuser /dev/video7"):
        ask(monkeypatch, Kernel(CAPTURE, (b"MJPG",), errno.EBUSY))


def test_a_camera_that_goes_while_it_is_asked_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError) as fault:
        ask(monkeypatch, Kernel(CAPTURE, (b"MJPG",), errno.ENODEV))
    assert fault.value.condition is Condition.ABSENT


def test_a_driver_that_answers_some_call_in_its_own_way_is_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(monkeypatch, Kernel(CAPTURE, (b"YUYV",), errno.EINVAL)) == ("YUYV",)


def test_what_is_no_camera_is_not_even_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would be noticed: there is nobody at its other end
    for node in (pipe, Path("/dev/null"), Path("/dev/ptmx")):
        with pytest.raises(DriverError, match=f"camera {node} is no camera") as fault:
            v4l2.formats(str(node), f"camera {node}")
        assert fault.value.condition is Condition.FAULTY


@pytest.fixture
def unplugged() -> Iterator[Path]:
    """The node of a camera that is not there, in a folder that everyone may enter."""
    if os.geteuid() != 0:
        pytest.skip("makes a device node: needs root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        node = Path(folder) / "video"
        try:
            os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(81, 251))
        except PermissionError:
            pytest.skip("makes a device node: needs a system that lets root do it")
        yield node


def test_a_node_without_a_camera_behind_it_is_absent(unplugged: Path) -> None:
    with pytest.raises(DriverError, match="is not there: plug it in") as fault:
        v4l2.formats(str(unplugged), f"camera {unplugged}")
    assert fault.value.condition is Condition.ABSENT


def test_a_camera_that_this_user_may_not_open_names_the_group(unplugged: Path) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(DriverError, match="may not be opened by this user: add the user to the group video"):
            v4l2.formats(str(unplugged), f"camera {unplugged}")
    finally:
        os.seteuid(0)


# --- a real camera ----------------------------------------------------------------------------------------------


@pytest.fixture
def node() -> str:
    if not (node := os.environ.get("KERBSIDE_TEST_CAMERA")):
        pytest.skip("needs a camera: KERBSIDE_TEST_CAMERA=/dev/video0 names one")
    return node


def run(part: Camera, test: Any) -> None:
    async def all_of_it() -> None:
        async with watching(part) as watched:
            await test(part, watched)

    asyncio.run(all_of_it())


def test_a_real_camera_gives_pictures_of_the_size_that_it_says(node: str) -> None:
    camera = Camera(node, 640, 480, fps=10)

    async def test(_: Camera, watched: Any) -> None:
        frames = await watched.until_readings(5)
        height, width = frames[0].image.shape[:2]
        assert watched.state.condition is Condition.READY
        assert ((width, height) == (640, 480)) != (f"it gives {width}x{height}" in watched.state.reason)
        assert frames[0].image.dtype.name == "uint8"
        assert all(one.monotonic_ns < other.monotonic_ns for one, other in pairwise(frames))
        assert ("encoded anew" in watched.state.reason) == (frames[0].jpeg is None)

    run(camera, test)


def test_a_real_camera_that_cannot_give_what_is_asked_gives_what_it_can_and_says_so(node: str) -> None:
    async def test(_: Camera, watched: Any) -> None:
        await watched.until_readings(2)
        assert watched.state.condition is Condition.READY
        assert "it gives" in watched.state.reason
        assert "not 321x123" in watched.state.reason

    run(Camera(node, 321, 123, fps=10), test)


def test_a_real_camera_is_named_by_any_link_to_it(node: str, tmp_path: Path) -> None:
    link = tmp_path / "video-index0"
    link.symlink_to(node)

    async def test(_: Camera, watched: Any) -> None:
        await watched.until_readings(2)

    run(Camera(str(link), 640, 480), test)


def test_a_real_camera_that_another_program_reads_is_busy_until_that_ends(node: str) -> None:
    reads = (
        "import cv2, sys; camera = cv2.VideoCapture(sys.argv[1], cv2.CAP_V4L2)\n"
        "camera.set(3, 640); camera.set(4, 480)\n"
        "while camera.grab(): print('reads', flush=True)"
    )
    other = subprocess.Popen([sys.executable, "-c", reads, node], stdout=subprocess.PIPE)
    assert other.stdout
    try:
        assert other.stdout.readline() == b"reads\n"

        async def test(_: Camera, watched: Any) -> None:
            state = await watched.until_state(Condition.FAULTY)
            assert "is in use by " in state.reason
            other.kill()
            await watched.until_readings(2)

        run(Camera(node, 640, 480), test)
    finally:
        other.kill()
        other.wait()


@needs("ffmpeg", "ffmpeg")
def test_a_clip_of_a_real_camera_has_the_pictures_of_its_time(node: str, tmp_path: Path) -> None:
    async def test(camera: Camera, watched: Any) -> None:
        await watched.until_readings(5)
        done = await camera.clip(tmp_path / "clip.mkv", 10, 1)
        assert done.frames >= 1
        count = [
            "ffprobe",
            "-v",
            "error",
            "-count_packets",
            "-show_entries",
            "stream=nb_read_packets",
            "-of",
            "csv=p=0",
        ]
        counted = subprocess.run([*count, str(done.path)], capture_output=True, check=True, timeout=60).stdout
        assert int(counted.strip(b",\n")) == done.frames

    run(Camera(node, 640, 480), test)


def test_a_real_camera_that_is_opened_ten_times_leaks_neither_threads_nor_descriptors_nor_memory(node: str) -> None:
    def once() -> tuple[int, int, int]:
        async def test(_: Camera, watched: Any) -> None:
            await watched.until_readings(2)

        run(Camera(node, 640, 480), test)
        gc.collect()
        files = len(list(Path("/proc/self/fd").iterdir()))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return threading.active_count(), files, pages * os.sysconf("SC_PAGE_SIZE")

    for _ in range(2):
        threads, files, memory = once()
    for _ in range(10):
        after = once()
    wait_until(lambda: threading.active_count() <= threads, "its threads to end")
    assert after[1] <= files
    assert after[2] <= memory + 20_000_000
