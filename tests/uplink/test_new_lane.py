"""A new kind of message is a new class and one line: files in parts, sent by a lane that only this test knows."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from random import Random

from agent.uplink.lanes import Lane, Outgoing
from contract.topics import Topics
from drivers.simulated.servers import Broker
from tests.uplink.support import FLEET, PUBLISH, QUICK, UNIT, Gate, Packet, Side, Subscriber, Vehicle, until

Make = Callable[..., Vehicle]
PART_BYTES = 4096


class FilesLane(Lane):
    """Files in parts, and behind the last part what they come to."""

    name = "files"
    metered = True

    def __init__(self) -> None:
        super().__init__(QUICK)
        self._topics = Topics("kerbside", FLEET, UNIT)
        self._files: dict[str, bytes] = {}
        self._waiting: deque[Outgoing] = deque()
        self._open: dict[str, Outgoing] = {}
        self.done: set[str] = set()

    def put(self, content: bytes) -> str:
        digest = sha256(content).hexdigest()
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        manifest = json.dumps({"sha256": digest, "parts": len(parts)}).encode()
        messages = [Outgoing(self._topics.media_part(digest, index), part) for index, part in enumerate(parts)]
        for message in [*messages, Outgoing(self._topics.media_manifest(digest), manifest)]:
            self._open[message.topic] = message
        self.rewind()
        return digest

    def take(self) -> Outgoing | None:
        return self._waiting.popleft() if self._waiting else None

    def accepted(self, message: Outgoing, code: int) -> None:
        if self._open.pop(message.topic, None) is not None and message.topic.endswith("/manifest"):
            self.done.add(message.topic.split("/")[-2])

    def rewind(self) -> None:
        self._waiting = deque(self._open.values())


def with_files(unit: Vehicle) -> FilesLane:
    lane = FilesLane()
    unit.uplink.add(lane)
    return lane


def received(subscriber: Subscriber, digest: str) -> bytes:
    """The file, put together from whatever came of it in whatever order and number."""
    parts = {int(message.topic.rpartition("/")[2]): message.payload for message in subscriber.on(f"/media/{digest}/")
             if not message.topic.endswith("/manifest")}  # fmt: skip
    return b"".join(bytes(parts[index]) for index in sorted(parts))


def test_files_in_parts_arrive_whole_behind_the_events(broker: Broker, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(broker.url)
    lane = with_files(unit)
    content = Random(1).randbytes(300_000)
    digest = lane.put(content)
    unit.write(200)
    unit.start()
    until(lambda: digest in lane.done, "the manifest, acknowledged")
    until(lambda: subscriber.on("/manifest"), "the manifest")
    assert received(subscriber, digest) == content
    kinds = [message.topic.split("/")[3] for message in subscriber.heard if "/status" not in message.topic]
    assert kinds.index("media") == 200, "events never wait for a file"
    assert not subscriber.heard[-1].topic.endswith("/0"), "the manifest comes last"


def test_a_part_that_was_on_its_way_when_the_connection_broke_is_sent_again(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url)
    lane = with_files(unit)
    unit.start()
    lost: list[str] = []

    def swallow(packet: Packet, _side: Side) -> bool:
        if packet.type == PUBLISH and "/media/" in packet.topic:
            lost.append(packet.topic)
            return True
        return False

    gate.from_unit = swallow
    content = Random(2).randbytes(50_000)
    digest = lane.put(content)
    unit.uplink.wake()
    until(lambda: lost, "parts on their way")
    gate.shut()
    unit.offline()
    assert lane.under_way == 0
    gate.reopen()
    until(lambda: digest in lane.done, "the manifest, acknowledged")
    until(lambda: subscriber.on("/manifest"), "the manifest")
    assert received(subscriber, digest) == content


def test_a_broker_that_does_not_take_files_is_shown_and_holds_no_event_up(gate: Gate, vehicle: Make) -> None:
    unit = vehicle(gate.url)
    lane = with_files(unit)
    unit.start()

    def refuse(packet: Packet, side: Side) -> bool:
        if packet.type == PUBLISH and "/media/" in packet.topic:
            side.tell_unit(b"\x40\x03" + packet.mid + b"\x87")
            return True
        return False

    gate.from_unit = refuse
    digest = lane.put(b"x" * 10_000)
    unit.write(20)
    unit.confirmed(20)
    until(lambda: "the broker does not accept files: not authorized (0x87)" in unit.uplink.state.reason, "the reason")
    gate.reopen()
    until(lambda: digest in lane.done, "the file")
    until(lambda: unit.uplink.state.reason == "", "no reason any more")
