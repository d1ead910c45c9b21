"""The codes that a live camera has in view, frame by frame, for at most half of a core.

A frame in which nothing has changed costs a glance at a small grey copy. While things move, the sharpest of a few
frames is read, first where the codes were last, the whole frame now and then; what is still moving when the time runs
out is read later rather than all the time. A reading that proves itself counts at once, any other when a second frame
says the same. Frames come in the order of their stamps; pictures that have nothing to do with each other are for
`agent.labels.reader` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from agent.delivery.model.numbers import normal
from agent.labels.identity import identify
from agent.labels.reader import Budget, Symbol, read

if TYPE_CHECKING:
    from agent.labels.symbols import Picture
    from drivers.readings import Frame

SHARE: Final = 0.5
"""Of one core's time, on average, that frames may take."""
MAX_SAVED_MS: Final = 150.0
"""Time that may be saved up: after that much of debt at most, the next frame is read. How often a frame is read depends
on it, what is then read does not."""
WORK_PER_MS: Final = 0.06
"""Of the reader, in megapixels of zxing-cpp's quick pass: its pace on one core of a small server. A slower machine
reads fewer frames, each of them as well."""
MAX_WORK: Final = MAX_SAVED_MS * WORK_PER_MS
"""For one frame after a rest."""
THOROUGH_WORK: Final = 7.0
"""A crooked label takes as much: what is saved up is spent on one frame rather than on many in vain."""
QUICK_WORK: Final = 3.0
"""What a frame gets until that is saved up; a label that is easy to read takes less."""
PART: Final = 0.6
"""Of the frame; a larger part is not worth reading by itself."""
BURST_NS: Final = 90_000_000
"""While things move, the sharpest of the frames within this time is read: two of 15 a second, three of 30."""
FULL_EVERY_NS: Final = 500_000_000
"""How often the whole frame is read while parts of it are."""
AGREE_WITHIN_NS: Final = 1_000_000_000
"""Two frames this far apart at most can say the same of a code."""
STILL_NS: Final = (250_000_000, 8_000_000_000)
"""Lenses find their focus late: a picture that stands still is read again after the first, then ever more rarely."""

TRIES: Final = 3
"""Frames of a picture that stands still in which a reading that does not prove itself is looked for again."""

PARCEL_SYMBOLOGIES: Final = frozenset(
    {"Code 128", "Code 39", "Code 93", "Codabar", "ITF", "QR Code", "Data Matrix", "PDF417", "Aztec", "MaxiCode"}
)
"""What parcels' numbers are printed in."""
RETAIL_SYMBOLOGIES: Final = frozenset({"EAN-13", "EAN-8", "UPC-A", "UPC-E", "DataBar"})
"""Products' symbologies. They are easily misread: worth their time only where the manifest knows such numbers."""
PROVEN_SYMBOLOGIES: Final = frozenset(
    {"Code 128", "Code 93", "DataBar", "QR Code", "Data Matrix", "PDF417", "Aztec", "MaxiCode"}
)
"""Their check characters are compulsory and strong. Those of EAN and UPC are compulsory and weak."""

_GLANCE_WIDTH: Final = 160
_GLANCE_LEVELS: Final = 12
"""A cell of the small copy has changed by at least this much of 255; noise of the darkest usable frames stays below."""
_GLANCE_CELLS: Final = 6
"""Fewer cells are a blinking light. The smallest readable code covers more."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""


@dataclass(slots=True)
class Counters:
    """What became of the frames."""

    frames: int = 0
    still: int = 0
    """Nothing had changed."""
    held: int = 0
    """Things moved: kept until the sharpest of a burst was known, or until there was time."""
    regions: int = 0
    """Parts that were read: where the codes were last, or where something has changed."""
    full: int = 0
    """Read in full; one may be read in both ways."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frame that may be read."""

    image: Any
    glance: Any
    changed: Box | None = None
    """Where it differs from the last frame that was read, when that is only a part of it."""


@dataclass(slots=True)
class _Burst:
    """Frames of something that moves, of which only the sharpest is kept."""

    where: Box
    began_ns: int
    sharpness: float = -1.0
    best: _Candidate | None = None


def symbologies_for(expected: Mapping[str, tuple[str, ...]]) -> Collection[str]:
    """What is worth looking for when the manifest knows these codes."""
    retail = any(len(code) in {8, 12, 13, 14} and code.isdigit() for code in expected)
    return PARCEL_SYMBOLOGIES | RETAIL_SYMBOLOGIES if retail else PARCEL_SYMBOLOGIES


def knower(expected: Mapping[str, tuple[str, ...]]) -> Callable[[str], bool] | None:
    """Whether the manifest knows a text under any of its names; ``None`` when it knows nothing."""
    if not expected:
        return None
    return lambda text: any(normal(code) in expected for code in identify(text).codes)


