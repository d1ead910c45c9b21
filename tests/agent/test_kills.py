"""Power that goes away at any moment: what the driver heard a beep for is never lost, and the cloud has it once."""

from __future__ import annotations

import random
import time

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

KILLS_WHILE_SCANNING = 30
KILLS_WHILE_DRAINING = 22


def test_no_parcel_that_was_answered_is_lost_however_often_the_agent_is_killed(world: World) -> None:
    numbers = tracking_numbers(KILLS_WHILE_SCANNING * 6)
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    answered: set[str] = set()
    waiting = list(numbers)
    for _ in range(KILLS_WHILE_SCANNING):
        for _ in range(random.randrange(6)):
            if world.beep(waiting[0]):
                answered.add(waiting.pop(0))
        answers_before_are_over(world)
        # The last one is cut off anywhere between the trigger and the beep.
        world.scanner.scan(waiting[0])
        time.sleep(random.uniform(0, 0.004))
        agent.kill()
        if heard(world, 0) in {BEEP, 2 * BEEP}:
            answered.add(waiting.pop(0))
        agent.start_ready()

    assert_all_answered_are_loaded(agent, cloud, answered)


def test_kills_while_a_backlog_drains_lose_nothing_and_the_cloud_keeps_each_event_once(world: World) -> None:
    world.broker.stop()
    slow = world.stack.enter_context(Broker(world.directory / "slow", max_inflight=4))
    world.broker = slow
    agent = world.agent()
    backlog = 30_000
    journal = Journal.open(agent.state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
    chain = Chain("/demo/u1", 0, "0" * 64)
    now = Moment(int(time.time() * 1000), time.monotonic_ns() // 1_000_000, "boot", "rtc")
    for _ in range(backlog // 500):
        data = {"reason": "NOT_ON_MANIFEST", "code": "TBA000000000000"}
        entries = tuple(chain.add("scan.rejected", "unit", data, now) for _ in range(500))
        journal.write(Batch(entries, snapshot=dump(State())), lambda _error: None)
    journal.close()

    cloud = world.cloud()
    kills = 0
    draining = 0
    while kills < KILLS_WHILE_DRAINING:
        waiting = agent.start_ready()["unit"]["backlog"]["events"]
        time.sleep(random.uniform(0, 0.25))
        agent.kill()
        kills += 1
        draining += waiting > 0
    assert draining >= 20, f"only {draining} kills met a backlog: make it longer"
    agent.start_ready()

    report = all_arrived(agent, cloud, timeout_s=120)
    seen = agent.screen.state()
    assert seen
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["events_received"] == seen["unit"]["sequence"] >= backlog + kills
