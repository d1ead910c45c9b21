"""What a running agent answers to the cloud's command ``diag``."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.request import urlopen

from demo.messages import envelope
from drivers.simulated import free_port
from tests.agent.heard import hearing
from tests.agent.running_agent import World, until
from tests.checkup.patient import without_time
from tests.cli.kerbside import kerbside


def test_the_doctor_the_cloud_and_the_screen_are_told_the_same_of_a_running_unit(world: World) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    source = f"rtsp://me:hunter2@127.0.0.1:{free_port()}/live"
    agent = world.agent(mount={"port": "simulated"}, camera={"source": source})
    agent.start_ready()
    heard.wait("status", state="online")

    def settled(seen: dict[str, Any]) -> bool:
        parts = seen["unit"]["parts"]
        return bool(parts["handheld"]["state"] == "ready" and parts["camera"]["state"] == "faulty")

    screen = until(agent.screen, settled, "the camera to be missed")["unit"]["parts"]
    world.send("command", envelope("command.requested", {"command_id": "C1", "command": "diag"}))
    reply = heard.wait("replies", command_id="C1")
    with urlopen(f"{agent.screen.url}api/checkup") as answer:
        shown = json.loads(answer.read())
    doctor = json.loads(kerbside("doctor", "--json", "--settings", agent.settings).stdout)["checks"]

    told = reply["result"]
    assert reply["ok"] is True
    assert without_time(told["findings"]) == without_time(doctor)
    assert without_time(shown["checks"]) == without_time(doctor)
    assert shown["ok"] is False
    states = {finding["name"]: finding["state"] for finding in told["findings"]}
    assert (states["scanners"], states["camera"], states["mount"]) == ("ok", "fault", "ok")
    assert {name: part["state"] for name, part in told["parts"].items()} == {
        name: part["state"] for name, part in screen.items() if name != "broker"
    }
    assert told["settings"]["camera"]["source"].startswith("rtsp://…@127.0.0.1")
    assert "hunter2" not in json.dumps(shown)
    assert "hunter2" not in json.dumps([message.payload.decode() for message in heard.messages])


def test_a_unit_that_stops_in_the_middle_of_a_check_up_says_so_instead_of_falling_silent(world: World) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    # A gpsd that says nothing: the check-up waits for it.
    silent = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    agent = world.agent(gps={"gpsd": f"127.0.0.1:{silent.getsockname()[1]}"})
    agent.start_ready()
    heard.wait("status", state="online")
    world.send("command", envelope("command.requested", {"command_id": "C2", "command": "diag"}))
    world.send("message", envelope("message.sent", {"message_id": "M1", "text": "Lane 5", "needs_ack": False}))
    until(agent.screen, lambda seen: seen["messages"], "the message that was sent behind the command")
    agent.stop()
    reply = heard.wait("replies", command_id="C2")
    assert (reply["ok"], reply["error"]["code"]) == (False, "STOPPED")
    assert "ask again" in reply["error"]["message"]
