"""A state as the JSON that a screen gets."""

from __future__ import annotations

import logging
from typing import Any

from pydantic_core import to_json

_log = logging.getLogger(__name__)
_reported: set[str] = set()
"""Members that could not be written, so that each is logged once."""


def encoded(view: dict[str, Any]) -> bytes:
    """JSON in UTF-8; a number that JSON does not have is null, and so is a member that cannot be written at all."""
    try:
        return to_json(view, inf_nan_mode="null")
    except Exception:  # noqa: BLE001 - one odd value must not leave the driver without a screen
        return to_json({name: _whole(name, member) for name, member in view.items()}, inf_nan_mode="null")


def unwritable(view: dict[str, Any]) -> list[str]:
    """Which members cannot be written, as findings; `encoded` leaves them out."""
    return [f"{name} cannot be written as JSON" for name, member in view.items() if not _is_writable(member)]


def _whole(name: str, member: Any) -> Any:
    if _is_writable(member):
        return member
    if name not in _reported:
        _reported.add(name)
        _log.error("%s cannot be written as JSON; it is left out", name)
    return None


def _is_writable(member: Any) -> bool:
    try:
        to_json(member, inf_nan_mode="null")
    except Exception:  # noqa: BLE001 - the other members are shown
        return False
    return True
