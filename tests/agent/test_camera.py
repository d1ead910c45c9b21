"""Labels that are held in front of the camera of a whole unit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import zxingcpp

from tests.agent.rig import Rig, begin_loading, tracking_numbers, until


def show(folder: Path, *numbers: str) -> None:
    """One picture of labels side by side; never half of it."""
    labels = []
    for number in numbers:
        drawn = zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.Code128).to_image(scale=3)
        labels.append(np.pad(np.array(drawn), 40, constant_values=255))
    hidden = folder / f".{numbers[0]}.png"
    assert cv2.imwrite(str(hidden), np.hstack(labels))
    hidden.rename(folder / f"{numbers[0]}.png")


def test_two_parcels_in_one_view_of_the_camera_are_asked_about_and_the_drivers_choice_is_loaded(rig: Rig) -> None:
    first, second, third = tracking_numbers(3)
    pictures = rig.directory / "camera"
    pictures.mkdir()
    agent = rig.agent(camera={"source": str(pictures)})
    agent.start_ready()
    begin_loading(rig, agent, [first, second, third])
    show(pictures, first, second)
    asked = until(agent.screen, lambda seen: seen["prompt"]["code"] == "CHOOSE_PARCEL", "the question")
    assert sorted(choice["tracking_number"] for choice in asked["prompt"]["params"]["choices"]) == sorted(
        [first, second]
    )
    answer = agent.screen.press("choose", code=second)
    assert answer
    assert answer["accepted"], answer
    show(pictures, third)
    until(agent.screen, lambda seen: seen["block"]["counts"].get("LOADED") == 2, "two parcels to be loaded")
    agent.stop()

    command = [sys.executable, "-m", "agent.cli", "journal", "export", "--format", "jsonl"]
    command += ["--state-dir", str(agent.state_dir)]
    exported = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    loaded = [event["data"] for event in events if event["type"].endswith("parcel.loaded.v1")]
    assert [(one["entry"], one["device"]) for one in loaded] == [("camera", "camera")] * 2
