"""MaxiCode on photos: zxing-cpp reads one only when it fills an upright picture alone, so it is brought to that.

The bull's-eye (ISO/IEC 16023: three dark rings) says where a MaxiCode is and how large; the outline of the modules
around it gives the four corners, from which it is drawn straight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from agent.labels.engines import opencv, zxing

if TYPE_CHECKING:
    from agent.labels.symbols import Picture, Symbol

_FINDER_PIXELS: Final = 1_000_000
"""To find rings, a picture is shrunk to this."""
_MIN_NESTED: Final = 4
"""Of the six edges of the three rings."""
_MIN_RADIUS: Final = 6
"""Pixels of the outer ring in the shrunk picture: below, a module has less than two pixels."""
_REACH: Final = 5.2
"""Half a cut-out in radii of the outer ring; the corners of a MaxiCode are at 5.0."""
_SIZE: Final = 480
"""Pixels of the straightened symbol: 16 a module."""
_MARGIN: Final = 24
_MAX_EYES: Final = 3


def maxicode(grey: Picture) -> Iterator[Symbol]:
    """The MaxiCodes around the bull's-eyes of a picture."""
    for centre, ellipse in _eyes(grey):
        # Where modules touch the outer ring, its inner edge is the last that was found.
        for stretch in (1.0, 1.22):
            symbol = _read(grey, centre, ellipse * stretch)
            if symbol is not None:
                yield symbol
                break


