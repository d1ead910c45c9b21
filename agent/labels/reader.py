"""Symbols in pictures and camera frames, by a cascade that goes on only as long as nothing sufficient was found.

zxing-cpp comes first, quickly and then thoroughly, then zbar, always and on the whole picture; then the areas of bars
are cut out upright and read again, then the picture with other contrast and scale. What an engine reads at first sight
is believed, unless it is a retail code in a band lower than its quiet zones; what only a later step brings out must be
read alike by several steps, as the symbology asks, or be expected. `read` never raises for a picture that `load` or a
camera gave, takes one thread, and gives the same answer for the same picture: it counts its work by pixels, whatever
time that takes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from agent.labels import LabelError
from agent.labels.blurred import Reading, ean13
from agent.labels.engines import opencv, retail, zbar, zxing
from agent.labels.locate import Area, Cutout, bars, cut, has_bars
from agent.labels.maxicode import maxicode
from agent.labels.pictures import load
from agent.labels.symbols import MATRIX, RETAIL, SYMBOLOGIES, Stage, Symbol

if TYPE_CHECKING:
    from agent.labels.symbols import Corners, Picture

__all__ = ["SYMBOLOGIES", "Symbol", "load", "read"]

WORK: Final = 5.5
WORK_PER_MEGAPIXEL: Final = 10.0
"""What steps that may be left out can spend on a picture, in megapixels of zxing-cpp's quick pass: on any, and beyond
that for each megapixel of its own, up to the size to which large ones are shrunk."""

_QUICK: Final = 1.0
_THOROUGH: Final = 3.0
_ZBAR: Final = 4.0
_BARS: Final = 1.5
_EYES: Final = 1.0
_EVENED: Final = 0.4
_SHARPENED: Final = 0.5
"""What a step costs for each megapixel that it is given: its processor time as a multiple of that of zxing-cpp's quick
pass, the mean over drawn streets and labels of 1280 x 720 pixels (the scenes of benchmarks/frames.py)."""
_CUT: Final = 0.1
_BANDS: Final = 0.1
_LINES: Final = 0.25
_LEVELS: Final = 0.7
"""Measured in the same way, what it costs to cut out one area, to read its bars from bands or from lines, and to read
them from their grey levels; whatever its size."""

Expected: TypeAlias = Collection[str] | Callable[[str], bool]
Engine: TypeAlias = Callable[["Picture", Collection[str], Stage], Iterator[Symbol]]


@dataclass(slots=True)
class Budget:
    """The work that may still be spent; the reader takes from it what each of its steps costs."""

    left: float
    """In megapixels of zxing-cpp's quick pass; what must be done in any case may take it below 0."""


class _Step(NamedTuple):
    """One way to read."""

    witness: str
    cost: float
    """Known before the step is taken, from the pixels that it is given."""
    run: Callable[[], Iterator[Symbol]]
    always: bool = False
    """Whether it is taken even when the budget is spent."""


_LABEL_PIXELS: Final = 700_000
"""From this on, a picture is taken for one of a whole label: camera frames and photos."""
_LARGE_PIXELS: Final = 2_000_000
"""A picture clearly above this is shrunk to it; as it is, it is read once, and its areas of bars are cut out of it."""
_SMALL_PIXELS: Final = 100_000
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
_RETAIL_MODULES: Final = {"EAN-13": (95, 18), "UPC-A": (95, 18), "EAN-8": (67, 14), "UPC-E": (51, 16)}
"""Modules of the bars, and of both quiet zones (GS1 General Specifications, 5.2.3.4): what was read over a height of
less is no label's whole code and needs a second witness."""
_LEVELS_FIT: Final = 0.82
_LEVELS_LEAD: Final = 0.135
"""A blurred code that fits, and whose lead times its share of the area of bars is as much. Of 260 areas of random
stripes, 17 were told to be a code with a lead of 0.1, and none was with this."""
_LEVELS_HOPE: Final = 0.8
"""Where the first part of the bars fits less than this, no retail code is there."""
_SHORT: Final = {"Code 39": 4, "Codabar": 4, "ITF": 6}
"""Late reads with fewer characters than this are stripes, not codes."""


