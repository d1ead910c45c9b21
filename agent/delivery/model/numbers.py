"""Under which numbers a block's parcels are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from unicodedata import category

from agent.delivery.model.manifest import ParcelPlan

_NOT_COUNTED = dict.fromkeys([*range(0x20), ord(" "), ord("-"), 0x7F])


def normal(code: str) -> str:
    """The form under which a code is looked up: case, spaces, hyphens, control and format characters do not count."""
    if code.isascii():
        return (code if code.isalnum() else code.translate(_NOT_COUNTED)).upper()
    return "".join(each for each in code.translate(_NOT_COUNTED) if category(each)[0] not in "ZC").upper()


def codes_of(plan: ParcelPlan) -> tuple[str, ...]:
    """Normal forms of a parcel's tracking number and aliases, each once."""
    return tuple(dict.fromkeys(map(normal, (plan.tracking_number, *plan.aliases))))


def index_codes(codes: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Each code → the parcels that carry it, of each parcel's codes."""
    carriers: dict[str, tuple[str, ...]] = {}
    for parcel_id, carried in codes.items():
        for code in carried:
            others = carriers.get(code)
            carriers[code] = (parcel_id,) if others is None else (*others, parcel_id)
    return carriers
