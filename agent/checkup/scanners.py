"""Whether each scanner of the settings is there and is read by the agent alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agent.checkup.agent import RunningAgent
from agent.checkup.device import examine_device
from agent.checkup.finding import Finding
from agent.settings import Settings


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    if not settings.scanner:
        yield Finding("scanners", "ok", "none in the settings")
    for scanner in settings.scanner:
        what = f"{scanner.name}: {scanner.port}"
        found = agent.finds("scanners", scanner.name, what)
        # A pseudo-terminal is always held by whoever made it, too.
        if found is None or (found.state == "ok" and not os.path.realpath(scanner.port).startswith("/dev/pts/")):
            seen = examine_device("scanners", what, scanner.port, scanner.subsystem, agent)
            found = seen if found is None or seen.state != "ok" else found
        yield found