def read(
    bgr: Picture,
    *,
    symbologies: Collection[str] | None = None,
    expected: Expected | None = None,
    budget: Budget | None = None,
    live: bool = False,
) -> list[Symbol]:
    """The symbols in a picture (BGR or grey, 8-bit), each once, from top to bottom.

    `symbologies`: names of `SYMBOLOGIES`, all when ``None``. `expected`: the texts that are looked for, or a function
    that knows them; reading goes on until one is found, and what is expected needs no second witness. Without it the
    first step that reads anything is the last, but for a picture large enough to show a whole label, of which bars that
    were not read at once are looked at too. `budget`: work that may be spent beyond what both engines take to read the
    whole picture once, by its size when ``None``; no step is begun that would exceed it. `live`: the picture is one of
    many that a camera gives; crooked labels are looked for before the engines are thorough, and all is within the
    budget but zxing-cpp's quick pass.

    :raises LabelError: the picture has other than 8 bits a channel
    """
    wanted = frozenset(SYMBOLOGIES if symbologies is None else symbologies)
    if bgr.dtype != "uint8":
        raise LabelError(f"a picture of {bgr.dtype} values, expected 8 bits a channel: convert it first")
    if bgr.ndim not in {2, 3} or 0 in bgr.shape or not wanted:
        return []
    budget = budget or Budget(WORK + WORK_PER_MEGAPIXEL * min(bgr.shape[0] * bgr.shape[1], _LARGE_PIXELS) / 1e6)
    answer = _Outcome(expected)
    for step in _steps(bgr, wanted, answer, live=live):
        if answer.sufficient or not (step.always or step.cost <= budget.left):
            break
        if live or not step.always:
            budget.left -= step.cost
        answer.take(step.witness, step.run())
    return answer.symbols()


class _Outcome:
    """What the steps have read so far, and who is witness to it."""

    def __init__(self, expected: Expected | None) -> None:
        self._expected = expected if expected is None or callable(expected) else frozenset(expected).__contains__
        self._seen: dict[tuple[str, str], list[list[Symbol]]] = {}
        self._witnesses: dict[tuple[str, str], set[str]] = {}
        self._believed: set[tuple[str, str]] = set()
        self._awaited: set[tuple[str, str]] = set()
        self.whole_label = False
        """Other codes may stand beside those that were read."""

    @property
    def sufficient(self) -> bool:
        if self._expected is not None:
            return bool(self._awaited)
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
            if awaited:
                self._awaited.add(_name(symbol))
            if awaited or self._convincing(symbol):
                self._believed.add(_name(symbol))

    def _convincing(self, symbol: Symbol) -> bool:
        if symbol.symbology in MATRIX:
            return True
        retail = symbol.symbology in RETAIL
        if retail and self._is_covered(symbol):
            return False
        if symbol.stage == "zxing" and (symbol.symbology not in _FRAIL or _height(symbol) >= _least_height(symbol)):
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

    def _is_covered(self, symbol: Symbol) -> bool:
        """Whether the middle of a retail code lies in the box of something else that is surer."""
        x, y = (sum(side) / 4 for side in zip(*symbol.corners, strict=True))
        return any(
            key != _name(symbol)
            and (key[0] not in RETAIL or _height(other) > _height(symbol))
            and _overlap(other.corners, ((round(x), round(y)),))
            for key in self._believed
            for seen in self._seen[key]
            for other in seen
        )

    def symbols(self) -> list[Symbol]:
        """Each believed text once for each place where it stands, by the step that saw most of them.

        zbar tells only roughly where a crooked code is: it is taken at its word when no other step saw as many.
        """
        told = [
            symbol
            for key in self._believed
            for symbol in max(self._seen[key], key=lambda seen: (len(seen), seen[0].stage != "zbar"))
            if key in self._awaited or key[0] not in RETAIL or not self._is_covered(symbol)
        ]
        return sorted(told, key=lambda one: (one.corners[0][1], one.corners[0][0], one.symbology, one.text))


def _least_height(symbol: Symbol) -> float:
    """Pixels along the bars over which a frail code must be read alike to be believed at sight."""
    if symbol.symbology not in RETAIL:
        return _FRAIL_MIN_HEIGHT
    modules, quiet = _RETAIL_MODULES[symbol.symbology]
    return max(_FRAIL_MIN_HEIGHT, quiet * _width(symbol) / modules)


