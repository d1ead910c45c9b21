"""How long the loop is busy with a block of 300 parcels: deciding, the events, what follows, and the state behind them.

A first assignment, a revision while the block waits, and one on the road that adds and leaves out parcels. The time is
the processor time of the thread: while it lasts, no scan is taken.

The messages come through the uplink's door, as in the agent: its thread has parsed, validated and sealed them and read
the manifest before the loop gets them. What that takes is told in a line of its own, and has no goal: the loop goes on
meanwhile.

    python benchmarks/decide.py [--parcels 300] [--rounds 100]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from _verdict import Goal, conclude

from agent.delivery.decide import decide
from agent.delivery.model.inputs import Acted, InboxMessage, Input, Located, Moment, Scanned
from agent.delivery.model.state import State
from agent.identity.seal import Sealer
from agent.uplink.inbox import InboxReader, Token
from demo.messages import envelope

GOAL_MS = 10.0
"""The median of each case."""
MOMENT = Moment(1_795_251_600_000, 100_000, "benchmark", "gps")
STATION = {"latitude": 52.09, "longitude": 5.12}


def block(parcels: int) -> dict[str, Any]:
    """A manifest with all that a station knows, two parcels a door."""
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    stops += [door(number) for number in range(1, parcels // 2 + 1)]
    return {
        "block_id": "B1",
        "kind": "station",
        "starts_at": "2026-11-21T09:00:00Z",
        "ends_at": "2026-11-21T13:00:00Z",
        "driver_id": "D1",
        "manifest_version": 1,
        "pay": {"amount": "84.00", "currency": "EUR"},
        "sites": [{"site_id": "S1", "name": "Station DUT2", "kind": "station", "location": STATION, "radius_m": 150}],
        "stops": stops,
        "parcels": [parcel(number, number // 2 + 1) for number in range(parcels // 2 * 2)],
    }


def door(number: int) -> dict[str, Any]:
    """One delivery stop of the manifest."""
    return {
        "stop_id": f"T{number}",
        "kind": "delivery",
        "sequence": number,
        "service_s": 90,
        "zone": f"A-{number // 10}",
        "address": {
            "line1": f"Oudegracht {number}",
            "house_number": str(number),
            "city": "Utrecht",
            "postal_code": "3511 AB",
            "country": "NL",
        },
        "location": {"latitude": 52.09 + number / 1000, "longitude": 5.12},
        "window": {"from": "2026-11-21T09:00:00Z", "to": "2026-11-21T13:00:00Z"},
        "recipient": {"name": "sealed:v1:name", "phone": "sealed:v1:phone"},
    }


def parcel(number: int, stop: int) -> dict[str, Any]:
    """One parcel of the manifest."""
    return {
        "parcel_id": f"P{number}",
        "tracking_number": f"TBA{number:012d}",
        "aliases": [f"0034043416{number:010d}"],
        "pickup_stop_id": "T0",
        "stop_id": f"T{stop}",
        "return_to": "S1",
        "section": str(number % 5 + 1),
        "weight_g": 900,
        "size": {"length_mm": 300, "width_mm": 200, "height_mm": 120},
        "requirements": {"photo": True, "signature": False},
        "instruction": {"kind": "front_door", "text": "behind the planter", "access_codes": ["sealed:v1:code"]},
    }


def revised(data: dict[str, Any]) -> dict[str, Any]:
    """The next version: ten parcels less, ten more, ten in another section; and secrets are sealed anew each time."""
    data = deepcopy(data)
    data["manifest_version"] += 1
    first = len(data["parcels"])
    del data["parcels"][-10:]
    data["parcels"] += [parcel(first + number, number + 1) for number in range(10)]
    for changed in data["parcels"][:10]:
        changed["section"] = "9"
    for each in data["parcels"]:
        each["instruction"]["access_codes"] = ["sealed:v1:anew"]
    return data


def read(reader: InboxReader, type_: str, data: dict[str, Any]) -> InboxMessage:
    """A message of the cloud, as the loop gets it."""
    kind = "block" if type_ == "block.assigned" else "revision"
    message = reader.read(kind, json.dumps(envelope(type_, data)).encode(), Token(0, 0)).message
    assert isinstance(message, InboxMessage), message
    return message


def after(state: State, given: Input) -> State:
    """The state after an input that is accepted."""
    decision = decide(state, given, MOMENT)
    assert decision.refusal is None, decision.refusal
    state = state if decision.after is None else decision.after
    return state if decision.here is None else state.with_here(decision.here)


def on_the_road(state: State, parcels: int) -> State:
    """The same block, all of it loaded and on its way."""
    given: list[Input] = [
        Located(MOMENT.uptime_ms, 3, STATION["latitude"], STATION["longitude"], 5.0, 0.0),
        Acted("check_in"),
        Acted("start_loading"),
        *(Scanned(f"TBA{number:012d}", (f"TBA{number:012d}",), "hand") for number in range(parcels)),
        Acted("close_loading"),
        Acted("depart"),
    ]
    for each in given:
        state = after(state, each)
    return state


def busy_ms(case: Callable[[], object], rounds: int) -> list[float]:
    """How long each round has kept the thread."""
    times = []
    for _ in range(rounds):
        began_ns = time.thread_time_ns()
        case()
        times.append((time.thread_time_ns() - began_ns) / 1e6)
    return times


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parcels", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reader = InboxReader(Sealer(Path(folder), {}))
    assigned, revision = block(options.parcels), revised(block(options.parcels))
    first, second = read(reader, "block.assigned", assigned), read(reader, "block.revised", revision)
    waiting = after(State(), first)
    driving = on_the_road(waiting, len(assigned["parcels"]))
    cases: dict[str, Callable[[], object]] = {
        "assignment": lambda: decide(State(), first, MOMENT),
        "revision": lambda: decide(waiting, second, MOMENT),
        "revision on the road": lambda: decide(driving, second, MOMENT),
    }
    reading = "reading, in the uplink"
    beside: dict[str, Callable[[], object]] = {reading: lambda: read(reader, "block.assigned", assigned)}
    figures = {}
    print(f"a block of {len(assigned['parcels'])} parcels, {options.rounds} rounds each (ms of the loop's thread)")
    print(f"{'':24}{'least':>9}{'p50':>9}{'p95':>9}")
    for name, case in (cases | beside).items():
        times = sorted(busy_ms(case, options.rounds))
        figures[name] = {"least": times[0], "p50": statistics.median(times), "p95": times[int(len(times) * 0.95)]}
        print(f"{name:24}{figures[name]['least']:9.2f}{figures[name]['p50']:9.2f}{figures[name]['p95']:9.2f}")
    worst = max(figures[name]["p50"] for name in cases)
    print(json.dumps(figures))
    raise SystemExit(conclude([Goal("median of the slowest case", worst, at_most=GOAL_MS, unit="ms")]))


if __name__ == "__main__":
    main()
