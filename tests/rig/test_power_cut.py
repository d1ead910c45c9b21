"""The plug of the whole unit is pulled while the driver scans; what was answered must be there afterwards."""

from __future__ import annotations

import random
import threading
import time

import pytest

from demo.stage import wait_until
from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import SOON_S, Adapter, FarEnd, Vehicle

pytestmark = pytest.mark.rig

CUTS = 3


class Driver(threading.Thread):
    """Scans one label after the other, each after the tone for the one before."""

    def __init__(self, far: FarEnd) -> None:
        super().__init__()
        self._far = far
        self.answered: list[str] = []
        self.last: str | None = None
        """The scan that has no answer yet."""
        self.heard = threading.Event()
        """The first tone has been heard."""

    def run(self) -> None:
        try:
            while True:
                (self.last,) = tracking_numbers(1)
                self._far.scan(self.last)
                if not self._far.read():
                    return
                while self._far.read(0.2):  # the rest of the tone
                    pass
                self.answered.append(self.last)
                self.heard.set()
        except OSError:
            return  # the power is off


def test_no_scan_that_was_answered_is_lost_when_the_power_is_cut(vehicle: Vehicle, adapter: Adapter) -> None:
    vehicle.configure(scanner=[{"name": "hand", "kind": "honeywell", "port": adapter.path}])
    vehicle.start_loading()
    answered, unanswered = list[str](), list[str]()
    for _ in range(CUTS):
        driver = Driver(adapter.plug())
        vehicle.until("hand", "ready")
        driver.start()
        driver.heard.wait(SOON_S)
        time.sleep(random.uniform(1.0, 6.0))
        vehicle.cut_power()
        adapter.forget()
        driver.join()
        assert driver.answered
        assert driver.last
        answered += driver.answered
        unanswered.append(driver.last)
        vehicle.boot()
        wait_until(vehicle.screen.state, "the agent, started by systemd", SOON_S)
        verdict = vehicle.kerbside("journal verify")
        assert verdict["ok"], verdict
        kept = [number for _device, number in vehicle.scans()]
        assert set(answered) <= set(kept), f"answered and lost: {set(answered) - set(kept)}"
        assert set(kept) <= {*answered, *unanswered}
        assert len(kept) == len(set(kept))
        assert vehicle.look()["block"]["state"] == "LOADING"
        assert set(kept) <= vehicle.numbers_on_screen()
