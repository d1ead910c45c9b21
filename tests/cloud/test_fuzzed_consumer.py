"""Whatever comes on whatever topic, the consumer runs on, and what it has booked is what the units have said.

Two honest units send their chains while a third sends what fulfils the contract, what nearly does, and what not every
reader understands alike, on its own topics and on those of the others. `--soak` sends 20,000 messages instead of 500.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from agent.delivery.model.inputs import Moment
from agent.journal.envelope import Chain, telemetry
from cloud.ledger import MAX_KEPT_ASIDE
from contract import schema as schemas
from contract.canonical import GENESIS, content_hash
from contract.topics import full_type
from drivers.simulated.servers import Broker
from tests.cloud.test_consumer import Consumer, commands
from tests.contract.strategies import JSON, TIMES, plainly, spoiled, unreadable, upward
from tests.contract.test_schema_and_models import formats
from tests.waiting import wait_until

HONEST, HOSTILE = ["u1", "u2"], "mallory"
OWN = "kerbside/fleet/u1"
WAITING = 1000
"""Messages on their way to the broker."""
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": [*HealthCheck],
}
RECOVERY = {"last_sequence": 3, "last_hash": "a" * 64, "next_sequence": 9, "lost": {"events": [[1, 2]], "messages": 0}}
MOMENT = Moment(1, 2, "boot", "ntp")
JUDGES = {
    "events": Draft202012Validator(schemas.schema("event"), format_checker=formats),
    "telemetry": Draft202012Validator(schemas.schema("telemetry"), format_checker=formats),
}


@dataclass
class Honest:
    """A unit that sends its events once or twice, and not always in their order."""

    name: str
    chain: Chain = field(init=False)
    late: list[bytes] = field(default_factory=list)
    samples: int = 0

    def __post_init__(self) -> None:
        self.chain = Chain(f"/fleet/{self.name}", 0, GENESIS)

    def messages(self, data: Any, chance: random.Random) -> Iterator[tuple[str, bytes]]:
        """What it sends now."""
        if chance.random() < 0.2:
            self.samples += 1
            sample = telemetry(f"/fleet/{self.name}", self.samples, "health", [data], MOMENT)
            yield f"kerbside/fleet/{self.name}/telemetry/health", sample
            return
        payload = self.chain.add("parcel.loaded", f"parcel/P{chance.randrange(9)}", data, MOMENT).payload
        if chance.random() < 0.1:
            self.late.append(payload)
            return
        for each in [payload] * chance.choice([1, 1, 2]) + ([self.late.pop()] if self.late else []):
            yield f"kerbside/fleet/{self.name}/events/parcel/loaded", each


@dataclass
class Expected:
    """What the consumer's account has to say of the hostile unit."""

    unreadable: int = 0
    booked: dict[str, dict[str, tuple[int, bool]]] = field(default_factory=lambda: {"events": {}, "telemetry": {}})
    """Lane → id → its sequence, and whether its hash is right: a right one takes the place of a wrong one."""

    def expect(self, topic: str, payload: bytes, envelope: Any) -> None:
        """Judge a message as an independent reader of the published schema does."""
        _, fleet, unit, channel, *_ = topic.split("/")
        right = (
            len(payload) <= 512 * 1024
            and channel in JUDGES
            and JUDGES[channel].is_valid(envelope)
            and envelope["source"] == f"/{fleet}/{unit}"
        )
        if not right:
            self.unreadable += 1
            return
        sound = channel == "events" and content_hash(envelope) == envelope["hash"]
        known = self.booked[channel].get(envelope["id"])
        if known is None or (sound and not known[1]):
            self.booked[channel][envelope["id"]] = int(envelope["sequence"]), sound

    def events(self) -> int:
        """How many events are in its account, which begins with the first."""
        return sum(sequence > 0 for sequence, _ in self.booked["events"].values())


def hashed(envelope: dict[str, Any]) -> dict[str, Any]:
    """An event with the hash of its content, as anybody can compute it."""
    return {**envelope, "hash": content_hash(envelope)} if "hash" in envelope else envelope


def hostile_envelopes() -> st.SearchStrategy[Any]:
    """Envelopes that the contract allows, mostly of the hostile unit itself, and such as nearly are some."""
    sources = st.sampled_from([f"/fleet/{HOSTILE}"] * 3 + ["/fleet/u1", "/fleet/+", "/other/mallory", "/fleet/#"])
    data = (
        JSON.filter(lambda value: isinstance(value, dict)) | spoiled(st.just(RECOVERY)) | st.just({"state": "LOADED"})
    )
    types = st.sampled_from(["unit.journal_recovered", "parcel.manifested", "parcel.delivered", "unheard.of"])
    right = st.builds(
        lambda envelope, **changes: {**envelope, **changes},
        upward("event"),
        source=sources,
        time=TIMES,
        type=types.map(full_type),
        data=data,
        sequence=st.integers(0, 50).map("{:020d}".format) | st.from_regex("0{5}[0-9]{15}", fullmatch=True),
    )
    right |= st.builds(
        lambda envelope, **changes: {**envelope, **changes}, upward("telemetry"), source=sources, time=TIMES
    )
    right |= right.map(hashed)
    return right | spoiled(right) | upward("status") | upward("reply") | upward("media_manifest") | JSON


