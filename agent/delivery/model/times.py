"""RFC 3339 texts of messages and events as numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=256)
def unix_ms(text: str | None) -> int | None:
    """Unix time in milliseconds; ``None`` for no text and for one that is no time. Without a zone it is UTC."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def as_text(wall_ms: int) -> str:
    """RFC 3339 UTC to the second."""
    return f"{datetime.fromtimestamp(wall_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
