"""Section `[route]`: the order of the stops and the way between them."""

from __future__ import annotations

from agent.settings.section import OptionalPath, Section


class RouteSettings(Section):
    """The order of the stops and the way between them."""

    tiles: OptionalPath = None
    """Road tiles of the area; unset: straight lines."""
