"""Whether the files that the settings name are what they should be, and kept from others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.settings import Settings, on_disk

_ELSEWHERE: Final = ("broker.ca_file", "broker.cert_file", "broker.key_file", "unit.state_dir", "camera.source")
"""What these hold is told by the subjects certificates, disk and camera."""


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    found = [each for each in on_disk.contents(settings) if each.key not in _ELSEWHERE]
    found += on_disk.exposed(settings, agent.settings_file)
    for each in found:
        yield Finding("files", "fault", f"{each.key}: {each.finding}", each.step)
    if not found:
        yield Finding("files", "ok", "what the settings name is there, and kept from others")
