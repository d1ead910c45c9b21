"""EAN and UPC codes whose bars run into each other, read from the grey levels across the bars.

Engines look for edges; where blur has washed them out, the digits are still told apart by comparing the grey levels
with each digit's bars, blurred alike. The comparison is made for every place and module width at once, so that the
code is found by the digits themselves. A reading carries how well it fits and by how much the next best differs:
the caller decides what that is worth.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Levels = npt.NDArray[np.float32]

_LEFT: Final = ("0001101", "0011001", "0010011", "0111101", "0100011", "0110001", "0101111", "0111011", "0110111", "0001011")
"""ISO/IEC 15420: the ten digits in number set A; 1 is a dark module."""
_FIRST_DIGIT: Final = (
    "000000", "001011", "001101", "001110", "010011", "011001", "011100", "010101", "010110", "011010",
)
"""Which of the left six digits are in number set B, by the first digit, which has no bars of its own."""

_SAMPLES: Final = 3
"""A module."""
_WINDOW: Final = 9
"""Modules that are compared: a digit and one neighbour on each side, whose colour is known."""
_BLURS: Final = (0.4, 0.8, 1.2)
"""Standard deviation in modules."""
_FINE: Final = 12
"""Points a module from which a blurred template is made."""
_NODES: Final = 12
"""Digits of an EAN-13 that have bars."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A code as the grey levels have it."""

    text: str
    """13 digits, the last of which is a right check digit."""
    fit: float
    """Mean correlation of the digits, 1 at best."""
    lead: float
    """By how much the sum of correlations beats the next code with a right check digit."""
    start: float
    end: float
    """Where the code begins and ends in the levels; `start` > `end` when it stands on its head."""


def ean13(levels: Levels, start: float, end: float) -> Reading | None:
    """The EAN-13 (a UPC-A is one with a leading 0) that fits best between about `start` and `end`."""
    import numpy as np

    best: tuple[float, Any] | None = None
    nominal = (end - start) / 95
    if nominal < 0.8:
        return None
    step = nominal / 3
    widths = nominal * np.geomspace(0.6, 1.12, 26)
    places = np.arange(start - 8 * nominal, end + 4 * nominal, step)
    windows = _windows(levels, places, widths)
    for blur in _BLURS:
        geometry = _geometry(windows, places, widths, step, start, end, nominal, blur)
        if best is None or geometry[0] > best[0]:
            best = geometry[0], (blur, *geometry[1:])
    if best is None:
        return None
    blur, xs, ws = best[1]
    return _decode(levels, xs, ws, blur)


def _windows(levels: Levels, places: Any, widths: Any) -> Any:
    """Grey levels of every window, mean 0 and norm 1: (places, widths, samples)."""
    import numpy as np

    offsets = (np.arange(_WINDOW * _SAMPLES) + 0.5) / _SAMPLES - 1
    at = places[:, None, None] + widths[None, :, None] * offsets
    low = np.clip(at.astype(np.int32), 0, len(levels) - 2)
    part = np.clip(at - low, 0, 1).astype(np.float32)
    sampled = levels[low] * (1 - part) + levels[low + 1] * part
    sampled -= sampled.mean(axis=-1, keepdims=True)
    sampled /= np.linalg.norm(sampled, axis=-1, keepdims=True) + 1e-3
    return sampled


@functools.cache
def _templates(blur: float) -> dict[str, Any]:
    """What windows look like: levels of each digit in each number set, and of the guards."""
    import numpy as np

    def row(before: str, modules: str, after: str) -> Any:
        fine = np.repeat([1.0 - int(module) for module in before + modules + after], _FINE)
        radius = int(4 * _FINE * blur)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (_FINE * blur)) ** 2)
        smooth = np.convolve(np.pad(fine, radius, mode="edge"), kernel / kernel.sum(), mode="valid")
        values = smooth[_FINE : _FINE * (1 + _WINDOW)].reshape(_WINDOW * _SAMPLES, -1).mean(axis=1)
        values = values - values.mean()
        return (values / np.linalg.norm(values)).astype(np.float32)

    def flip(modules: str) -> str:
        return modules.translate(str.maketrans("01", "10"))

    a = [row("01", digit, "01") for digit in _LEFT]
    b = [row("01", flip(digit)[::-1], "01") for digit in _LEFT]
    c = [row("10", flip(digit), "10") for digit in _LEFT]
    # A code on its head shows the left digits turned round on the right side.
    d = [row("10", digit[::-1], "10") for digit in _LEFT]
    return {
        "left": np.array(a + b),
        "right": np.array(c + d),
        "begin": np.array([row("00", "0000101", "00")]),
        "end": np.array([row("00", "1010000", "00")]),
    }


