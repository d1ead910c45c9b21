"""Where bars are in a picture: areas whose edges all run the same way, found by the structure tensor.

Neither engine reads bars that are turned by 20 to 70 degrees; an area that is found here is cut out with its bars
upright and can be read again. Colour, light and the symbology do not matter.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agent.labels.engines import opencv

if TYPE_CHECKING:
    from agent.labels.symbols import Corners, Picture

_MAX_PIXELS: Final = 1_500_000
"""Larger pictures are shrunk first: the bars of a readable code survive it."""
_CELLS: Final = 120
"""Cells on the longer side."""
_COHERENCES: Final = (0.45, 0.65)
"""0 for noise, 1 for bars alone. The lower one also finds blurred and noisy bars, the higher one parts bars from the
letters around them."""
_BINS: Final = 36
"""Of directions in half a turn."""
_MIN_EDGE: Final = 3.0
"""Mean gradient of grey levels a pixel below which a cell is taken as plain."""
_ANGLE_TOLERANCE: Final = math.radians(16)
_MIN_CELLS: Final = 12
_PARTS: Final = 6
"""Parts of rows of bars that are tried with each other."""
_QUIET: Final = 0.15
"""Share of the bars' width that is added on either side."""
_MIN_WIDTH: Final = 700
_MAX_WIDTH: Final = 1400
_MAX_HEIGHT: Final = 1000
"""Pixels of a cut-out; bars that are longer are cut short."""
_MAX_ENLARGED: Final = 3.0
_MIN_ALIKE: Final = 0.35
"""Median correlation of neighbouring bands of a cut-out; 99 in 100 codes have more."""
_MIN_EDGES: Final = 12
"""The shortest codes have some twenty, of which blur leaves a part."""


@dataclass(frozen=True, slots=True)
class Area:
    """A turned rectangle full of bars, in pixels of the picture."""

    x: float
    y: float
    angle: float
    """Direction across the bars in radians, 0 for upright bars, clockwise, within ±π/2."""
    width: float
    """Extent across the bars."""
    height: float
    """Extent along the bars."""

    def resembles(self, other: Area) -> bool:
        """Whether both cut-outs would show the same."""
        turned = abs((self.angle - other.angle + math.pi / 2) % math.pi - math.pi / 2)
        return (
            turned < math.radians(4)
            and math.hypot(self.x - other.x, self.y - other.y) < 0.08 * max(self.width, self.height)
            and 0.85 < self.width / other.width < 1.18
            and 0.8 < self.height / other.height < 1.25
        )

    def joined(self, other: Area) -> Area | None:
        """Both as one, if they are parts of one row of bars between which blur has left a plain gap."""
        turned = (other.angle - self.angle + math.pi / 2) % math.pi - math.pi / 2
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        along = (other.x - self.x) * cosine + (other.y - self.y) * sine
        aside = (other.y - self.y) * cosine - (other.x - self.x) * sine
        gap = abs(along) - (self.width + other.width) / 2
        if (
            abs(turned) > math.radians(6)
            or abs(aside) > 0.3 * min(self.height, other.height)
            or not 0.5 < self.height / other.height < 2
            or not -0.2 * min(self.width, other.width) < gap < 0.5 * max(self.width, other.width)
        ):
            return None
        left = min(-self.width / 2, along - other.width / 2)
        right = max(self.width / 2, along + other.width / 2)
        middle = (left + right) / 2
        share = other.width / (self.width + other.width)
        x, y = self.x + middle * cosine - aside * share * sine, self.y + middle * sine + aside * share * cosine
        return Area(x, y, self.angle + turned * share, right - left, min(self.height, other.height))