def _eyes(grey: Picture) -> list[tuple[Any, Any]]:
    """Centres of concentric rings, and for each the matrix that turns a unit circle into the outer ring."""
    import numpy as np

    cv2 = opencv()
    scale = max(1.0, math.sqrt(grey.size / _FINDER_PIXELS))
    small = grey
    if scale > 1:
        size = max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    dark = cv2.adaptiveThreshold(
        cv2.GaussianBlur(small, (3, 3), 0), 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 41, 7
    )
    contours, tree = cv2.findContours(dark, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return []
    parents = tree[0, :, 3]
    places: dict[int, tuple[float, float, float]] = {}

    def place(index: int) -> tuple[float, float, float]:
        """Centre and radius of a contour."""
        if index not in places:
            moments = cv2.moments(contours[index])
            area = moments["m00"]
            places[index] = (
                (moments["m10"] / area, moments["m01"] / area, math.sqrt(area / math.pi)) if area > 0 else (0, 0, 0)
            )
        return places[index]

    eyes: list[tuple[int, int]] = []
    # Noise has thousands of contours, of which few lie within others.
    deep = parents >= 0
    for _ in range(_MIN_NESTED - 2):
        deep = deep[parents] & (parents >= 0)
    for index in np.flatnonzero((tree[0, :, 2] < 0) & deep):
        x, y, radius = place(int(index))
        nested, outer, last, at = 1, radius, int(index), int(parents[index])
        while at >= 0 and radius > 0:
            next_x, next_y, next_radius = place(at)
            if math.hypot(next_x - x, next_y - y) > 0.15 * next_radius + 1 or not outer < next_radius < 3 * outer + 4:
                break
            nested, outer, last, at = nested + 1, next_radius, at, int(parents[at])
        if nested >= _MIN_NESTED and outer >= _MIN_RADIUS:
            eyes.append((-nested, last))
    rings = []
    for _, last in sorted(eyes)[:_MAX_EYES]:
        moments = cv2.moments(contours[last])
        centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        spread = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / moments["m00"]
        values, vectors = np.linalg.eigh(spread)
        ellipse = vectors @ np.diag(2 * np.sqrt(np.maximum(values, 1e-6))) @ vectors.T
        rings.append((centre * scale, ellipse * scale))
    return rings


def _read(grey: Picture, centre: Any, ellipse: Any) -> Symbol | None:
    import numpy as np

    cv2 = opencv()
    radius = min(60.0, math.sqrt(float(np.linalg.det(ellipse))))
    linear = ellipse / radius
    size = 2 * round(_REACH * radius)
    back = np.column_stack([linear, centre - linear @ (size / 2, size / 2)])
    flags = (cv2.INTER_AREA if radius == 60 else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(grey, back, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    corners = _corners(crop, radius)
    if corners is None:
        return None
    low, high = _MARGIN, _MARGIN + _SIZE
    straight = np.array([[low, low], [high, low], [high, high], [low, high]], np.float32)
    total = _SIZE + 2 * _MARGIN
    matrix = cv2.getPerspectiveTransform(corners, straight)
    upright = cv2.warpPerspective(crop, matrix, (total, total), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = np.zeros_like(upright)
    cv2.rectangle(inside, (low - 5, low - 5), (high + 5, high + 5), 255, -1)
    upright = cv2.GaussianBlur(upright, (0, 0), 2.5)
    level, _ = cv2.threshold(upright[low:high, low:high], 0, 255, cv2.THRESH_OTSU)
    for offset in (0, 12, -12, 24, -24):
        drawn = np.where((upright < level + offset) & (inside > 0), 0, 255).astype(np.uint8)
        for turns in range(4):
            for symbol in zxing(np.rot90(drawn, turns), {"MaxiCode"}, "crop"):
                placed = np.roll(corners, turns, axis=0) @ back[:, :2].T + back[:, 2]
                return replace(symbol, corners=tuple((round(float(px)), round(float(py))) for px, py in placed))
    return None


def _corners(crop: Picture, radius: float) -> Any | None:
    """The corners of the dark modules around the middle of a cut-out."""
    import numpy as np

    cv2 = opencv()
    module = radius / 4.4
    block = max(3, round(radius * 4)) | 1
    dark = cv2.adaptiveThreshold(crop, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, block, 10)
    within = np.zeros_like(dark)
    cv2.circle(within, (crop.shape[1] // 2, crop.shape[0] // 2), round(_REACH * radius), 255, -1)
    dark &= within
    reach = max(1, round(1.6 * module)) | 1
    joined = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    _, labels = cv2.connectedComponents(joined)
    middle = crop.shape[0] // 2
    around = labels[middle - round(radius) : middle + round(radius), middle - round(radius) : middle + round(radius)]
    if not around.any():
        return None
    mine = int(np.bincount(around[around > 0]).argmax())
    ys, xs = np.nonzero((labels == mine) & (dark > 0))
    hull = cv2.convexHull(np.column_stack([xs, ys]).astype(np.float32))
    side = math.sqrt(cv2.contourArea(hull))
    if not 4 * radius < side < 11 * radius:
        return None
    box = cv2.boxPoints(cv2.minAreaRect(hull))
    # Each side of the box swings to the outermost modules along it: that takes the perspective out.
    lines = [_side(hull[:, 0], box[i], box[(i + 1) % 4]) for i in range(4)]
    corners = [_crossing(lines[i - 1], lines[i]) for i in range(4)]
    return np.array(corners, np.float32)


def _side(hull: Any, start: Any, end: Any) -> tuple[Any, Any]:
    """Point and direction of the hull's edge that best stands for one side of the box."""
    import numpy as np

    direction = (end - start) / np.linalg.norm(end - start)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.linalg.norm(edges, axis=1) + 1e-6
    along = np.abs(edges @ direction) / lengths
    normal = np.array([-direction[1], direction[0]])
    distance = np.abs(((hull + np.roll(hull, -1, axis=0)) / 2 - start) @ normal)
    near = (along > math.cos(math.radians(12))) & (distance < 0.12 * np.linalg.norm(end - start))
    if not near.any():
        return start, direction
    points = np.concatenate([hull[near], np.roll(hull, -1, axis=0)[near]])
    weights = np.concatenate([lengths[near], lengths[near]])
    centre = (points * weights[:, None]).sum(axis=0) / weights.sum()
    spread = (points - centre) * np.sqrt(weights)[:, None]
    return centre, np.linalg.svd(spread, full_matrices=False)[2][0]


def _crossing(one: tuple[Any, Any], other: tuple[Any, Any]) -> Any:
    import numpy as np

    (p, r), (q, s) = one, other
    cross = r[0] * s[1] - r[1] * s[0]
    if abs(cross) < 1e-6:
        return p
    offset = q - p
    return np.asarray(p + r * ((offset[0] * s[1] - offset[1] * s[0]) / cross))
