"""How well carriers' numbers are told: public numbers, made numbers of real forms, and the time an answer takes.

    KERBSIDE_SHARED=../shared .venv/bin/python benchmarks/tracking_numbers.py [--json]

The public numbers are those of the open `tracking_number_data` collection (MIT), under data/tracking_numbers of the
shared folder. The made ones are drawn at random, 500 a form, of forms that parcels in the world bear. Each number is
recognised (its carrier is named; for UPU S10 its form), unknown, told as wrong (a fault), or taken for another's.

The numbers come without a symbology, as typed ones do: where digits alone and one check digit are all that speaks for a
carrier, it is not named then.

Goals: no number of a real form is told as wrong; of no form are more than 10 % taken for another; no invalid public
number is taken for a sound one. Exit status 1 when one is missed.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import timeit
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.labels.identity import Identity, identify

MADE = 500
TAKEN_AT_MOST = 0.10
TIMED = {
    "Amazon TBA": ("TBA123456789012", "]C0"),
    "SSCC": ("00340434161094042557", "]C1"),
    "UPS 1Z": ("1Z5R89390357567127", "]C0"),
    "USPS IMpb": ("420787459400111206206406260787", "]C1"),
    "FedEx 34": ("1001921334250001000300779017972697", "]C0"),
    "GTIN + serial": ("010950600013437621ABC123", "]C1"),
    "unknown": ("PICK-LIST/17", None),
}


def digits(length: int, prefix: str = "", suffix: str = "") -> Callable[[random.Random], str]:
    """Random digits to this length between a prefix and a suffix."""
    count = length - len(prefix) - len(suffix)
    return lambda draw: prefix + "".join(draw.choices("0123456789", k=count)) + suffix


def modulo_7(length: int) -> Callable[[random.Random], str]:
    """Digits whose last one is the rest of the others by 7."""
    body = digits(length - 1)

    def number(draw: random.Random) -> str:
        made = body(draw)
        return f"{made}{int(made) % 7}"

    return number


MADE_FORMS: dict[str, tuple[str | None, Callable[[random.Random], str]]] = {
    "Swiss Post 18": ("swiss_post", digits(18, "99")),
    "Evri 16": (None, digits(16)),
    "Yamato 12": (None, modulo_7(12)),
    "Sagawa 12": (None, modulo_7(12)),
    "Parcelforce 12": (None, digits(12)),
    "Blue Dart 11": (None, digits(11)),
    "GLS 11": (None, digits(11)),
    "Aramex 10": (None, digits(10)),
    "TNT ..WW": (None, digits(13, "GD", "WW")),
    "Yanwen ..YP": (None, digits(13, "UG", "YP")),
    "Chronopost ..JF": (None, digits(13, "XY", "JF")),
    "bpost 15": (None, digits(15)),
    "bpost 16": (None, digits(16)),
    "UPS 12": (None, digits(12)),
    "DPD 12": (None, digits(12)),
    "ZTO 12": (None, digits(12)),
    "routing codes and others of 14": (None, digits(14)),
}
"""Forms that parcels bear: the carrier that we can name, if any, and how a number is made."""


def verdict(carrier: str | None, found: Identity) -> str:
    """What was made of a sound number of this carrier."""
    if found.fault is not None:
        return "wrong"
    if found.kind == "s10" if carrier == "s10" else carrier is not None and found.carrier == carrier:
        return "recognised"
    return "unknown" if found.carrier is None else "taken"


def row(name: str, carrier: str | None, numbers: Iterable[str]) -> dict[str, Any]:
    """One line of the table."""
    counts = Counter(verdict(carrier, identify(text)) for text in numbers)
    return {"form": name, "numbers": counts.total()} | {
        each: counts[each] for each in ("recognised", "unknown", "wrong", "taken")
    }


def main() -> int:
    """Print the table and the verdict."""
    folder = Path(os.environ.get("KERBSIDE_SHARED", "../shared")) / "data" / "tracking_numbers" / "couriers"
    if not folder.is_dir():
        print(f"{folder} is not there: set KERBSIDE_SHARED to the folder that holds data/", file=sys.stderr)
        return 2
    public: list[dict[str, Any]] = []
    believed: list[str] = []
    for file in sorted(folder.glob("*.json")):
        courier = slug(file.stem)
        forms = json.loads(file.read_text(encoding="utf-8"))["tracking_numbers"]
        sound = {text for form in forms for text in form["test_numbers"]["valid"]}
        for form in forms:
            public.append(row(form["name"], courier, form["test_numbers"]["valid"]))
            invalid = [text for text in form["test_numbers"]["invalid"] if text not in sound]
            believed += [text for text in invalid if verdict(courier, identify(text)) == "recognised"]
    if not public:
        print(f"no numbers in {folder}: nothing was measured", file=sys.stderr)
        return 2
    draw = random.Random(1)
    made = [row(name, carrier, [number(draw) for _ in range(MADE)]) for name, (carrier, number) in MADE_FORMS.items()]
    wrong = sum(each["wrong"] for each in (*public, *made))
    most_taken = max(made, key=lambda each: each["taken"])
    share = most_taken["taken"] / MADE
    misses = [
        *([f"{wrong} sound numbers are told as wrong labels"] if wrong else []),
        *([f"{share:.1%} of {most_taken['form']} are taken for another"] if share > TAKEN_AT_MOST else []),
        *([f"invalid numbers are believed: {', '.join(believed)}"] if believed else []),
    ]
    seconds = {
        name: min(timeit.repeat(lambda a=arguments: identify(*a), number=2000, repeat=5)) / 2000
        for name, arguments in TIMED.items()
    }
    microseconds = {name: round(value * 1e6, 1) for name, value in seconds.items()}
    memory = {module: resident_kb(f"import {module}") for module in ("sys", "agent.labels.identity", "biip")}
    if "--json" in sys.argv:
        result = {"public": public, "made": made, "misses": misses}
        print(json.dumps(result | {"microseconds": microseconds, "resident_kb": memory}))
        return 1 if misses else 0
    print(f"{'form':34}{'numbers':>9}{'recognised':>12}{'unknown':>9}{'wrong':>7}{'taken':>7}")
    for each in (*public, *made):
        print(
            f"{each['form']:34}{each['numbers']:9}{each['recognised']:12}"
            f"{each['unknown']:9}{each['wrong']:7}{each['taken']:7}"
        )
    print("microseconds an answer:", ", ".join(f"{name} {value}" for name, value in microseconds.items()))
    print("resident kB of a process that imports:", ", ".join(f"{name} {value}" for name, value in memory.items()))
    print(f"goal: told as wrong 0, found {wrong}")
    print(f"goal: taken for another at most {TAKEN_AT_MOST:.0%} of a form, found {share:.1%} ({most_taken['form']})")
    print("missed: " + "; ".join(misses) if misses else "met")
    return 1 if misses else 0


def slug(file_stem: str) -> str:
    """The collection's file names are the carriers' names without the underscore of ours."""
    return {"canadapost": "canada_post"}.get(file_stem, file_stem)


def resident_kb(statement: str) -> int:
    """Resident memory of a fresh interpreter that runs `statement`."""
    code = f"{statement}\nprint(int(open('/proc/self/statm').read().split()[1]) * {resource.getpagesize() // 1024})"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
