"""Symbols in pictures and camera frames, by a cascade that goes on only as long as nothing sufficient was found.

zxing-cpp comes first, quickly and then thoroughly, then zbar; then the areas of bars are cut out upright and read
again, then the picture with other contrast and scale. What an engine reads at first sight is believed; what only a
later step brings out must be read alike by several steps, as the symbology asks, or be expected. `read` never raises
for a picture that `load` or a camera gave, takes one thread, and gives the same answer for the same picture as long as
the budget lasts.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agent.labels import LabelError
from agent.labels.blurred import Reading, ean13
from agent.labels.engines import opencv, retail, zbar, zxing
from agent.labels.locate import Cutout, bars, cut, has_bars
from agent.labels.maxicode import maxicode
from agent.labels.pictures import load
from agent.labels.symbols import MATRIX, RETAIL, SYMBOLOGIES, Symbol

if TYPE_CHECKING:
    from agent.labels.symbols import Corners, Picture

__all__ = ["SYMBOLOGIES", "Symbol", "load", "read"]

BUDGET_MS: Final = 180.0
"""Processor time of one picture; a step that was begun is finished."""

Expected: TypeAlias = Collection[str] | Callable[[str], bool]
_Step: TypeAlias = tuple[str, Iterator[Symbol]]
"""Who reads, and what he reads once he is asked."""

_LABEL_PIXELS: Final = 700_000
"""From this on, a picture is taken for one of a whole label: camera frames and photos."""
_LARGE_PIXELS: Final = 2_000_000
"""A picture clearly above this is shrunk to it; as it is, it is read once, and its areas of bars are cut out of it."""
_SMALL_PIXELS: Final = 1_000_000
"""Up to this, a picture is also read at twice its size."""

_AREAS: Final = 3
_LABEL_AREAS: Final = 5
_SLOW_AREAS: Final = 2
"""Areas of bars that are read again, on a whole label, and with all means."""

_VOTES: Final = {"Code 128": 2, "Code 39": 2, "Code 93": 2, "Codabar": 2, "ITF": 3, "DataBar": 2, "MaxiCode": 1}
_RETAIL_VOTES: Final = 2
_FRAIL: Final = RETAIL | {"ITF", "Codabar"}
_FRAIL_MIN_HEIGHT: Final = 8
"""Pixels along the bars over which a code without a strong check was read alike: what fewer lines say is often wrong,
or only a part of the code."""
_LEVELS_FIT: Final = 0.82
_LEVELS_LEAD: Final = 0.1
"""A blurred code that fits and leads like this was never wrong in a few thousand trials."""
_LEVELS_HOPE: Final = 0.8
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
    first step that reads anything is the last, but for a picture large enough to show a whole label, of which bars that
    were not read at once are looked at too. `budget_ms`: processor time after which no further step is begun.

    :raises LabelError: the picture has other than 8 bits a channel
    """
    wanted = frozenset(SYMBOLOGIES if symbologies is None else symbologies)
    if bgr.dtype != "uint8":
        raise LabelError(f"a picture of {bgr.dtype} values, expected 8 bits a channel: convert it first")
    if bgr.ndim not in {2, 3} or 0 in bgr.shape or not wanted:
        return []
    began = time.thread_time()
    answer = _Answer(expected)
    for witness, symbols in _steps(bgr, wanted, answer):
        answer.take(witness, symbols)
        if answer.sufficient or (time.thread_time() - began) * 1000 >= budget_ms:
            break
    return answer.symbols()


