"""Scanners that type: a USB keyboard for the kernel, and for nobody but the agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import KeyboardGadget, Vehicle

pytestmark = pytest.mark.rig


@pytest.fixture
def wedge(vehicle: Vehicle, stack: ExitStack) -> KeyboardGadget:
    """A scanner that types, not plugged in yet."""
    gadget = KeyboardGadget(vehicle, "WEDGE1")
    stack.callback(gadget.remove)
    return gadget


class Elsewhere:
    """What others in the guest get to see: the console, as the driver's screen would, and a reader of the keyboard."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle = vehicle

    def console(self) -> list[str]:
        """Lines typed at the console."""
        return self._vehicle.sh("cat /run/typed").splitlines()

    def keys(self) -> list[str]:
        """Names of the keys that were pressed, as another reader of the device has seen them."""
        said = self._vehicle.sh("cat /run/evtest").splitlines()
        return [line.split("(")[2].split(")")[0] for line in said if "(EV_KEY)" in line and line.endswith("value 1")]


@contextmanager
def others_listen(vehicle: Vehicle, path: str) -> Iterator[Elsewhere]:
    """Read the console and the keyboard while the block runs."""
    vehicle.sh(
        "systemctl stop typed evtest || true",
        "systemd-run --quiet --unit typed --property StandardOutput=truncate:/run/typed cat /dev/tty1",
        f"systemd-run --quiet --unit evtest --property StandardOutput=truncate:/run/evtest stdbuf -oL evtest {path}",
        "until grep -q interrupt /run/evtest; do sleep 0.2; done",
    )
    try:
        yield Elsewhere(vehicle)
    finally:
        vehicle.sh("systemctl stop typed evtest")


def test_what_a_scanner_types_reaches_the_agent_and_nobody_else(vehicle: Vehicle, wedge: KeyboardGadget) -> None:
    vehicle.configure(scanner=[{"name": "hand", "kind": "hid", "port": wedge.path}])
    vehicle.until("hand", "absent", "not plugged in")
    vehicle.start_loading()
    wedge.plug()
    vehicle.until("hand", "ready")
    numbers = tracking_numbers(3)
    with others_listen(vehicle, wedge.path) as elsewhere:
        wedge.type(*numbers)
        vehicle.until_scanned(numbers)
        assert elsewhere.console() == []
        assert elsewhere.keys() == []
        # The same strokes without the agent: the two can see them, and see what it saw.
        vehicle.sh("systemctl stop kerbside")
        wedge.type(numbers[0].lower())
        assert elsewhere.console() == [numbers[0].lower()]
        assert elsewhere.keys() == [*(f"KEY_{char}" for char in numbers[0]), "KEY_ENTER"]
    assert vehicle.scans() == [("hand", number) for number in numbers]


def test_a_scanner_that_types_is_read_again_each_time_it_is_plugged_in(vehicle: Vehicle, wedge: KeyboardGadget) -> None:
    port = f"{wedge.numbers}:{wedge.serial_number}"
    vehicle.configure(scanner=[{"name": "hand", "kind": "hid", "port": port}])
    vehicle.start_loading()
    numbers = tracking_numbers(3)
    for number in numbers:
        wedge.plug()
        vehicle.until("hand", "ready")
        wedge.type(number)
        vehicle.until_scanned([number])
        wedge.unplug()
        vehicle.until("hand", "absent", port)
    assert vehicle.scans() == [("hand", number) for number in numbers]


def test_another_keyboard_still_types(vehicle: Vehicle, wedge: KeyboardGadget, stack: ExitStack) -> None:
    path = "/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_RIGDRIVER-event-kbd"
    vehicle.machine.plug_kbd("driver")
    stack.callback(vehicle.machine.unplug, "driver")
    vehicle.configure(scanner=[{"name": "hand", "kind": "hid", "port": wedge.path}])
    wedge.plug()
    vehicle.until("hand", "ready")
    with others_listen(vehicle, path) as elsewhere:
        vehicle.machine.type_keys("hello 42\n")
        assert elsewhere.console() == ["hello 42"]
        assert len(elsewhere.keys()) == len("hello 42\n")


def test_keys_that_the_machine_types_from_outside_are_read(vehicle: Vehicle, stack: ExitStack) -> None:
    path = "/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_RIGOUTSIDE-event-kbd"
    vehicle.configure(scanner=[{"name": "hand", "kind": "hid", "port": path}])
    vehicle.start_loading()
    vehicle.machine.plug_kbd("outside")
    stack.callback(vehicle.machine.unplug, "outside")
    vehicle.until("hand", "ready")
    (number,) = tracking_numbers(1)
    with others_listen(vehicle, path) as elsewhere:
        vehicle.machine.type_keys(f"{number}\n")
        vehicle.until_scanned([number])
        assert elsewhere.console() == []
        assert elsewhere.keys() == []
    assert vehicle.scans() == [("hand", number)]
