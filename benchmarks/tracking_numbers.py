"""How well carriers' numbers are told: public valid and invalid numbers, a table by form, and the time an answer takes.

    KERBSIDE_SHARED=../shared .venv/bin/python benchmarks/tracking_numbers.py [--json]

The numbers are those of the open `tracking_number_data` collection (MIT), under data/tracking_numbers of the shared
folder. A valid number counts when its carrier (for UPU S10: its form) is named without a fault. An invalid one counts
when it is not taken for a sound number of that carrier (one that is valid in another form of the same carrier is left
out); how many of these carry a fault is printed beside it, the others have an unknown form.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import timeit
from pathlib import Path
from typing import Any

from agent.labels.identity import Identity, identify

TIMED = {
    "Amazon TBA": ("TBA123456789012", "]C0"),
    "SSCC": ("00340434161094042557", "]C1"),
    "UPS 1Z": ("1Z5R89390357567127", "]C0"),
    "USPS IMpb": ("420787459400111206206406260787", "]C1"),
    "FedEx 34": ("1001921334250001000300779017972697", "]C0"),
    "GTIN + serial": ("010950600013437621ABC123", "]C1"),
    "unknown": ("PICK-LIST/17", None),
}


def is_of(courier: str, found: Identity) -> bool:
    """The number was taken for a sound one of this courier."""
    if found.fault is not None:
        return False
    return found.kind == "s10" if courier == "s10" else found.carrier == courier


def main() -> int:
    """Print the table; the exit status is 1 when a number was judged wrongly."""
    folder = Path(os.environ.get("KERBSIDE_SHARED", "../shared")) / "data" / "tracking_numbers" / "couriers"
    if not folder.is_dir():
        print(f"{folder} is not there: set KERBSIDE_SHARED to the folder that holds data/", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    for file in sorted(folder.glob("*.json")):
        courier = slug(file.stem)
        forms = json.loads(file.read_text(encoding="utf-8"))["tracking_numbers"]
        sound = {text for form in forms for text in form["test_numbers"]["valid"]}
        for form in forms:
            valid = [(text, identify(text)) for text in form["test_numbers"]["valid"]]
            invalid = [(text, identify(text)) for text in form["test_numbers"]["invalid"] if text not in sound]
            rows.append(
                {
                    "form": form["name"],
                    "valid": len(valid),
                    "named": sum(is_of(courier, found) for _, found in valid),
                    "invalid": len(invalid),
                    "refused": sum(not is_of(courier, found) for _, found in invalid),
                    "with_fault": sum(found.fault is not None for _, found in invalid),
                }
            )
            wrong += [f"valid   {form['name']}: {text!r} {found}" for text, found in valid if not is_of(courier, found)]
            wrong += [f"invalid {form['name']}: {text!r} {found}" for text, found in invalid if is_of(courier, found)]
    total = {"form": "all"} | {key: sum(row[key] for row in rows) for key in rows[0] if key != "form"}
    seconds = {
        name: min(timeit.repeat(lambda a=arguments: identify(*a), number=2000, repeat=5)) / 2000
        for name, arguments in TIMED.items()
    }
    microseconds = {name: round(value * 1e6, 1) for name, value in seconds.items()}
    memory = {module: resident_kb(f"import {module}") for module in ("sys", "agent.labels.identity", "biip")}
    if "--json" in sys.argv:
        print(
            json.dumps(
                {"forms": rows, "total": total, "wrong": wrong, "microseconds": microseconds, "resident_kb": memory}
            )
        )
        return 1 if wrong else 0
    print(f"{'form':34}{'valid':>7}{'named':>7}{'invalid':>9}{'refused':>9}{'with fault':>12}")
    for row in [*rows, total]:
        print(
            f"{row['form']:34}{row['valid']:7}{row['named']:7}{row['invalid']:9}{row['refused']:9}{row['with_fault']:12}"
        )
    print("\n".join(wrong))
    print("microseconds an answer:", ", ".join(f"{name} {value}" for name, value in microseconds.items()))
    print("resident kB of a process that imports:", ", ".join(f"{name} {value}" for name, value in memory.items()))
    return 1 if wrong else 0


def slug(file_stem: str) -> str:
    """The collection's file names are the carriers' names without the underscore of ours."""
    return {"canadapost": "canada_post"}.get(file_stem, file_stem)


def resident_kb(statement: str) -> int:
    """Resident memory of a fresh interpreter that runs `statement`."""
    code = f"{statement}\nprint(int(open('/proc/self/statm').read().split()[1]) * {resource.getpagesize() // 1024})"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
