"""A camera whose labels count as scans: frames in, `Scan`s out.

A label that stays in view is one scan, not one a frame: a code is handed on when it comes into view, and again only
after it was out of view. Frames are read in a thread, one at a time; the camera waits with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.camera import Camera
from drivers.readings import Frame, PartState, Scan

if TYPE_CHECKING:
    from agent.labels.reader import Symbol

OUT_OF_VIEW_NS = 2_000_000_000
"""A code that was not seen for this long has left the view."""


class LabelCamera:
    """The camera as a part of the agent that reads labels."""

    def __init__(self, camera: Camera) -> None:
        self.name = camera.name
        self._camera = camera
        self._seen: dict[str, int] = {}

    async def run(self, out: Callable[[Scan], None], report: Callable[[PartState], None]) -> None:
        """Until cancelled; a fault of the camera, or of reading its frames, is raised as it is."""
        try:
            async with asyncio.TaskGroup() as group:

                def take(frame: Frame) -> None:
                    self._camera.wanted.clear()
                    group.create_task(self._read(frame, out))

                await self._camera.run(take, report)
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from faults

    async def _read(self, frame: Frame, out: Callable[[Scan], None]) -> None:
        try:
            for symbol in await asyncio.to_thread(_parcel_symbols, frame):
                if self._came_into_view(symbol, frame):
                    out(Scan(self.name, symbol.text, frame.monotonic_ns, symbol.identifier, symbol.symbology))
        finally:
            self._camera.wanted.set()

    def _came_into_view(self, symbol: Symbol, frame: Frame) -> bool:
        last_ns = self._seen.pop(symbol.text, None)
        self._seen = {text: at for text, at in self._seen.items() if frame.monotonic_ns - at < OUT_OF_VIEW_NS}
        self._seen[symbol.text] = frame.monotonic_ns
        return last_ns is None or frame.monotonic_ns - last_ns >= OUT_OF_VIEW_NS


def _parcel_symbols(frame: Frame) -> list[Symbol]:
    """The symbols that name parcels; where none has a known form, those that only a manifest can know."""
    from agent.labels.identity import identify
    from agent.labels.reader import read

    known, unknown = [], []
    for symbol in read(frame.image):
        found = identify(symbol.text, symbol.identifier, symbol.symbology)
        if found.is_parcel:
            known.append(symbol)
        elif found.kind is None and found.fault is None:
            unknown.append(symbol)
    return known or unknown
