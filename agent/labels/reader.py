"""Symbols in pictures and camera frames, by a cascade that goes on only as long as nothing sufficient was found.

zxing-cpp comes first, quickly and then thoroughly, then zbar; then the areas of bars are cut out upright and read
again, then the picture with other contrast and scale. What an engine reads at first sight is believed; what only a
later step brings out must be read alike by several steps, as the symbology asks, or be expected. `read` never raises
for a picture that `load` or a camera gave, takes one thread, and gives the same answer for the same picture as long as
the budget lasts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agent.labels.blurred import Reading, ean13
from agent.labels.engines import opencv, retail, zbar, zxing
from agent.labels.locate import Area, Cutout, bars, cut
from agent.labels.pictures import load
from agent.labels.symbols import MATRIX, RETAIL, SYMBOLOGIES, Symbol

if TYPE_CHECKING:
    from agent.labels.symbols import Picture

__all__ = ["SYMBOLOGIES", "Symbol", "load", "read"]

BUDGET_MS: Final = 180.0
"""Processor time of one picture; a step that was begun is finished."""

Expected: TypeAlias = Collection[str] | Callable[[str], bool]
_Step: TypeAlias = Callable[[], Iterator[Symbol]]

_LARGE_PIXELS: Final = 3_000_000
"""A picture above this is read shrunk first; its areas of bars are still cut out of the whole."""

_VOTES: Final = {"Code 128": 2, "Code 39": 2, "Code 93": 2, "Codabar": 2, "ITF": 3, "DataBar": 2, "MaxiCode": 1}
_RETAIL_VOTES: Final = 2
_RETAIL_MIN_HEIGHT: Final = 8
"""Pixels along the bars over which a retail code was read alike; what fewer lines say is often wrong."""
_LEVELS_FIT: Final = 0.82
_LEVELS_LEAD: Final = 0.1
"""A blurred code that fits and leads like this was never wrong in a few thousand trials."""
_LEVELS_HOPE: Final = 0.75
"""Where the first part of the bars fits less than this, no retail code is there."""
_SHORT: Final = {"Code 39": 4, "Codabar": 4, "ITF": 6}
"""Late reads with fewer characters than this are stripes, not codes."""


def read(
    bgr: Picture,
    *,
    symbologies: Collection[str] | None = None,
    expected: Expected | None = None,
    budget_ms: float = BUDGET_MS,
) -> list[Symbol]:
    """The symbols in a picture (BGR or grey, 8-bit), each once, from top to bottom.

    `symbologies`: names of `SYMBOLOGIES`, all when ``None``. `expected`: the texts that are looked for, or a function
    that knows them; reading goes on until one is found, and what is expected needs no second witness. Without it the
    first step that reads anything is the last. `budget_ms`: processor time after which no further step is begun.
    """
    wanted = frozenset(SYMBOLOGIES if symbologies is None else symbologies)
    if bgr.ndim not in {2, 3} or 0 in bgr.shape or not wanted:
        return []
    began = time.thread_time()
    answer = _Answer(expected)
    for witness, step in _steps(bgr, wanted):
        answer.take(witness, step())
        if answer.sufficient or (time.thread_time() - began) * 1000 >= budget_ms:
            break
    return answer.symbols()


class _Answer:
    """What the steps have read so far, and how often."""

    def __init__(self, expected: Expected | None) -> None:
        self._expected = expected if expected is None or callable(expected) else frozenset(expected).__contains__
        self._seen: dict[tuple[str, str], list[Symbol]] = {}
        self._witnesses: dict[tuple[str, str], set[str]] = {}
        self._believed: dict[tuple[str, str], list[Symbol]] = {}
        self.sufficient = False

    def take(self, witness: str, symbols: Iterator[Symbol]) -> None:
        for symbol in symbols:
            key = symbol.symbology, symbol.text
            if key in self._believed:
                # The same text twice in one picture is two labels only if one step sees both.
                if symbol.stage == self._believed[key][0].stage and witness in self._witnesses[key]:
                    self._believed[key].append(symbol)
                continue
            self._seen.setdefault(key, []).append(symbol)
            self._witnesses.setdefault(key, set()).add(witness)
            awaited = self._expected is not None and self._expected(symbol.text)
            if awaited or self._convincing(symbol, self._witnesses[key]):
                self._believed[key] = [self._seen[key][0]]
                self.sufficient = self.sufficient or awaited or self._expected is None

    def _convincing(self, symbol: Symbol, witnesses: set[str]) -> bool:
        if symbol.symbology in MATRIX:
            return True
        if symbol.stage == "zxing" and (symbol.symbology not in RETAIL or _height(symbol) >= _RETAIL_MIN_HEIGHT):
            return True
        if symbol.stage == "zbar" and symbol.symbology in {"Code 128", "Code 39"}:
            return True
        if len(symbol.text) < _SHORT.get(symbol.symbology, 0):
            return False
        if symbol.symbology in RETAIL:
            return len(witnesses) >= _RETAIL_VOTES
        return len(witnesses) >= _VOTES[symbol.symbology]

    def symbols(self) -> list[Symbol]:
        unique = {(one.symbology, one.text, one.corners): one for several in self._believed.values() for one in several}
        return sorted(unique.values(), key=lambda one: (one.corners[0][1], one.corners[0][0]))


def _steps(picture: Picture, wanted: frozenset[str]) -> Iterator[tuple[str, _Step]]:
    """The cascade: who reads, and what it takes to have him read. Nothing is prepared before it is asked for."""
    import numpy as np

    cv2 = opencv()
    grey = np.ascontiguousarray(picture) if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    linear = wanted - MATRIX
    yield "zxing", lambda: zxing(grey, wanted, "zxing")
    yield "zxing", lambda: zxing(grey, wanted, "zxing", thorough=True)
    yield "zbar", lambda: zbar(grey, wanted, "zbar")
    if linear:
        for area in bars(grey, 2):
            yield from _area_steps(grey, area, linear)
    even = cv2.createCLAHE(3.0, (8, 8)).apply(grey)
    yield "even", lambda: zxing(even, wanted, "variant", thorough=True)
    twice = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    yield "twice", lambda: zxing(twice, wanted, "variant")
    yield "global", lambda: zxing(grey, wanted, "variant", thorough=True, binarizer="GlobalHistogram")


def _area_steps(grey: Picture, area: Area, linear: frozenset[str]) -> Iterator[tuple[str, _Step]]:
    cv2 = opencv()
    found = cut(grey, area)
    upright = found.grey
    yield "crop", lambda: _placed(zxing(upright, linear, "crop"), found)
    even = cv2.createCLAHE(3.0, (8, 8)).apply(upright)
    yield "crop even", lambda: _placed(zxing(even, linear, "crop"), found)
    sharp = _sharpened(upright, 2.0, 1.5)
    yield "crop sharp", lambda: _placed(zxing(sharp, linear, "crop"), found)
    yield "crop even zbar", lambda: _placed(zbar(even, linear, "crop"), found)
    yield "crop zbar", lambda: _placed(zbar(upright, linear, "crop"), found)
    sharper = _sharpened(_bands(upright, 5), 4.0, 2.0)
    yield "crop bands sharp", lambda: _placed(zxing(sharper, linear, "crop"), found)
    yield "crop bands zbar", lambda: _placed(zbar(_bands(upright, 5), linear, "crop"), found)
    sharpest = _sharpened(upright, 4.0, 3.0)
    yield "crop sharp 4", lambda: _placed(zxing(sharpest, linear, "crop"), found)
    twice = cv2.resize(upright, None, fx=2, fy=1, interpolation=cv2.INTER_CUBIC)
    yield "crop twice", lambda: _placed(zxing(twice, linear, "crop"), found)
    if linear & {"EAN-13", "UPC-A"}:
        # Three parts of the bars' length see different scratches and shine.
        promising = True
        for part in ((0.15, 0.38), (0.38, 0.62), (0.62, 0.85)):
            reading = _levels(found, part) if promising else None
            promising = reading is not None and reading.fit >= _LEVELS_HOPE
            if reading is not None and reading.fit >= _LEVELS_FIT and reading.lead >= _LEVELS_LEAD:
                symbol = _levels_symbol(found, reading, part)
                if symbol.symbology in linear:
                    yield f"levels {part}", lambda symbol=symbol: _placed(iter((symbol,)), found)
            else:
                yield "levels", lambda: iter(())


def _levels(found: Cutout, part: tuple[float, float]) -> Reading | None:
    import numpy as np

    height, width = found.grey.shape
    rows = found.grey[int(height * part[0]) : max(int(height * part[0]) + 1, int(height * part[1]))]
    return ean13(rows.mean(axis=0).astype(np.float32), width * found.margin, width * (1 - found.margin))


def _levels_symbol(found: Cutout, reading: Reading, part: tuple[float, float]) -> Symbol:
    height = found.grey.shape[0]
    top, bottom = int(height * part[0]), int(height * part[1])
    if reading.start > reading.end:
        top, bottom = bottom, top
    start, end = round(reading.start), round(reading.end)
    symbology, text = retail("EAN-13", reading.text)
    return Symbol(text, symbology, "]E0", ((start, top), (end, top), (end, bottom), (start, bottom)), "levels")


def _sharpened(grey: Picture, sigma: float, strength: float) -> Picture:
    cv2 = opencv()
    blurred = cv2.GaussianBlur(grey, (0, 0), sigma)
    sharp: Picture = cv2.addWeighted(grey, 1 + strength, blurred, -strength, 0)
    return sharp


def _bands(upright: Picture, count: int) -> Picture:
    """The bars averaged along their length in a few bands: noise and scratches go, the bars stay."""
    cv2 = opencv()
    width = upright.shape[1]
    averaged = cv2.resize(upright, (width, count), interpolation=cv2.INTER_AREA)
    bands: Picture = cv2.resize(averaged, (width, count * 8), interpolation=cv2.INTER_NEAREST)
    return bands


def _height(symbol: Symbol) -> float:
    """Length of the longer side along the bars."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = symbol.corners
    return max(math.hypot(dx - ax, dy - ay), math.hypot(cx - bx, cy - by))


def _placed(symbols: Iterator[Symbol], found: Cutout) -> Iterator[Symbol]:
    """The symbols with their corners where they are in the picture."""
    from dataclasses import replace

    for symbol in symbols:
        corners = tuple(_at(found.back, x, y) for x, y in symbol.corners)
        yield replace(symbol, corners=corners)


def _at(back: Any, x: int, y: int) -> tuple[int, int]:
    return (
        round(float(back[0, 0] * x + back[0, 1] * y + back[0, 2])),
        round(float(back[1, 0] * x + back[1, 1] * y + back[1, 2])),
    )
