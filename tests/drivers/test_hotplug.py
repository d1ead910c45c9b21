"""Devices named by their numbers, parts that want the same one, and word of what is plugged in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from drivers import hotplug
from drivers.hotplug import Subsystem, Watch, claim, resolve
from drivers.readings import Condition, DriverError
from tests.drivers.machine import BOOT_KEYBOARD_DESCRIPTOR, POS_DESCRIPTOR, Machine
from tests.waiting import PATIENCE_S

SCANNER = "0c2e:0b6a"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def found(machine: Machine, match: str, subsystem: Subsystem = "tty") -> str:
    return resolve(match, subsystem, "scanner hand", sys=machine.sys, dev=machine.dev)


def refused(machine: Machine, match: str, subsystem: Subsystem = "tty") -> DriverError:
    with pytest.raises(DriverError) as raised:
        found(machine, match, subsystem)
    return raised.value


@pytest.mark.parametrize("match", [SCANNER, "0C2E:0B6A", f"{SCANNER}:S1"])
def test_a_scanner_is_found_by_its_numbers(machine: Machine, match: str) -> None:
    machine.tty("ttyACM0", machine.usb("1-1", "05e0", "1701", serial="S1"))
    node = machine.tty("ttyACM1", machine.usb("1-2", "0c2e", "0b6a", serial="S1"))
    assert found(machine, match) == str(node)


def test_a_path_is_its_own_node_whether_or_not_it_is_there(machine: Machine) -> None:
    assert found(machine, "/dev/serial/by-id/usb-nowhere") == "/dev/serial/by-id/usb-nowhere"


@pytest.mark.parametrize("match", [SCANNER, f"{SCANNER}:S2", "0c2e:0b6b:S1"])
def test_what_is_not_plugged_in_is_absent(machine: Machine, match: str) -> None:
    if match != SCANNER:
        machine.tty("ttyACM0", machine.usb("1-1", "0c2e", "0b6a", serial="S1"))
    error = refused(machine, match)
    assert error.condition is Condition.ABSENT
    assert str(error).startswith(f"scanner hand ({match}) is not plugged in: plug it in")


def test_of_two_alike_the_one_with_the_serial_number_is_meant(machine: Machine) -> None:
    machine.tty("ttyACM0", machine.usb("1-1", "0c2e", "0b6a", serial="S1"))
    node = machine.tty("ttyACM1", machine.usb("1-2", "0c2e", "0b6a", serial="S2"))
    assert found(machine, f"{SCANNER}:S2") == str(node)


def test_numbers_that_fit_several_name_them_and_what_tells_them_apart(machine: Machine) -> None:
    for number in (1, 2):
        machine.tty(f"ttyACM{number}", machine.usb(f"1-{number}", "0c2e", "0b6a", serial=f"S{number}"))
    error = refused(machine, SCANNER)
    assert error.condition is Condition.FAULTY
    assert str(error) == (
        f"scanner hand (0c2e:0b6a) fits 2 devices: {machine.dev}/ttyACM1 (S1), {machine.dev}/ttyACM2 (S2); add the "
        'serial number of the one you mean, such as "0c2e:0b6a:S1"'
    )


@pytest.mark.parametrize("serial", [None, "SAME"])
def test_several_that_only_their_ports_tell_apart_are_named_by_these(machine: Machine, serial: str | None) -> None:
    for number in (1, 2):
        node = machine.tty(f"ttyACM{number}", machine.usb(f"1-{number}", "0c2e", "0b6a", serial=serial))
        path = machine.link(f"serial/by-path/usb-0:{number}:1.0", node)
    assert path in str(refused(machine, SCANNER))
    assert "set the path of the one you mean" in str(refused(machine, SCANNER))


@pytest.mark.parametrize("match", [f"{SCANNER}:A 7/ä", f"{SCANNER}:A_7/_"])
def test_a_serial_number_may_be_written_as_the_device_or_as_udev_writes_it(machine: Machine, match: str) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-1", "0c2e", "0b6a", serial="A 7/ä"))
    assert found(machine, match) == str(node)


def test_a_serial_number_with_colons_is_one_number(machine: Machine) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-1", "0c2e", "0b6a", serial="00:11:22"))
    assert found(machine, f"{SCANNER}:00:11:22") == str(node)


def test_a_scanner_that_is_plugged_in_in_another_mode_is_told_which_code_to_read(machine: Machine) -> None:
    usb = machine.usb("1-4", "0c2e", "0b6a")
    machine.keyboard("event3", usb, SCANNER, "Honeywell Scanner")
    error = refused(machine, SCANNER)
    assert error.condition is Condition.FAULTY
    assert "is plugged in (USB port 1-4) and is no serial line" in str(error)
    assert "USB serial (CDC)" in str(error)
    assert "USB HID POS" in str(refused(machine, SCANNER, "hidraw"))


def test_a_scanner_that_the_kernel_still_sets_up_is_not_taken_for_one_in_another_mode(machine: Machine) -> None:
    usb = machine.usb("1-4", "0c2e", "0b6a")
    (usb.parent / "power").mkdir()
    (usb.parent / "power/connected_duration").write_text("140\n")
    error = refused(machine, SCANNER)
    assert error.condition is Condition.ABSENT
    assert "was plugged in this moment" in str(error)
    (usb.parent / "power/connected_duration").write_text("5000\n")
    assert refused(machine, SCANNER).condition is Condition.FAULTY


def test_a_keyboard_is_its_node_that_types_and_not_the_one_of_its_volume_keys(machine: Machine) -> None:
    usb = machine.usb("1-4", "05e0", "1200", serial="K1")
    machine.keyboard("event2", usb, "05e0:1200", "Zebra Consumer Control", keys="3007f 0 0 0 c00 0")
    node = machine.keyboard("event11", usb, "05e0:1200", "Zebra Scanner")
    assert found(machine, "05e0:1200", "input") == str(node)
    assert found(machine, "05e0:1200:K1", "input") == str(node)


def test_a_wireless_keyboard_goes_by_its_own_numbers_and_not_by_those_of_its_radio(machine: Machine) -> None:
    radio = machine.usb("1-5", "0a12", "0001", serial="RADIO")
    node = machine.keyboard("event5", radio / "bluetooth/hci0", "0536:02bc", "Handheld")
    assert found(machine, "0536:02bc", "input") == str(node)
    assert refused(machine, "0a12:0001", "input").condition is not None
    assert refused(machine, "0536:02bc:RADIO", "input").condition is Condition.ABSENT


def test_a_hid_scanner_is_the_node_that_reports_bar_codes(machine: Machine) -> None:
    usb = machine.usb("1-6", "0c2e", "0b6a")
    machine.hid("hidraw0", usb, SCANNER, BOOT_KEYBOARD_DESCRIPTOR)
    node = machine.hid("hidraw1", usb, SCANNER, POS_DESCRIPTOR)
    assert found(machine, SCANNER, "hidraw") == str(node)


def test_a_camera_is_its_node_that_gives_pictures(machine: Machine) -> None:
    usb = machine.usb("1-3", "046d", "0825")
    node = machine.camera("video0", usb, "C270")
    machine.camera("video1", usb, "C270", index="1")
    assert found(machine, "046d:0825", "video4linux") == str(node)


def test_two_parts_that_want_one_device_are_told_of_each_other_and_the_first_keeps_it(tmp_path: Path) -> None:
    far_end, near_end = os.openpty()
    node = os.ttyname(near_end)
    link = tmp_path / "by-id"
    link.symlink_to(node)
    try:
        with claim(node, "scanner left"):
            with pytest.raises(DriverError) as raised, claim(str(link), "scanner right"):
                pytest.fail("the device was given away twice")
            assert "scanner right" in str(raised.value)
            assert "is the same device as scanner left" in str(raised.value)
            assert raised.value.condition is Condition.FAULTY
        with claim(str(link), "scanner right"):
            pass
    finally:
        os.close(near_end)
        os.close(far_end)


def watched(paths: list[str], happens: Any, patience_s: float = PATIENCE_S) -> int:
    """How often a watch has called once `happens` was done: at the first call, or when the patience is over."""

    async def test() -> int:
        calls = 0
        heard = asyncio.Event()

        def plugged() -> None:
            nonlocal calls
            calls += 1
            heard.set()

        watching = asyncio.create_task(Watch(plugged, paths).run())
        await asyncio.sleep(2 * hotplug.PATHS_EVERY_S)
        happens()
        try:
            async with asyncio.timeout(patience_s):
                await heard.wait()
        except TimeoutError:
            pass
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
        return calls

    return asyncio.run(test())


def test_a_path_that_comes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scanner"
    assert watched([str(path)], path.touch) >= 1


def test_another_thing_at_the_same_path_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scanner"
    path.symlink_to("/dev/null")

    def replug() -> None:
        path.unlink()
        path.symlink_to("/dev/zero")

    assert watched([str(path)], replug) >= 1


def test_a_path_that_goes_is_nothing_to_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "_monitor", lambda: None)  # whatever is plugged into this machine meanwhile
    path = tmp_path / "scanner"
    path.touch()
    assert watched([str(path), "046d:0825"], path.unlink, 4 * hotplug.PATHS_EVERY_S) == 0


UEVENT = Path("/sys/class/tty/tty0/uevent")


@pytest.mark.skipif(not os.access(UEVENT, os.W_OK), reason="needs root and a kernel whose /sys can be written")
def test_the_kernel_tells_of_a_device_without_being_asked() -> None:
    assert watched([], lambda: UEVENT.write_text("change")) >= 1


def test_without_a_monitor_the_paths_are_still_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyudev = pytest.importorskip("pyudev")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no netlink in this container")

    monkeypatch.setattr(pyudev.Monitor, "from_netlink", fails)
    path = tmp_path / "scanner"
    assert watched([str(path)], path.touch) >= 1
