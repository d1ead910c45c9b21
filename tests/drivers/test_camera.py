"""Pictures from files, folders, videos and a live stream, and what happens to those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from network_camera import HttpCamera, rtsp_camera
from watched_part import Watched, needs, watching

from drivers import camera as camera_module
from drivers import jpeg, v4l2
from drivers.camera import Camera
from drivers.readings import Condition, DriverError, Frame


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


def shades_of_grey(number: int) -> bytes:
    """What a camera of the network sends: a picture that is always another one."""
    return picture(number % 200, 320, 240)


def falls_silent(number: int) -> bytes | None:
    """A camera that sends for a moment and then nothing more."""
    return shades_of_grey(number) if number < 20 else None


def test_a_live_source_gives_frames_and_never_shows_its_password() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(5)
                await peer.turn_off()
                await watched.until_state(Condition.FAULTY)
        assert all(frame.origin is None for frame in watched.readings)
        shown = camera.label + repr(watched.states) + "".join(thread.name for thread in threading.enumerate())
        assert not [secret for secret in ("operator", "secret", "hidden") if secret in shown]

    asyncio.run(test())


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://me:hunter2@10.0.0.9/live",
        "rtsp://me:hunter2/@10.0.0.9/live",
        "rtsp://me:hun?ter2@10.0.0.9/live",
        "rtsp://me:#hunter2@10.0.0.9/live",
        "rtsp://me:h@hunter2@10.0.0.9/live",
        "rtsp://10.0.0.9/live?user=me&password=hunter2",
        "http://10.0.0.9/live#hunter2",
    ],
)
def test_however_a_password_is_written_into_the_url_it_is_not_shown(source: str) -> None:
    label = Camera(source).label
    assert "hunter2" not in label
    assert "10.0.0.9/live" in label


def test_jpegs_of_a_network_camera_are_handed_on_and_kept_as_they_came() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(5)
                kept = [bytes(shot.data) for shot in camera.ring.since(0)]
        sent = {shades_of_grey(number) for number in range(200)}
        assert {bytes(frame.jpeg) for frame in watched.readings} <= sent
        assert set(kept) <= sent
        assert len(kept) >= 5

    asyncio.run(test())


def test_a_jpeg_is_decoded_once_and_only_when_somebody_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = jpeg.decode

    def counting(content: bytes) -> Any:
        decoded.append(content)
        return decode(content)

    monkeypatch.setattr(jpeg, "decode", counting)

    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer, watching(Camera(peer.url, fps=50)) as watched:
            frames = await watched.until_readings(5)
        assert decoded == []
        assert frames[0].image is frames[0].image
        assert frames[0].image.shape == (240, 320, 3)
        assert len(decoded) == 1

    asyncio.run(test())


def test_the_newest_frame_is_at_hand_without_being_copied_and_is_gone_with_the_camera() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=50)
            assert camera.latest() is None
            async with watching(camera) as watched:
                await watched.until_readings(1)
                first = camera.latest()
                assert first
                await watched.until(lambda: any(frame is first for frame in watched.readings))
                assert any(shot.data is first.jpeg for shot in camera.ring.since(0))
                await watched.until(lambda: camera.latest() is not first)
                await peer.turn_off()
                await watched.until_state(Condition.FAULTY)
                assert camera.latest() is None

    asyncio.run(test())


def test_while_nobody_wants_frames_the_source_goes_on_and_its_newest_frame_comes_at_once() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(1)
                camera.pause()
                handed, before = len(watched.readings), camera.counters.received
                await watched.until(lambda: camera.counters.received > before + 10)
                assert len(watched.readings) == handed
                newest = camera.latest()
                camera.resume()
                await watched.until_readings(handed + 1)
                assert newest
                assert watched.readings[handed].monotonic_ns >= newest.monotonic_ns
                assert camera.counters.skipped >= 9
                camera.pause()
                await peer.turn_off()
                await watched.until_state(Condition.FAULTY)

    asyncio.run(test())


def test_of_a_faster_camera_only_as_many_frames_are_taken_as_the_settings_ask_for() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey, period_s=0.005) as peer:
            camera = Camera(peer.url, fps=10)
            async with watching(camera) as watched:
                await watched.until_readings(20)
                stamps = [frame.monotonic_ns for frame in watched.readings]
            lasted_s = (stamps[-1] - stamps[0]) / 1e9
            assert len(camera.ring) == camera.counters.received
            assert len(stamps) <= 10 * lasted_s + 2
            assert peer.sent > 2 * len(stamps)

    asyncio.run(test())


def test_broken_pictures_of_a_stream_are_counted_and_said_and_the_whole_ones_count() -> None:
    async def test() -> None:
        whole = picture(120, 320, 240)
        broken = [
            b"",
            b"no picture at all",
            whole[: len(whole) // 2],
            whole[:-2],
            b"\xff\xd8\xff\xd9",
            os.urandom(5000),
        ]

        def part(number: int) -> bytes:
            return whole if number % 3 == 0 else broken[number % len(broken)]

        async with HttpCamera(part, period_s=0.005) as peer:
            camera = Camera(peer.url, fps=200)
            async with watching(camera) as watched:
                await watched.until_readings(10)
                await watched.until(lambda: camera.counters.unreadable >= 20)
                await watched.until(lambda: "many of its pictures are broken" in watched.state.reason)
                assert watched.state.condition is Condition.READY
        assert {bytes(frame.jpeg) for frame in watched.readings} == {whole}

    asyncio.run(test())


def test_a_stream_without_one_whole_picture_is_a_fault_in_words() -> None:
    async def test() -> None:
        whole = picture(120, 320, 240)
        peer = HttpCamera(lambda number: whole[: 500 + number])
        async with peer, watching(Camera(peer.url, hang_after_s=1.0)) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert "no whole picture" in state.reason
            assert "expected JPEG" in state.reason
            assert watched.readings == []
            peer.part = shades_of_grey
            await watched.until_readings(1)

    asyncio.run(test())


def test_a_live_source_that_hangs_is_given_up_and_opened_again() -> None:
    async def test() -> None:
        peer = HttpCamera(falls_silent)
        async with peer, watching(Camera(peer.url, fps=50, hang_after_s=1.0)) as watched:
            await watched.until_readings(1)
            state = await watched.until_state(Condition.FAULTY)
            assert "has given nothing for 1 s" in state.reason
            await watched.until(lambda: watched.state.condition is Condition.READY)
            assert peer.connections > 1

    asyncio.run(test())


def test_a_camera_that_falls_silent_is_stale_before_it_is_faulty() -> None:
    async def test() -> None:
        peer = HttpCamera(falls_silent)
        async with peer, watching(Camera(peer.url, fps=50)) as watched:
            await watched.until_readings(1)
            state = await watched.until_state(Condition.STALE)
            assert "has given no picture" in state.reason
            state = await watched.until_state(Condition.FAULTY)
            assert "has given nothing for 5 s" in state.reason

    asyncio.run(test())


def test_a_camera_of_which_a_picture_is_wanted_only_now_and_then_is_not_stale_between() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=0.25)
            async with watching(camera) as watched:
                await watched.until_readings(3)
                assert {state.condition for state in watched.states} <= {Condition.OPENING, Condition.READY}

    asyncio.run(test())


def test_a_network_camera_that_is_turned_off_and_on_again_says_so_and_is_read_again() -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer, watching(Camera(peer.url, fps=50)) as watched:
            await watched.until_readings(1)
            await peer.turn_off()
            state = await watched.until_state(Condition.FAULTY)
            await watched.until(lambda: "refuses connections" in watched.state.reason)
            assert "127.0.0.1" in state.reason
            await peer.turn_on()
            await watched.until_state(Condition.READY)
            seen = len(watched.readings)
            await watched.until_readings(seen + 1)

    asyncio.run(test())


def test_a_network_camera_that_is_not_there_is_a_fault_in_words() -> None:
    async def test() -> None:
        async with watching(Camera("http://127.0.0.1:9/live.mjpg")) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert "http://127.0.0.1:9/live.mjpg refuses connections at port 9" in state.reason

    asyncio.run(test())


def test_an_address_without_a_camera_behind_it_says_what_is_wrong_with_it() -> None:
    async def reason(source: str) -> str:
        async with watching(Camera(source)) as watched:
            return (await watched.until_state(Condition.FAULTY)).reason

    async def no_video(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def test() -> None:
        assert "expected an address such as" in await reason("rtsp:///live")
        assert "expected an address such as" in await reason("rtsp://10.0.0.9:camera/live")
        server = await asyncio.start_server(no_video, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"
            assert "check path, user and password" in await reason(url)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no device is called porch"),
        (TimeoutError("timed out"), "does not answer: check the camera's power and network"),
        (OSError(113, "No route to host"), "does not answer: check the camera's power and network"),
    ],
    ids=["no such name", "silent", "no way"],
)
def test_an_address_that_does_not_answer_says_why(monkeypatch: pytest.MonkeyPatch, fault: OSError, said: str) -> None:
    def connect(*_: Any) -> None:
        raise fault

    # Without a network a name is asked for a long time, and not every network has an address that is silent.
    monkeypatch.setattr(socket, "create_connection", connect)
    assert said in camera_module._why_no_stream("rtsp://me:hunter2@porch/live", "camera rtsp://porch/live")


@needs("ffmpeg", "ffmpeg")
def test_a_camera_that_speaks_rtsp_with_jpeg_inside_keeps_its_own_jpegs() -> None:
    async def test() -> None:
        async with rtsp_camera("mjpeg") as url:
            camera = Camera(url)
            async with watching(camera) as watched:
                frame, *_ = await watched.until_readings(5)
                assert (watched.state.condition, watched.state.reason) == (Condition.READY, "")
            assert bytes(frame.jpeg[:2]) == b"\xff\xd8"
            assert frame.image.shape == (240, 320, 3)
            assert len(camera.ring) >= 5

    asyncio.run(test())


@needs("ffmpeg", "ffmpeg")
def test_a_camera_that_speaks_rtsp_with_h264_works_and_its_pictures_are_encoded_anew_to_be_kept() -> None:
    async def test() -> None:
        async with rtsp_camera("h264") as url:
            camera = Camera(url)
            async with watching(camera) as watched:
                frame, *_ = await watched.until_readings(5)
                assert watched.state.condition is Condition.READY
                assert "it gives H264, not MJPG: its pictures are encoded anew" in watched.state.reason
            assert frame.jpeg is None
            assert frame.image.shape == (240, 320, 3)
            assert all(bytes(shot.data[:2]) == b"\xff\xd8" for shot in camera.ring.since(0))
            assert len(camera.ring) >= 1

    asyncio.run(test())


@needs("ffmpeg", "ffmpeg")
def test_a_stream_of_another_maker_is_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/live"

    async def test() -> None:
        server = await asyncio.create_subprocess_exec(
            *("nice", "ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi"),
            *("-i", "testsrc2=size=320x240:rate=10", "-c:v", "mjpeg", "-f", "mpjpeg"),
            *("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", "-listen", "1", url),
        )
        try:
            async with watching(Camera(url)) as watched:
                frame, *_ = await watched.until_readings(5)
                assert frame.image.shape == (240, 320, 3)
                assert frame.jpeg
                server.kill()
                await watched.until_state(Condition.FAULTY)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            await server.wait()

    asyncio.run(test())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_ten_times_off_and_on_leak_neither_threads_nor_descriptors_nor_memory() -> None:
    large = [picture(shade, 1280, 720) for shade in range(0, 200, 10)]

    async def test() -> None:
        # A picture of one grey is small, a ring that is never emptied must not be the leak.
        async with HttpCamera(lambda number: large[number % len(large)]) as peer:
            camera = Camera(peer.url, fps=100, ring_s=0.5)
            async with watching(camera) as watched:

                async def once() -> tuple[int, int, int]:
                    seen = len(watched.readings)
                    await watched.until_readings(seen + 5)
                    assert [frame.image.shape for frame in watched.readings[seen:]]
                    watched.readings.clear()
                    await peer.turn_off()
                    await watched.until_state(Condition.FAULTY)
                    await peer.turn_on()
                    await watched.until_readings(1)
                    watched.readings.clear()
                    gc.collect()
                    return threading.active_count(), open_files(), resident_bytes()

                for _ in range(3):
                    threads, files, memory = await once()
                for _ in range(10):
                    after = await once()
                assert after[0] <= threads
                assert after[1] <= files
                assert after[2] <= memory + 20_000_000

    asyncio.run(test())


class Unplugged:
    """OpenCV's capture of a camera that was unplugged and whose last picture can be had again and again."""

    def __init__(self, good: int) -> None:
        self.left = good
        self.at_ms = 1000.0

    def grab(self) -> bool:
        self.at_ms += 10 if self.left > 0 else 0
        self.left -= 1
        return True

    def get(self, what: int) -> float:
        return self.at_ms if what == cv2.CAP_PROP_POS_MSEC else 30.0

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.frombuffer(picture(50, 320, 240), np.uint8).copy()

    def release(self) -> None:
        pass


