"""Brokers that go away, come back, or forget: everything arrives in the end, and each message has one effect."""

from __future__ import annotations

import time
from collections.abc import Callable

from demo.messages import block_of, envelope
from demo.stage import Agent
from tests.agent.running_agent import World, all_arrived, begin_loading, block_is, tracking_numbers, until


def test_a_block_that_is_driven_without_any_signal_arrives_in_full_afterwards(world: World) -> None:
    numbers = tracking_numbers(8)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    world.broker.stop()
    for number in numbers:
        assert world.beep(number)
    for action in ("close_loading", "depart"):
        answer = agent.screen.act(action)
        assert answer, action
        assert answer["accepted"], answer
    for _ in range(2):
        stop = until(agent.screen, lambda seen: seen["current_stop"], "the next stop")["current_stop"]
        assert agent.screen.act("arrive", reason="no receiver in this vehicle")
        for parcel in until(agent.screen, lambda _: True, "the screen")["parcels"]:
            if parcel["stop_id"] == stop["stop_id"]:
                assert world.beep(parcel["tracking_number"])
        answer = agent.screen.act("deliver", handover="recipient")
        assert answer
        assert answer["accepted"], answer
    until(agent.screen, lambda seen: seen["prompt"]["code"] == "CLOSE_BLOCK", "nothing to be left to do")
    answer = agent.screen.act("close_block")
    assert answer
    assert answer["accepted"], answer
    world.broker.start()

    report = all_arrived(agent, cloud)
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["parcels"] == {"DELIVERED": 8}


def test_a_broker_that_restarts_again_and_again_keeps_nothing_back(world: World) -> None:
    numbers = tracking_numbers(40)
    agent, cloud = world.agent(), world.cloud()
    load_while_broker_goes(world, agent, numbers, world.broker.stop)

    report = all_arrived(agent, cloud)
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["parcels"] == {"LOADED": 40}


def test_what_a_killed_broker_has_acknowledged_and_lost_is_sent_again_where_the_cloud_confirms(world: World) -> None:
    numbers = tracking_numbers(40)
    agent, cloud = world.agent(journal={"confirm": "cloud"}), world.cloud(high_water=True)
    load_while_broker_goes(world, agent, numbers, world.broker.kill)

    report = all_arrived(agent, cloud)
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["parcels"] == {"LOADED": 40}


def load_while_broker_goes(world: World, agent: Agent, numbers: list[str], end: Callable[[], object]) -> None:
    """Load everything; after each ten parcels the broker is away for three scans."""
    agent.start_ready()
    begin_loading(world, agent, numbers)
    for index, number in enumerate(numbers):
        assert world.beep(number)
        if index % 10 == 5:
            end()
        if index % 10 == 8:
            world.broker.start()


def test_a_broker_that_has_lost_its_sessions_is_noticed_and_the_cloud_may_send_everything_again(world: World) -> None:
    # Confirmed by the cloud: what is sent before it subscribes anew is sent again.
    agent = world.agent(journal={"confirm": "cloud"})
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    message = block_of(tracking_numbers(3))
    world.send("block", message)
    until(agent.screen, block_is("ACCEPTED"), "the block")
    world.broker.stop()
    world.broker.forget()
    world.broker.start()
    cloud = world.cloud(high_water=True)
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    world.send("block", message)
    world.send("message", envelope("message.sent", {"message_id": "M1", "text": "Lane 5 today", "needs_ack": False}))
    until(agent.screen, lambda seen: seen["messages"], "the message that was sent last")

    seen = until(agent.screen, block_is("ACCEPTED"), "the block")
    assert seen["block"]["counts"] == {"MANIFESTED": 3}
    report = all_arrived(agent, cloud)
    assert report["gaps"] == 0
    assert report["by_type"]["unit.session_reset"] == 1
    assert report["by_type"].get("block.accepted", 0) <= 1
    assert "message.rejected" not in report["by_type"]


def test_a_message_that_comes_while_the_agent_is_away_waits_for_it(world: World) -> None:
    agent = world.agent()
    agent.start_ready()
    until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    time.sleep(0.5)
    agent.kill()
    world.send("block", block_of(tracking_numbers(2)))
    agent.start_ready()

    assert until(agent.screen, block_is("ACCEPTED"), "the block")["block"]["block_id"] == "B1"


def test_an_event_counts_as_confirmed_only_at_the_high_water_mark_when_the_settings_say_cloud(world: World) -> None:
    agent = world.agent(journal={"confirm": "cloud"})
    agent.start_ready()
    seen = until(agent.screen, lambda seen: seen["unit"]["online"], "the link")
    assert seen["unit"]["backlog"]["events"] > 0
    world.cloud(high_water=True)

    until(agent.screen, lambda seen: seen["unit"]["backlog"]["events"] <= 1, "the high-water mark")
