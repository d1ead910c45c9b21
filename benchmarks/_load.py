"""A busy vehicle around an agent that runs: a process of its own, so that it takes nothing from who measures.

Three screens follow the stream; a revision of the whole block comes every five seconds; the camera is shown one label
after the other; and whenever the broker has got all that waited, the cloud asks for all of it again. It goes on until
its standard input is closed, then it tells what it did as one JSON object.

What it needs comes as one line of JSON: the ports of `broker` and `console`, the folder `pictures` with what is to be
shown in its folder `.labels`, the `block` as it was assigned, and the last event `through` which all of it waits.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from demo.messages import envelope
from demo.stage import FLEET, UNIT

STREAMS = 3
REVISION_EVERY_S = 5.0
PICTURES_PER_S = 4
PICTURES_KEPT = 8
QUIET_PER_S = 100
"""Fewer messages a second than this: nothing waits any more."""
RECEIVED = "$SYS/broker/publish/messages/received"


class Load:
    """What is done to the agent, and how much of it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.done = {"revisions": 0, "replays": 0, "pictures": 0, "streamed_bytes": 0, "drained_events": 0}
        self._asked = asked
        self._received = 0
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", asked["broker"])
        self._client.subscribe(RECEIVED)
        self._client.loop_start()

    def run(self) -> None:
        """Until standard input is closed."""
        for _ in range(STREAMS):
            threading.Thread(target=self._follow, daemon=True).start()
        threading.Thread(target=self._show_labels, daemon=True).start()
        begun, first, before = time.monotonic(), self._received, self._received
        for second in itertools.count(1):
            if select.select([sys.stdin], [], [], max(0.0, begun + second - time.monotonic()))[0]:
                break
            if second % REVISION_EVERY_S == 0:
                self._revise()
            if self._received - before < QUIET_PER_S:
                self._ask_again()
            before = self._received
        self.done["drained_events"] = self._received - first

    def _on_message(self, _client: Client, _: object, message: MQTTMessage) -> None:
        self._received = int(message.payload)

    def _follow(self) -> None:
        with socket.create_connection(("127.0.0.1", self._asked["console"])) as stream:
            stream.sendall(b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % self._asked["console"])
            while got := stream.recv(1 << 16):
                self.done["streamed_bytes"] += len(got)

    def _show_labels(self) -> None:
        """Pictures are in the folder of the camera for some seconds, one after the other."""
        folder = Path(self._asked["pictures"])
        labels = sorted((folder / ".labels").iterdir())
        shown: deque[Path] = deque()
        for number, label in enumerate(itertools.cycle(labels)):
            shown.append(folder / f"{number:06d}{label.suffix}")
            os.link(label, shown[-1])
            time.sleep(1 / PICTURES_PER_S)
            if len(shown) == PICTURES_KEPT:
                shown.popleft().unlink()
            self.done["pictures"] += 1

    def _revise(self) -> None:
        block = self._asked["block"]
        block["manifest_version"] += 1
        for parcel in block["parcels"]:
            parcel["weight_g"] = 500 + block["manifest_version"]
        self._send("revision", envelope("block.revised", block))
        self.done["revisions"] += 1

    def _ask_again(self) -> None:
        wanted = {"command_id": f"C{self.done['replays']}", "command": "replay", "from_sequence": 1}
        self._send("command", envelope("command.requested", {**wanted, "to_sequence": self._asked["through"]}))
        self.done["replays"] += 1

    def _send(self, kind: str, message: dict[str, Any]) -> None:
        self._client.publish(f"kerbside/{FLEET}/{UNIT}/inbox/{kind}", json.dumps(message).encode(), qos=1)


def main() -> None:
    """Run and tell."""
    load = Load(json.loads(sys.stdin.readline()))
    print("ready", flush=True)
    load.run()
    print(json.dumps(load.done), flush=True)


if __name__ == "__main__":
    main()
