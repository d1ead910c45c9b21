"""Parts whose peer goes and comes back again and again: each time they work again, and nothing is used up."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial

import cv2
import numpy as np
import pytest
from watched_part import Watched, needs, watching

from drivers.camera import Camera
from drivers.gps import Gps
from drivers.readings import Condition
from drivers.simulated import Gpsd, SimulatedReceiver
from tests.drivers.network_camera import HttpCamera
from tests.process import Use

WARM_UP = 3
"""Rounds until pools and caches have their size."""


async def again_and_again(
    rounds: int, watched: Watched, away: Callable[[], Awaitable[object]], back: Callable[[], Awaitable[object]]
) -> None:
    """Take the peer away and bring it back; what the part uses must not grow."""
    uses: list[Use] = []
    # The loop's pool of threads grows up to its bound as chance will have it: let it be full from the start.
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(64)))
    for _ in range(rounds):
        watched.readings.clear()
        await watched.until_readings(2)
        gc.collect()
        uses.append(Use.of())
        await away()
        await watched.until(lambda: watched.state.condition in (Condition.ABSENT, Condition.FAULTY))
        await back()
        await watched.until_state(Condition.READY)
    before, after = uses[WARM_UP], uses[-1]
    print(f"after {WARM_UP} rounds {before}, after {rounds} {after}")
    assert after.threads <= max(use.threads for use in uses[: WARM_UP + 1])
    assert after.descriptors <= max(use.descriptors for use in uses[: WARM_UP + 1])
    assert after.resident_bytes - before.resident_bytes < 8_000_000


def gpsd_again_and_again(rounds: int) -> None:
    async def test() -> None:
        with SimulatedReceiver(rate_hz=5) as receiver, Gpsd(receiver.port) as gpsd:
            async with watching(Gps(gpsd.address)) as watched:
                await watched.until_state(Condition.READY)
                away, back = partial(asyncio.to_thread, gpsd.kill), partial(asyncio.to_thread, gpsd.start)
                await again_and_again(rounds, watched, away, back)

    asyncio.run(test())


def camera_again_and_again(rounds: int) -> None:
    picture = bytes(cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1])

    async def test() -> None:
        async with HttpCamera(lambda _: picture) as peer, watching(Camera(peer.url, fps=50, ring_s=0.5)) as watched:
            await watched.until_state(Condition.READY)
            await again_and_again(rounds, watched, peer.turn_off, peer.turn_on)

    asyncio.run(test())


@needs("gpsd", "gpsd")
def test_a_gpsd_that_dies_again_and_again_uses_nothing_up() -> None:
    gpsd_again_and_again(6)


def test_a_camera_that_goes_again_and_again_uses_nothing_up() -> None:
    camera_again_and_again(8)


@pytest.mark.soak
@pytest.mark.timeout(1500)
@needs("gpsd", "gpsd")
def test_a_gpsd_that_dies_a_hundred_times_uses_nothing_up() -> None:
    gpsd_again_and_again(100)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_camera_that_goes_three_hundred_times_uses_nothing_up() -> None:
    camera_again_and_again(300)
