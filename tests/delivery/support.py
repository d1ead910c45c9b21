"""A small block in Utrecht and a unit that writes down what the core decides, as the real one does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.delivery.decide import decide
from agent.delivery.evolve import evolve
from agent.delivery.fold import snapshot
from agent.delivery.model.decision import Decision, Event
from agent.delivery.model.inputs import Acted, InboxMessage, Input, Located, Moment, Scanned, Tick
from agent.delivery.model.state import Block, Parcel, Policy, State, Stop
from contract.vocabulary import ClockTrust

STATION = {"latitude": 52.09, "longitude": 5.12}
SHOP = {"latitude": 52.08, "longitude": 5.10}
START_MS = 1_795_251_600_000  # 2026-11-21T09:00:00Z


def door(number: int) -> dict[str, float]:
    """Doors lie about 1.1 km apart."""
    return {"latitude": 52.09 + number / 100, "longitude": 5.12}


def block_data(
    parcels: int = 4,
    per_stop: int = 1,
    *,
    block_id: str = "B1",
    version: int = 1,
    requirements: Mapping[str, Any] | None = None,
    **members: Any,
) -> dict[str, Any]:
    """A station block: one pickup, parcels P1…, `per_stop` of them at each of the stops T1…"""
    stops: list[dict[str, Any]] = [{"stop_id": "T0", "kind": "pickup", "site_id": "S1", "sequence": 0}]
    listed = []
    for index in range(parcels):
        number = index // per_stop + 1
        if index % per_stop == 0:
            stops.append(
                {
                    "stop_id": f"T{number}",
                    "kind": "delivery",
                    "sequence": number,
                    "address": {"line1": f"Oudegracht {number}", "house_number": str(number)},
                    "location": door(number),
                    "recipient": {"name": f"Recipient {number}", "phone": "+31 30 0000000"},
                }
            )
        listed.append(
            {
                "parcel_id": f"P{index + 1}",
                "tracking_number": f"TBA{index + 1:012d}",
                "aliases": [f"0034043416{index + 1:010d}"],
                "pickup_stop_id": "T0",
                "stop_id": f"T{number}",
                "return_to": "S1",
                "section": str(index % 5 + 1),
                "requirements": dict(requirements or {}),
                "instruction": {"kind": "front_door", "access_codes": ["sealed:v1:code"]},
            }
        )
    return {
        "block_id": block_id,
        "kind": "station",
        "starts_at": "2026-11-21T09:00:00Z",
        "ends_at": "2026-11-21T13:00:00Z",
        "timezone": "Europe/Amsterdam",
        "driver_id": "D1",
        "manifest_version": version,
        "otp_key": "sealed:v1:key",
        "elsewhere": [{"tracking_number": "TBA300000000099", "unit": "u2"}],
        "sites": [
            {"site_id": "S1", "name": "Station DUT2", "kind": "station", "location": dict(STATION), "radius_m": 150},
            {"site_id": "S2", "name": "Corner shop", "kind": "partner", "location": dict(SHOP), "radius_m": 100},
        ],
        "stops": stops,
        "parcels": listed,
        **members,
    }


class CoreUnit:
    """Feeds inputs to the core, keeps the log, and checks that each decision could be written down."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.state = State(policy=self.policy)
        self.log: list[Event | InboxMessage] = []
        self.uptime_ms = 100_000
        self.wall_ms = START_MS
        self.trust: ClockTrust = "gps"
        self.last = Decision()
        self.messages = 0

    @property
    def moment(self) -> Moment:
        return Moment(self.wall_ms, self.uptime_ms, "boot-1", self.trust)

    def wait(self, seconds: float) -> None:
        self.uptime_ms += round(seconds * 1000)
        self.wall_ms += round(seconds * 1000)

    def give(self, given: Input) -> Decision:
        decision = decide(self.state, given, self.moment)
        entries: list[Event | InboxMessage] = list(decision.events)
        if isinstance(given, InboxMessage) and decision.refusal is None:
            entries.insert(0, given)
        for entry in entries:
            if isinstance(entry, Event):
                json.dumps(entry.data, allow_nan=False)
            self.state = evolve(self.state, entry)
            self.log.append(entry)
        assert (decision.after is None) == (not decision.events)
        assert decision.after in (None, self.state)
        if decision.here is not None:
            self.state = self.state.with_here(decision.here)
        self.last = decision
        self.wait(0.1)
        return decision

    def act(self, action: str, **arguments: Any) -> Decision:
        return self.give(Acted(action, arguments))

    def must(self, action: str, **arguments: Any) -> list[str]:
        decision = self.act(action, **arguments)
        assert decision.refusal is None, (action, arguments, decision.refusal)
        return [event.type for event in decision.events]

    def refused(self, action: str, **arguments: Any) -> str:
        before, decision = self.state.with_here(self.state.here), self.act(action, **arguments)
        assert decision.refusal is not None, (action, arguments, decision.events)
        assert self.state == before or action in {"scan", "choose"}
        return decision.refusal.reason

    def receive(self, type_: str, data: Mapping[str, Any], kind: str | None = None) -> Decision:
        self.messages += 1
        kind = kind or type_.partition(".")[0]
        return self.give(InboxMessage(f"m{self.messages}", kind, type_, json.loads(json.dumps(data))))

    def scan(self, code: str, **members: Any) -> Decision:
        members.setdefault("kind", "amazon_tba" if code.startswith("TBA") else None)
        return self.give(Scanned(code, members.pop("codes", (code,)), device="hand", **members))

    def scan_parcel(self, number: int, **members: Any) -> Decision:
        return self.scan(f"TBA{number:012d}", **members)

    def code(self) -> str | None:
        return self.last.feedback.code if self.last.feedback is not None else None

    def at(self, place: Mapping[str, float], speed_mps: float = 0.0, **members: Any) -> Decision:
        fix = Located(self.uptime_ms, 3, place["latitude"], place["longitude"], 5.0, speed_mps)
        return self.give(replace(fix, **members))

    def stand(self, place: Mapping[str, float], seconds: int = 8) -> list[str]:
        """Stand somewhere with a receiver that reports each second."""
        types = []
        for _ in range(seconds):
            types += [event.type for event in self.at(place).events]
            self.wait(0.9)
        return types

    @property
    def block(self) -> Block:
        block = self.state.block
        assert block is not None
        return block

    def parcel(self, number: int | str) -> Parcel:
        return self.block.parcels[number if isinstance(number, str) else f"P{number}"]

    def stop(self, stop_id: str) -> Stop:
        return self.block.stops[stop_id]

    def counts(self) -> dict[str, int]:
        return dict(Counter(parcel.state for parcel in self.block.parcels.values()))

    def events(self, type_: str) -> list[Event]:
        return [entry for entry in self.log if isinstance(entry, Event) and entry.type == type_]

    def restart(self) -> None:
        """The power was gone: only the log is left."""
        self.state = snapshot.load(snapshot.dump(self.state), self.policy)