class _Answer:
    """What the steps have read so far, and who is witness to it."""

    def __init__(self, expected: Expected | None) -> None:
        self._expected = expected if expected is None or callable(expected) else frozenset(expected).__contains__
        self._seen: dict[tuple[str, str], list[list[Symbol]]] = {}
        self._witnesses: dict[tuple[str, str], set[str]] = {}
        self._believed: set[tuple[str, str]] = set()
        self._awaited = False
        self.whole_label = False
        """Other codes may stand beside those that were read."""

    @property
    def sufficient(self) -> bool:
        if self._expected is not None:
            return self._awaited
        return bool(self._believed) and not self.whole_label

    def covers(self, corners: Corners) -> bool:
        """Whether something that is believed stands there."""
        return any(
            _overlap(symbol.corners, corners) for key in self._believed for seen in self._seen[key] for symbol in seen
        )

    def take(self, witness: str, symbols: Iterator[Symbol]) -> None:
        new = list(symbols)
        for key, same in itertools.groupby(sorted(new, key=_name), key=_name):
            self._seen.setdefault(key, []).append(list(same))
            self._witnesses.setdefault(key, set()).add(witness)
        for symbol in new:
            awaited = self._expected is not None and self._expected(symbol.text)
            if awaited or self._convincing(symbol):
                self._believed.add((symbol.symbology, symbol.text))
                self._awaited = self._awaited or awaited

    def _convincing(self, symbol: Symbol) -> bool:
        if symbol.symbology in MATRIX:
            return True
        retail = symbol.symbology in RETAIL
        if symbol.stage == "zxing" and (symbol.symbology not in _FRAIL or _height(symbol) >= _FRAIL_MIN_HEIGHT):
            return True
        if symbol.stage == "zbar" and symbol.symbology in {"Code 128", "Code 39"}:
            return True
        if len(symbol.text) < _SHORT.get(symbol.symbology, 0):
            return False
        if not retail:
            return len(self._witnesses[symbol.symbology, symbol.text]) >= _VOTES[symbol.symbology]
        rivals = [
            self._count(key)
            for key, seen in self._seen.items()
            if key[0] in RETAIL and key[1] != symbol.text and _overlap(seen[0][0].corners, symbol.corners)
        ]
        count = self._count((symbol.symbology, symbol.text))
        return count >= _RETAIL_VOTES and count > max(rivals, default=0)

    def _count(self, key: tuple[str, str]) -> int:
        # zbar takes the same wrong digits from every variant: it is one witness, however often it is asked.
        return len({"zbar" if witness.endswith("zbar") else witness for witness in self._witnesses[key]})

    def symbols(self) -> list[Symbol]:
        """Each believed text once for each place where it stands, by the step that saw most of them."""
        told = [symbol for key in self._believed for symbol in max(self._seen[key], key=len)]
        return sorted(told, key=lambda one: (one.corners[0][1], one.corners[0][0], one.symbology, one.text))


def _steps(picture: Picture, wanted: frozenset[str], answer: _Answer) -> Iterator[_Step]:
    """The cascade. Nothing is prepared before it is asked for."""
    import numpy as np

    cv2 = opencv()
    grey = np.ascontiguousarray(picture) if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small, back = _shrunk(grey)
    linear = wanted - MATRIX
    eyes = "MaxiCode" in wanted
    answer.whole_label = bool(linear) and grey.size >= _LABEL_PIXELS
    if small is grey:
        yield "zxing", zxing(grey, wanted, "zxing")
    else:
        # On a photo of a whole label the MaxiCode is one of several codes, of which the others are easier to read.
        first = _placed(zxing(small, wanted, "zxing"), back)
        yield "zxing", itertools.chain(first, maxicode(grey)) if eyes else first
        yield "zxing", zxing(grey, wanted, "zxing")
    found = []
    for area in bars(grey, _LABEL_AREAS if answer.whole_label else _AREAS) if linear else []:
        one = cut(grey, area)
        if not answer.covers(one.corners) and has_bars(one.grey):
            found.append(one)
            yield from _quick_steps(one, linear)
    if answer.whole_label:
        answer.whole_label = False
        yield "zxing", iter(())
    yield "zxing", _placed(zxing(small, wanted, "zxing", thorough=True), back)
    yield "zbar", _placed(zbar(small, wanted, "zbar"), back)
    if eyes and small is grey:
        yield "eyes", maxicode(grey)
    for one in found[:_SLOW_AREAS]:
        yield from _slow_steps(one, linear)
    even = _evened(small)
    yield "even", _placed(zxing(even, wanted, "variant", thorough=True), back)
    if small.size <= _SMALL_PIXELS:
        twice = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        yield "twice", _placed(zxing(twice, wanted, "variant"), back * (0.5, 0.5, 1))
    yield "global", _placed(zxing(small, wanted, "variant", thorough=True, binarizer="GlobalHistogram"), back)


def _shrunk(grey: Picture) -> tuple[Picture, Any]:
    """A large picture made smaller, any other as it is; and the matrix from its pixels to those of the picture."""
    import numpy as np

    cv2 = opencv()
    scale = math.sqrt(grey.size / _LARGE_PIXELS)
    if scale <= 1.2:
        return grey, np.eye(2, 3)
    size = max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.eye(2, 3) * scale


def _quick_steps(found: Cutout, linear: frozenset[str]) -> Iterator[_Step]:
    """What reads most of the crooked and noisy codes in a few milliseconds."""
    upright, back = found.grey, found.back
    yield "crop", _placed(zxing(upright, linear, "crop"), back)
    bands = _bands(upright, 12)
    yield "crop bands", _placed(zxing(bands, linear, "crop"), back)
    yield "crop bands sharp", _placed(zxing(_sharpened(_bands(upright, 5), 4.0, 2.0), linear, "crop"), back)
    yield "crop bands zbar", _placed(zbar(bands, linear, "crop"), back)
    yield "crop even", _placed(zxing(_evened(upright), linear, "crop"), back)


