"""Labels held in front of the camera."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from label_pictures import page, save, symbol

from agent.labels.watch import LabelCamera
from drivers.camera import Camera
from drivers.readings import DriverError, Scan


def watched(source: Path, enough: int, patience_s: float = 20.0) -> list[Scan]:
    """The scans that a camera on `source` gives: at least `enough`, and what comes within a second after."""
    scans: list[Scan] = []

    async def watch() -> None:
        camera = LabelCamera(Camera(str(source)))
        running = asyncio.create_task(camera.run(scans.append, lambda _state: None))
        async with asyncio.timeout(patience_s):
            while len(scans) < enough and not running.done():
                await asyncio.sleep(0.02)
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


def test_a_camera_that_is_not_there_is_told_as_it_is(tmp_path: Path) -> None:
    camera = LabelCamera(Camera(str(tmp_path / "nothing")))

    with pytest.raises(DriverError, match="is not there"):
        asyncio.run(camera.run(lambda _scan: None, lambda _state: None))
