"""Clips out of the ring of a camera: what is in them, when, and what happens where none can be written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from network_camera import HttpCamera
from watched_part import needs, watching

from drivers import clip as clip_module
from drivers.camera import Camera
from drivers.clip import export
from drivers.readings import Condition, DriverError
from drivers.ring import Ring
from tests.waiting import wait_on_loop_until, wait_until

FFMPEG = needs("ffmpeg", "ffmpeg")
S = 1_000_000_000


def picture(number: int, width: int = 320, height: int = 240) -> bytes:
    """Different ones, and of different lengths."""
    noise = np.random.default_rng(number).integers(0, 60, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 30 + number % 60])[1].tobytes()


def ring_of(stamps: list[int], seconds: float = 60.0) -> Ring:
    ring = Ring(seconds)
    for number, stamp in enumerate(stamps):
        ring.add(stamp, picture(number))
    return ring


def irregular(begin_ns: int, end_ns: int) -> list[int]:
    """Stamps of a camera that gives 3 to 50 pictures a second."""
    chance, stamps, now_ns = random.Random(7), [], begin_ns
    while now_ns < end_ns:
        stamps.append(now_ns)
        now_ns += round(chance.uniform(0.02, 0.3) * S)
    return stamps


def probe(path: Path) -> dict[str, Any]:
    asked = "packet=pts_time,flags:format=duration,format_name:stream=codec_name,width,height"
    command = ["ffprobe", "-v", "error", "-show_entries", asked, "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return found


def pictures_in(path: Path) -> bytes:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-c", "copy", "-f", "mjpeg", "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


@FFMPEG
def test_a_clip_has_every_picture_of_its_time_as_it_was_and_when_it_was(tmp_path: Path) -> None:
    now_ns = time.monotonic_ns()
    stamps = irregular(now_ns - 20 * S, now_ns)
    path = tmp_path / "clip.mkv"
    done = asyncio.run(export(ring_of(stamps), path, now_ns - 8 * S, 7, 5))

    wanted = [stamp for stamp in stamps if now_ns - 15 * S <= stamp <= now_ns - 3 * S]
    assert (done.frames, done.first_ns, done.last_ns) == (len(wanted), wanted[0], wanted[-1])
    found = probe(path)
    assert found["format"]["format_name"].startswith("matroska")
    assert [(one["codec_name"], one["width"], one["height"]) for one in found["streams"]] == [("mjpeg", 320, 240)]
    times = [float(packet["pts_time"]) for packet in found["packets"]]
    assert times == pytest.approx([(stamp - wanted[0]) / S for stamp in wanted], abs=0.003)
    assert float(found["format"]["duration"]) == pytest.approx((wanted[-1] - wanted[0]) / S, abs=0.4)
    assert all("K" in packet["flags"] for packet in found["packets"])
    first = stamps.index(wanted[0])
    assert pictures_in(path) == b"".join(picture(number) for number in range(first, first + len(wanted)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@FFMPEG
def test_a_clip_waits_for_what_comes_after_and_ends_with_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(picture) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(20)
                at_ns = time.monotonic_ns()
                done = await camera.clip(tmp_path / "clip.mkv", 60, 1)
        stamps = [frame.monotonic_ns for frame in watched.readings if frame.monotonic_ns <= at_ns + S + S // 10]
        assert done.first_ns == watched.readings[0].monotonic_ns
        assert at_ns + S // 2 < done.last_ns <= at_ns + S + S // 10
        times = [float(packet["pts_time"]) for packet in probe(done.path)["packets"]]
        assert len(times) == done.frames
        expected = [(stamp - stamps[0]) / S for stamp in stamps if stamp <= done.last_ns]
        assert times == pytest.approx(expected, abs=0.003)

    asyncio.run(test())


@FFMPEG
def test_a_clip_longer_than_the_ring_loses_nothing_of_what_comes_while_it_is_written(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(picture) as peer:
            camera = Camera(peer.url, fps=50, ring_s=0.5)
            async with watching(camera) as watched:
                await watched.until_readings(20)
                done = await camera.clip(tmp_path / "clip.mkv", 0.2, 2)
        within = [frame for frame in watched.readings if done.first_ns <= frame.monotonic_ns <= done.last_ns]
        assert done.last_ns - done.first_ns > 1.5 * S
        assert len(probe(done.path)["packets"]) == done.frames == len(within)

    asyncio.run(test())


@FFMPEG
def test_a_clip_of_a_camera_that_fails_meanwhile_has_what_there_was(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(picture) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(10)
                writing = asyncio.create_task(camera.clip(tmp_path / "clip.mkv", 10, 2))
                await asyncio.sleep(0.3)
                await peer.turn_off()
                done = await writing
                assert watched.state.condition is Condition.FAULTY
        assert len(probe(done.path)["packets"]) == done.frames >= 10

    asyncio.run(test())


@FFMPEG
def test_a_clip_replaces_one_of_the_same_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(b"the one before")
    ring = ring_of([time.monotonic_ns()])
    with monkeypatch.context() as patch:
        patch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", "echo broken >&2; exit 1"), prepend=os.pathsep)
        with pytest.raises(DriverError):
            asyncio.run(export(ring, path, time.monotonic_ns(), 5, 0))
    assert path.read_bytes() == b"the one before"
    asyncio.run(export(ring, path, time.monotonic_ns(), 5, 0))
    assert len(probe(path)["packets"]) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bin", "clip.mkv"]


def test_without_pictures_of_that_time_no_clip_is_written(tmp_path: Path) -> None:
    ring = ring_of([time.monotonic_ns() - 50 * S])
    with pytest.raises(DriverError, match="there is no picture of that time"):
        asyncio.run(export(ring, tmp_path / "clip.mkv", time.monotonic_ns(), 2, 0))
    assert list(tmp_path.iterdir()) == []


def test_without_ffmpeg_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriverError, match="apt-get install ffmpeg"):
        asyncio.run(export(ring_of([time.monotonic_ns()]), tmp_path / "clip.mkv", time.monotonic_ns(), 2, 0))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "clip.mkv"
    with pytest.raises(DriverError, match=f"clip {path} cannot be written: No such file or directory"):
        asyncio.run(export(ring_of([time.monotonic_ns()]), path, time.monotonic_ns(), 2, 0))


def fake_ffmpeg(folder: Path, does: str) -> str:
    """The folder of a program of that name, for `PATH`."""
    folder.mkdir(exist_ok=True)
    (folder / "ffmpeg").write_text(f"#!/bin/sh\necho $$ > {folder}/pid\n{does}\n")
    (folder / "ffmpeg").chmod(0o755)
    return str(folder)


def has_ended(folder: Path) -> bool:
    """Whether the program is no more."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_when_ffmpeg_which_gets_little_of_the_processor_fails_its_own_words_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = 'cat > /dev/null; echo first >&2; echo "out of paper at niceness $(nice)" >&2; exit 3'
    folder = fake_ffmpeg(tmp_path / "bin", does)
    monkeypatch.setenv("PATH", folder, prepend=os.pathsep)
    with pytest.raises(DriverError, match=r"ffmpeg says: out of paper at niceness 1[0-9]"):
        asyncio.run(export(ring_of([time.monotonic_ns()]), tmp_path / "clip.mkv", time.monotonic_ns(), 2, 0))
    assert [one.name for one in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize("does", ["exec sleep 600", "cat > /dev/null; exec sleep 600"], ids=["at once", "at its end"])
def test_an_ffmpeg_that_hangs_is_ended_and_the_camera_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", does), prepend=os.pathsep)
    monkeypatch.setattr(clip_module, "STALLED_AFTER_S", 1.0)

    async def test() -> None:
        async with HttpCamera(lambda number: picture(number, 640, 480)) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(10)
                seen = len(watched.readings)
                with pytest.raises(DriverError, match="ffmpeg took nothing for 1 s and was ended"):
                    await camera.clip(tmp_path / "clip.mkv", 10, 0.5)
                assert len(watched.readings) > seen
                assert {state.condition for state in watched.states} <= {Condition.OPENING, Condition.READY}

    asyncio.run(test())
    wait_until(lambda: has_ended(tmp_path / "bin"), "the end of ffmpeg")
    assert [one.name for one in tmp_path.iterdir()] == ["bin"]


@FFMPEG
def test_a_clip_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    async def test() -> None:
        writing = asyncio.create_task(
            export(ring_of([time.monotonic_ns()]), tmp_path / "clip.mkv", time.monotonic_ns(), 5, 60)
        )
        await wait_on_loop_until(lambda: list(tmp_path.iterdir()), "the clip to be begun")
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing

    asyncio.run(test())
    assert list(tmp_path.iterdir()) == []


@FFMPEG
def test_more_clips_at_a_time_than_a_board_bears_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with HttpCamera(picture) as peer:
            camera = Camera(peer.url, fps=50)
            async with watching(camera) as watched:
                await watched.until_readings(5)
                writing = [asyncio.create_task(camera.clip(tmp_path / f"{name}.mkv", 5, 1)) for name in "ab"]
                await asyncio.sleep(0.1)
                with pytest.raises(DriverError, match="ask again"):
                    await camera.clip(tmp_path / "c.mkv", 5, 1)
                await asyncio.gather(*writing)
                await camera.clip(tmp_path / "c.mkv", 5, 0)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["a.mkv", "b.mkv", "c.mkv"]

    asyncio.run(test())


@FFMPEG
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_a_full_disk_is_said_and_leaves_no_piece_of_a_clip(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        now_ns = time.monotonic_ns()
        ring = ring_of([now_ns - number * S // 10 for number in range(99, 0, -1)])
        assert ring.bytes > 500_000
        with pytest.raises(DriverError, match="No space left on device"):
            asyncio.run(export(ring, small / "clip.mkv", now_ns, 30, 0))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
