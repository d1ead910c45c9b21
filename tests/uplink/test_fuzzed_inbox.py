"""Whatever the cloud sends, the unit runs on: online, its state, log and memory of bounded size, its chain whole.

A real agent gets from a real broker what fulfils the contract, what nearly does, and what not every reader understands
alike: every type of message, with hostile numbers, texts, times, nesting and sizes. With `--soak` it gets 20,000, else
500.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessageInfo, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.journal.store import Journal
from contract import schema as schemas
from contract.models import MODELS
from contract.vocabulary import INBOX
from demo.messages import envelope
from drivers.simulated import Broker, SimulatedScanner
from tests.agent.heard import ROOT, hearing
from tests.agent.running_agent import World, until
from tests.contract.examples import EXAMPLES
from tests.contract.strategies import ODD, conforming, plainly, spoiled, unreadable
from tests.process import peak_bytes
from tests.waiting import wait_until

MAX_STATE_BYTES = 4 * 1024 * 1024
MAX_MEMORY_BYTES = 320 * 1024 * 1024
"""The service's own limit (`systemd/kerbside.service`)."""
MAX_LOG_LINES = 300
LIKE_IT = 5
"""Messages made out of each that hypothesis draws, which takes it long."""
WAITING = 200
"""Messages on their way to the broker."""
KIND_OF = {type_: kind for kind, types in INBOX.items() for type_ in types}
BLOCKS = [f"B{number}" for number in range(6)]
PARCELS = [*(f"{block}-P1" for block in BLOCKS), "P?"]
OWN_IDS = ("offer_id", "message_id", "feedback_id", "advisory_id", "command_id")
COMMAND = ("command_id", "command", "from_sequence", "to_sequence", "sequence", "sha256")

WAYS = ["as it is"] * 8 + ["spoiled"] * 6 + ["odd", "unreadable", "elsewhere"] * 2 + ["large"]

ids = itertools.count()
"""Of messages, so that most are no repetitions."""


@cache
def conforming_message(type_: str) -> st.SearchStrategy[tuple[str, Any]]:
    """What the published schema of a type allows, without looking at what refers to what."""
    published = schemas.schema(type_)
    definitions = {**published["$defs"], "Json": {}}  # whatever there is, instead of a definition by itself
    return conforming(published, definitions).map(lambda document: (KIND_OF[type_], document))


@st.composite
def messages_of_a_day(draw: st.DrawFn) -> tuple[str, Any]:
    """Messages that belong to each other: of some blocks around now, for their offers, parcels and drivers."""
    type_ = draw(st.sampled_from([*EXAMPLES]))
    kind, example = EXAMPLES[type_]
    data = copy.deepcopy(example)
    begins = datetime.now(UTC) + timedelta(hours=draw(st.integers(-10, 30)))
    block_id = draw(st.sampled_from(BLOCKS))
    changes: dict[str, Any] = {
        "block_id": block_id,
        "starts_at": begins.isoformat(),
        "ends_at": (begins + timedelta(hours=draw(st.integers(1, 9)))).isoformat(),
        "expires_at": (begins - timedelta(hours=1)).isoformat(),
        "manifest_version": draw(st.integers(0, 30)),
        "parcel_ids": draw(st.lists(st.sampled_from(PARCELS), min_size=1, max_size=9)),
        **{name: f"{name}-{draw(st.integers(0, 3000))}" for name in OWN_IDS},
        "text": draw(st.text(max_size=4000)),
        "command": draw(st.sampled_from(["replay", "high_water", "media_stored", "state", "update_check", "?"])),
        **{name: draw(NUMBERS) for name in ("from_sequence", "to_sequence", "sequence")},
        "sha256": "0" * 64,
    }  # fmt: skip
    data |= {name: value for name, value in changes.items() if name in data or type_ == "command.requested"}
    if type_ == "command.requested":
        data = {
            name: data[name] for name in ("command_id", "command", "from_sequence", "to_sequence", "sequence", "sha256")
        }
    for parcel in data.get("parcels", []):
        parcel["parcel_id"] = f"{block_id}-P1"
        parcel["state"] = draw(st.sampled_from([None, None, "LOADED", "MANIFESTED"]))
        parcel["tracking_number"] = f"TBA{draw(st.integers(0, 10**12 - 1)):012d}"
    return kind, envelope(type_, data)


NUMBERS = st.sampled_from([0, 1, 2, 5, 10**6, 999_999_999_999]) | st.integers(0, 999_999_999_999)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "ResponseTopic": st.sampled_from(
            [
                "kerbside/demo/u1/answers",
                "a/\ufeff",
                "kerbside/demo/u1/status",
                "kerbside/demo/u1/inbox/command",
                "x" * 3000,
            ]
        ),
        "CorrelationData": st.binary(max_size=60) | st.just(b"x" * 60_000),
        "UserProperty": st.lists(st.tuples(st.sampled_from(["a", "\ufeff"]), st.just("b")), min_size=1, max_size=3),
        "ContentType": st.sampled_from(["application/cloudevents+json", "\ufeff"]),
    },
)


