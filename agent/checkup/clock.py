"""Whether the clock can be trusted: without it no certificate is valid, and no event has a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.clock import Clock
from agent.settings import Settings


def examine(settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
    moment = Clock(settings.unit.state_dir).now()
    if abs(moment.wall_ms / 1000 - time.time()) > 60:
        yield Finding(
            "clock",
            "fault",
            f"the system says {datetime.now(UTC):%Y-%m-%d %H:%M}, which cannot be: it was {moment.time} before",
            "TLS will fail until the clock is set: see `chronyc tracking`, check network and antenna",
        )
    elif moment.trust == "unsynced":
        yield Finding(
            "clock",
            "warning",
            f"not synchronised; it shows {moment.time}",
            "see `chronyc tracking` or `timedatectl`; without network the receiver's time counts after three 3D fixes",
        )
    else:
        words = {"ntp": "synchronised", "rtc": "from the battery clock, not synchronised yet"}
        yield Finding("clock", "ok", f"{words.get(moment.trust, moment.trust)}; it shows {moment.time}")
