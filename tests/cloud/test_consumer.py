"""The consumer as a process, with a real broker: what it is told to keep, it keeps once, whatever happens around it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish
from paho.mqtt.client import MQTTv5

from drivers.simulated.servers import Broker
from tests.cloud.test_ledger import Writer
from tests.waiting import PATIENCE_S, wait_until

HERE = Path(__file__).parents[2]
ROOT = "kerbside/fleet/u1"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", max_inflight=100) as running:
        yield running


class Consumer:
    """`python -m cloud.consumer run` on a store of its own."""

    def __init__(self, broker: Broker, store: Path, *more: str) -> None:
        self.store = store
        who = ["--broker", broker.url, "--fleet", "fleet", "--unit", "u1", "--store", str(store)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud.consumer", *who, *more], cwd=HERE, stdout=subprocess.PIPE
        )

    def report(self) -> dict[str, Any]:
        answer = subprocess.run(
            [sys.executable, "-m", "cloud.consumer", "report", "--store", str(self.store)],
            cwd=HERE,
            capture_output=True,
            check=False,
        )
        return dict(json.loads(answer.stdout)) if answer.returncode == 0 else {}

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def met() -> dict[str, Any] | None:
            report = self.report()
            return report if report and condition(report) else None

        report: dict[str, Any] = wait_until(met, "the account", instead=self.report)
        return report

    def end(self, how: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
        self.process.send_signal(how)
        answer, _ = self.process.communicate(timeout=PATIENCE_S)
        return dict(json.loads(answer)) if answer else {}


@pytest.fixture
def consumer(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Consumer]]:
    """Starts a consumer on the test's store and waits until the broker knows it."""
    running: list[Consumer] = []

    def start(*more: str) -> Consumer:
        started = Consumer(broker, tmp_path / "cloud.sqlite", *more)
        running.append(started)
        before = started.report().get("unreadable", 0)

        def hears() -> bool:
            send(broker, [b"not an event"])
            return bool(started.report().get("unreadable", 0) > before)

        wait_until(hears, "the consumer to hear something")
        return started

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def send(broker: Broker, payloads: list[bytes]) -> None:
    messages = [(f"{ROOT}/events/parcel/loaded", payload, 1, False) for payload in payloads]
    publish.multiple(messages, hostname="127.0.0.1", port=broker.port, protocol=MQTTv5)


def test_it_prints_its_account_when_it_is_told_to_end(broker: Broker, consumer: Callable[..., Consumer]) -> None:
    running, writer = consumer(), Writer()
    events = [writer.event() for _ in range(100)]
    send(broker, [*events, *events[40:50]])
    running.until(lambda report: report["events_received"] + report["duplicates_removed"] == 110)
    account = running.end()
    assert running.process.returncode == 0
    assert (account["events_received"], account["duplicates_removed"], account["gaps"]) == (100, 10, 0)
    assert account["chain_intact"]
    assert account["by_type"] == {"parcel.loaded": 100}


def test_it_ends_by_itself_once_everything_up_to_a_sequence_is_there(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    running, writer = consumer("--until-sequence", "20", "--timeout", "60"), Writer()
    events = [writer.event() for _ in range(20)]
    send(broker, [*events[:5], *events[6:]])
    running.until(lambda report: report["events_received"] == 19)
    assert running.process.poll() is None, "one is missing"
    send(broker, [events[5]])
    answer, _ = running.process.communicate(timeout=PATIENCE_S)
    assert (running.process.returncode, json.loads(answer)["events_received"]) == (0, 20)


def test_it_gives_up_when_the_time_is_over(broker: Broker, consumer: Callable[..., Consumer]) -> None:
    running = consumer("--until-sequence", "20", "--timeout", "1")
    running.process.communicate(timeout=PATIENCE_S)
    assert running.process.returncode == 1


def test_what_came_while_it_was_away_is_there_when_it_is_back(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    running, writer = consumer(), Writer()
    send(broker, [writer.event() for _ in range(10)])
    running.until(lambda report: report["events_received"] == 10)
    running.end()
    send(broker, [writer.event() for _ in range(10)])
    assert consumer().until(lambda report: report["events_received"] == 20)["chain_intact"]


def test_a_kill_loses_nothing_because_it_acknowledges_only_what_it_has_kept(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    writer = Writer()
    for _ in range(3):
        running = consumer()
        send(broker, [writer.event() for _ in range(400)])
        running.end(signal.SIGKILL)
    report = consumer().until(lambda report: report["last_sequence"] == 1200 and report["gaps"] == 0)
    assert (report["events_received"], report["chain_intact"]) == (1200, True)


def test_it_survives_a_broker_that_restarts(broker: Broker, consumer: Callable[..., Consumer]) -> None:
    running, writer = consumer(), Writer()
    send(broker, [writer.event() for _ in range(10)])
    running.until(lambda report: report["events_received"] == 10)
    broker.restart()
    send(broker, [writer.event() for _ in range(10)])
    assert running.until(lambda report: report["events_received"] == 20)["gaps"] == 0


def test_it_tells_the_unit_up_to_where_everything_has_arrived_and_asks_for_what_is_missing(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    unit = subprocess.Popen(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", f"{ROOT}/inbox/command", "-q", "1"],
        stdout=subprocess.PIPE,
    )
    assert unit.stdout is not None
    consumer("--high-water")
    writer = Writer()
    events = [writer.event() for _ in range(10)]
    send(broker, [*events[:6], *events[8:]])
    told = []
    try:
        for line in unit.stdout:
            told.append(json.loads(line)["data"])
            if told[-1]["command"] == "replay":
                break
    finally:
        unit.kill()
        unit.communicate()
    assert told[-2]["command"] == "high_water"
    assert told[-2]["sequence"] == 6
    assert (told[-1]["from_sequence"], told[-1]["to_sequence"]) == (7, 8)