def _slow_steps(found: Cutout, linear: frozenset[str]) -> Iterator[_Step]:
    """What still reads faint and blurred codes."""
    cv2 = opencv()
    upright, back = found.grey, found.back
    yield "crop sharp", _placed(zxing(_sharpened(upright, 2.0, 1.5), linear, "crop"), back)
    for count, share in ((5, 8), (8, 16), (16, 16), (24, 12)):
        wide = cv2.resize(_bands(upright, count), None, fx=2, fy=1, interpolation=cv2.INTER_CUBIC)
        wide = _stretched(wide, wide.shape[1] // share)
        yield f"crop stretched {count}", _placed(zxing(wide, linear, "crop"), back * (0.5, 1, 1))
    yield "crop even zbar", _placed(zbar(_evened(upright), linear, "crop"), back)
    yield "crop zbar", _placed(zbar(upright, linear, "crop"), back)
    yield "crop sharper", _placed(zxing(_sharpened(upright, 4.0, 3.0), linear, "crop"), back)
    if linear & {"EAN-13", "UPC-A"}:
        # Three parts of the bars' length see different scratches and shine.
        for part in ((0.38, 0.62), (0.15, 0.38), (0.62, 0.85)):
            reading = _levels(found, part)
            yield f"levels {part}", _levels_symbols(found, reading, part, linear)
            if reading is None or reading.fit < _LEVELS_HOPE:
                break


def _levels(found: Cutout, part: tuple[float, float]) -> Reading | None:
    import numpy as np

    height, width = found.grey.shape
    rows = found.grey[int(height * part[0]) : max(int(height * part[0]) + 1, int(height * part[1]))]
    return ean13(rows.mean(axis=0).astype(np.float32), width * found.margin, width * (1 - found.margin))


def _levels_symbols(
    found: Cutout, reading: Reading | None, part: tuple[float, float], linear: frozenset[str]
) -> Iterator[Symbol]:
    if reading is None or reading.fit < _LEVELS_FIT or reading.lead < _LEVELS_LEAD:
        return
    symbology, text = retail("EAN-13", reading.text)
    if symbology not in linear:
        return
    top, bottom = (int(found.grey.shape[0] * share) for share in part)
    if reading.start > reading.end:
        top, bottom = bottom, top
    start, end = round(reading.start), round(reading.end)
    corners = ((start, top), (end, top), (end, bottom), (start, bottom))
    yield from _placed(iter((Symbol(text, symbology, "]E0", corners, "levels"),)), found.back)


def _evened(grey: Picture) -> Picture:
    """Shadows and shine evened out."""
    even: Picture = opencv().createCLAHE(3.0, (8, 8)).apply(grey)
    return even


def _sharpened(grey: Picture, sigma: float, strength: float) -> Picture:
    cv2 = opencv()
    blurred = cv2.GaussianBlur(grey, (0, 0), sigma)
    sharp: Picture = cv2.addWeighted(grey, 1 + strength, blurred, -strength, 0)
    return sharp


def _stretched(bands: Picture, reach: int) -> Picture:
    """Every bar as dark and every gap as light as the darkest and lightest around it."""
    import numpy as np

    cv2 = opencv()
    kernel = np.ones((1, max(5, reach)), np.uint8)
    levels = bands.astype(np.float32)
    dark = cv2.blur(cv2.erode(levels, kernel), (max(5, reach), 1))
    light = cv2.blur(cv2.dilate(levels, kernel), (max(5, reach), 1))
    stretched: Picture = np.clip((levels - dark) / (light - dark + 4) * 255, 0, 255).astype(np.uint8)
    return stretched


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


def _name(symbol: Symbol) -> tuple[str, str]:
    return symbol.symbology, symbol.text


def _overlap(one: Corners, other: Corners) -> bool:
    """Whether the boxes around two sets of corners share a point."""
    xs, ys = zip(*one, strict=True)
    other_xs, other_ys = zip(*other, strict=True)
    beside: bool = min(xs) > max(other_xs) or min(other_xs) > max(xs)
    apart: bool = min(ys) > max(other_ys) or min(other_ys) > max(ys)
    return not beside and not apart


def _placed(symbols: Iterator[Symbol], back: Any) -> Iterator[Symbol]:
    """The symbols with their corners where they are in the picture."""
    for symbol in symbols:
        yield replace(symbol, corners=tuple(_at(back, x, y) for x, y in symbol.corners))


def _at(back: Any, x: int, y: int) -> tuple[int, int]:
    return (
        round(float(back[0, 0] * x + back[0, 1] * y + back[0, 2])),
        round(float(back[1, 0] * x + back[1, 1] * y + back[1, 2])),
    )
