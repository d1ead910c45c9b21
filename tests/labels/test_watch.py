"""Labels held in front of the camera."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_pictures import page, save, symbol

from agent.labels.watch import LabelCamera
from drivers.camera import Camera
from drivers.readings import DriverError, Scan
from tests.waiting import wait_on_loop_until


def watched(source: Path, enough: int, manifest: Mapping[str, tuple[str, ...]] | None = None) -> list[Scan]:
    """The scans that a camera on `source` gives: at least `enough`, and what comes within a second after."""
    scans: list[Scan] = []

    async def watch() -> None:
        camera = LabelCamera(Camera(str(source)), lambda: manifest or {})
        running = asyncio.create_task(camera.run(scans.append, lambda _state: None))
        await wait_on_loop_until(lambda: len(scans) >= enough or running.done(), f"{enough} scans")
        await asyncio.sleep(1.0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(watch())
    return scans


def test_each_label_that_is_shown_is_one_scan_however_many_frames_it_stays_in_view(tmp_path: Path) -> None:
    for number in range(6):
        text = "TBA123456789012" if number < 3 else "TBA210987654321"
        save(tmp_path / f"{number}.png", page(symbol(text)))

    assert [scan.text for scan in watched(tmp_path, 2)] == ["TBA123456789012", "TBA210987654321"]


def test_what_is_no_parcel_number_beside_one_is_not_a_scan(tmp_path: Path) -> None:
    save(tmp_path / "both.png", page(symbol("ROUTE 7 SOUTH"), symbol("TBA123456789012")))

    assert [scan.text for scan in watched(tmp_path, 1)] == ["TBA123456789012"]


def test_the_number_that_the_manifest_knows_is_the_scan_whatever_else_is_on_the_label(tmp_path: Path) -> None:
    save(tmp_path / "both.png", page(symbol("1Z5R89390357567127", scale=5), symbol("ORDER-2231")))

    (scan,) = watched(tmp_path, 1, manifest={"ORDER2231": ("P1",)})
    assert (scan.text, scan.others) == ("ORDER-2231", ())


def test_two_parcels_of_the_manifest_in_one_view_are_one_scan_that_names_both(tmp_path: Path) -> None:
    save(tmp_path / "both.png", page(symbol("TBA123456789012"), symbol("TBA210987654321")))

    (scan,) = watched(tmp_path, 1, manifest={"TBA123456789012": ("P1",), "TBA210987654321": ("P2",)})
    assert sorted([scan.text, *(other.text for other in scan.others)]) == ["TBA123456789012", "TBA210987654321"]


def video(path: Path, *pictures: tuple[Any, int]) -> Path:
    """A video of pictures that each stand for so many frames, ten a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    assert writer.isOpened()
    for picture, frames in pictures:
        canvas = np.full((480, 640, 3), 255, np.uint8)
        canvas[: picture.shape[0], : picture.shape[1]] = picture[:480, :640]
        for _ in range(frames):
            writer.write(canvas)
    writer.release()
    return path


def test_a_label_of_the_manifest_is_a_scan_as_soon_as_a_moving_picture_shows_it_and_only_one(tmp_path: Path) -> None:
    label, empty = page(symbol("TBA123456789012")), page(symbol("A") * 0 + 255)
    source = video(tmp_path / "film.avi", (empty, 3), (label, 12), (empty, 3), (label, 4))

    assert [scan.text for scan in watched(source, 1, manifest={"TBA123456789012": ("P1",)})] == ["TBA123456789012"]


def test_a_number_that_the_manifest_does_not_know_is_a_scan_when_it_stays_in_view_for_a_moment(tmp_path: Path) -> None:
    other, label = page(symbol("1Z5R89390357567127")), page(symbol("TBA123456789012"))
    both = page(symbol("1Z5R89390357567127"), symbol("TBA123456789012"))
    manifest = {"TBA123456789012": ("P1",)}

    # The label's second number is readable a little earlier than the one that counts.
    source = video(tmp_path / "label.avi", (other, 3), (both, 12), (other, 12))
    assert [scan.text for scan in watched(source, 1, manifest=manifest)] == ["TBA123456789012"]
    source = video(tmp_path / "foreign.avi", (other, 14), (label, 3))
    assert [scan.text for scan in watched(source, 2, manifest=manifest)] == ["1Z5R89390357567127", "TBA123456789012"]


def test_a_camera_that_is_not_there_is_told_as_it_is(tmp_path: Path) -> None:
    camera = LabelCamera(Camera(str(tmp_path / "nothing")))

    with pytest.raises(DriverError, match="is not there"):
        asyncio.run(camera.run(lambda _scan: None, lambda _state: None))
