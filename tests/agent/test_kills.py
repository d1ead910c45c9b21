"""Power that goes away at any moment: what the driver heard a beep for is never lost, and the cloud has it once."""

from __future__ import annotations

import random
import time

import pytest

from agent.delivery.fold.snapshot import dump
from agent.delivery.model.inputs import Moment
from agent.delivery.model.state import State
from agent.journal.entries import Batch
from agent.journal.envelope import Chain
from agent.journal.store import Journal
from drivers.simulated import Broker
from tests.agent.running_agent import (
    BEEP,
    World,
    all_arrived,
    answers_before_are_over,
    assert_all_answered_are_loaded,
    begin_loading,
    heard,
    tracking_numbers,
)

EVENTS_BETWEEN_KILLS = 1500
"""More than a slow broker takes before the next kill."""


@pytest.mark.parametrize("kills", [10, pytest.param(30, marks=pytest.mark.soak)])
def test_no_parcel_that_was_answered_is_lost_however_often_the_agent_is_killed(world: World, kills: int) -> None:
    numbers = tracking_numbers(kills * 6)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    answered: set[str] = set()
    waiting = list(numbers)
    for _ in range(kills):
        for _ in range(random.randrange(6)):
            if world.beep(waiting[0]):
                answered.add(waiting.pop(0))
        answers_before_are_over(world, agent)
        # The last one is cut off anywhere between the trigger and the beep.
        world.scanner.scan(waiting[0])
        time.sleep(random.uniform(0, 0.004))
        agent.kill()
        if heard(world, 0) in {BEEP, 2 * BEEP}:
            answered.add(waiting.pop(0))
        agent.start_ready()

    assert_all_answered_are_loaded(agent, cloud, answered)


@pytest.mark.parametrize("kills", [8, pytest.param(22, marks=pytest.mark.soak)])
def test_kills_while_a_backlog_drains_lose_nothing_and_the_cloud_keeps_each_event_once(
    world: World, kills: int
) -> None:
    world.broker.stop()
    slow = world.stack.enter_context(Broker(world.directory / "slow", max_inflight=4))
    world.broker = slow
    agent = world.agent()
    backlog = kills * EVENTS_BETWEEN_KILLS
    journal = Journal.open(agent.state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
    chain = Chain("/demo/u1", 0, "0" * 64)
    now = Moment(int(time.time() * 1000), time.monotonic_ns() // 1_000_000, "boot", "rtc")
    for _ in range(backlog // 500):
        data = {"reason": "NOT_ON_MANIFEST", "code": "TBA000000000000"}
        entries = tuple(chain.add("scan.rejected", "unit", data, now) for _ in range(500))
        journal.write(Batch(entries, snapshot=dump(State())), lambda _error: None)
    journal.close()

    cloud = world.cloud()
    draining = 0
    for _ in range(kills):
        waiting = agent.start_ready()["unit"]["backlog"]["events"]
        time.sleep(random.uniform(0, 0.25))
        agent.kill()
        draining += waiting > 0
    assert draining >= kills - 2, f"only {draining} kills met a backlog: make it longer"
    agent.start_ready()

    report = all_arrived(agent, cloud, timeout_s=120)
    seen = agent.screen.state()
    assert seen
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["events_received"] == seen["unit"]["sequence"] >= backlog + kills
