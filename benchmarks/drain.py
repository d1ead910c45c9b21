"""How fast a backlog drains to Mosquitto, next to bare paho with the same window in the same run.

    python benchmarks/drain.py [--events 50000] [--runs 3] [--json]

Ours is the whole way: events read from the journal, published, acknowledged, the cursor durable. The peer publishes
the same bytes to the same topics with the same properties from a list in memory, with paho's own network thread and
its own queue of the same window. Runs alternate; the figures are medians. A fresh broker serves each pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from _backlog import backlog, fill, now
from _verdict import Goal, conclude
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.identity.seal import Sealer
from agent.journal.entries import EventEntry
from agent.journal.store import Journal
from agent.settings import BrokerSettings
from agent.uplink.inbox import InboxReader
from agent.uplink.uplink import Listeners, Uplink
from contract.topics import Topics
from drivers.simulated.servers import Broker

FLEET, UNIT = "bench", "u1"
GOAL = 0.60
"""Of what bare paho drains in the same run."""


def nothing(*_told: object) -> None:
    """What the uplink tells is not needed here."""


def ours(broker: Broker, state_dir: Path, backlog: list[EventEntry], window: int) -> float:
    """Events a second, from the start of the uplink to the cursor on disk."""
    *events, last = backlog
    state_dir.mkdir()
    journal = Journal.open(state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
    fill(journal, events)
    settings = BrokerSettings(url=broker.url, max_inflight=window)
    reader = InboxReader(Sealer(state_dir, {}))
    silent = Listeners(on_message=nothing, on_state=nothing, on_session_lost=nothing, on_damage=nothing)
    uplink = Uplink(settings, FLEET, UNIT, journal, reader, silent, state_dir=state_dir, now=now)
    begun = time.perf_counter()
    uplink.start()
    while journal.confirmed < events[-1].sequence:
        time.sleep(0.002)
    fill(journal, [last])  # a commit takes the cursor along
    took = time.perf_counter() - begun
    uplink.stop()
    journal.close()
    return len(events) / took


def bare(broker: Broker, events: list[EventEntry], window: int) -> float:
    """Events a second, from connect to the last PUBACK."""
    topic = Topics("kerbside", FLEET, UNIT).event("parcel.delivered")
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "application/cloudevents+json"
    client = Client(CallbackAPIVersion.VERSION2, "bench-bare", protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(window)
    slots = threading.Semaphore(window)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda *_: slots.release()
    begun = time.perf_counter()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    connected.wait()
    for event in events:
        slots.acquire()
        client.publish(topic, event.payload, 1, properties=properties)
    for _ in range(window):
        slots.acquire()
    took = time.perf_counter() - begun
    client.disconnect()
    client.loop_stop()
    return len(events) / took


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--events", type=int, default=50_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    events = backlog(chosen.events + 1, FLEET, UNIT)
    size = statistics.mean(len(event.payload) for event in events)
    results = []
    for inflight in (100, 20):
        rates: dict[str, list[float]] = {"ours": [], "bare paho": []}
        for run in range(chosen.runs):
            with tempfile.TemporaryDirectory() as folder:
                broker = Broker(Path(folder) / "broker", persistence=False, max_inflight=inflight)
                with broker:
                    pair = [
                        ("ours", lambda: ours(broker, Path(folder) / "state", events, inflight)),  # noqa: B023
                        ("bare paho", lambda: bare(broker, events[:-1], inflight)),  # noqa: B023
                    ]
                    for name, measure in pair if run % 2 == 0 else reversed(pair):
                        rates[name].append(measure())
        medians = {name: statistics.median(values) for name, values in rates.items()}
        results.append(
            {
                "window": inflight,
                "events": chosen.events,
                "event_bytes": round(size),
                "ours_per_s": round(medians["ours"]),
                "bare_paho_per_s": round(medians["bare paho"]),
                "ratio": round(medians["ours"] / medians["bare paho"], 2),
            }
        )
    if chosen.json:
        print(json.dumps(results))
    else:
        for result in results:
            print(
                "window {window:>3}: {events} events of {event_bytes} B: ours {ours_per_s:>6}/s, "
                "bare paho {bare_paho_per_s:>6}/s".format(**result)
            )
    goals = [
        Goal(f"share of bare paho's rate with a window of {result['window']}", result["ratio"], at_least=GOAL)
        for result in results
    ]
    raise SystemExit(conclude(goals, sys.stderr if chosen.json else None))


if __name__ == "__main__":
    main()
