"""A consumer as it should be: stable client id, lasting session, acknowledgement only after its own commit.

What comes below a unit's topic is that unit's: an envelope that names another, or does not fulfil the contract, is
counted, kept aside and acknowledged like any other, so that it cannot come again at every start.

    python -m cloud.consumer run --broker mqtt://127.0.0.1:1883 --fleet demo --unit u1 --store events.sqlite
    python -m cloud.consumer report --store events.sqlite

`run` goes on until SIGTERM or until the sequence asked for has arrived; then, and at any time with `report`, one JSON
object tells what has arrived: events, duplicates removed, gaps, whether the chain holds, and where the parcels are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import queue
import signal
import sqlite3
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud.intake import Intake, Message, Unreadable
from cloud.ledger import Ledger, LedgerError
from contract.topics import Topics, full_type

log = logging.getLogger(__name__)

SESSION_EXPIRY_S: Final = 7 * 86_400
BATCH: Final = 500
"""Messages in one transaction, and on their way from the broker before the first is acknowledged."""
MAX_PACKET_BYTES: Final = 16 * 1024 * 1024
"""What is larger the broker leaves out."""
WARN_EVERY_S: Final = 10.0
"""At most one line is logged in this time about what could not be read."""
HIGH_WATER_EVERY_S: Final = 1.0
REPLAY_AFTER_S: Final = 3.0
"""How long an event may be missing before the unit is asked for it: one that was refused comes late, but it comes."""


class Consumer:
    """Subscribes to the units of a fleet and keeps what they send."""

    def __init__(
        self,
        broker: str,
        ledger: Ledger,
        *,
        fleet: str,
        unit: str = "+",
        topic_root: str = "kerbside",
        client_id: str | None = None,
        high_water: bool = False,
        ca_file: Path | None = None,
        username: str | None = None,
        password_file: Path | None = None,
    ) -> None:
        self._ledger = ledger
        self._topic_root = topic_root
        self._intake = Intake(topic_root)
        self._topics = Topics(topic_root, fleet, unit)
        self._high_water = high_water
        self._told: dict[str, int] = {}
        self._told_s = 0.0
        self._tell_again = False
        """A broker that restarted may have lost what we told."""
        self._fresh: set[str] = set()
        """Units that have sent something since they were told, or still owe something."""
        self._missing_since_s: dict[str, float] = {}
        self._generation = 0
        self._arrived: queue.Queue[_Arrived] = queue.Queue(2 * BATCH)
        self._warned_s = -WARN_EVERY_S
        self._not_told = 0
        """Unreadable messages since the last line about them."""
        self._stopping = threading.Event()
        parts = urlsplit(broker)
        self._host, self._port = (
            parts.hostname or "127.0.0.1",
            parts.port or (8883 if parts.scheme == "mqtts" else 1883),
        )
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id or f"consumer-{fleet}-{'all' if unit == '+' else unit}",
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        if parts.scheme == "mqtts":
            client.tls_set(ca_certs=None if ca_file is None else str(ca_file))
        if username is not None:
            client.username_pw_set(username, password_file.read_text().strip() if password_file else None)
        client.reconnect_delay_set(1, 5)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        self._client = client

    def run(self, *, until_sequence: int | None = None, timeout_s: float | None = None) -> bool:
        """Consume until `stop`, or until everything up to a sequence number is there; false if the time ran out."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = BATCH
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        self._client.connect_async(self._host, self._port, 30, clean_start=False, properties=properties)
        self._client.loop_start()
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while not self._stopping.is_set():
                if until_sequence is not None and self._ledger.complete(until_sequence):
                    return True
                if deadline_s is not None and time.monotonic() > deadline_s:
                    return False
                self._take()
        finally:
            self._client.disconnect()
            self._client.loop_stop()
        return until_sequence is None or self._ledger.complete(until_sequence)

    def stop(self, *_signal: Any) -> None:
        """End `run`; may be called from a signal handler."""
        self._stopping.set()

    def _take(self) -> None:
        """Everything that has come, in one transaction, and only then the acknowledgements."""
        batch: list[_Arrived] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._arrived.get(timeout=0.2))
            while len(batch) < BATCH:
                batch.append(self._arrived.get_nowait())
        if batch:
            self._fresh |= self._ledger.add(arrived.content for arrived in batch)
            for arrived in batch:
                # An identifier belongs to its connection: on the next one it may stand for another message.
                if arrived.generation == self._generation:
                    self._client.ack(arrived.mid, arrived.qos)
            self._warn(batch)
        if self._tell_again:
            self._tell_again = False
            self._told.clear()
            self._fresh.update(self._ledger.units())
        if self._high_water and self._fresh and time.monotonic() - self._told_s >= HIGH_WATER_EVERY_S:
            self._talk_back()

    def _warn(self, batch: list[_Arrived]) -> None:
        """Say what could not be read: one line for many, because anybody may send what cannot be read."""
        unreadable = [arrived.content for arrived in batch if isinstance(arrived.content, Unreadable)]
        self._not_told += len(unreadable)
        now_s = time.monotonic()
        if unreadable and now_s - self._warned_s >= WARN_EVERY_S:
            newest = unreadable[-1]
            place, reason = ascii(newest.topic), ascii(newest.reason[:200])
            log.warning("unreadable, kept aside: %d, the newest on %s: %s", self._not_told, place, reason)
            self._warned_s, self._not_told = now_s, 0

    def _talk_back(self) -> None:
        """Tell each unit up to where everything has arrived, and ask again for what is missing."""
        self._told_s = now_s = time.monotonic()
        for source in sorted(self._fresh):
            before = self._told.get(source)
            account = self._ledger.account(source, after=before)
            if account.through > (before or 0) and self._command(source, "high_water", sequence=account.through):
                self._told[source] = account.through
            if not account.missing:
                self._fresh.discard(source)
                self._missing_since_s.pop(source, None)
            elif now_s - self._missing_since_s.setdefault(source, now_s) >= REPLAY_AFTER_S:
                self._missing_since_s[source] = now_s
                first, last = account.missing[0]
                self._command(source, "replay", from_sequence=first, to_sequence=last)

    def _command(self, source: str, command: str, **arguments: int) -> bool:
        if not self._client.is_connected():
            return False
        identifier = str(uuid.uuid4())
        message = {
            "specversion": "1.0",
            "id": identifier,
            "source": "/consumer",
            "type": full_type("command.requested"),
            "data": {"command_id": identifier, "command": command, **arguments},
        }
        inbox = Topics.of_source(self._topic_root, source).inbox("command")
        self._client.publish(inbox, json.dumps(message), qos=1)
        return True

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._generation += 1
        if reason.is_failure:
            log.error("the broker refused the connection: %s", reason)
            return
        self._tell_again = True
        once = SubscribeOptions(qos=1)
        client.subscribe([(self._topics.all_events, once), (self._topics.all_telemetry, once)])

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        topic = ""
        with contextlib.suppress(UnicodeDecodeError):
            topic = message.topic
        # Read here, so that what is too large is not held until its turn comes.
        content = self._intake.read(topic, bytes(message.payload))
        arrived = _Arrived(self._generation, message.mid, message.qos, content)
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._arrived.put(arrived, timeout=0.2)
                return


