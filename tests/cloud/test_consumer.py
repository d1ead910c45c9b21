"""The consumer as a process, with a real broker: what it is told to keep, it keeps once, whatever happens around it."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import resource
import signal
import subprocess
import sys
import threading
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
        self._log = store.with_suffix(".log")
        who = ["--broker", broker.url, "--fleet", "fleet", "--store", str(store)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cloud.consumer", *who, *more], cwd=HERE, stdout=subprocess.PIPE, stderr=log
            )

    def log(self) -> str:
        return self._log.read_text()

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


def send(broker: Broker, payloads: list[bytes], topic: str = f"{ROOT}/events/parcel/loaded") -> None:
    messages = [(topic, payload, 1, False) for payload in payloads]
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


def test_it_gives_up_when_the_time_is_over(broker: Broker, tmp_path: Path) -> None:
    running = Consumer(broker, tmp_path / "cloud.sqlite", "--until-sequence", "20", "--timeout", "1")
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


def test_on_a_full_disk_it_ends_with_the_reason_and_what_it_could_not_keep_comes_again(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    running, writer = consumer(), Writer()
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))
    send(broker, [writer.event(filling="x" * 1000) for _ in range(1000)])
    running.process.communicate(timeout=PATIENCE_S)
    assert running.process.returncode == 1
    assert "nothing can be kept" in running.log().splitlines()[-1]
    assert "Traceback" not in running.log()
    report = consumer().until(lambda report: report["last_sequence"] == 1000 and report["gaps"] == 0)
    assert (report["events_received"], report["chain_intact"]) == (1000, True)


def test_it_survives_a_broker_that_restarts(broker: Broker, consumer: Callable[..., Consumer]) -> None:
    running, writer = consumer(), Writer()
    send(broker, [writer.event() for _ in range(10)])
    running.until(lambda report: report["events_received"] == 10)
    broker.restart()
    send(broker, [writer.event() for _ in range(10)])
    assert running.until(lambda report: report["events_received"] == 20)["gaps"] == 0


@contextlib.contextmanager
def commands(broker: Broker) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """What the consumer tells the units of the fleet: the inbox's topic and the command."""
    hearing = subprocess.Popen(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", "kerbside/+/+/inbox/#", "-q", "1", "-v"],
        stdout=subprocess.PIPE,
    )
    assert hearing.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Read all the time: who cannot write what it hears does not answer its broker either, and is cut off.
    reading = threading.Thread(target=lambda stdout: [lines.put(line) for line in stdout], args=(hearing.stdout,))
    reading.start()
    told = (lines.get(timeout=PATIENCE_S).split(b" ", 1) for _ in itertools.count())
    try:
        yield ((topic.decode(), json.loads(message)["data"]) for topic, message in told)
    finally:
        hearing.kill()
        hearing.wait()
        reading.join()
        hearing.stdout.close()


