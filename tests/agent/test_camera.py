"""Labels that are held in front of the camera of a whole unit."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zxingcpp

from tests.agent.running_agent import World, begin_loading, tracking_numbers, until
from tests.drivers.network_camera import HttpCamera


def labels(*numbers: str) -> Any:
    """A picture of labels side by side."""
    drawn = [zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.Code128).to_image(scale=3) for number in numbers]
    return np.hstack([np.pad(np.array(label), 40, constant_values=255) for label in drawn])


def show(folder: Path, *numbers: str) -> None:
    """One picture of labels; never half of it."""
    hidden = folder / f".{numbers[0]}.png"
    assert cv2.imwrite(str(hidden), labels(*numbers))
    hidden.rename(folder / f"{numbers[0]}.png")


def test_two_parcels_in_one_view_of_the_camera_are_asked_about_and_the_drivers_choice_is_loaded(world: World) -> None:
    first, second, third = tracking_numbers(3)
    pictures = world.directory / "camera"
    pictures.mkdir()
    agent = world.agent(camera={"source": str(pictures)})
    agent.start_ready()
    begin_loading(world, agent, [first, second, third])
    show(pictures, first, second)
    asked = until(agent.screen, lambda seen: seen["prompt"]["code"] == "CHOOSE_PARCEL", "the question")
    assert sorted(choice["tracking_number"] for choice in asked["prompt"]["params"]["choices"]) == sorted(
        [first, second]
    )
    answer = agent.screen.act("choose", code=second)
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


@contextmanager
def on_the_network(peer: HttpCamera) -> Iterator[asyncio.AbstractEventLoop]:
    """The camera, turned on, in a thread of its own; yields the loop that it runs on."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(peer.turn_on(), loop).result(10)
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(peer.turn_off(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_network_camera_reads_labels_says_when_it_is_away_and_its_password_is_nowhere(world: World) -> None:
    numbers = tracking_numbers(2)
    held_up = [numbers[0]]

    def part(_number: int) -> bytes:
        picture = np.full((480, 800), 255, np.uint8)
        label = labels(held_up[0])
        picture[100 : 100 + label.shape[0], 20 : 20 + label.shape[1]] = label
        return cv2.imencode(".jpg", picture)[1].tobytes()

    peer = HttpCamera(part, period_s=0.1)
    with on_the_network(peer) as loop:
        agent = world.agent(camera={"source": peer.url})
        agent.start_ready()
        begin_loading(world, agent, numbers)
        until(agent.screen, lambda seen: seen["block"]["counts"].get("LOADED") == 1, "the first parcel")

        asyncio.run_coroutine_threadsafe(peer.turn_off(), loop).result(10)
        seen = until(agent.screen, lambda seen: seen["unit"]["parts"]["camera"]["state"] == "faulty", "the fault")
        assert "127.0.0.1" in seen["unit"]["parts"]["camera"]["reason"]

        held_up[:] = [numbers[1]]
        asyncio.run_coroutine_threadsafe(peer.turn_on(), loop).result(10)
        until(agent.screen, lambda seen: seen["block"]["counts"].get("LOADED") == 2, "the second parcel")
        seen = until(agent.screen, lambda seen: seen["unit"]["parts"]["camera"]["state"] == "ready", "the camera")
        agent.stop()
    assert not [secret for secret in ("secret", "hidden") if secret in agent.log() + json.dumps(seen)]