@dataclass(frozen=True, slots=True)
class _Arrived:
    """What came, and what acknowledges it on the connection that it came on."""

    generation: int
    mid: int
    qos: int
    content: Message | Unreadable


def main(arguments: list[str] | None = None) -> int:
    """The command line; `run` is meant when no verb is given."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] not in (["run"], ["report"], ["-h"], ["--help"]):
        given = ["run", *given]
    parser = argparse.ArgumentParser(prog="python -m cloud.consumer", description="Consume and check a unit's events.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="consume until SIGTERM, then print the account")
    run.add_argument("--broker", required=True, help="mqtt://host:port or mqtts://host:port")
    run.add_argument("--fleet", required=True)
    run.add_argument("--unit", default="+", help="one unit; by default all of the fleet")
    run.add_argument("--topic-root", default="kerbside")
    run.add_argument("--client-id", help="stable: the session of this name lasts seven days")
    run.add_argument(
        "--high-water",
        action="store_true",
        help="tell the units up to where everything has arrived, and ask again for what is missing",
    )
    run.add_argument("--until-sequence", type=int, help="end once everything up to this event has arrived")
    run.add_argument("--timeout", type=float, metavar="S", help="give up after so many seconds (exit 1)")
    run.add_argument("--from-sequence", type=int, default=1, help="the first event that is expected")
    run.add_argument("--ca-file", type=Path)
    run.add_argument("--username")
    run.add_argument("--password-file", type=Path)
    report = verbs.add_parser("report", help="print the account of a store, also while it is being written")
    report.add_argument("--from-sequence", type=int, default=1, help="the first event that is expected")
    for verb in (run, report):
        verb.add_argument("--store", required=True, type=Path, help="the SQLite file")
    chosen = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if chosen.verb == "report" and not chosen.store.exists():
        print(f"{chosen.store}: expected the store of a consumer, found nothing", file=sys.stderr)
        return 1
    try:
        ledger = Ledger(chosen.store, from_sequence=chosen.from_sequence)
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 1
    complete = True
    if chosen.verb == "run":
        consumer = Consumer(
            chosen.broker,
            ledger,
            fleet=chosen.fleet,
            unit=chosen.unit,
            topic_root=chosen.topic_root,
            client_id=chosen.client_id,
            high_water=chosen.high_water,
            ca_file=chosen.ca_file,
            username=chosen.username,
            password_file=chosen.password_file,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, consumer.stop)
        try:
            complete = consumer.run(until_sequence=chosen.until_sequence, timeout_s=chosen.timeout)
        except sqlite3.Error as error:
            print(
                f"{chosen.store}: nothing can be kept ({error}); what came since is not acknowledged", file=sys.stderr
            )
            return 1
    print(json.dumps(ledger.report(), indent=2, ensure_ascii=False))
    ledger.close()
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
