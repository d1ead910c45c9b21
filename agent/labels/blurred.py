"""EAN and UPC codes whose bars run into each other, read from the grey levels across the bars.

Engines look for edges; where blur has washed them out, the digits are still told apart by comparing the grey levels
with each digit's bars, blurred alike. The comparison is made for every place and module width at once, so that the
code is found by the digits themselves. A reading carries how well it fits and by how much the next best differs:
the caller decides what that is worth.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agent.labels.engines import opencv

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Levels = npt.NDArray[np.float32]

_LEFT: Final = (
    *("0001101", "0011001", "0010011", "0111101", "0100011"),
    *("0110001", "0101111", "0111011", "0110111", "0001011"),
)
"""ISO/IEC 15420: the ten digits in number set A; 1 is a dark module."""
_FIRST_DIGIT: Final = (
    *("000000", "001011", "001101", "001110", "010011"),
    *("011001", "011100", "010101", "010110", "011010"),
)
"""Which of the left six digits are in number set B, by the first digit, which has no bars of its own."""

_SAMPLES: Final = 3
"""A module."""
_WINDOW: Final = 9
"""Modules that are compared: a digit and one neighbour on each side, whose colour is known."""
_BLURS: Final = (0.5, 1.1)
"""Standard deviation in modules."""
_FINE: Final = 12
"""Points a module from which a blurred template is made."""
_NODES: Final = 12
"""Digits of an EAN-13 that have bars."""
_PARTS: Final = ("begin", "left", "middle", "right", "end")
_PLACES: Final = tuple(place / 3 - 8 for place in range(321))
_WIDTHS: Final = tuple(0.6 * (1.12 / 0.6) ** (step / 23) for step in range(24))
"""Where windows begin and how wide their modules are, in modules of a code that fills its area of bars."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A code as the grey levels have it."""

    text: str
    """13 digits, the last of which is a right check digit."""
    fit: float
    """Mean correlation of digits and guards, 1 at best."""
    lead: float
    """By how much the sum of correlations beats the next code with a right check digit."""
    start: float
    end: float
    """Where the code begins and ends in the levels; `start` > `end` when it stands on its head."""


def ean13(levels: Levels, start: float, end: float) -> Reading | None:
    """The EAN-13 (a UPC-A is one with a leading 0) that fits best between about `start` and `end`."""
    nominal = (end - start) / 95
    if nominal < 0.8:
        return None
    xs, ws, cells = _trials()
    tables = _correlations(levels, start, nominal)
    best, blur, top = -1.0, _BLURS[0], 0
    for each in _BLURS:
        begin, left, middle, right, finish = (tables[each, part] for part in _PARTS)
        in_order = [begin, *[left] * 6, middle, *[right] * 6, finish]
        total = sum(table[cell] for table, cell in zip(in_order, cells, strict=True))
        if total.max() > best:
            best, blur, top = float(total.max()), each, int(total.argmax())
    return _decode(levels, start + nominal * xs[:, top], nominal * ws[:, top], blur)


def _correlations(levels: Levels, start: float, nominal: float) -> dict[tuple[float, str], Any]:
    """How well each window resembles each part, blurred in each way; as flat arrays of (place, width)."""
    import numpy as np

    cv2 = opencv()
    at = np.float32(start) + np.float32(nominal) * _samples()
    sampled = cv2.remap(levels[None], at, np.zeros_like(at), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    windows = sampled.reshape(len(_PLACES), len(_WIDTHS), -1)
    windows -= windows.mean(axis=-1, keepdims=True)
    norms = np.sqrt(np.einsum("pws,pws->pw", windows, windows)) + 1e-3
    return {
        (blur, part): ((windows @ _templates(blur)[part].T).max(axis=-1) / norms).ravel()
        for blur in _BLURS
        for part in _PARTS
    }


@functools.cache
def _samples() -> Any:
    """Where the grey levels of every window are taken, in modules: (places, widths x samples)."""
    import numpy as np

    offsets = (np.arange(_WINDOW * _SAMPLES) + 0.5) / _SAMPLES - 1
    at = np.array(_PLACES)[:, None, None] + np.array(_WIDTHS)[:, None] * offsets
    return at.reshape(len(_PLACES), -1).astype(np.float32)


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
        "middle": np.array([row("11", "1010101", "11")]),
        "end": np.array([row("00", "1010000", "00")]),
    }


