"""A unit whose receiver has set its clock: yesterday's work is not taken, and times are those of the block's zone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

from demo.messages import block_of
from drivers.simulated import Gpsd, SimulatedReceiver
from tests.agent.heard import hearing
from tests.agent.running_agent import World, block_is, tracking_numbers, until

KOLKATA = ZoneInfo("Asia/Kolkata")


def block(block_id: str, ends: timedelta, **members: Any) -> tuple[dict[str, Any], datetime]:
    """A block of four hours in India that ends so long from now, written with India's offset; and when it begins."""
    end = (datetime.now(UTC) + ends).astimezone(KOLKATA).replace(microsecond=0)
    begin = end - timedelta(hours=4)
    message = block_of(tracking_numbers(2))
    message["data"] |= {"block_id": block_id, "starts_at": begin.isoformat(), "ends_at": end.isoformat(), **members}
    return message, begin


def test_yesterdays_block_is_rejected_once_the_clock_is_set_by_gps(world: World) -> None:
    receiver = world.stack.enter_context(SimulatedReceiver(52.09, 5.12, rate_hz=2))
    gpsd = world.stack.enter_context(Gpsd(receiver.port))
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent(gps={"gpsd": gpsd.address})
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"] and seen["unit"]["clock"]["trust"] == "gps", "a set clock")
    today, begin = block("TODAY", timedelta(hours=4, minutes=30), timezone="Asia/Kolkata")
    world.send("block", today)
    until(agent.screen, block_is("ACCEPTED"), "today's block")
    yesterday, _ = block("YESTERDAY", -timedelta(hours=26))
    world.send("block", yesterday)
    heard.wait("message.rejected", reason="STALE", path="ends_at")
    seen = until(agent.screen, block_is("ACCEPTED"), "today's block, still")
    assert seen["block"]["block_id"] == "TODAY"
    assert f"begins at {begin:%H:%M}" in seen["prompt"]["text"]
    with urlopen(f"{agent.screen.url}healthz") as answer:
        assert json.load(answer) == {"ok": True}
