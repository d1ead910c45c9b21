"""Which of the symbols in a picture name parcels.

A label carries several codes: the parcel's number, often twice and in two notations, a routing code, a product code,
a link. Only sound numbers of a known form are parcels, and each parcel is named once.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.labels.identity import Identity, identify
from agent.labels.reader import Symbol


def parcels(symbols: Iterable[Symbol]) -> list[Identity]:
    """The parcels that the symbols name, in the symbols' order, each once."""
    named: list[Identity] = []
    for symbol in symbols:
        found = identify(symbol.text, symbol.identifier, symbol.symbology)
        if found.is_parcel and not any(set(found.codes) & set(other.codes) for other in named):
            named.append(found)
    return named