def test_a_device_that_gives_its_last_picture_again_and_again_is_stale_and_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Unplugged] = []

    def open_capture(*_: Any) -> tuple[Any, str]:
        opened.append(Unplugged(20))
        return opened[-1], "MJPG"

    monkeypatch.setattr(v4l2, "open_capture", open_capture)
    monkeypatch.setattr(camera_module, "STALE_AFTER_S", 0.3)

    async def test() -> None:
        camera = Camera("/dev/null", 320, 240, fps=100, hang_after_s=1.0)
        async with watching(camera) as watched:
            await watched.until_state(Condition.STALE)
            taken = camera.counters.received
            state = await watched.until_state(Condition.FAULTY)
            assert "has given nothing for 1 s" in state.reason
            assert taken == camera.counters.received <= 20
            await watched.until(lambda: len(opened) == 2)

    asyncio.run(test())


def test_what_a_device_gives_otherwise_than_it_was_asked_is_said_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(v4l2, "open_capture", lambda *_: (Unplugged(10_000), "MJPG"))

    async def test() -> None:
        async with watching(Camera("/dev/null", 1280, 720, fps=60)) as watched:
            state = await watched.until_state(Condition.READY)
            assert "it gives 320x240, not 1280x720" in state.reason
            assert "it gives 30 pictures a second, not 60" in state.reason

    asyncio.run(test())