def topics() -> st.SearchStrategy[str]:
    """Topics that the broker hands to the consumer."""
    units = st.sampled_from([HOSTILE] * 4 + HONEST)
    return st.builds(
        "kerbside/fleet/{}/{}/{}".format,
        units,
        st.sampled_from(["events", "events", "telemetry"]),
        st.sampled_from(["parcel/loaded", "health", "unit/journal_recovered", "\u202e", "x" * 300, "a/b/c/d"]),
    )


@contextmanager
def publishing(broker: Broker) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2, "publisher", protocol=MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


@pytest.mark.timeout(3600)
def test_after_a_flood_of_hostile_messages_its_books_are_right_and_it_runs_on(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rounds = (20_000 if pytestconfig.getoption("--soak") else 500) // 7  # each sends seven messages or more
    honest = [Honest(name) for name in HONEST]
    expected = Expected()
    store = tmp_path / "cloud.sqlite"
    with (
        Broker(tmp_path / "broker", max_inflight=100) as broker,
        commands(broker) as told,
        publishing(broker) as client,
    ):
        running = Consumer(broker, store, "--high-water")
        wait_until(
            lambda: client.publish(f"{OWN}/events/x", b"ready?", 1) and running.report().get("unreadable"),
            "the consumer to hear something",
        )
        honest[0].samples += 1  # it comes behind all that was asked
        client.publish(f"{OWN}/telemetry/health", telemetry("/fleet/u1", 1, "health", [], MOMENT), 1)
        running.until(lambda report: report["telemetry_received"] == 1)
        before = running.report()["unreadable"]
        began_s = time.monotonic()

        def send(topic: str, payload: bytes) -> None:
            sent = client.publish(topic, payload, 1)
            if sent.mid % WAITING == 0:
                sent.wait_for_publish()

        @settings(max_examples=rounds, **SETTINGS)
        @given(
            st.dictionaries(st.text(max_size=8), JSON, max_size=4),
            st.lists(topics(), min_size=6, max_size=6),
            hostile_envelopes(),
            st.none() | unreadable(upward("event")),
            st.integers(0, 2**32),
        )
        def flood(data: Any, places: list[str], envelope: Any, noise: bytes | None, seed: int) -> None:
            chance = random.Random(seed)
            for unit in honest:
                for message in unit.messages(data, chance):
                    send(*message)
            if noise is not None:
                expected.unreadable += 1
                send(places[0], noise)
            speaks_for_the_others = isinstance(envelope, dict) and envelope.get("source") in ["/fleet/u1", "/fleet/u2"]
            payload = plainly(envelope)
            for topic in places:
                if speaks_for_the_others:  # whom the broker lets publish below a unit's topic speaks for that unit
                    topic = topic.replace("/u1/", f"/{HOSTILE}/").replace("/u2/", f"/{HOSTILE}/")
                expected.expect(topic, payload, envelope)
                send(topic, payload)

        flood()
        for unit in honest:
            for payload in unit.late:
                send(f"kerbside/fleet/{unit.name}/events/parcel/loaded", payload)
        last = {unit.name: unit.chain.sequence for unit in honest}
        booked = sum(last.values()) + expected.events()
        report = running.until(lambda report: report["events_received"] >= booked)
        took_s = time.monotonic() - began_s

        assert running.process.poll() is None
        assert report["events_received"] == booked
        assert report["unreadable"] == before + expected.unreadable
        assert report["telemetry_received"] == sum(unit.samples for unit in honest) + len(expected.booked["telemetry"])
        assert set(report["units"]) == {
            "/fleet/u1",
            "/fleet/u2",
            *(["/fleet/mallory"] if expected.booked["events"] else []),
        }
        assert [gap for gap in report["missing"] if gap[0] != "/fleet/mallory"] == []
        assert [text for text in report["breaks"] if "/fleet/u" in text] == []
        assert len(report["kept_aside"]) <= MAX_KEPT_ASIDE
        marks = {}
        for topic, command in told:
            unit_name = topic.split("/")[2]
            assert unit_name in {*HONEST, HOSTILE}
            if command["command"] == "high_water":
                marks[unit_name] = command["sequence"]
            if {name: marks.get(name) for name in HONEST} == last:
                break
        running.end()
        log = running.log()
        assert "Traceback" not in log
        assert len(log.splitlines()) < 10 + took_s
        again = Consumer(broker, store, "--high-water")
        send(
            "kerbside/fleet/u1/events/parcel/loaded",
            honest[0].chain.add("parcel.loaded", "parcel/P1", {}, MOMENT).payload,
        )
        again.until(lambda again: again["events_received"] == booked + 1)
        assert again.end()["units"] == report["units"]
