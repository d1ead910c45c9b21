"""A satellite receiver on real USB, with Debian's gpsd between it and the agent, as on a unit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from demo.stage import wait_until
from drivers.simulated import SimulatedReceiver
from tests.rig.vehicle import SOON_S, Adapter, FarEnd, SerialGadget, Vehicle

pytestmark = pytest.mark.rig

UTRECHT, AMERSFOORT = (52.0907, 5.1214), (52.1561, 5.3878)


@contextmanager
def sky(far: FarEnd, place: tuple[float, float]) -> Iterator[None]:
    """A receiver that sees the sky at a place: an epoch of NMEA each second."""
    receiver = SimulatedReceiver(*place)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            far.write(receiver.epoch(datetime.now(UTC)))
            due = time.monotonic() + 1.0
            # gpsd asks what it is; and until it has set up the line the kernel echoes. Unread, both would hold up qemu.
            while far.read(max(0.0, due - time.monotonic())):
                pass

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def until_at(vehicle: Vehicle, place: tuple[float, float]) -> None:
    """Wait until the screen shows the vehicle at a place."""

    def there() -> bool:
        seen = vehicle.look()["position"]
        return seen is not None and (round(seen["latitude"], 3), round(seen["longitude"], 3)) == (
            round(place[0], 3),
            round(place[1], 3),
        )

    wait_until(there, f"the position {place}; the receiver is {vehicle.part('gps')}", SOON_S)


@pytest.fixture
def receiver(vehicle: Vehicle, stack: ExitStack) -> SerialGadget:
    """A u-blox receiver that is not plugged in yet."""
    gadget = SerialGadget(vehicle, "NAV1", "1546:01a8")
    stack.callback(gadget.remove)
    return gadget


def test_a_receiver_goes_to_gpsd_each_time_it_is_plugged_in(vehicle: Vehicle, receiver: SerialGadget) -> None:
    vehicle.configure(gps={"device": "/dev/kerbside/receiver"})
    vehicle.until("gps", "absent", "not plugged in")
    for place in (UTRECHT, AMERSFOORT, UTRECHT):
        with sky(receiver.plug(), place):
            vehicle.until("gps", "ready")
            until_at(vehicle, place)
        receiver.unplug()
        vehicle.until("gps", "absent")


def test_the_rule_that_devices_prints_hands_over_a_receiver_behind_an_adapter(
    vehicle: Vehicle, adapter: Adapter, stack: ExitStack
) -> None:
    vehicle.configure(gps={"device": adapter.path})
    vehicle.until("gps", "absent", "not plugged in")
    adapter.plug()
    vehicle.until_there(adapter.path)
    (listed,) = [device for device in vehicle.kerbside("devices")["devices"] if "gps.device" in device["used_by"]]
    path = "/etc/udev/rules.d/71-kerbside-receiver.rules"
    stack.callback(vehicle.sh, f"rm {path}", "udevadm control --reload")
    vehicle.sh(f"cat > {path} <<'END'\n{listed['rule']}\nEND", "udevadm control --reload")
    for place in (UTRECHT, AMERSFOORT):
        adapter.unplug()
        vehicle.until("gps", "absent", "not plugged in")
        with sky(adapter.plug(), place):
            vehicle.until("gps", "ready")
            until_at(vehicle, place)


def test_a_receiver_that_falls_silent_is_stale(vehicle: Vehicle, receiver: SerialGadget) -> None:
    vehicle.configure(gps={"device": "/dev/kerbside/receiver"})
    far = receiver.plug()
    with sky(far, UTRECHT):
        until_at(vehicle, UTRECHT)
    vehicle.until("gps", "stale")
    with sky(far, AMERSFOORT):
        vehicle.until("gps", "ready")
        until_at(vehicle, AMERSFOORT)


def test_gpsd_writes_nothing_to_a_scanner_behind_an_adapter_that_debian_takes_for_a_receiver(
    vehicle: Vehicle, stack: ExitStack
) -> None:
    claimed = "10c4:ea60"
    vendor, product = claimed.split(":")
    assert vehicle.tried(f"grep -i '{vendor}.*{product}' /lib/udev/rules.d/*gpsd*").stdout, "Debian's rule is not there"
    scanner = SerialGadget(vehicle, "CP2102", claimed)
    stack.callback(scanner.remove)
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}])
    far = scanner.plug()
    vehicle.until("hand", "ready")
    assert far.read(5.0) == b""
