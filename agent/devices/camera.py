"""The camera of the settings: the labels that it reads count as scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent.labels.identity import to_input
from agent.parts import Fitted
from agent.settings import CameraSettings
from drivers.readings import Scan

if TYPE_CHECKING:
    from agent.unit import Unit


def camera(settings: CameraSettings, unit: Unit) -> Iterator[Fitted[Any]]:
    """The part, where a source is named."""
    if not settings.source:
        return
    # Only now: a unit without a camera need not pay for what reads pictures.
    from agent.labels.watch import LabelCamera
    from drivers.camera import Camera

    driver = Camera(
        settings.source,
        settings.width,
        settings.height,
        settings.fps,
        ring_s=settings.ring_s,
        ring_max_bytes=settings.ring_max_bytes,
    )

    def expected() -> Mapping[str, tuple[str, ...]]:
        """What may be taken for a parcel at once: the codes of the block under way."""
        block = unit.state.block
        return {} if block is None or block.ended else block.codes

    def take(scan: Scan) -> None:
        unit.take(to_input(scan, "camera"), device=scan.device)

    # A camera's files are no device: a file system that hangs must not hang the loop.
    device = settings.source if settings.source.startswith("/dev/") else None
    if settings.read_labels:
        yield Fitted(LabelCamera(driver, expected), take, device=device)
    else:
        yield Fitted(driver, device=device)
