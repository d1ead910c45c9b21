"""Pictures from files, folders, videos and a live stream, and what happens to those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from watched_part import Watched, watching

from drivers.camera import Camera
from drivers.readings import Condition, Frame


def picture(shade: int, width: int = 64, height: int = 48) -> bytes:
    """A JPEG of one grey."""
    return cv2.imencode(".jpg", np.full((height, width, 3), shade, np.uint8))[1].tobytes()


def shade(frame: Frame) -> int:
    return round(float(frame.image.mean()))


def shades(watched: Watched) -> list[int]:
    return [shade(frame) for frame in watched.readings]


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    async def test() -> None:
        source = tmp_path / "label.jpg"
        source.write_bytes(picture(100))
        async with watching(Camera(str(source))) as watched:
            await watched.until_readings(1)
            await asyncio.sleep(0.5)
            assert watched.state.condition is Condition.READY
        (frame,) = watched.readings
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert (frame.device, frame.origin) == ("camera", str(source))
        assert shade(frame) == pytest.approx(100, abs=2)

    asyncio.run(test())


def test_a_folder_is_read_in_the_order_of_its_names_each_picture_once(tmp_path: Path) -> None:
    async def test() -> None:
        for name, grey in [("c.png", 150), ("a.jpg", 50), ("b.JPEG", 100)]:
            image = np.full((8, 8, 3), grey, np.uint8)
            cv2.imwrite(str(tmp_path / name), image)
        (tmp_path / "notes.txt").write_text("no picture")
        (tmp_path / ".hidden.jpg").write_bytes(picture(1))
        async with watching(Camera(str(tmp_path), fps=100)) as watched:
            await watched.until_readings(3)
            (tmp_path / "0.jpg").write_bytes(picture(200))
            await watched.until_readings(4)
            await asyncio.sleep(0.6)
        assert shades(watched) == pytest.approx([50, 100, 150, 200], abs=2)

    asyncio.run(test())


def test_every_picture_of_a_folder_is_read_however_slow_the_reader(tmp_path: Path) -> None:
    async def test() -> None:
        for number in range(12):
            (tmp_path / f"{number:02}.jpg").write_bytes(picture(10 + 20 * number))
        camera = Camera(str(tmp_path), fps=1000)
        async with watching(camera) as watched:
            for _ in range(12):
                await asyncio.sleep(0.02)
            await watched.until_readings(12)
        assert shades(watched) == pytest.approx([10 + 20 * number for number in range(12)], abs=2)
        assert camera.counters.skipped == 0

    asyncio.run(test())


def test_a_picture_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        whole = picture(77, 640, 480)
        camera = Camera(str(tmp_path), fps=100)
        async with watching(camera) as watched:
            await watched.until_state(Condition.READY)
            with (tmp_path / "slow.jpg").open("wb", buffering=0) as file:
                for at in range(0, len(whole), len(whole) // 5):
                    assert watched.readings == []
                    await asyncio.sleep(0.3)
                    file.write(whole[at : at + len(whole) // 5])
            await watched.until_readings(1)
        (frame,) = watched.readings
        assert frame.image.shape == (480, 640, 3)
        assert frame.image.min() == pytest.approx(77, abs=2)
        assert camera.counters.unreadable == 0

    asyncio.run(test())


def test_a_file_that_is_no_picture_is_told_and_passed_over(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "a.jpg").write_bytes(b"no picture at all")
        (tmp_path / "b.jpg").write_bytes(b"")
        (tmp_path / "c.jpg").write_bytes(picture(90))
        camera = Camera(str(tmp_path), fps=100)
        async with watching(camera) as watched:
            await watched.until_readings(1)
            await watched.until(lambda: camera.counters.unreadable == 2)
            await watched.until(lambda: "2 files are no pictures" in watched.state.reason)
            assert watched.state.condition is Condition.READY
        assert shades(watched) == pytest.approx([90], abs=2)

    asyncio.run(test())


def test_a_folder_that_is_not_there_is_absent_and_read_once_it_is(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "usb"
        async with watching(Camera(str(folder))) as watched:
            state = await watched.until_state(Condition.ABSENT)
            assert str(folder) in state.reason
            folder.mkdir()
            (folder / "a.jpg").write_bytes(picture(60))
            await watched.until_readings(1)

    asyncio.run(test())


def test_a_video_is_read_to_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "drive.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for grey in (20, 120, 220):
            writer.write(np.full((48, 64, 3), grey, np.uint8))
        writer.release()
        async with watching(Camera(str(path), fps=100)) as watched:
            await watched.until_readings(3)
            await asyncio.sleep(0.3)
            assert watched.state.condition is Condition.READY
        assert shades(watched) == pytest.approx([20, 120, 220], abs=3)

    asyncio.run(test())


def test_a_file_that_is_no_video_is_a_fault_in_words(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "drive.avi"
        path.write_bytes(b"no video")
        async with watching(Camera(str(path))) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert str(path) in state.reason

    asyncio.run(test())


@contextlib.asynccontextmanager
async def live(period_s: float, limit: int = 10_000) -> AsyncIterator[str]:
    """A network camera: a picture each `period_s`, `limit` of them, then silence; yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
            for number in range(limit):
                content = picture(number % 200, 320, 240)
                writer.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content))
                writer.write(content + b"\r\n")
                await writer.drain()
                await asyncio.sleep(period_s)
            await asyncio.sleep(60)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://operator:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/live.mjpg"
    finally:
        server.close()


def test_a_live_source_gives_frames_and_never_shows_its_password() -> None:
    async def test() -> None:
        async with live(0.02) as url:
            camera = Camera(url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(5)
        assert all(frame.origin is None for frame in watched.readings)
        assert "secret" not in camera.label + repr(watched.states)

    asyncio.run(test())


def test_a_live_source_that_hangs_is_given_up_and_opened_again() -> None:
    async def test() -> None:
        async with live(0.02, limit=20) as url, watching(Camera(url, fps=50, hang_after_s=1.0)) as watched:
            await watched.until_readings(1)
            state = await watched.until_state(Condition.FAULTY)
            assert "has given nothing for 1 s" in state.reason
            await watched.until(lambda: watched.state.condition is Condition.READY)
            assert "secret" not in repr(watched.states)

    asyncio.run(test())


def test_a_network_camera_that_is_not_there_is_a_fault_in_words() -> None:
    async def test() -> None:
        async with watching(Camera("http://127.0.0.1:9/live.mjpg")) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert "http://127.0.0.1:9/live.mjpg" in state.reason

    asyncio.run(test())


def test_a_camera_that_is_put_down_leaves_no_thread(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "a.jpg").write_bytes(picture(60))
        for _ in range(5):
            async with watching(Camera(str(tmp_path))) as watched:
                await watched.until_readings(1)

    asyncio.run(test())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("camera ")]
