"""What the checkout installs on a unit: the service, its user and rights, and the rules for devices."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from demo.stage import wait_until
from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import SOON_S, Adapter, KeyboardGadget, SerialGadget, Vehicle

pytestmark = pytest.mark.rig


def test_devices_may_be_used_whose_driver_was_not_loaded_when_the_service_was_asked_for(
    vehicle: Vehicle, scanner: SerialGadget, adapter: Adapter
) -> None:
    vehicle.sh("systemctl stop kerbside", "modprobe -r cdc_acm cp210x ftdi_sio usbserial")
    assert not {"ttyACM", "ttyUSB"} & set(vehicle.sh("cat /proc/devices").split())
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}, {"name": "wired", "port": adapter.path}])
    vehicle.start_loading()
    first, second = tracking_numbers(2)
    far = scanner.plug()
    vehicle.until("hand", "ready")
    far.scan(first)
    vehicle.until_scanned([first])
    far = adapter.plug()
    vehicle.until("wired", "ready")
    far.scan(second)
    vehicle.until_scanned([second])
    assert vehicle.scans() == [("hand", first), ("wired", second)]


def test_the_service_runs_as_its_own_user_and_is_ended_in_order(vehicle: Vehicle) -> None:
    vehicle.configure()
    process = vehicle.sh("systemctl show --property MainPID --value kerbside")
    assert vehicle.sh(f"ps -o user= -p {process}") == "kerbside"
    assert vehicle.sh("stat -c '%U %a' /var/lib/kerbside") == "kerbside 700"
    vehicle.sh("systemctl stop kerbside")
    assert vehicle.sh("systemctl show --property Result,NRestarts kerbside") == "Result=success\nNRestarts=0"
    assert vehicle.events()[-1]["type"] == "org.kerbside.unit.stopped.v1"
    assert vehicle.kerbside("journal verify")["ok"]


def test_the_service_learns_the_boot_and_whether_the_clock_is_right_although_it_may_ask_the_kernel_for_neither(
    vehicle: Vehicle,
) -> None:
    def set_error(seconds: int) -> None:
        """As chrony tells the kernel how far off the clock may be; from 16 s on it counts as never set."""
        fields = f"modes=0x14, maxerror={seconds * 1_000_000}, status={0x40 if seconds >= 16 else 0}"
        asked = f"t = c._Timex({fields}); c._libc().adjtimex(ctypes.byref(t))"
        python = "/opt/kerbside/.venv/bin/python -c"
        vehicle.sh(f"cd /opt/kerbside && {python} 'import ctypes; import agent.system_clock as c; {asked}'")

    set_error(16)
    vehicle.configure()
    assert vehicle.look()["unit"]["clock"]["trust"] != "ntp"
    set_error(0)
    wait_until(lambda: vehicle.look()["unit"]["clock"]["trust"] == "ntp", "the clock to be synchronised", SOON_S)
    assert vehicle.events()[0]["bootid"] == vehicle.sh("cat /proc/sys/kernel/random/boot_id")


def test_udev_gives_each_device_its_name_group_and_marks(
    vehicle: Vehicle, scanner: SerialGadget, adapter: Adapter, stack: ExitStack
) -> None:
    keyboard = KeyboardGadget(vehicle, "WEDGE1")
    stack.callback(keyboard.remove)
    adapter.plug()
    scanner.plug()
    keyboard.plug()
    for path in (scanner.path, adapter.path, keyboard.path):
        vehicle.until_there(path)

    def properties(place: str) -> set[str]:
        return set(vehicle.sh(f"udevadm info --query=property {place}").splitlines())

    for path in (scanner.path, adapter.path):
        assert vehicle.sh(f"stat -L -c '%G %a' {path}") == "dialout 660"
        above = 'until [ -e "$place/idVendor" ]; do place=$(dirname "$place"); done; echo "$place"'
        usb = vehicle.sh(f"place=$(realpath /sys/class/tty/$(basename $(readlink {path}))/device); {above}")
        assert "ID_MM_DEVICE_IGNORE=1" in properties(usb)
    line = vehicle.sh(f"basename $(readlink {adapter.path})")
    assert vehicle.sh(f"cat /sys/bus/usb-serial/devices/{line}/latency_timer") == "1"
    assert "LIBINPUT_IGNORE_DEVICE=1" in properties(keyboard.path)
    assert vehicle.sh(f"stat -L -c '%G' {keyboard.path}") == "input"
    assert vehicle.sh("stat -c '%G %a' /dev/hidraw0") == "input 660"
    # udevd's own word: which line of ours does what, and no complaint about any.
    said = vehicle.sh(f"udevadm test $(udevadm info --query=path {scanner.path}) 2>&1").splitlines()
    ours = [line.partition("/etc/udev/rules.d/70-kerbside.rules:")[2] for line in said]
    done = {line.partition(" ")[2] for line in ours if line}
    name = f"kerbside/by-id/{scanner.numbers}:{scanner.serial_number}-if00"
    assert done == {"GROUP 20", "MODE 0660", f"LINK '{name}'"}
    complaints = vehicle.tried("journalctl --boot --unit systemd-udevd --output cat | grep kerbside").stdout
    assert complaints == ""
