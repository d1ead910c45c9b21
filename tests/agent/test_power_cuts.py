"""The file system under the whole unit loses its power: what was answered is there when it comes back."""

from __future__ import annotations

import random
import time

import pytest

from tests.agent.running_agent import (
    BEEP,
    World,
    answers_before_are_over,
    assert_all_answered_are_loaded,
    begin_loading,
    heard,
    tracking_numbers,
)
from tests.power import Disk


@pytest.mark.power_cut
@pytest.mark.skipif(bool(Disk.missing()), reason=Disk.missing() or "can be done")
@pytest.mark.parametrize("cuts", [7, pytest.param(20, marks=pytest.mark.soak)])
def test_no_parcel_that_was_answered_is_lost_however_often_the_power_is_cut(world: World, cuts: int) -> None:
    numbers = tracking_numbers(cuts * 6)
    (world.directory / "state").mkdir()
    disk = Disk(world.directory / "disk.img", world.directory / "state")
    world.stack.callback(disk.remove)
    disk.make()
    agent, cloud = world.agent(), world.cloud()
    agent.start_ready()
    begin_loading(world, agent, numbers)
    answered: set[str] = set()
    waiting = list(numbers)
    for _ in range(cuts):
        for _ in range(random.randrange(1, 5)):
            if world.beep(waiting[0]):
                answered.add(waiting.pop(0))
        answers_before_are_over(world, agent)
        world.scanner.scan(waiting[0])
        time.sleep(random.uniform(0, 0.004))
        beeped = heard(world, 0) in {BEEP, 2 * BEEP}
        disk.cut()
        if beeped:
            answered.add(waiting.pop(0))
        agent.kill()
        disk.restore()
        agent.start_ready()

    assert_all_answered_are_loaded(agent, cloud, answered)