def bars(grey: Picture, limit: int) -> list[Area]:
    """At most `limit` areas of bars, the strongest first."""
    import numpy as np

    cv2 = opencv()

    height, width = grey.shape
    scale = math.sqrt(max(1.0, height * width / _MAX_PIXELS))
    if scale > 1:
        grey = cv2.resize(grey, (int(width / scale), int(height / scale)), interpolation=cv2.INTER_AREA)
        height, width = grey.shape
    cell = min(8, max(3, round(max(height, width) / _CELLS)))
    columns, rows = width // cell, height // cell
    if columns < 4 or rows < 4:
        return []
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)

    def mean(product: Any) -> Any:
        return cv2.blur(cv2.resize(product, (columns, rows), interpolation=cv2.INTER_AREA), (3, 3))

    xx, yy, xy = mean(across * across), mean(down * down), mean(across * down)
    energy = xx + yy
    two = np.hypot(xx - yy, 2 * xy)
    coherence = two / (energy + 1e-6)
    clear = energy > max(_MIN_EDGE**2, 0.012 * float(energy.max()))
    found: list[tuple[float, Area]] = []
    for least in _COHERENCES:
        strong = clear & (coherence > least)
        if np.count_nonzero(strong) >= _MIN_CELLS:
            found += _areas(strong, energy, two, xx - yy, 2 * xy)
    found = sorted(found, key=lambda one: -one[0])[:_PARTS]
    for _ in range(2):
        found += [
            (weight + other_weight, joined)
            for (weight, area), (other_weight, other) in itertools.combinations(found, 2)
            if (joined := area.joined(other)) is not None
        ]
    distinct: list[Area] = []
    for _, area in sorted(found, key=lambda one: -one[0]):
        if not any(area.resembles(other) for other in distinct):
            distinct.append(area)
    unit = cell * scale
    return [
        Area(area.x * unit, area.y * unit, area.angle, area.width * unit, area.height * unit)
        for area in distinct[:limit]
    ]


def _areas(strong: Any, energy: Any, two: Any, cosine: Any, sine: Any) -> list[tuple[float, Area]]:
    """Rectangles of strong cells with one direction, in cells, with their weights."""
    import numpy as np

    cv2 = opencv()
    angle = 0.5 * np.arctan2(sine, cosine)
    found: list[tuple[float, Area]] = []
    left = strong.copy()
    for _ in range(3):
        histogram = np.bincount(
            ((angle[left] / math.pi + 0.5) * _BINS).astype(int) % _BINS, weights=np.sqrt(two[left]), minlength=_BINS
        )
        smooth = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
        peak = (int(smooth.argmax()) + 0.5) / _BINS * math.pi - math.pi / 2
        away = np.abs((angle - peak + math.pi / 2) % math.pi - math.pi / 2)
        same = left & (away < _ANGLE_TOLERANCE)
        if np.count_nonzero(same) < _MIN_CELLS:
            break
        left &= ~same
        closed = cv2.morphologyEx(same.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
        for index in sorted(range(1, count), key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))[:3]:
            inside = (labels == index) & same
            if np.count_nonzero(inside) < _MIN_CELLS:
                continue
            # Edges of the label hang on the bars by faint cells: what is much fainter than the rest falls away.
            bright = (inside & (energy > 0.15 * _range(energy[inside], 0.15)[1])).astype(np.uint8)
            bright = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
            parts, part, sizes, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
            for one in sorted(range(1, parts), key=lambda i: -int(sizes[i, cv2.CC_STAT_AREA]))[:3]:
                area = _area(inside & (part == one), energy, two, cosine, sine)
                if area is not None:
                    found.append(area)
    return found