@st.composite
def inbox(draw: st.DrawFn) -> tuple[str, list[bytes], dict[str, Any]]:
    """Some messages like each other: the topic's last level, the payloads, the properties."""
    of_a_day = draw(st.integers(0, 2))
    kind, document = draw(messages_of_a_day() if of_a_day else conforming_message(draw(st.sampled_from([*MODELS]))))
    document["id"] = draw(st.just(f"M-{next(ids)}") | st.sampled_from(["M-1", "M-2"]) | st.text(max_size=130))
    chance = Random(draw(st.integers(0, 2**32)))
    more = [plainly(varied(document, chance)) for _ in range(LIKE_IT - 1)]
    match draw(st.sampled_from(WAYS)):
        case "spoiled":
            payload = plainly(draw(spoiled(st.just(document))))
        case "odd":
            payload = plainly(draw(ODD))
        case "unreadable":
            payload = draw(unreadable(st.just(document)))
        case "elsewhere":
            kind, payload = draw(st.sampled_from([*INBOX, "weather", "\u202e", "x" * 300])), plainly(document)
        case "large":
            document["data"] |= {"more": draw(st.sampled_from(["x", "[{", "\\", "\u202e"])) * 400_000}
            payload = plainly(document)
        case _:
            payload = plainly(document)
    return kind, [payload, *more], draw(PROPERTIES)


HOSTILE: list[Any] = [
    None, True, 0, -1, 1e300, 2**53 - 1, 2**43, 999_999_999_999, "", "\x00", "\u202e", "9" * 20, "x" * 5000, [], {},
    "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-11-29T23:59:60Z", ["x"] * 300, {str(n): n for n in range(99)},
    "P?", "B0", "B1", "LOADED", "replay", "high_water", "kerbside/#", "\u2028", {"a": {"b": [{"c": None}]}}, -91.5,
]  # fmt: skip


def varied(document: Any, chance: Random) -> Any:
    """The same as another message, with a few of its members exchanged for hostile ones, for each other or for none."""
    made = json.loads(plainly(document))
    made["id"] = f"M-{next(ids)}"
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        holders = list(holders_in(made.get("data")))
        if not holders:
            break
        holder = chance.choice(holders)
        key = chance.choice([*holder] if isinstance(holder, dict) else range(len(holder)))
        match chance.randrange(4):
            case 0:
                del holder[key]
            case 1:
                holder[key] = copy.deepcopy(chance.choice(holders))
            case _:
                holder[key] = copy.deepcopy(chance.choice(HOSTILE))
    return made


def holders_in(node: Any) -> Iterator[Any]:
    """Each object and list in a document that holds something."""
    if isinstance(node, dict | list) and node:
        yield node
        for inner in node.values() if isinstance(node, dict) else node:
            yield from holders_in(inner)


ONLY_GENERATE: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": [*HealthCheck],
}


class Sender:
    """A client that sends to the inbox and listens to nothing."""

    def __init__(self, broker: Broker) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._waiting: list[MQTTMessageInfo] = []
        self.sent = 0

    def send(self, kind: str, payload: bytes, properties: dict[str, Any]) -> None:
        described = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(described, name, value)
        self._waiting.append(self._client.publish(f"{ROOT}/inbox/{kind}", payload, 1, properties=described))
        self.sent += 1
        if len(self._waiting) >= WAITING:
            self.all_sent()

    def all_sent(self) -> None:
        for sent in self._waiting:
            sent.wait_for_publish(120)
        self._waiting.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def send(count: int, sender: Sender) -> None:
    """So many messages."""

    @settings(
        max_examples=count // LIKE_IT,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(inbox())
    def one(messages: tuple[str, list[bytes], dict[str, Any]]) -> None:
        kind, payloads, properties = messages
        for payload in payloads:
            sender.send(kind, payload, properties)

    one()
    sender.all_sent()


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_unit_that_is_sent_whatever_there_is_runs_on_in_bounds(tmp_path: Path, count: int) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", max_inflight=100))
        world = World(tmp_path, stack, broker, stack.enter_context(SimulatedScanner()))
        agent = world.agent()
        agent.start_ready()
        until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
        sender = Sender(broker)
        stack.callback(sender.close)
        send(count, sender)
        assert sender.sent >= count

        for last in ("before a restart", "after it"):
            with hearing(broker) as heard:
                asked = {"command_id": last, "command": "replay", "from_sequence": 1, "to_sequence": 1}
                world.send("command", envelope("command.requested", asked))
                answer = wait_until(
                    lambda heard=heard, last=last: [each for each in heard.of("replies") if each["command_id"] == last],
                    "every message to be taken",
                    60 + count / 10,
                )
                assert answer[0]["ok"]
            seen = until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
            assert len(plainly(seen)) <= MAX_STATE_BYTES
            assert peak_bytes(agent.pid) <= MAX_MEMORY_BYTES
            agent.kill()
            agent.start_ready()
        agent.stop()

        said = agent.log()
        assert not re.findall(r'Traceback|^  File "', said, re.MULTILINE), said[-5000:]
        assert len(said.splitlines()) <= MAX_LOG_LINES
        assert all(line.isprintable() for line in said.splitlines())
        journal = Journal.open(agent.state_dir, max_bytes=1 << 30, retain_days=30)
        snapshot = journal.replay().snapshot
        journal.close()
        assert len(snapshot or b"") <= MAX_STATE_BYTES
        verified = subprocess.run(
            [sys.executable, "-m", "agent.cli", "journal", "verify", "--settings", str(agent.settings)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert verified.returncode == 0, verified.stdout + verified.stderr