def assigned(parcels: int = 4, per_stop: int = 1, *, policy: Policy | None = None, **members: Any) -> CoreUnit:
    unit = CoreUnit(policy)
    unit.receive("block.assigned", block_data(parcels, per_stop, **members))
    return unit


def loading(parcels: int = 4, per_stop: int = 1, **members: Any) -> CoreUnit:
    unit = assigned(parcels, per_stop, **members)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    return unit


def loaded(parcels: int = 4, per_stop: int = 1, **members: Any) -> CoreUnit:
    unit = loading(parcels, per_stop, **members)
    for number in range(1, parcels + 1):
        unit.scan_parcel(number)
    unit.must("close_loading")
    return unit


def on_route(parcels: int = 4, per_stop: int = 1, **members: Any) -> CoreUnit:
    unit = loaded(parcels, per_stop, **members)
    unit.must("depart")
    return unit


def on_route_with(data: dict[str, Any], *loaded: int) -> CoreUnit:
    """The vehicle has departed with these parcels of a block."""
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.at(STATION)
    unit.must("check_in")
    unit.must("start_loading")
    for number in loaded:
        unit.scan_parcel(number)
    unit.must("close_loading")
    unit.must("depart")
    return unit


def at_door(parcels: int = 4, per_stop: int = 1, **members: Any) -> CoreUnit:
    """At the first delivery stop."""
    unit = on_route(parcels, per_stop, **members)
    unit.stand(door(1))
    return unit


def tick(unit: CoreUnit) -> Decision:
    return unit.give(Tick())
