"""What a running agent answers to the cloud's command ``diag``."""

from __future__ import annotations

import json
from typing import Any

from demo.messages import envelope
from drivers.simulated import free_port
from tests.agent.heard import hearing
from tests.agent.rig import Rig, until
from tests.checkup.test_diagnostics import without_time
from tests.cli.kerbside import kerbside


def test_the_doctor_the_cloud_and_the_screen_are_told_the_same_of_a_running_unit(rig: Rig) -> None:
    heard = rig.stack.enter_context(hearing(rig.broker))
    source = f"rtsp://me:hunter2@127.0.0.1:{free_port()}/live"
    agent = rig.agent(mount={"port": "simulated"}, camera={"source": source})
    agent.start_ready()
    heard.wait("status", state="online")

    def settled(seen: dict[str, Any]) -> bool:
        parts = seen["unit"]["parts"]
        return bool(parts["handheld"]["state"] == "ready" and parts["camera"]["state"] == "faulty")

    screen = until(agent.screen, settled, "the camera to be missed")["unit"]["parts"]
    rig.send("command", envelope("command.requested", {"command_id": "C1", "command": "diag"}))
    reply = heard.wait("replies", command_id="C1")
    doctor = json.loads(kerbside("doctor", "--json", "--settings", agent.settings).stdout)["checks"]

    told = reply["result"]
    assert reply["ok"] is True
    assert without_time(told["findings"]) == without_time(doctor)
    states = {finding["name"]: finding["state"] for finding in told["findings"]}
    assert (states["scanners"], states["camera"], states["mount"]) == ("ok", "fault", "ok")
    assert {name: part["state"] for name, part in told["parts"].items()} == {
        name: part["state"] for name, part in screen.items() if name != "broker"
    }
    assert told["settings"]["camera"]["source"].startswith("rtsp://…@127.0.0.1")
    assert "hunter2" not in json.dumps([message.payload.decode() for message in heard.messages])
