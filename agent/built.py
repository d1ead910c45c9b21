"""When this software was built: before that no clock of a unit can have been right.

A release carries the time of its build in a file beside this one (`setup.py` writes it). A checkout has none: there
its own code says when it was written to this disk.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

STAMP: Final = Path(__file__).with_name("built_at")


@cache
def built_ms() -> int:
    """Unix time in milliseconds."""
    try:
        return int(STAMP.read_text(encoding="ascii")) * 1000
    except (OSError, ValueError):
        return Path(__file__).stat().st_mtime_ns // 1_000_000