def _steps(picture: Picture, wanted: frozenset[str], answer: _Outcome, *, live: bool) -> Iterator[_Step]:
    """The cascade. Nothing is prepared before its step is taken."""
    import numpy as np

    cv2 = opencv()
    grey = np.ascontiguousarray(picture) if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small, back = _shrunk(grey)
    linear = wanted - MATRIX
    answer.whole_label = bool(linear) and grey.size >= _LABEL_PIXELS

    def quick(whole: Picture, to: Any) -> _Step:
        return _Step("zxing", _QUICK * _mega(whole), lambda: _placed(zxing(whole, wanted, "zxing"), to), always=True)

    def both(whole: Picture, to: Any) -> Iterator[_Step]:
        look = partial(zxing, whole, wanted, "zxing", thorough=True)
        yield _Step("zxing", _THOROUGH * _mega(whole), lambda: _placed(look(), to), always=not live)
        yield _Step("zbar", _ZBAR * _mega(whole), lambda: _placed(zbar(whole, wanted, "zbar"), to), always=not live)

    yield quick(small, back)
    if live and small is not grey:
        yield quick(grey, np.eye(2, 3))
    if not live:
        yield from both(small, back)
        if small is not grey:
            yield from both(grey, np.eye(2, 3))
    eyes = [_Step("eyes", _EYES * min(1.0, _mega(grey)), lambda: maxicode(grey))] if "MaxiCode" in wanted else []
    if answer.whole_label and not live:
        # On a photo of a whole label the MaxiCode is one of several codes, of which the others are easier to read.
        yield from eyes
        eyes = []
    found: list[Cutout] = []
    if linear:
        limit = _LABEL_AREAS if answer.whole_label else _AREAS
        areas: list[Area] = []
        yield _Step("bars", _BARS * min(1.5, _mega(grey)), partial(_noted, areas, partial(bars, grey, limit)))
        for area in areas:
            cutouts: list[Cutout] = []
            yield _Step("cut", _CUT, partial(_noted, cutouts, partial(_cutouts, grey, area, answer)))
            for one in cutouts:
                found.append(one)
                yield from _quick_steps(one, linear)
    answer.whole_label = False
    if live:
        yield from both(small, back)
    yield from eyes
    yield _Step(
        "even",
        (_EVENED + _THOROUGH) * _mega(small),
        lambda: _placed(_variant(_evened(small), wanted, thorough=True), back),
    )
    for one in found[:_SLOW_AREAS]:
        yield from _slow_steps(one, linear)
    if small.size <= _SMALL_PIXELS:
        yield _Step("twice", 4 * _QUICK * _mega(small), lambda: _twice(small, wanted, back))


def _mega(picture: Picture) -> float:
    """Its size in megapixels."""
    return float(picture.size) / 1e6


def _noted(where: list[Any], prepare: Callable[[], list[Any]]) -> Iterator[Symbol]:
    """A step that reads nothing: it prepares those that follow."""
    where += prepare()
    return iter(())


def _cutouts(grey: Picture, area: Area, answer: _Outcome) -> list[Cutout]:
    """The area upright, if bars that are not read yet are in it."""
    one = cut(grey, area)
    return [one] if not answer.covers(one.corners) and has_bars(one.grey) else []


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
    upright, size = found.grey, _mega(found.grey)

    def crop(name: str, cost: float, engine: Engine, make: Callable[[], Picture]) -> _Step:
        return _Step(name, cost, lambda: _from_bars(engine, make(), linear, found))

    yield crop("crop", _QUICK * size, zxing, lambda: upright)
    yield crop("crop bands", _BANDS, zxing, lambda: _tall(_bands(upright, 12)))
    yield crop("crop bands sharp", _BANDS, zxing, lambda: _sharpened(_tall(_bands(upright, 5)), 4.0, 2.0))
    yield crop("crop bands zbar", _LINES, zbar, lambda: _tall(_bands(upright, 12)))
    yield crop("crop even", (_QUICK + _EVENED) * size, zxing, lambda: _evened(upright))


def _slow_steps(found: Cutout, linear: frozenset[str]) -> Iterator[_Step]:
    """What still reads faint and blurred codes."""
    upright, size = found.grey, _mega(found.grey)

    def crop(name: str, cost: float, engine: Engine, make: Callable[[], Picture]) -> _Step:
        return _Step(name, cost, lambda: _from_bars(engine, make(), linear, found))

    yield crop("crop sharp", (_QUICK + _SHARPENED) * size, zxing, lambda: _sharpened(upright, 2.0, 1.5))
    for count, share in ((5, 8), (8, 16), (16, 16), (24, 12)):
        yield crop(f"crop stretched {count}", _BANDS, zxing, partial(_stretched, upright, count, share))
    yield crop("crop even zbar", _LINES, zbar, lambda: _evened(_tall(_bands(upright, 40), 4)))
    yield crop("crop sharper", (_QUICK + _SHARPENED) * size, zxing, lambda: _sharpened(upright, 4.0, 3.0))
    if linear & {"EAN-13", "UPC-A"}:
        # Three parts of the bars' length see different scratches and shine.
        hopes: list[Reading] = []
        for number, part in enumerate(((0.38, 0.62), (0.15, 0.38), (0.62, 0.85)), 1):
            yield _Step(f"levels {part}", _LEVELS, partial(_levels_symbols, found, part, linear, hopes))
            if len(hopes) < number:
                break


