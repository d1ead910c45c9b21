"""How well labels are read from pictures: zbar, zxing-cpp (as it comes, and fast) and the reader, in one run.

    KERBSIDE_SHARED=../shared nice .venv/bin/python benchmarks/labels.py [CORPUS ...] [--json]

A corpus is a folder with `truth.tsv` (file, symbology, text; `?` before a symbology marks a code that nobody has to
find, `-` a picture without codes) and `images/`; without one, those under data/labels of the shared folder are taken.
A code counts as read when symbology and text are right; EAN and UPC are compared as GTIN-13, and what engines write
differently (FNC1, brackets, start and stop letters of Codabar) is left out. Whatever else an engine reports is a wrong
read. Times are processor time of one core for one picture that is already unpacked; engines take turns at each
picture. Goals are printed with what was measured and a verdict; the exit status is 1 when one is missed.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import zxingcpp
from pyzbar import pyzbar

from agent.labels.engines import retail
from agent.labels.reader import SYMBOLOGIES, read

Code = tuple[str, str]

ORDER = (
    *("Code128", "Code39", "ITF", "Codabar", "EAN13", "EAN8", "UPCA", "UPCE"),
    *("DataBar", "QRCode", "DataMatrix", "PDF417", "Aztec", "MaxiCode"),
)
RETAIL = {"EAN13", "EAN8", "UPCA", "UPCE"}
FORMATS: Any = [getattr(zxingcpp.BarcodeFormat, name) for name in ORDER]
ZBAR_NAMES = {"I25": "ITF", "DATABAREXP": "DataBar"}


def name_of(symbology: str) -> str:
    """The corpora's name for what an engine calls its symbology."""
    plain = re.sub(r"[^A-Z0-9]", "", symbology.upper())
    return ZBAR_NAMES.get(plain) or next((name for name in ORDER if plain.startswith(name.upper())), plain)


def comparable(symbology: str, text: str) -> Code:
    """A code in a form that does not depend on who read it."""
    name = name_of(symbology)
    text = text.replace("\x1d", "").replace("\r\n", "\n").rstrip("\n")
    if name in RETAIL:
        digits = text.split(" ")[0]
        if name == "UPCE":
            digits = retail("UPC-E", digits)[1]
        return ("EAN8", digits) if len(digits) == 8 else ("GTIN", digits.zfill(13))
    if name == "Codabar":
        text = re.sub(r"^[A-Da-d]|[A-Da-d]$", "", text)
    elif name == "Code39":
        text = re.sub(r"([+$/%])([A-Z])", shifted, text)
    elif name == "DataBar":
        text = re.sub(r"[()]", "", text)
        text = text[2:] if len(text) == 16 and text.startswith("01") else text
    return name, text


def shifted(pair: re.Match[str]) -> str:
    """What two characters of Code 39 mean in full ASCII."""
    shift, place = pair[1], ord(pair[2]) - ord("A")
    if shift == "%":
        return "\x1b\x1c\x1d\x1e\x1f;<=>?[\\]^_{|}~\x7f\0@`\x7f\x7f\x7f"[place]
    if pair[0] == "/Z":
        return ":"
    return chr(place + {"+": ord("a"), "$": 1, "/": ord("!")}[shift])


def zbar(picture: Any) -> Iterable[Code]:
    """Pyzbar as it comes."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return [(found.type, found.data.decode("utf-8", "replace")) for found in pyzbar.decode(grey)]


def zxing(picture: Any, *, thorough: bool = True) -> Iterable[Code]:
    """zxing-cpp with its defaults, or without turning, shrinking and inverting."""
    found = zxingcpp.read_barcodes(
        cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY),
        formats=FORMATS,
        try_rotate=thorough,
        try_downscale=thorough,
        try_invert=thorough,
        text_mode=zxingcpp.TextMode.Plain,
    )
    return [(str(one.format.name), one.text) for one in found]


def zxing_fast(picture: Any) -> Iterable[Code]:
    """zxing-cpp without turning, shrinking and inverting."""
    return zxing(picture, thorough=False)


def kerbside(picture: Any) -> Iterable[Code]:
    """The reader with its defaults, but for Code 93, which no corpus holds and no other engine is asked for."""
    return [(found.symbology, found.text) for found in read(picture, symbologies=SYMBOLOGIES.keys() - {"Code 93"})]


GOAL_RECALL = 0.94
GOAL_EMPTY_RATIO = 10.0
"""Mean time for a picture without codes, as a multiple of what zxing-cpp's defaults take."""
READ_BY_EYE = {"zxingcpp/images/ean13-2__28.webp": ("EAN13", "9784872348880")}
"""What is printed under the bars where the table has the text of another picture."""

ENGINES: dict[str, Callable[[Any], Iterable[Code]]] = {
    "zbar": zbar,
    "zxing-cpp fast": zxing_fast,
    "zxing-cpp": zxing,
    "kerbside": kerbside,
}


def corpus(folder: Path) -> dict[Path, tuple[list[Code], set[Code]]]:
    """For each picture the codes that are to be found, and all that may be."""
    pictures: dict[Path, tuple[list[Code], set[Code]]] = {}
    for line in (folder / "truth.tsv").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, symbology, text = line.split("\t")
        wanted, allowed = pictures.setdefault(folder / "images" / name, ([], set()))
        if symbology == "-":
            continue
        text = re.sub(r"\\(\\|x[0-9a-fA-F]{2})", lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)
        allowed.add(comparable(symbology.lstrip("?"), text))
        if by_eye := READ_BY_EYE.get(f"{folder.name}/images/{name}"):
            allowed.add(comparable(*by_eye))
        if not symbology.startswith("?"):
            wanted.append((symbology, text))
    return pictures