def _geometry(
    windows: Any, places: Any, widths: Any, step: float, start: float, end: float, nominal: float, blur: float
) -> tuple[float, Any, Any]:
    """The best start, module width and stretch: its score, and place and module width of each digit."""
    import numpy as np

    templates = _templates(blur)
    left = (windows @ templates["left"].T).max(axis=-1)
    right = (windows @ templates["right"].T).max(axis=-1)
    begin = (windows @ templates["begin"].T)[..., 0]
    finish = (windows @ templates["end"].T)[..., 0]
    starts = np.arange(start - 5 * nominal, start + 6 * nominal, nominal / 2)
    ends = np.arange(end - 0.42 * (end - start), end + 5 * nominal, nominal / 2)
    bends = np.array([-0.12, -0.06, 0.0, 0.06, 0.12])
    x0, x1, bend = (one.ravel() for one in np.meshgrid(starts, ends, bends, indexing="ij"))

    def place(module: float) -> tuple[Any, Any]:
        t = module / 95
        x = x0 + (x1 - x0) * (t + bend * t * (1 - t))
        width = (x1 - x0) / 95 * (1 + bend * (1 - 2 * (module + 3.5) / 95))
        return x, width

    ratio = np.log(widths[1] / widths[0])

    def look(table: Any, x: Any, width: Any) -> Any:
        i = np.clip(np.rint((x - places[0]) / step), 0, len(places) - 1).astype(np.int32)
        j = np.clip(np.rint(np.log(np.maximum(width, 1e-3) / widths[0]) / ratio), 0, len(widths) - 1).astype(np.int32)
        return table[i, j]

    total = look(begin, *place(-4)) + look(finish, *place(92))
    for index in range(_NODES):
        table, module = (left, 3 + 7 * index) if index < 6 else (right, 8 + 7 * index)
        total = total + look(table, *place(module))
    top = int(total.argmax())
    xs, ws = [], []
    for index in range(_NODES):
        x, width = place(3 + 7 * index if index < 6 else 8 + 7 * index)
        xs.append(float(x[top]))
        ws.append(float(width[top]))
    return float(total[top]), np.array(xs), np.array(ws)


def _decode(levels: Levels, xs: Any, ws: Any, blur: float) -> Reading | None:
    import numpy as np

    shifts = np.linspace(-0.45, 0.45, 7)
    templates = _templates(blur)
    scores = np.empty((_NODES, 40), np.float32)
    offsets = (np.arange(_WINDOW * _SAMPLES) + 0.5) / _SAMPLES - 1
    for index in range(_NODES):
        at = xs[index] + ws[index] * (shifts[:, None] + offsets)
        sampled = np.interp(at.ravel(), np.arange(len(levels)), levels).reshape(at.shape)
        sampled -= sampled.mean(axis=1, keepdims=True)
        sampled /= np.linalg.norm(sampled, axis=1, keepdims=True) + 1e-3
        both = np.concatenate([templates["left"], templates["right"]])
        scores[index] = (sampled @ both.T).max(axis=0)
    upright = [(scores[i, :10], scores[i, 10:20]) for i in range(6)] + [
        (scores[i, 20:30], scores[i, 20:30]) for i in range(6, 12)
    ]
    # On its head: the last digit comes first, set C looks like B and the left sets stand on the right.
    turned = [(scores[11 - i, 30:40], scores[11 - i, 20:30]) for i in range(6)] + [
        (scores[11 - i, 10:20], scores[11 - i, 10:20]) for i in range(6, 12)
    ]
    begin, finish = float(xs[0] - 3 * ws[0]), float(xs[-1] + 10 * ws[-1])
    ranked: list[tuple[float, str, bool]] = []
    for on_its_head, sets in ((False, upright), (True, turned)):
        ranked += [(score, text, on_its_head) for score, text in _codes(sets)]
    ranked.sort(reverse=True)
    if not ranked:
        return None
    score, text, on_its_head = ranked[0]
    second = next((other for other, different, _ in ranked[1:] if different != text), score - 3.0)
    if on_its_head:
        begin, finish = finish, begin
    return Reading(text, score / _NODES, score - second, begin, finish)


def _codes(sets: list[tuple[Any, Any]]) -> list[tuple[float, str]]:
    """The best codes with a right check digit."""
    import numpy as np

    found: list[tuple[float, str]] = []
    for first, pattern in enumerate(_FIRST_DIGIT):
        rows = [sets[i][int(pattern[i])] if i < 6 else sets[i][0] for i in range(12)]
        order = [np.argsort(-row)[:2] for row in rows]
        best = sum(float(row[o[0]]) for row, o in zip(rows, order, strict=True))
        if best / 12 < 0.5:
            continue
        gaps = np.array([float(row[o[0]] - row[o[1]]) for row, o in zip(rows, order, strict=True)])
        weights = np.array([3, 1] * 6)
        top = np.array([int(o[0]) for o in order])
        change = np.array([int(o[1]) - int(o[0]) for o in order])
        rest = int((first + (weights * top).sum()) % 10)
        for count in range(4):
            for which in itertools.combinations(range(12), count):
                chosen = list(which)
                if (rest + int((weights[chosen] * change[chosen]).sum())) % 10 == 0:
                    digits = top.copy()
                    digits[chosen] += change[chosen]
                    found.append((best - float(gaps[chosen].sum()), f"{first}{''.join(map(str, digits))}"))
    return found
