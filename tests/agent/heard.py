"""An ordinary MQTT client that hears all that a unit says, with everything that comes with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from drivers.simulated import Broker
from tests.waiting import wait_until

ROOT = "kerbside/demo/u1"


class Heard:
    """What was said, in the order it came."""

    def __init__(self, client: Client) -> None:
        self.messages: list[MQTTMessage] = []
        self._client = client

    def of(self, topic: str) -> list[dict[str, Any]]:
        """The contents of all messages on one topic below the unit's root, or of all events of one type."""
        topic = f"events/{topic.replace('.', '/')}" if "." in topic else topic
        return [json.loads(message.payload) for message in list(self.messages) if message.topic == f"{ROOT}/{topic}"]

    def events(self) -> list[dict[str, Any]]:
        """Every event, in the order they came."""
        return [json.loads(message.payload) for message in list(self.messages) if "/events/" in message.topic]

    def wait(self, topic: str, **members: Any) -> dict[str, Any]:
        """The first message of that kind whose data (or whose own members) are these."""

        def fits(said: dict[str, Any]) -> bool:
            return members.items() <= {**said, **said.get("data", {})}.items()

        found: dict[str, Any] = wait_until(
            lambda: next((said for said in self.of(topic) if fits(said)), None), f"{topic} {members}"
        )
        return found

    def ask(self, kind: str, message: Mapping[str, Any], response_topic: str, correlation: bytes) -> None:
        """Put a request into the inbox that names where the answer is wanted."""
        described = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        described.ResponseTopic = response_topic
        described.CorrelationData = correlation
        self._client.publish(f"{ROOT}/inbox/{kind}", json.dumps(message), qos=1, properties=described)


@contextlib.contextmanager
def hearing(broker: Broker) -> Iterator[Heard]:
    """Listen to everything that goes over a broker."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    heard = Heard(client)
    subscribed: list[int] = []
    client.on_message = lambda _client, _userdata, message: heard.messages.append(message)
    client.on_subscribe = lambda _client, _userdata, mid, *_: subscribed.append(mid)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("#", qos=1)
    try:
        wait_until(lambda: subscribed, "the subscription")
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()