class Score:
    """What one engine made of the pictures."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.times_ms: list[float] = []
        self.empty_ms: list[float] = []
        """Of pictures without codes."""

    def add(self, wanted: list[Code], allowed: set[Code], reported: Iterable[Code], time_ms: float) -> None:
        """Count one picture."""
        seen = {comparable(*code): code for code in reported}
        self.times_ms.append(time_ms)
        if not allowed:
            self.empty_ms.append(time_ms)
        self.found.update(symbology for symbology, text in wanted if comparable(symbology, text) in seen)
        self.wrong.update(name_of(symbology) for key, (symbology, _) in seen.items() if key not in allowed)

    def summary(self, codes: Counter[str]) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "recall": self.found.total() / max(1, codes.total()),
            "wrong": self.wrong.total(),
            "median_ms": statistics.median(self.times_ms),
            "empty_ms": statistics.mean(self.empty_ms) if self.empty_ms else None,
            "p95_ms": sorted(self.times_ms)[int(len(self.times_ms) * 0.95)],
            "by_symbology": {
                name: {"codes": codes[name], "found": self.found[name], "wrong": self.wrong[name]}
                for name in ORDER
                if codes[name] or self.wrong[name]
            },
        }


class Goal(NamedTuple):
    """What the reader is to reach."""

    name: str
    goal: str
    figure: str
    reached: bool


def goals(results: dict[str, dict[str, Any]]) -> list[Goal]:
    """The goals that these pictures can tell something about."""
    ours, peer = results["kerbside"], results["zxing-cpp"]
    wrong = sum(one["wrong"] for name, one in ours["by_symbology"].items() if name != "DataBar")
    found = [
        Goal("recall", f"at least {GOAL_RECALL:.1%}", f"{ours['recall']:.1%}", ours["recall"] >= GOAL_RECALL - 5e-4),
        Goal("wrong reads but of DataBar", "0", f"{wrong}", not wrong),
    ]
    if ours["empty_ms"] is not None:
        ratio = ours["empty_ms"] / peer["empty_ms"]
        figure = f"{ratio:.1f} ({ours['empty_ms']:.1f} ms beside {peer['empty_ms']:.1f})"
        goal = f"at most {GOAL_EMPTY_RATIO:.0f} x zxing-cpp"
        found.append(Goal("pictures without a code", goal, figure, ratio <= GOAL_EMPTY_RATIO))
    return found


def main(arguments: list[str]) -> int:
    """Print the tables."""
    folders = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if not folders:
        shared = Path(os.environ.get("KERBSIDE_SHARED", "../shared")) / "data" / "labels"
        folders = [table.parent for table in sorted(shared.glob("*/truth.tsv"))]
    if not folders or not all((folder / "truth.tsv").is_file() for folder in folders):
        print("no truth.tsv: name folders that hold one, or set KERBSIDE_SHARED", file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    scores: dict[str, Score] = defaultdict(Score)
    codes: Counter[str] = Counter()
    pictures = 0
    for folder in folders:
        for path, (wanted, allowed) in corpus(folder).items():
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None:
                print(f"{path}: cannot be read", file=sys.stderr)
                return 1
            codes.update(symbology for symbology, _ in wanted)
            for name, engine in ENGINES.items():
                if not pictures:
                    engine(picture)
                began = time.process_time()
                reported = list(engine(picture))
                scores[name].add(wanted, allowed, reported, (time.process_time() - began) * 1000)
            pictures += 1
    if not pictures:
        print(f"no pictures in {', '.join(map(str, folders))}: nothing was measured", file=sys.stderr)
        return 2
    results = {name: score.summary(codes) for name, score in scores.items()}
    if "--json" in arguments:
        print(json.dumps({"pictures": pictures, "codes": codes.total(), "engines": results}, indent=1))
        return 0 if all(goal.reached for goal in goals(results)) else 1
    print(f"{pictures} pictures, {codes.total()} codes\n")
    print("| engine | recall | wrong reads | median / p95 ms | without a code, mean ms |\n|---|---|---|---|---|")
    for name, result in results.items():
        print(
            f"| {name} | {result['recall']:.1%} | {result['wrong']} "
            f"| {result['median_ms']:.1f} / {result['p95_ms']:.0f} "
            f"| {'-' if result['empty_ms'] is None else format(result['empty_ms'], '.1f')} |"
        )
    print(f"\n| symbology | codes | {' | '.join(results)} |\n|---|---|{'---|' * len(results)}")
    for name in ORDER:
        if codes[name]:
            cells = [
                f"{score.found[name] / codes[name]:.1%}"
                + (f" ({score.wrong[name]} wrong)" if score.wrong[name] else "")
                for score in scores.values()
            ]
            print(f"| {name} | {codes[name]} | {' | '.join(cells)} |")
    print("\n| goal | | figure | verdict |\n|---|---|---|---|")
    for one in goals(results):
        print(f"| {one.name} | {one.goal} | {one.figure} | {'reached' if one.reached else 'MISSED'} |")
    return 0 if all(goal.reached for goal in goals(results)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
