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


def _whole(name: str, member: Any) -> Any:
    try:
        to_json(member, inf_nan_mode="null")
    except Exception:  # noqa: BLE001 - the other members are shown
        if name not in _reported:
            _reported.add(name)
            _log.exception("%s cannot be written as JSON", name)
        return None
    return member
