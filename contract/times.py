"""Times of messages and events: RFC 3339 texts, read as instants. Texts of one instant differ with their offset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EARLIEST_MS: Final = 0
"""1970-01-01T00:00:00Z."""
LATEST_MS: Final = 4_133_980_799_999
"""The last millisecond of the year 2100."""


def unix_ms(text: str) -> int | None:
    """Unix time in milliseconds; ``None`` where the text is no time, or one outside of the years 1970 to 2100.

    A text without an offset is UTC. The second 60 is the first of the next minute.

    >>> unix_ms("1970-01-01t05:30:00.250+05:30")
    250
    >>> unix_ms("1969-12-31T23:59:60z")
    0
    >>> unix_ms("0001-01-01T00:00:00Z")
    """
    text = text.upper()
    leap_s = 1 if text[16:19] == ":60" else 0
    try:
        time = datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leap_s else text)
        since_1970_s = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() + leap_s
    except (ValueError, OverflowError):
        return None
    milliseconds = round(since_1970_s * 1000)
    return milliseconds if EARLIEST_MS <= milliseconds <= LATEST_MS else None