def test_a_unit_that_speaks_for_another_is_not_booked_and_the_other_is_told_nothing(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    with commands(broker) as told:
        running, writer = consumer("--high-water"), Writer()
        events = [writer.event() for _ in range(3)]
        for topic in ("events/parcel/loaded", "telemetry/position"):
            send(broker, events, f"kerbside/fleet/mallory/{topic}")
        other = [event.replace(b'"/fleet/u1"', b'"/fleet/mallory"') for event in events]
        send(broker, other, "kerbside/fleet/mallory/events/parcel/loaded")
        honest = [event.replace(b'"/fleet/u1"', b'"/fleet/u3"') for event in events]
        send(broker, honest, "kerbside/fleet/u3/events/parcel/loaded")
        heard = {next(told)[0]}
        while "kerbside/fleet/u3/inbox/command" not in heard:
            heard.add(next(told)[0])
    assert heard <= {"kerbside/fleet/mallory/inbox/command", "kerbside/fleet/u3/inbox/command"}
    report = running.report()
    assert report["units"] == ["/fleet/mallory", "/fleet/u3"]
    assert report["events_received"] == 6
    assert {each["reason"].partition(":")[0] for each in report["kept_aside"][:6]} == {"source", "lane"}


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a sequence of twenty digits": lambda event: event.replace(b"00000000000000000001", b"99999999999999999999"),
    "a wildcard in its source": lambda event: event.replace(b"/fleet/u1", b"/fleet/+"),
    "every unit as its source": lambda event: event.replace(b"/fleet/u1", b"/fleet/#"),
    "a further level in its source": lambda event: event.replace(b"/fleet/u1", b"/fleet/u1/x"),
    "no subject": lambda event: event.replace(b'"subject"', b'"object"'),
    "no object as data": lambda event: event.replace(b'"data":{}', b'"data":[1]'),
    "no type": lambda event: event.replace(b'"org.kerbside.parcel.loaded.v1"', b"null"),
    "an object as its hash": lambda event: event.replace(b'"previoushash":"', b'"previoushash":{},"x":"'),
    "NaN": lambda event: event.replace(b'"data":{}', b'"data":{"n":NaN}'),
    "an infinite number": lambda event: event.replace(b'"data":{}', b'"data":{"n":1e999}'),
    "half a character": lambda event: event.replace(b"parcel/P1", b"parcel/\\ud800"),
    "deep nesting": lambda event: event.replace(b'"data":{}', b'"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
    "UTF-16": lambda event: event.decode().encode("utf-16"),
    "three megabytes": lambda event: event.replace(b'"data":{}', b'"data":{"n":"' + b"x" * 3_000_000 + b'"}'),
    "nothing at all": lambda _event: b"",
}


def test_no_payload_ends_the_consumer_neither_now_nor_at_its_next_start(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    running, writer = consumer("--high-water"), Writer()
    before = running.report()["unreadable"]
    bad = [change(Writer().event()) for change in HOSTILE.values()]
    for payload in bad:
        send(broker, [payload, writer.event()])
    report = running.until(lambda report: report["events_received"] == len(bad))
    assert report["unreadable"] == before + len(bad)
    running.end()
    send(broker, [*bad, writer.event()])
    running = consumer("--high-water")
    report = running.until(lambda report: report["events_received"] == len(bad) + 1)
    assert (report["gaps"], report["chain_intact"], report["units"]) == (0, True, ["/fleet/u1"])
    assert running.end()["events_received"] == len(bad) + 1
    assert "Traceback" not in running.log()


def test_a_flood_of_what_cannot_be_read_is_a_few_lines_of_its_log(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    running = consumer()
    send(broker, [b"\x1b[2J no event %d" % n for n in range(3000)], "kerbside/fleet/u1/events/\u202eé")
    running.until(lambda report: report["unreadable"] >= 3000)
    running.end()
    lines = running.log().splitlines()
    assert 0 < len(lines) < 10
    assert all(line.isprintable() and len(line) < 600 for line in lines)


def test_a_store_of_another_program_is_named_in_one_line(broker: Broker, tmp_path: Path) -> None:
    store = tmp_path / "other.sqlite"
    store.write_bytes(b"something else" * 100)
    running = Consumer(broker, store)
    running.process.communicate(timeout=PATIENCE_S)
    assert running.process.returncode == 1
    assert running.log().startswith(f"{store}: expected the store of a consumer")
    assert len(running.log().splitlines()) == 1


def test_it_tells_the_unit_up_to_where_everything_has_arrived_and_asks_for_what_is_missing(
    broker: Broker, consumer: Callable[..., Consumer]
) -> None:
    with commands(broker) as told:
        consumer("--high-water")
        writer = Writer()
        events = [writer.event() for _ in range(10)]
        send(broker, [*events[:6], *events[8:]])
        heard = []
        for topic, command in told:
            assert topic == f"{ROOT}/inbox/command"
            heard.append(command)
            if command["command"] == "replay":
                break
    assert (heard[-2]["command"], heard[-2]["sequence"]) == ("high_water", 6)
    assert (heard[-1]["from_sequence"], heard[-1]["to_sequence"]) == (7, 8)
