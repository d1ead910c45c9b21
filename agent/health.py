"""How the board is doing: processor, memory, disk and temperature, read from the kernel's own files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


class Health:
    """Samples for the health telemetry. `disk` is a path on the file system that holds the journal."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._last_cpu_s = 0.0
        self._last_ns = 0

    def sample(self, uptime_ns: int) -> dict[str, Any]:
        """`cpu` is this process's share of one core since the last sample; what is unknown is ``None``."""
        times = os.times()
        cpu_s = times.user + times.system
        elapsed_s = (uptime_ns - self._last_ns) / 1e9
        share = round((cpu_s - self._last_cpu_s) / elapsed_s, 4) if self._last_ns and elapsed_s > 0 else None
        self._last_cpu_s, self._last_ns = cpu_s, uptime_ns
        filesystem = os.statvfs(self._disk)
        return {
            "cpu": share,
            "memory_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
            "disk_free_bytes": filesystem.f_bavail * filesystem.f_frsize,
            "temperature_c": _temperature_c(),
        }


def _temperature_c() -> float | None:
    try:
        return int(THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return None
