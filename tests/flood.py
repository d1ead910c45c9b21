"""A unit's core and journal under a flood of valid messages that want to be large: `python -m tests.flood COUNT DIR`.

Prints what the state came to at its largest, and the peak of the memory of the process, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

from agent.console.encoding import encoded
from agent.delivery.fold.snapshot import dump
from agent.delivery.model.inputs import InboxMessage, Tick
from agent.delivery.model.state import replace
from agent.delivery.screen.view import view
from contract.vocabulary import MAX_MESSAGE_BYTES
from tests.contract.examples import EXAMPLES, KEY, large_block, message
from tests.process import peak_bytes
from tests.running_unit import RunningUnit

BOX = "\U0001f4e6"
"""Four bytes in UTF-8, one character to a bound."""


def many(random: Random, most: int) -> int:
    """Mostly few, sometimes as many as may be."""
    return most if random.random() < 0.1 else random.randint(1, max(1, most // 20))


def more(random: Random) -> dict[str, Any]:
    """What no model knows."""
    return {f"unknown {number}": BOX * 100 for number in range(many(random, 400))}


def block(random: Random, number: int) -> dict[str, Any]:
    data = large_block(many(random, 700)) | {"block_id": f"B{number % 40}", "manifest_version": number}
    data |= {"starts_at": "2099-11-21T09:00:00Z", "ends_at": "2099-11-21T13:00:00Z"}
    kind = random.choice(["texts", "parcels", "stops", "travel", "as it is"])
    if kind == "texts":
        for parcel in data["parcels"][:60]:
            parcel["parcel_id"] = f"{number} {parcel['parcel_id']}"
            parcel["tracking_number"] += str(number)
            parcel["instruction"] = {"text": BOX * random.randint(1, 4000), "access_codes": ["1"] * 20}
    elif kind == "parcels":
        bare = data["parcels"][0]["stop_id"]
        data["parcels"] = [{"parcel_id": f"P{n}", "tracking_number": f"{n}", "stop_id": bare} for n in range(1000)]
    elif kind == "stops":
        data["sites"][0]["name"] = BOX * 200
        size = 999 - len(data["stops"])
        data["stops"] += [{"stop_id": f"X{n}", "kind": "break", "sequence": n, "site_id": "S1"} for n in range(size)]
    elif kind == "travel":
        ids = [stop["stop_id"] for stop in data["stops"]][:300]
        data["travel"] = {"stop_ids": ids, "seconds": [[1e5] * len(ids) for _ in ids]}
    return data


def hostile(random: Random, number: int) -> tuple[str, dict[str, Any]]:
    """A valid message of any type, as large as it may be now and then."""
    type_ = random.choice([*EXAMPLES, "block.assigned", "block.revised"])
    data: dict[str, Any]
    match type_:
        case "block.assigned" | "block.revised":
            data = block(random, number)
        case "offer.made":
            times = {"starts_at": "2099-11-21T09:00:00Z", "ends_at": "2099-11-21T13:00:00Z"}
            data = EXAMPLES[type_][1] | times | {"expires_at": "2099-11-21T08:00:00Z"}
            data |= {"offer_id": BOX * 100 + str(number), "block_id": BOX * 90 + str(number), "place": BOX * 500}
        case "parcel.recalled":
            data = {
                "parcel_ids": [f"P{number % 700}", *(BOX * 100 + f"{number}-{n}" for n in range(many(random, 2000)))]
            }
        case "roster.replaced":
            drivers = range(many(random, 1000))
            data = {
                "key": KEY,
                "drivers": [{"driver_id": f"D{n}", "name": BOX * 100, "approved": True} for n in drivers],
            }
        case "advisory.issued":
            data = {
                "advisory_id": BOX * 100 + str(number),
                "format": "area",
                "content": [BOX * 1000] * many(random, 200),
            }
        case "message.sent":
            data = {"message_id": BOX * 100 + str(number), "text": BOX * many(random, 4000), "needs_ack": True}
        case "feedback.given":
            data = {"feedback_id": BOX * 100 + str(number), "text": BOX * many(random, 4000)}
        case "earnings.stated":
            data = EXAMPLES[type_][1] | {"block_id": BOX * 100 + str(number)}
        case "settings.changed":
            return type_, {f"gps.x{number}_{n}": BOX * 400 for n in range(many(random, 100))}
        case _:
            data = EXAMPLES[type_][1] | {"block_id": f"B{number % 40}"}
    return type_, data | more(random)


async def flood(count: int, state_dir: Path) -> dict[str, int]:
    random = Random(7)
    running = RunningUnit(state_dir, max_bytes=1 << 31)
    taken = most_shown = most_kept = 0
    for number in range(count):
        type_, data = hostile(random, number)
        payload = message(type_, data, id=BOX * 100 + str(number))
        incoming = running.read(type_, payload)
        if not isinstance(incoming.message, InboxMessage):
            assert incoming.message.reason == "TOO_LARGE", incoming.message
            assert len(payload) > MAX_MESSAGE_BYTES
            continue
        await running.receive(incoming)
        taken += 1
        if number % 10 == 0:
            running.unit.take(Tick())
            state = running.unit.state
            most_kept = max(most_kept, len(dump(state)))
            for block_id in state.blocks:  # whichever of them were under way
                shown = view(replace(state, block_id=block_id), running.unit._now())
                most_shown = max(most_shown, len(encoded(shown)))
    running.journal.close()
    return {"taken": taken, "state": most_shown, "snapshot": most_kept, "memory": peak_bytes()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(flood(int(sys.argv[1]), Path(sys.argv[2])))))
