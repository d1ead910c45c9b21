"""A driver who works through a block: looks at the screen's own API, does the next thing, scans what is in hand.

Nothing is remembered between two looks but what a person remembers (which parcel was put aside): the unit may be
killed at any moment, and the driver goes on from what the screen says when it is back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.console.client import Client
from demo.block import METRES_PER_DEGREE, Label, Plan
from drivers.simulated import SimulatedReceiver, SimulatedScanner

FEEDBACK_TIMEOUT_S = 5.0
TICK_S = 0.2
"""How often the driver looks at the screen."""
STREET_SPEED_MPS = 8.0
SHOWN_S = 1.0
"""How long a label is held in front of the camera."""


class Driver:
    """Drives `plan` to its end. `speed` is how much faster than in the street everything goes."""

    def __init__(
        self,
        plan: Plan,
        screen: Client,
        scanner: SimulatedScanner,
        receiver: SimulatedReceiver,
        pictures: Path,
        speed: float,
    ) -> None:
        self.plan = plan
        self.feedback_ms: list[float] = []
        self.done = False
        self._screen = screen
        self._scanner = scanner
        self._receiver = receiver
        self._pictures = pictures
        self._speed = speed
        self._pause_s = 4.0 / speed
        self._shown = 0
        self._stray_scanned = False
        self._pressed_twice: set[str] = set()

    async def work(self) -> None:
        """Until the block is closed."""
        steps: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "ACCEPTED": self._arrive_at_station,
            "CHECKED_IN": self._start_loading,
            "LOADING": self._load,
            "LOADED": self._depart,
            "ON_ROUTE": self._next_stop,
            "RETURNING": self._next_stop,
        }
        while not self.done:
            seen = await asyncio.to_thread(self._screen.state)
            block = seen and seen["block"]
            if seen and block and block["block_id"] == self.plan.block_id:
                if step := steps.get(block["state"]):
                    await step(seen)
                elif block["state"] == "CLOSED":
                    self.done = True
            elif seen and any(past == self.plan.block_id for past in seen.get("closed_blocks", ())):
                self.done = True
            await asyncio.sleep(TICK_S)

    async def _arrive_at_station(self, _seen: dict[str, Any]) -> None:
        self._receiver.move(*self.plan.places["T0"])
        await asyncio.sleep(self._pause_s)
        await self._press("check_in", reason="no_position")

    async def _start_loading(self, _seen: dict[str, Any]) -> None:
        await self._press("start_loading")

    async def _load(self, seen: dict[str, Any]) -> None:
        states = _states(seen)
        for label in self.plan.labels:
            if states.get(label.parcel_id) != "MANIFESTED" or label.fate in ("missing", "damaged"):
                continue
            await self._read(label)
            return
        if not self._stray_scanned:
            self._stray_scanned = True
            await self._scan(self.plan.stray)
            return
        for label in self.plan.labels:
            if states.get(label.parcel_id) != "MANIFESTED":
                continue
            if label.fate == "damaged":
                await self._press("reject", parcel_id=label.parcel_id, reason="DAMAGED")
            else:
                await self._press("mark_missing", parcel_id=label.parcel_id, reason="NOT_FOUND")
            return
        await self._press("close_loading")

    async def _depart(self, _seen: dict[str, Any]) -> None:
        await self._press("depart")

    async def _next_stop(self, seen: dict[str, Any]) -> None:
        stop = seen["current_stop"]
        if stop is None:
            await self._press("close_block")
        elif stop["state"] != "ARRIVED":
            place = "T0" if stop["kind"] == "return" else stop["stop_id"]
            await self._drive_to(self.plan.places[place])
        elif stop["kind"] == "return":
            await self._return(seen)
        else:
            await self._at_the_door(seen, stop["stop_id"])

    async def _drive_to(self, place: tuple[float, float]) -> None:
        """Move the vehicle there and stand; the unit sees the arrival by itself."""
        here = self._receiver.latitude, self._receiver.longitude
        north = (place[0] - here[0]) * METRES_PER_DEGREE
        east = (place[1] - here[1]) * METRES_PER_DEGREE * math.cos(math.radians(place[0]))
        distance_m = math.hypot(north, east)
        if distance_m < 5:
            self._receiver.move(*place)
            return
        speed = STREET_SPEED_MPS * self._speed
        steps = max(1, math.ceil(distance_m / speed / TICK_S))
        for step in range(1, steps + 1):
            share = step / steps
            self._receiver.move(
                here[0] + (place[0] - here[0]) * share,
                here[1] + (place[1] - here[1]) * share,
                speed_mps=speed if step < steps else 0.0,
                heading=math.degrees(math.atan2(east, north)) % 360,
            )
            await asyncio.sleep(TICK_S)

    async def _at_the_door(self, seen: dict[str, Any], stop_id: str) -> None:
        states = _states(seen)
        here = [
            label
            for label in self.plan.labels
            if label.stop_id == stop_id and states.get(label.parcel_id) == "OUT_FOR_DELIVERY"
        ]
        await asyncio.sleep(self._pause_s)
        for label in here:
            if label.fate == "absent":
                await self._press("contact", method="call", outcome="no_answer")
                await self._press("fail", reason="CUSTOMER_UNAVAILABLE", parcel_ids=[label.parcel_id])
                return
            if label.fate == "refuse":
                await self._press("refuse", parcel_ids=[label.parcel_id])
                return
        for label in here:
            await self._read(label)
        answer = await self._press("deliver", handover="recipient")
        if answer and not answer["accepted"] and "PHOTO" in answer["reason"]:
            await self._press("skip_photo", reason="handed_over")

    async def _return(self, seen: dict[str, Any]) -> None:
        states = _states(seen)
        for label in self.plan.labels:
            if states.get(label.parcel_id) == "RETURN_PENDING":
                await self._scan(label.printed)
                return
        await self._press("close_block")

    async def _press(self, action: str, **arguments: Any) -> dict[str, Any] | None:
        return await asyncio.to_thread(self._screen.act, action, **arguments)

    async def _read(self, label: Label) -> None:
        if label.by_camera:
            await self._show_to_camera(label)
        else:
            await self._scan(label.printed)

    async def _scan(self, text: str) -> None:
        """Pull the trigger and wait for the beep."""
        await asyncio.sleep(self._pause_s / 2)
        while await self._scanner.wait_signal(0):  # beeps of an earlier scan that nobody waited for
            pass
        sent_ns = self._scanner.scan(text)
        if beep := await self._scanner.wait_signal(FEEDBACK_TIMEOUT_S):
            self.feedback_ms.append((beep.monotonic_ns - sent_ns) / 1e6)

    async def _show_to_camera(self, label: Label) -> None:
        """Hold the label in front of the camera: a picture is in the folder that the camera watches, for a moment."""
        self._shown += 1
        picture = self._pictures / f"frame-{self._shown:05d}.png"
        await asyncio.to_thread(draw_label, label.tracking_number, picture)
        await asyncio.sleep(self._pause_s + SHOWN_S)
        picture.unlink()


def _states(seen: dict[str, Any]) -> dict[str, str]:
    return {parcel["parcel_id"]: parcel["state"] for parcel in seen["parcels"]}


def draw_label(text: str, path: Path) -> None:
    """A picture of a label that is held a little askew."""
    import cv2
    import numpy as np
    import zxingcpp

    symbol = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.Code128)
    bars = np.array(zxingcpp.write_barcode_to_image(symbol, scale=3, add_quiet_zones=True))
    frame = np.full((720, 1280), 235, np.uint8)
    bars = cv2.resize(bars, (bars.shape[1], 160), interpolation=cv2.INTER_NEAREST)
    top, left = 260, (1280 - bars.shape[1]) // 2
    frame[top : top + bars.shape[0], left : left + bars.shape[1]] = bars
    tilted = cv2.warpAffine(
        frame, cv2.getRotationMatrix2D((640, 360), 4, 1.0), (1280, 720), borderValue=(235,), flags=cv2.INTER_LINEAR
    )
    # The camera must never see half a file: written under a hidden name, then renamed.
    hidden = path.with_name(f".{path.name}")
    cv2.imwrite(str(hidden), tilted)
    hidden.rename(path)