def _area(inside: Any, energy: Any, two: Any, cosine: Any, sine: Any) -> tuple[float, Area] | None:
    """The rectangle around the cells, with its weight; ``None`` when they cannot be bars."""
    import numpy as np

    ys, xs = np.nonzero(inside)
    if len(xs) < _MIN_CELLS:
        return None
    turn = 0.5 * math.atan2(float(sine[inside].sum()), float(cosine[inside].sum()))
    u = xs * math.cos(turn) + ys * math.sin(turn)
    v = -xs * math.sin(turn) + ys * math.cos(turn)
    u0, u1 = _range(u, 0.01)
    v0, v1 = _range(v, 0.03)
    wide, high = u1 - u0 + 1, v1 - v0 + 1
    # A single edge is long and thin; letters and scattered edges fill their rectangle badly.
    if wide < 4 or wide < 0.2 * high or len(xs) / (wide * high) < 0.35:
        return None
    middle_u, middle_v = (u0 + u1) / 2 + 0.5, (v0 + v1) / 2 + 0.5
    x = middle_u * math.cos(turn) - middle_v * math.sin(turn)
    y = middle_u * math.sin(turn) + middle_v * math.cos(turn)
    # Letters and edges that are well aligned are weighed down against bars, which are aligned throughout.
    aligned = float((two[inside] / energy[inside]).mean())
    return float(np.sqrt(two[inside]).sum()) * aligned**2, Area(x, y, turn, wide, high)


def _range(values: Any, left_out: float) -> tuple[float, float]:
    """The least and the greatest value, a share of them left out at either end."""
    import numpy as np

    # Many times as fast as numpy's percentiles for a few hundred values.
    values = np.sort(values)
    at = left_out * (len(values) - 1)
    low, part = int(at), at - int(at)
    high = min(low + 1, len(values) - 1)
    least = values[low] + part * (values[high] - values[low])
    greatest = values[-1 - low] + part * (values[-1 - high] - values[-1 - low])
    return float(least), float(greatest)


@dataclass(frozen=True, slots=True)
class Cutout:
    """An area with its bars upright."""

    grey: Picture
    back: Any
    """2 x 3 matrix from the cut-out's pixels to the picture's."""
    margin: float
    """Share of the cut-out's width on either side of the bars."""

    @property
    def corners(self) -> Corners:
        """Where the bars are in the picture."""
        height, width = self.grey.shape
        left, right = width * self.margin, width * (1 - self.margin)
        (a, b, c), (d, e, f) = self.back.tolist()
        return tuple(
            (round(a * x + b * y + c), round(d * x + e * y + f))
            for x, y in ((left, 0), (right, 0), (right, height), (left, height))
        )


def cut(grey: Picture, area: Area) -> Cutout:
    """The area with a quiet zone on both sides, enlarged (at most threefold) or reduced to a width that reads well."""
    import numpy as np

    cv2 = opencv()
    width = area.width * (1 + 2 * _QUIET)
    scale = min(_MAX_ENLARGED, max(1.0, _MIN_WIDTH / width)) * min(1.0, _MAX_WIDTH / width)
    size = max(8, round(width * scale)), min(_MAX_HEIGHT, max(4, round(area.height * scale)))
    cosine, sine = math.cos(area.angle) / scale, math.sin(area.angle) / scale
    back = np.array(
        [
            [cosine, -sine, area.x - cosine * size[0] / 2 + sine * size[1] / 2],
            [sine, cosine, area.y - sine * size[0] / 2 - cosine * size[1] / 2],
        ]
    )
    flags = (cv2.INTER_CUBIC if scale >= 1 else cv2.INTER_AREA) | cv2.WARP_INVERSE_MAP
    upright = cv2.warpAffine(grey, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return Cutout(upright, back, _QUIET / (1 + 2 * _QUIET))


def has_bars(upright: Picture) -> bool:
    """Whether a cut-out shows bars that run through it: letters and edges do not go on from one line to the next."""
    import numpy as np

    cv2 = opencv()
    width = upright.shape[1]
    bands = cv2.resize(upright, (width, 10), interpolation=cv2.INTER_AREA).astype(np.float32)
    bands -= cv2.blur(bands, (max(3, width // 12), 1))
    bands = bands[:, width // 8 : -(width // 8)]
    bands /= np.linalg.norm(bands, axis=1, keepdims=True) + 1e-3
    alike = float(np.median((bands[1:] * bands[:-1]).sum(axis=1)))
    across = cv2.GaussianBlur(bands.mean(axis=0)[None], (0, 0), 1.5)[0]
    edges = int(np.count_nonzero(np.diff(np.sign(across))))
    return alike >= _MIN_ALIKE and edges >= _MIN_EDGES
