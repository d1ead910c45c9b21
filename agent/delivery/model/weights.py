"""How much of memory, snapshots and screen a manifest takes, in bytes of JSON: roughly, and rather too much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.delivery.model.manifest import ParcelPlan, Sealed, Site, StopPlan, Travel

OF_PARCEL: Final = 600
"""Of a parcel, besides the texts that the cloud has sent: names of members, and what happens to it."""
OF_STOP: Final = 500
OF_SITE: Final = 200
OF_NUMBER: Final = 9
"""Of a travel time."""


def weight_of_text(text: Sealed) -> int:
    """Of a text or a token."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else 4 * len(text)


def weight_of_parcel(plan: ParcelPlan) -> int:
    """Of what a manifest says of a parcel."""
    asked = plan.instruction
    texts = (plan.tracking_number, plan.pickup_stop_id, plan.point_id, plan.stop_id, plan.return_to, plan.merchant_id)
    sealed = (plan.section, asked.text, asked.neighbour, asked.preferences, *asked.access_codes, *plan.aliases)
    return OF_PARCEL + _sum(texts) + _sum(sealed)


def weight_of_stop(plan: StopPlan) -> int:
    """Of what a manifest says of a stop."""
    return OF_STOP + _sum((plan.site_id, plan.address, plan.recipient, plan.zone))


def weight_of_site(site: Site) -> int:
    """Of a site with its pickup points."""
    points = [(p.point_id, p.name, p.floor, p.code, p.hours) for p in site.points.values()]
    texts = (site.site_id, site.name, site.kind)
    return OF_SITE * (1 + len(points)) + _sum(texts) + sum(map(_sum, points))


def weight_of_travel(travel: Travel | None) -> int:
    """Of the travel times."""
    return 0 if travel is None else OF_NUMBER * len(travel.stop_ids) ** 2 + _sum(travel.stop_ids)


def _sum(texts: Iterable[Sealed]) -> int:
    return sum(map(weight_of_text, texts))
