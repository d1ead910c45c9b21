"""Instants: what the texts of messages and events mean. Texts of times are never compared, instants are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from contract.times import unix_ms

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, order=True, slots=True)
class Instant:
    """A point in time. Instants compare with each other, whatever their texts are, and with nothing else.

    >>> read_instant("2026-11-21T11:22:24+05:30") < read_instant("2026-11-21T07:42:24Z")
    True
    """

    unix_ms: int
    text: str = field(compare=False)
    """RFC 3339, as it was written."""

    @classmethod
    def of(cls, unix_ms: int) -> Instant:
        """An instant by its number, written in UTC to the second."""
        return cls(unix_ms, f"{datetime.fromtimestamp(unix_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """A snapshot keeps the text alone."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            read_instant, serialization=core_schema.to_string_ser_schema()
        )


@lru_cache(maxsize=1024)
def read_instant(text: str | None) -> Instant | None:
    """The instant of a text; ``None`` for no text, and for one that is no time between 1970 and 2100."""
    milliseconds = unix_ms(text) if isinstance(text, str) else None
    return None if text is None or milliseconds is None else Instant(milliseconds, text)


def text_of(instant: Instant | None) -> str | None:
    """The text of an instant; ``None`` where it is unknown."""
    return None if instant is None else instant.text