def test_two_cameras_of_one_process_do_not_take_the_same_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v4l2, "open_capture", lambda *_: (Unplugged(10_000), "MJPG"))

    async def test() -> None:
        other = Camera("/dev/null", 320, 240)
        other.name = "rear camera"
        async with watching(Camera("/dev/null", 320, 240)) as first:
            await first.until_state(Condition.READY)
            async with watching(other) as second:
                state = await second.until_state(Condition.FAULTY)
                assert "two settings match one device" in state.reason
                assert first.state.condition is Condition.READY

    asyncio.run(test())


@pytest.mark.parametrize("node", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_a_device_that_is_no_camera_is_a_fault_in_words(node: str) -> None:
    async def test() -> None:
        async with watching(Camera(node)) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert f"camera {node} is no camera" in state.reason
            assert "kerbside devices" in state.reason

    asyncio.run(test())


def test_a_camera_that_is_not_plugged_in_is_absent_by_path_and_by_numbers() -> None:
    async def test() -> None:
        for source in ("/dev/v4l/by-id/usb-NOT_THERE-video-index0", "dead:beef:77"):
            async with watching(Camera(source)) as watched:
                state = await watched.until_state(Condition.ABSENT)
                assert source in state.reason
                assert "plug it in" in state.reason

    asyncio.run(test())


def test_a_clip_of_a_camera_that_keeps_nothing_is_refused_with_the_setting(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, ring_s=0)
            async with watching(camera) as watched:
                await watched.until_readings(2)
                assert len(camera.ring) == 0
                with pytest.raises(DriverError, match=r"set camera\.ring_s above 0"):
                    await camera.clip(tmp_path / "clip.mkv", 1, 1)

    asyncio.run(test())


def test_a_ring_that_is_full_before_its_time_is_said(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(shades_of_grey) as peer:
            camera = Camera(peer.url, fps=50, ring_s=60, ring_max_bytes=10_000)
            async with watching(camera) as watched:
                await watched.until(lambda: "camera.ring_max_bytes" in watched.state.reason)
                assert watched.state.condition is Condition.READY
                assert "not 60 s" in watched.state.reason
                assert camera.ring.bytes <= 10_000

    asyncio.run(test())


def test_what_was_kept_is_forgotten_in_time_although_no_picture_comes_any_more() -> None:
    async def test() -> None:
        async with HttpCamera(falls_silent) as peer:
            camera = Camera(peer.url, fps=50, ring_s=1.0)
            async with watching(camera) as watched:
                await watched.until_readings(5)
                assert len(camera.ring)
                await watched.until(lambda: len(camera.ring) == 0)

    asyncio.run(test())


def test_a_camera_that_is_put_down_leaves_no_thread(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "a.jpg").write_bytes(picture(60))
        for _ in range(5):
            async with watching(Camera(str(tmp_path))) as watched:
                await watched.until_readings(1)

    asyncio.run(test())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("camera ")]
