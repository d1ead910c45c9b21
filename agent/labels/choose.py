"""Which of the codes in a view is the parcel.

A label carries several codes: the parcel's number, often twice and in two notations, a routing code, a postcode, a
product's number, the number of the return label, a link; and another parcel may stand in the background. `choose`
takes what the manifest knows, then sound numbers of carriers, then what lies as a label in the hand does; where that
does not settle it, all that are left are in the choice, the likeliest first, for the driver to be asked. Both
functions are pure.

>>> from agent.labels.reader import Symbol
>>> corners = ((0, 0), (90, 0), (90, 30), (0, 30))
>>> texts = ("ROUTE 7 SOUTH", "TBA123456789012")
>>> view = [Symbol(text, "Code 128", "]C0", corners, "zxing") for text in texts]
>>> choice = choose(view)
>>> choice.one.text, choice.by, [other.text for other in choice.beside]
('TBA123456789012', 'carrier', ['ROUTE 7 SOUTH'])
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agent.delivery.model.numbers import normal
from agent.labels.identity import Identity, identify
from agent.labels.reader import Symbol

LARGER: Final = 1.5
"""A code this many times as long as the next is on the label that is held up."""
MORE_CENTRAL: Final = 0.5
"""A code this much as far from the middle of the view as the next is the one that is pointed at."""
CENTRAL_WITHIN: Final = 0.1
"""Of the view's diagonal: two codes both so near to the middle are equally central."""
LONGEST_NUMBER: Final = 40
"""Characters; what is longer and of no known form is a message or a link, no parcel's number."""

By = Literal["manifest", "carrier", "geometry", "unknown"]

_POSTCODE = re.compile(r"420\d{5}(\d{4})?")
"""Where the carriers of North America write where a parcel goes, GS1 application identifier 420."""
_TELLING_DIGITS: Final = 18
"""A number of digits alone that is shorter fits a carrier's form by chance, one in ten."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the codes of one view come to."""

    parcels: tuple[Identity, ...] = ()
    """None, the one, or those among which only the driver can tell, the likeliest first."""
    by: By | None = None
    """What settled it: the manifest knows it, it alone is a carrier's number, it lies as the label in the hand does,
    or nothing does: a number of a form that only a manifest can know. ``None`` when there is no parcel."""
    beside: tuple[Identity, ...] = ()
    """What else stands in the view."""

    @property
    def one(self) -> Identity | None:
        """The parcel, when there is no doubt which."""
        return self.parcels[0] if len(self.parcels) == 1 else None


@dataclass(slots=True)
class _Named:
    """One number and every code of the view that carries it."""

    identity: Identity
    symbols: list[Symbol]
    parcel_ids: frozenset[str] = frozenset()
    """The manifest's parcels of this number."""

    @property
    def length(self) -> float:
        """Of its longest code, in pixels. A line of bars is known by its length, its height is often not measured."""
        return max(map(_length, self.symbols))


def parcels(symbols: Iterable[Symbol]) -> list[Identity]:
    """The parcels that the symbols name without a manifest, in the symbols' order, each once."""
    return [named.identity for named in _of_carriers(_named(symbols))]


def choose(
    symbols: Sequence[Symbol],
    expected: Mapping[str, tuple[str, ...]] | None = None,
    view: tuple[int, int] | None = None,
) -> Choice:
    """Which of the symbols of a view is the parcel.

    `expected`: normal form of each code that the manifest knows → the ids of the parcels that carry it. `view`: width
    and height of the picture in pixels; without it, nobody knows what is central.
    """
    everything = _named(symbols)
    known = _on_manifest(everything, expected or {})
    if known:
        return _choice(_most_central_first(known, everything, view), "manifest", everything)
    sound = _of_carriers(everything)
    candidates = sound or _unknown(everything)
    if not candidates:
        return Choice(beside=tuple(named.identity for named in everything))
    by: By = "carrier" if sound else "unknown"
    if len(candidates) == 1:
        return _choice(candidates, by, everything)
    best = _in_the_hand(candidates, everything, view)
    if best is None:
        return _choice(_most_central_first(candidates, everything, view), by, everything)
    return _choice([best], "geometry" if sound else by, everything)


def _choice(chosen: list[_Named], by: By, everything: list[_Named]) -> Choice:
    beside = tuple(named.identity for named in everything if named not in chosen)
    return Choice(tuple(named.identity for named in chosen), by, beside)