class FrameReader:
    """Follows the codes of one live camera. Not for several threads at once.

    `clock`: the processor time that was used so far, in seconds; how often frames are read depends on it.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        # Late: a unit without a camera never holds OpenCV.
        import cv2

        cv2.setNumThreads(1)
        self._cv2: Any = cv2
        self._clock = clock
        self.counters = Counters()
        self._symbols: list[Symbol] = []
        self._once: dict[tuple[str, str], int] = {}
        """Readings that do not prove themselves → when they were last made."""
        self._pending = False
        self._tries = TRIES
        self._region: Box | None = None
        self._full_ns: int | None = None
        self._shape: tuple[int, ...] = ()
        self._last: Any = None
        self._read: Any = None
        """Small copies of the last frame and of the last one that was read."""
        self._burst: _Burst | None = None
        self._rest_ns = STILL_NS[0]
        self._again_ns = 0
        self._allowance_ms, self._work = MAX_SAVED_MS, MAX_WORK
        self._stamp_ns: int | None = None

    def look(self, frame: Frame, expected: Mapping[str, tuple[str, ...]] | None = None) -> list[Symbol]:
        """The codes in view as far as is known after this frame; corners are those of the last reading.

        `expected`: normal form of each code that the manifest knows; such a code counts at once.
        """
        began = self._clock()
        image, now_ns = frame.image, frame.monotonic_ns
        self.counters.frames += 1
        if 0 in image.shape:
            return self._symbols
        since_ns = 0 if self._stamp_ns is None else max(0, now_ns - self._stamp_ns)
        self._stamp_ns = now_ns
        self._allowance_ms = min(self._allowance_ms + SHARE * since_ns / 1e6, MAX_SAVED_MS)
        self._work = min(self._work + SHARE * WORK_PER_MS * since_ns / 1e6, MAX_WORK)
        due = self._due(image, now_ns, since_ns)
        if due is not None:
            self._read, self._burst = due.glance, None
            self._find(due, now_ns, expected or {})
        self._allowance_ms -= (self._clock() - began) * 1000
        return self._symbols

    @property
    def _has_saved(self) -> bool:
        """Whether neither time nor work is owed."""
        return self._allowance_ms > 0 and self._work > 0

    def _due(self, image: Picture, now_ns: int, since_ns: int) -> _Candidate | None:
        """What is to be read now, if anything is."""
        if image.shape != self._shape:
            # The camera was set anew: nothing can be compared with what was before.
            self._shape = image.shape
            self._last = self._read = self._burst = self._region = None
        glance = self._glance(image)
        changed = self._change(glance, self._read)
        moving = self._last is not None and self._change(glance, self._last) is not None
        self._last = glance
        if changed is None:
            self._burst = None
            agreeing = self._pending and self._tries > 0
            if not agreeing and now_ns < self._again_ns:
                self.counters.still += 1
                return None
            if not self._has_saved:
                self.counters.held += 1
                return None
            if agreeing:
                self._tries -= 1
            else:
                self._tries = TRIES
                self._rest_ns = min(2 * self._rest_ns, STILL_NS[1])
                self._again_ns = now_ns + self._rest_ns
                self._full_ns = None
            return _Candidate(image, glance)
        self._rest_ns, self._tries = STILL_NS[0], TRIES
        self._again_ns = now_ns + self._rest_ns
        where = self._part(changed, glance, image)
        if not moving:
            if self._has_saved:
                return _Candidate(image, glance, where)
            self.counters.held += 1
            return None
        burst = self._burst
        if burst is None or now_ns - burst.began_ns > BURST_NS:
            everything = (0, 0, image.shape[1], image.shape[0])
            self._burst = burst = _Burst(self._region or where or everything, now_ns)
        sharpness = self._sharpness(image, burst.where)
        if burst.best is None or sharpness > burst.sharpness:
            burst.sharpness, burst.best = sharpness, _Candidate(image, glance, where)
        # Whether the next frame would come too late for this burst.
        if now_ns - burst.began_ns + since_ns > BURST_NS and self._has_saved:
            return burst.best
        self.counters.held += 1
        return None

    def _part(self, changed: Box, glance: Picture, image: Picture) -> Box | None:
        """Where the image has changed; ``None`` when that is most of it."""
        scale = image.shape[1] / glance.shape[1]
        left, top, right, bottom = (round(side * scale) for side in changed)
        part = _grown((left, top, right, bottom), image.shape)
        return part if _area(part) <= PART * image.shape[0] * image.shape[1] else None

    def _find(self, due: _Candidate, now_ns: int, expected: Mapping[str, tuple[str, ...]]) -> None:
        """Read where codes were last, then where the frame has changed; now and then, or without these, all of it."""
        image = due.image
        symbologies, knows = symbologies_for(expected), knower(expected)
        given = self._work if self._work >= THOROUGH_WORK else QUICK_WORK
        budget = Budget(given)

        found: list[Symbol] = []
        parts = [part for part in (self._region, due.changed) if part is not None]
        full = not parts or self._full_ns is None or now_ns - self._full_ns >= FULL_EVERY_NS
        if full:
            parts = [(0, 0, image.shape[1], image.shape[0])]
            self.counters.full += 1
            self._full_ns = now_ns
        # What lies elsewhere has not changed, or is looked for again when all of the frame is.
        elsewhere = self._symbols
        for left, top, right, bottom in parts:
            self.counters.regions += not full
            elsewhere = [symbol for symbol in elsewhere if not _holds((left, top, right, bottom), symbol)]
            part = image[top:bottom, left:right]
            lent = max(0.0, QUICK_WORK - budget.left)
            budget.left += lent
            given += lent
            found = [
                replace(symbol, corners=tuple((x + left, y + top) for x, y in symbol.corners))
                for symbol in read(part, symbologies=symbologies, expected=knows, budget=budget, live=True)
            ]
            if found:
                break
        self._work -= given - budget.left
        self._symbols = [*self._agreed(found, now_ns, expected), *elsewhere]
        self._region = _around([*found, *elsewhere], image.shape)

    def _agreed(self, found: list[Symbol], now_ns: int, expected: Mapping[str, tuple[str, ...]]) -> Iterator[Symbol]:
        """What proves itself, what the manifest knows and what an earlier frame has said as well."""
        self._once = {name: at for name, at in self._once.items() if now_ns - at <= AGREE_WITHIN_NS}
        self._pending = False
        for symbol in found:
            if symbol.symbology not in PROVEN_SYMBOLOGIES and not _is_expected(symbol, expected):
                name = (symbol.symbology, symbol.text)
                said_before = name in self._once
                self._once[name] = now_ns
                if not said_before:
                    self._pending = True
                    continue
            yield symbol

    def _glance(self, image: Picture) -> Picture:
        """A small grey copy; averaging takes the sensor's noise away."""
        cv2 = self._cv2
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        height, width = grey.shape
        size = (min(_GLANCE_WIDTH, width), max(1, round(height * min(1.0, _GLANCE_WIDTH / width))))
        small: Picture = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        return small

    def _change(self, glance: Picture, before: Picture | None) -> Box | None:
        """Where two small copies differ, in their cells; all of it when there is nothing to compare with."""
        cv2 = self._cv2
        if before is None:
            return 0, 0, glance.shape[1], glance.shape[0]
        difference = cv2.subtract(glance, before, dtype=cv2.CV_16S)
        # The exposure follows the light: what changes everywhere by as much is no motion.
        shift = round(cv2.mean(difference)[0])
        moved = cv2.bitwise_not(cv2.inRange(difference, shift - _GLANCE_LEVELS, shift + _GLANCE_LEVELS))
        if cv2.countNonZero(moved) < _GLANCE_CELLS:
            return None
        left, top, width, height = cv2.boundingRect(moved)
        return left, top, left + width, top + height

    def _sharpness(self, image: Picture, where: Box) -> float:
        """The mean energy of the gradients across bars and along them (Tenengrad)."""
        cv2 = self._cv2
        left, top, right, bottom = where
        part = image[top:bottom, left:right]
        grey = part if part.ndim == 2 else cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
        energy = sum(cv2.norm(cv2.Sobel(grey, cv2.CV_16S, *order), cv2.NORM_L2SQR) for order in ((1, 0), (0, 1)))
        return float(energy) / grey.size


