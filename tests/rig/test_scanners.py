"""Serial scanners on real USB: plugged in, pulled out, told apart, and read to the last scan."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.agent.rig import tracking_numbers
from tests.rig.vehicle import Gadget, Vehicle

pytestmark = pytest.mark.rig


def test_every_scan_between_plugging_in_and_pulling_out_arrives_once(
    vehicle: Vehicle, scanner: Gadget, stack: ExitStack
) -> None:
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}])
    vehicle.until("hand", "absent")
    vehicle.start_loading()
    scanner.plug()
    far = scanner.far_end(stack)
    vehicle.until("hand", "ready")
    scanned = []
    for _ in range(11):
        numbers = tracking_numbers(3)
        far.scan(*numbers)
        vehicle.until_scanned(numbers)
        scanned += numbers
        scanner.unplug()
        vehicle.until("hand", "absent", scanner.path)
        scanner.plug()
        vehicle.until("hand", "ready")
    assert vehicle.scans() == [("hand", number) for number in scanned]
