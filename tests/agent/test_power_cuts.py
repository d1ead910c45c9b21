"""The file system under the whole unit loses its power: what was answered is there when it comes back."""

from __future__ import annotations

import random
import time

import pytest

from tests.agent.rig import Rig, all_arrived, begin_loading, tracking_numbers
from tests.power import Disk

CUTS = 20


@pytest.mark.power_cut
@pytest.mark.skipif(bool(Disk.missing()), reason=Disk.missing() or "can be done")
def test_no_parcel_that_was_answered_is_lost_however_often_the_power_is_cut(rig: Rig) -> None:
    numbers = tracking_numbers(CUTS * 6)
    (rig.directory / "state").mkdir()
    disk = Disk(rig.directory / "disk.img", rig.directory / "state")
    rig.stack.callback(disk.remove)
    disk.make()
    agent, cloud = rig.agent(), rig.cloud()
    agent.start_ready()
    begin_loading(rig, agent, numbers)
    answered: set[str] = set()
    waiting = list(numbers)
    for _ in range(CUTS):
        for _ in range(random.randrange(1, 5)):
            if rig.beep(waiting[0]):
                answered.add(waiting.pop(0))
        rig.scanner.scan(waiting[0])
        time.sleep(random.uniform(0, 0.004))
        beeped = rig.scanner.next_signal(0)
        disk.cut()
        if beeped:
            answered.add(waiting.pop(0))
        agent.kill()
        disk.restore()
        agent.start_ready()

    report = all_arrived(agent, cloud)
    seen = agent.screen.look()
    assert seen
    loaded = {parcel["tracking_number"] for parcel in seen["parcels"] if parcel["state"] == "LOADED"}
    assert answered <= loaded
    assert report["chain_intact"]
    assert report["gaps"] == 0
    assert report["events_received"] == seen["unit"]["sequence"]