@functools.cache
def _trials() -> tuple[Any, Any, Any]:
    """Every start, end and bend that is tried, as three arrays of (part of the code, trial).

    Where each part (quiet zone and guard, six digits, guard, six digits, guard and quiet zone) lies and how wide its
    modules are, in modules, and the number of the window next to that.
    """
    import numpy as np

    x0, x1, bend = (
        one.ravel()
        for one in np.meshgrid(
            np.arange(-5, 6, 0.5, dtype=np.float32),
            np.arange(55, 100, 0.5, dtype=np.float32),
            np.array([-0.12, -0.06, 0.0, 0.06, 0.12], np.float32),
            indexing="ij",
        )
    )
    modules = np.array([-4, *range(3, 45, 7), 44, *range(50, 92, 7), 92], np.float32)[:, None]
    t = modules / 95
    xs = x0 + (x1 - x0) * (t + bend * t * (1 - t))
    ws = (x1 - x0) / 95 * (1 + bend * (1 - 2 * (modules + 3.5) / 95))
    rows = np.clip((xs - _PLACES[0]) / (_PLACES[1] - _PLACES[0]) + 0.5, 0, len(_PLACES) - 1).astype(np.int32)
    ratio = math.log(_WIDTHS[1] / _WIDTHS[0])
    columns = np.clip(np.log(np.maximum(ws, 1e-3) / _WIDTHS[0]) / ratio + 0.5, 0, len(_WIDTHS) - 1)
    return xs, ws, rows * len(_WIDTHS) + columns.astype(np.int32)


def _decode(levels: Levels, xs: Any, ws: Any, blur: float) -> Reading | None:
    """The text of a code whose parts are about here; each part may be off by half a module."""
    import numpy as np

    shifts = np.linspace(-0.45, 0.45, 7)
    templates = _templates(blur)
    rows = np.concatenate([templates[name] for name in ("left", "right", "begin", "middle", "end")])
    offsets = (np.arange(_WINDOW * _SAMPLES) + 0.5) / _SAMPLES - 1
    at = xs[:, None, None] + ws[:, None, None] * (shifts[:, None] + offsets)
    sampled = np.interp(at.ravel(), np.arange(len(levels)), levels).reshape(at.shape)
    sampled -= sampled.mean(axis=-1, keepdims=True)
    sampled /= np.linalg.norm(sampled, axis=-1, keepdims=True) + 1e-3
    parts = (sampled @ rows.T).max(axis=1)
    guards = float(parts[0, 40] + parts[7, 41] + parts[14, 42])
    scores = np.delete(parts, [0, 7, 14], axis=0)
    upright = [(scores[i, :10], scores[i, 10:20]) for i in range(6)] + [
        (scores[i, 20:30], scores[i, 20:30]) for i in range(6, 12)
    ]
    # On its head: the last digit comes first, set C looks like B and the left sets stand on the right.
    turned = [(scores[11 - i, 30:40], scores[11 - i, 20:30]) for i in range(6)] + [
        (scores[11 - i, 10:20], scores[11 - i, 10:20]) for i in range(6, 12)
    ]
    begin, finish = float(xs[0] + 4 * ws[0]), float(xs[-1] + 3 * ws[-1])
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
    return Reading(text, (score + guards) / (_NODES + 3), score - second, begin, finish)


def _codes(sets: list[tuple[Any, Any]]) -> list[tuple[float, str]]:
    """The two best codes with a right check digit for each first digit."""
    import numpy as np

    found: list[tuple[float, str]] = []
    weights = np.array([3, 1] * 6)
    for first, pattern in enumerate(_FIRST_DIGIT):
        scores = np.array([sets[i][int(pattern[i])] if i < 6 else sets[i][0] for i in range(12)])
        order = np.argsort(-scores, axis=1)[:, :2]
        top, change = order[:, 0], order[:, 1] - order[:, 0]
        best, next_best = np.take_along_axis(scores, order, axis=1).T
        if best.sum() / 12 < 0.5:
            continue
        losses = _changes() @ (best - next_best)
        right = np.flatnonzero((first + (weights * top).sum() + _changes() @ (weights * change)) % 10 == 0)
        for one in right[np.argsort(losses[right])[:2]]:
            digits = top + change * _changes()[one]
            found.append((float(best.sum() - losses[one]), f"{first}{''.join(map(str, digits))}"))
    return found


@functools.cache
def _changes() -> Any:
    """Which of twelve digits are not the likeliest but the next likely, at most three, one choice a row."""
    import numpy as np

    chosen = [which for count in range(4) for which in itertools.combinations(range(12), count)]
    return np.array([[int(digit in which) for digit in range(12)] for which in chosen])
