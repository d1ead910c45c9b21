"""Frames a second that reading a live camera sustains on one core, beside zxing-cpp's defaults on every frame.

Scenes of 1280x720 at 15 frames a second are generated: a label that comes into view, is held by a hand that trembles,
and is taken away; the same label lying still; an empty street that moves; an empty street that stands still. Both are
given the same frames in turn in one run, and their processor time is counted; making the frames is not. The share of
one core that is idle follows from it, and the delay from a label's first whole frame to its text.

    python benchmarks/frames.py [--seconds 20] [--passes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import zxingcpp
from _verdict import Goal, conclude

from agent.labels.frames import FrameReader
from drivers.readings import Frame

WIDTH, HEIGHT, FPS = 1280, 720, 15
NOISE = 4.0
"""Standard deviation of the sensor's noise in levels of 255."""
GOAL_FPS = 15
GOAL_IDLE = 0.5


def label(text: str, module: int = 6) -> Any:
    """A picture of a printed label with one Code 128 and some lines of print."""
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.Code128)
    row = np.array(code.to_image(scale=1, add_quiet_zones=False))
    row = row.reshape(row.shape[0], -1)[row.shape[0] // 2]
    bars = np.repeat(np.repeat(row[None], 50 * module, 0), module, 1)
    paper = np.full((bars.shape[1] * 4 // 5, bars.shape[1] + 28 * module), 235, np.uint8)
    top = paper.shape[0] // 3
    paper[top : top + bars.shape[0], 14 * module : 14 * module + bars.shape[1]] = np.where(bars > 127, 235, 25)
    for line, words in enumerate(("KERBSIDE PARCELS", "12 HARBOUR ROAD")):
        cv2.putText(paper, words, (80, 90 + 80 * line), cv2.FONT_HERSHEY_SIMPLEX, 2.4, 30, 6, cv2.LINE_AA)
    return paper


def street(rng: np.random.Generator, width: int) -> Any:
    """A background with edges at all scales."""
    picture = np.full((HEIGHT, width), 110, np.float32)
    for cell in (160, 40, 10):
        coarse = rng.normal(0, 22, (HEIGHT // cell + 2, width // cell + 2)).astype(np.float32)
        picture += cv2.resize(coarse, (width, HEIGHT), interpolation=cv2.INTER_NEAREST)
    return np.clip(picture, 0, 255)


def put(background: Any, paper: Any, centre: tuple[float, float], px: float, roll: float, blur: float) -> Any:
    """The label on the background: `px` pixels a module, turned by `roll` degrees, `blur` pixels of motion."""
    scale = px / 6
    height, width = paper.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), roll, scale)
    turn[:, 2] += np.array(centre) - (width / 2, height / 2)
    small = cv2.GaussianBlur(paper, (0, 0), max(0.1, 0.35 / scale))
    size = (background.shape[1], background.shape[0])
    mask = cv2.warpAffine(np.full_like(paper, 255), turn, size, flags=cv2.INTER_AREA).astype(np.float32) / 255
    out = background * (1 - mask) + cv2.warpAffine(small, turn, size, flags=cv2.INTER_AREA) * mask
    if blur >= 1:
        length = int(blur) | 1
        out = cv2.filter2D(out, -1, np.full((1, length), 1 / length, np.float32))
    return out


def shot(picture: Any, rng: np.random.Generator) -> Any:
    """What the sensor makes of it, BGR."""
    noisy = picture + rng.normal(0, NOISE, picture.shape).astype(np.float32)
    return cv2.cvtColor(np.clip(noisy, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def held_up(seconds: int, passes: int, rng: np.random.Generator) -> Iterator[tuple[Any, str | None]]:
    """Labels that come and go one after the other: 0.5 s in, held, 0.5 s out, 0.5 s nothing."""
    background = street(rng, WIDTH)
    for number in range(passes):
        text = f"TBA{rng.integers(10**11, 10**12)}"
        paper, roll, px = label(text), float(rng.uniform(-25, 25)), float(rng.uniform(1.8, 3.0))
        frames = max(2 * FPS, seconds * FPS // passes)
        for frame in range(frames):
            at = frame / FPS
            left_s = frames / FPS - 0.5 - at
            if left_s < 0:
                yield shot(background, rng), None
                continue
            away = max(0.0, 1 - at / 0.5, 1 - left_s / 0.5)
            x = WIDTH / 2 + (1 if number % 2 else -1) * away * WIDTH * 0.9
            trembling = rng.normal(0, 1.5, 2)
            centre = (x + trembling[0], HEIGHT / 2 + trembling[1])
            whole = away == 0
            yield shot(put(background, paper, centre, px, roll, 12 if away else 1), rng), text if whole else None


def lying_still(seconds: int, _passes: int, rng: np.random.Generator) -> Iterator[tuple[Any, str | None]]:
    """One label that nobody moves."""
    picture = put(street(rng, WIDTH), label("TBA123456789012"), (WIDTH / 2, HEIGHT / 2), 2.2, 4, 0)
    for _ in range(seconds * FPS):
        yield shot(picture, rng), "TBA123456789012"


def street_passing(seconds: int, _passes: int, rng: np.random.Generator) -> Iterator[tuple[Any, str | None]]:
    """No label, and everything moves."""
    wide = street(rng, WIDTH * 3)
    for frame in range(seconds * FPS):
        left = frame * 24 % (2 * WIDTH)
        yield shot(wide[:, left : left + WIDTH], rng), None


def street_still(seconds: int, _passes: int, rng: np.random.Generator) -> Iterator[tuple[Any, str | None]]:
    """No label, and nothing moves."""
    background = street(rng, WIDTH)
    for _ in range(seconds * FPS):
        yield shot(background, rng), None


class Watched:
    """One reader through one scene: what it took and what it found."""

    def __init__(self, read: Callable[[Frame], set[str]]) -> None:
        self.read = read
        self.used_s: list[float] = []
        self.first_whole: dict[str, int] = {}
        self.first_read: dict[str, int] = {}

    def look(self, frame: Frame, text: str | None, number: int) -> None:
        """Time one frame."""
        began = time.process_time()
        found = self.read(frame)
        self.used_s.append(time.process_time() - began)
        if text is not None:
            self.first_whole.setdefault(text, number)
        for one in found:
            self.first_read.setdefault(one, number)

    def figures(self) -> dict[str, Any]:
        """Of the whole scene."""
        used_s, frames = sum(self.used_s), len(self.used_s)
        delays = sorted(
            max(0, self.first_read[text] - whole) / FPS
            for text, whole in self.first_whole.items()
            if text in self.first_read
        )
        return {
            "frames_per_s": round(frames / used_s, 1),
            "idle": round(1 - used_s * FPS / frames, 3),
            "worst_frame_ms": round(max(self.used_s) * 1000, 1),
            "labels": len(self.first_whole),
            "read": len(delays),
            "wrong": len(self.first_read.keys() - self.first_whole.keys()),
            "delay_p50_s": round(delays[len(delays) // 2], 2) if delays else None,
        }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="of each scene")
    parser.add_argument("--passes", type=int, default=10, help="labels that are held up one after the other")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for scene in (held_up, lying_still, street_passing, street_still):
        reader = FrameReader()
        ours = Watched(lambda frame, reader=reader: {symbol.text for symbol in reader.look(frame)})
        peer = Watched(lambda frame: {found.text for found in zxingcpp.read_barcodes(frame.image)})
        rng = np.random.default_rng(7)
        for number, (image, text) in enumerate(scene(options.seconds, options.passes, rng)):
            frame = Frame("camera", (number + 1) * 1_000_000_000 // FPS, image)
            ours.look(frame, text, number)
            peer.look(frame, text, number)
        figures[scene.__name__] = {"kerbside": ours.figures(), "zxing-cpp": peer.figures()}
        figures[scene.__name__]["kerbside"]["became"] = {
            name: getattr(reader.counters, name) for name in reader.counters.__slots__
        }
    print(f"{WIDTH}x{HEIGHT}, {options.seconds} s of {FPS} frames/s a scene, one core")
    heads = ("frames/s", 10), ("idle", 8), ("worst ms", 10), ("labels", 8), ("read", 6), ("wrong", 7), ("delay s", 9)
    print(f"{'scene':16}{'reader':12}" + "".join(f"{head:>{width}}" for head, width in heads))
    for scene_name, readers in figures.items():
        for name, one in readers.items():
            print(
                f"{scene_name:16}{name:12}{one['frames_per_s']:10.1f}{one['idle']:8.0%}{one['worst_frame_ms']:10.1f}"
                f"{one['labels']:8}{one['read']:6}{one['wrong']:7}{one['delay_p50_s'] if one['read'] else '-':>9}"
            )
    slowest = min(readers["kerbside"]["frames_per_s"] for readers in figures.values())
    idle = min(figures[name]["kerbside"]["idle"] for name in ("lying_still", "street_still"))
    ours = [readers["kerbside"] for readers in figures.values()]
    shown = sum(one["labels"] for one in ours)
    print(json.dumps(figures))
    goals = [
        Goal("frames a second of the slowest scene", slowest, at_least=GOAL_FPS),
        Goal("idle share while nothing changes", idle, at_least=GOAL_IDLE),
        Goal("labels read of those shown", sum(one["read"] for one in ours) / shown if shown else None, at_least=1.0),
        Goal("wrong reads", sum(one["wrong"] for one in ours), at_most=0),
    ]
    raise SystemExit(conclude(goals))


if __name__ == "__main__":
    main()