def _from_bars(engine: Engine, made: Picture, linear: frozenset[str], found: Cutout) -> Iterator[Symbol]:
    """What an engine reads in what was made of a cut-out, with the corners where they are in the picture."""
    (height, width), (high, wide) = found.grey.shape, made.shape
    return _placed(engine(made, linear, "crop"), found.back * (width / wide, height / high, 1))


def _levels(found: Cutout, part: tuple[float, float]) -> Reading | None:
    """What the grey levels of a part of the bars say, if there is a quiet zone on both sides."""
    import numpy as np

    height, width = found.grey.shape
    rows = found.grey[int(height * part[0]) : max(int(height * part[0]) + 1, int(height * part[1]))]
    levels = rows.mean(axis=0).astype(np.float32)
    reading = ean13(levels, width * found.margin, width * (1 - found.margin))
    if reading is None:
        return None
    left, right = sorted((reading.start, reading.end))
    module = (right - left) / 95
    bars = levels[max(0, int(left)) : int(right)]
    # Blur reaches into the quiet zones, whose narrower one is 7 modules wide; beyond may be an add-on.
    beside = [*levels[max(0, int(left - 5 * module)) : max(0, int(left - 2 * module))]]
    beside += [*levels[int(right + 2 * module) : int(right + 5 * module)]]
    return None if beside and min(beside) < (bars.min() + bars.max()) / 2 else reading


def _levels_symbols(
    found: Cutout, part: tuple[float, float], linear: frozenset[str], hopes: list[Reading]
) -> Iterator[Symbol]:
    """What the grey levels of one part of the bars say; a reading that gives hope for the next part is noted."""
    reading = _levels(found, part)
    if reading is None or reading.fit < _LEVELS_HOPE:
        return
    hopes.append(reading)
    share = abs(reading.end - reading.start) / (found.grey.shape[1] * (1 - 2 * found.margin))
    if reading.fit < _LEVELS_FIT or reading.lead * min(1.0, share) < _LEVELS_LEAD:
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


def _stretched(upright: Picture, count: int, share: int) -> Picture:
    """Bands at twice the width, every bar as dark and every gap as light as the darkest and lightest around it."""
    import numpy as np

    cv2 = opencv()
    wide = cv2.resize(_bands(upright, count), None, fx=2, fy=1, interpolation=cv2.INTER_CUBIC)
    reach = max(5, wide.shape[1] // share)
    kernel = np.ones((1, reach), np.uint8)
    levels = wide.astype(np.float32)
    dark = cv2.blur(cv2.erode(levels, kernel), (reach, 1))
    light = cv2.blur(cv2.dilate(levels, kernel), (reach, 1))
    return _tall(np.clip((levels - dark) / (light - dark + 4) * 255, 0, 255).astype(np.uint8))


def _bands(upright: Picture, count: int) -> Picture:
    """The bars averaged along their length in a few bands, one line each: noise and scratches go, the bars stay."""
    cv2 = opencv()
    bands: Picture = cv2.resize(upright, (upright.shape[1], count), interpolation=cv2.INTER_AREA)
    return bands


def _tall(bands: Picture, lines: int = 8) -> Picture:
    """Each line of a picture as several."""
    return bands.repeat(lines, axis=0)


def _variant(picture: Picture, wanted: frozenset[str], *, thorough: bool) -> Iterator[Symbol]:
    return zxing(picture, wanted, "variant", thorough=thorough)


def _twice(small: Picture, wanted: frozenset[str], back: Any) -> Iterator[Symbol]:
    cv2 = opencv()
    large = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return _placed(_variant(large, wanted, thorough=False), back * (0.5, 0.5, 1))


def _height(symbol: Symbol) -> float:
    """Length of the longer side along the bars."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = symbol.corners
    return max(math.hypot(dx - ax, dy - ay), math.hypot(cx - bx, cy - by))


def _width(symbol: Symbol) -> float:
    """Length of the longer side across the bars."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = symbol.corners
    return max(math.hypot(bx - ax, by - ay), math.hypot(cx - dx, cy - dy))


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
