"""A camera whose labels count as scans: frames in, `Scan`s out.

A label that stays in view is one scan, not one a frame: a parcel is handed on when it comes into view, and again only
after it was out of view. What the manifest knows is handed on at once. Frames of a live camera come so quickly that
a label is often seen in part before it is seen whole: another number is handed on only after it was the best in view
for a moment. Pictures of a folder are each read in full. Frames are read in a thread, one at a time; the camera waits
with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.labels.choose import Choice, choose
from agent.labels.identity import Identity
from drivers.camera import PICTURES, Camera
from drivers.readings import Frame, PartState, Scan

if TYPE_CHECKING:
    from agent.labels.frames import FrameReader

OUT_OF_VIEW_NS = 2_000_000_000
"""A parcel that was not seen for this long has left the view."""
MADE_SURE_NS = 700_000_000
"""How long a live camera looks for a number of the manifest before it hands on one that the manifest does not know."""


class LabelCamera:
    """The camera as a part of the agent that reads labels.

    `expected` tells what the manifest knows at the moment: normal form of each code → ids of the parcels that carry it.
    """

    def __init__(self, camera: Camera, expected: Callable[[], Mapping[str, tuple[str, ...]]] = dict) -> None:
        self.name = camera.name
        self._camera = camera
        self._expected = expected
        self._reader: FrameReader | None = None
        self._seen: dict[str, int] = {}
        """Every code of the parcels in view that were handed on, and when it was last in view."""
        self._best: tuple[frozenset[str], int, int] = frozenset(), 0, 0
        """What is best in view though the manifest does not know it: the numbers, since when, until when."""

    async def run(self, out: Callable[[Scan], None], report: Callable[[PartState], None]) -> None:
        """Until cancelled; a fault of the camera, or of reading its frames, is raised as it is."""
        # A camera that is opened anew may look elsewhere, and a frame of before may still be in its thread.
        self._reader = None
        try:
            async with asyncio.TaskGroup() as group:

                def take(frame: Frame) -> None:
                    self._camera.pause()
                    group.create_task(self._read(frame, out))

                await self._camera.run(take, report)
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from faults

    async def _read(self, frame: Frame, out: Callable[[Scan], None]) -> None:
        try:
            choice = await asyncio.to_thread(self._choose, frame, self._expected())
            if new := self._came_into_view(choice, frame):
                first, *others = [
                    Scan(self.name, one.text, frame.monotonic_ns, one.identifier, one.symbology) for one in new
                ]
                out(replace(first, others=tuple(others)))
        finally:
            self._camera.resume()

    def _choose(self, frame: Frame, expected: Mapping[str, tuple[str, ...]]) -> Choice:
        from agent.labels.frames import FrameReader, knower, symbologies_for
        from agent.labels.reader import read

        image = frame.image  # decoded here, in a thread that has time
        if image is None:
            return Choice()
        if _is_picture(frame):
            symbols = read(image, symbologies=symbologies_for(expected), expected=knower(expected))
        else:
            reader = self._reader = self._reader or FrameReader()
            symbols = reader.look(frame, expected)
        height, width = image.shape[:2]
        return choose(symbols, expected, (width, height))

    def _came_into_view(self, choice: Choice, frame: Frame) -> list[Identity]:
        """The parcels of the choice that are to be handed on, several when nobody but the driver can tell which."""
        now_ns, live = frame.monotonic_ns, not _is_picture(frame)
        self._seen = {code: at for code, at in self._seen.items() if now_ns - at < OUT_OF_VIEW_NS}
        new = [one for one in choice.parcels if self._seen.keys().isdisjoint(one.codes)]
        if not choice.parcels or (new and live and choice.by != "manifest" and not self._are_sure(new, now_ns)):
            new = []
        known = [one for one in choice.parcels if not self._seen.keys().isdisjoint(one.codes)]
        if new or known:
            # What a live camera sees beside a parcel is printed on its label, or is not what is held up to it.
            in_view = (*new, *known, *(choice.beside if live else ()))
            self._seen |= {code: now_ns for one in in_view for code in one.codes}
        return new

    def _are_sure(self, new: list[Identity], now_ns: int) -> bool:
        """Whether numbers that the manifest does not know were the best in view for long enough."""
        numbers = frozenset(one.tracking_number for one in new)
        before, since_ns, until_ns = self._best
        if before.isdisjoint(numbers) or now_ns >= until_ns:
            since_ns = now_ns
        self._best = numbers, since_ns, now_ns + OUT_OF_VIEW_NS
        return now_ns - since_ns >= MADE_SURE_NS


def _is_picture(frame: Frame) -> bool:
    """Whether the frame stands alone: a file of its own, not one of a device, a stream or a video."""
    return frame.origin is not None and Path(frame.origin).suffix.lower() in PICTURES