def _named(symbols: Iterable[Symbol]) -> list[_Named]:
    """The numbers of the view in the symbols' order; codes that carry the same number are one."""
    everything: list[_Named] = []
    for symbol in symbols:
        found = identify(symbol.text, symbol.identifier, symbol.symbology)
        for other in everything:
            if not set(found.codes).isdisjoint(other.identity.codes):
                other.symbols.append(symbol)
                if found.is_parcel and not other.identity.is_parcel:
                    other.identity = found
                break
        else:
            everything.append(_Named(found, [symbol]))
    return everything


def _on_manifest(everything: list[_Named], expected: Mapping[str, tuple[str, ...]]) -> list[_Named]:
    """The numbers that the manifest knows; of several that name the same parcels, the first."""
    known: list[_Named] = []
    for named in everything:
        found = (expected.get(normal(code)) for code in (*named.identity.codes, named.identity.text))
        named.parcel_ids = frozenset(next(filter(None, found), ()))
        if named.parcel_ids and not any(named.parcel_ids & other.parcel_ids for other in known):
            known.append(named)
    return known


def _of_carriers(everything: list[_Named]) -> list[_Named]:
    """Sound numbers of carriers. Short bare digits are none beside a number that cannot be one by chance."""
    sound = [named for named in everything if named.identity.is_parcel and not _is_postcode(named.identity)]
    telling = [named for named in sound if _tells(named.identity)]
    return telling or sound


def _unknown(everything: list[_Named]) -> list[_Named]:
    """What may be a parcel's number of a form that only a manifest knows."""
    return [
        named
        for named in everything
        if named.identity.kind is None
        and named.identity.fault is None
        and len(named.identity.text) <= LONGEST_NUMBER
        and "://" not in named.identity.text
        and any(map(str.isdigit, named.identity.text))
    ]


def _is_postcode(identity: Identity) -> bool:
    return identity.identifier == "]C1" and _POSTCODE.fullmatch(identity.text) is not None


def _tells(identity: Identity) -> bool:
    number = identity.tracking_number
    return not number.isdigit() or len(number) >= _TELLING_DIGITS or identity.kind == "dhl_identcode"


def _in_the_hand(candidates: list[_Named], everything: list[_Named], view: tuple[int, int] | None) -> _Named | None:
    """The one of several that is clearly the largest, else the most central, else amid the codes of its label."""
    first, second = sorted(candidates, key=lambda named: -named.length)[:2]
    if first.length >= LARGER * second.length > 0:
        return first
    if view is not None:
        away = _away_from_middle(view)
        first, second = sorted(candidates, key=away)[:2]
        if away(first) <= MORE_CENTRAL * away(second) and away(second) > CENTRAL_WITHIN:
            return first
    company = _company(candidates, everything)
    most = max(company)
    return candidates[company.index(most)] if company.count(most) == 1 else None


def _most_central_first(
    candidates: list[_Named], everything: list[_Named], view: tuple[int, int] | None
) -> list[_Named]:
    """Candidates that all remain: the one `_in_the_hand` first, then by their distance from the middle."""
    if len(candidates) < 2:
        return candidates
    best = _in_the_hand(candidates, everything, view)
    away = _away_from_middle(view) if view is not None else lambda _named: 0.0
    return sorted(candidates, key=lambda named: (named is not best, away(named)))


def _away_from_middle(view: tuple[int, int]) -> Callable[[_Named], float]:
    """Distance of a number's nearest code from the middle of the view, in diagonals of the view."""
    width, height = view
    middle, diagonal = (width / 2, height / 2), math.hypot(width, height) or 1.0
    return lambda named: min(math.dist(_centre(symbol), middle) for symbol in named.symbols) / diagonal


def _company(candidates: list[_Named], everything: list[_Named]) -> list[int]:
    """How many of the other codes of the view lie nearest to each candidate, and within reach of its label."""
    company = [0] * len(candidates)
    for other in everything:
        if any(other is candidate for candidate in candidates):
            continue
        for symbol in other.symbols:
            distances = [
                min(math.dist(_centre(symbol), _centre(own)) for own in candidate.symbols) for candidate in candidates
            ]
            nearest = min(distances)
            index = distances.index(nearest)
            if distances.count(nearest) == 1 and nearest <= 2 * candidates[index].length:
                company[index] += 1
    return company


def _length(symbol: Symbol) -> float:
    corners = symbol.corners
    return max(math.dist(corners[i], corners[i - 1]) for i in range(4))


def _centre(symbol: Symbol) -> tuple[float, float]:
    return sum(x for x, _ in symbol.corners) / 4, sum(y for _, y in symbol.corners) / 4
