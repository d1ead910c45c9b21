"""Under which codes a block's parcels are found."""

from __future__ import annotations

from collections.abc import Mapping
from unicodedata import category

from agent.delivery.model.state import Parcel

_NOT_COUNTED = dict.fromkeys([*range(0x20), ord(" "), ord("-"), 0x7F])


def normal(code: str) -> str:
    """The form under which a code is looked up: case, spaces, hyphens, control and format characters do not count."""
    if code.isascii():
        return (code if code.isalnum() else code.translate(_NOT_COUNTED)).upper()
    return "".join(each for each in code.translate(_NOT_COUNTED) if category(each)[0] not in "ZC").upper()


def index_codes(parcels: Mapping[str, Parcel]) -> dict[str, tuple[str, ...]]:
    """Normal form of each tracking number and alias → the parcels that carry it."""
    codes: dict[str, tuple[str, ...]] = {}
    for parcel in parcels.values():
        for code in {normal(parcel.tracking_number), *map(normal, parcel.aliases)}:
            codes[code] = (*codes.get(code, ()), parcel.parcel_id)
    return codes