def _is_expected(symbol: Symbol, expected: Mapping[str, tuple[str, ...]]) -> bool:
    found = identify(symbol.text, symbol.identifier, symbol.symbology)
    return any(normal(code) in expected for code in (*found.codes, found.text))


def _around(symbols: list[Symbol], shape: tuple[int, ...]) -> Box | None:
    """Where to look for the same symbols next; ``None`` without any."""
    points = [corner for symbol in symbols for corner in symbol.corners]
    if not points:
        return None
    horizontal, vertical = [x for x, _ in points], [y for _, y in points]
    return _grown((min(horizontal), min(vertical), max(horizontal), max(vertical)), shape)


def _holds(box: Box, symbol: Symbol) -> bool:
    """Whether the middle of a symbol lies in a box."""
    left, top, right, bottom = box
    x, y = sum(x for x, _ in symbol.corners) / 4, sum(y for _, y in symbol.corners) / 4
    return left <= x < right and top <= y < bottom


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return max(0, right - left) * max(0, bottom - top)


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    """The box with room for motion and quiet zones, within the picture."""
    left, top, right, bottom = box
    # A line of bars is often reported without its height, which is less than its length.
    room = 32 + max(right - left, bottom - top) // 3
    return max(0, left - room), max(0, top - room), min(shape[1], right + room), min(shape[0], bottom + room)
