"""What `kerbside devices` makes of a machine: trees as sysfs and udev build them."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from agent.checkup.plugged_in import Device, plugged_in
from agent.settings import Settings
from tests.cli.kerbside import kerbside, kerbside_json
from tests.drivers.machine import BOOT_KEYBOARD_DESCRIPTOR, POS_DESCRIPTOR, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def listed(machine: Machine, settings: Settings | None = None) -> list[Device]:
    return list(plugged_in(settings, machine.sys, machine.dev))


def settings_of(device: Device) -> Settings:
    """The block that is suggested, read as a settings file."""
    return Settings.model_validate(tomllib.loads(device.settings))


def only_scanner(device: Device) -> tuple[str, str]:
    """Port and kind of the one scanner that is suggested."""
    (scanner,) = settings_of(device).scanner
    return scanner.port, scanner.kind


def test_a_scanner_is_listed_by_its_identity_with_the_block_that_uses_it(machine: Machine) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-1", "05e0", "1701", "Zebra DS2208", "S22"))
    machine.link("serial/by-path/pci-0-usb-0:1:1.0", node)
    path = machine.link("serial/by-id/usb-Zebra_DS2208_S22-if00", node)
    (device,) = listed(machine)
    assert (device.kind, device.path, device.node, device.name) == ("serial", path, str(node), "Zebra DS2208")
    assert (device.usb, device.serial_number) == ("05e0:1701", "S22")
    assert only_scanner(device) == (path, "line")


def test_without_a_serial_number_the_usb_port_is_the_name_that_stays_and_that_is_said(machine: Machine) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-2", "1eab", "1a06", "Newland NLS"))
    machine.link("serial/by-id/usb-Newland_NLS-if00", node)
    path = machine.link("serial/by-path/pci-0-usb-0:2:1.0", node)
    (device,) = listed(machine)
    assert only_scanner(device) == (path, "line")
    assert "no serial number" in (device.note or "")
    assert '"1eab:1a06"' in (device.note or "")


def test_of_two_with_one_identity_each_is_named_by_its_port(machine: Machine) -> None:
    for port in (1, 2):
        node = machine.tty(f"ttyACM{port}", machine.usb(f"1-{port}", "05e0", "1701", "Zebra DS2208", "000"))
        machine.link(f"serial/by-path/pci-0-usb-0:{port}:1.0", node)
    machine.link("serial/by-id/usb-Zebra_DS2208_000-if00", node)
    devices = listed(machine)
    assert [only_scanner(device)[0].rpartition("/")[2] for device in devices] == [
        "pci-0-usb-0:1:1.0",
        "pci-0-usb-0:2:1.0",
    ]
    assert all("only the USB port tells them apart" in (device.note or "") for device in devices)


def test_the_blocks_of_several_scanners_make_one_settings_file(machine: Machine) -> None:
    for port in (1, 2, 3):
        machine.tty(f"ttyACM{port}", machine.usb(f"1-{port}", "05e0", "1701", serial=f"S{port}"))
    devices = listed(machine)
    settings = Settings.model_validate(tomllib.loads("\n".join(device.settings for device in devices)))
    assert [scanner.port for scanner in settings.scanner] == ["05e0:1701:S1", "05e0:1701:S2", "05e0:1701:S3"]


def test_where_udev_has_made_no_path_the_numbers_are_the_name_that_stays(machine: Machine) -> None:
    machine.tty("ttyACM0", machine.usb("1-1", "05e0", "1701", serial="S1"))
    machine.tty("ttyUSB0", machine.usb("1-2", "1a86", "7523"))
    assert [only_scanner(device)[0] for device in listed(machine)] == ["05e0:1701:S1", "1a86:7523"]


def test_what_nothing_tells_apart_is_listed_with_a_warning(machine: Machine) -> None:
    nodes = [machine.tty(f"ttyUSB{port}", machine.usb(f"1-{port}", "1a86", "7523")) for port in (1, 2)]
    devices = listed(machine)
    assert [device.path for device in devices] == [str(node) for node in nodes]
    assert all("may be taken for it" in (device.note or "") for device in devices)


def test_only_a_honeywell_is_said_to_be_one(machine: Machine) -> None:
    machine.tty("ttyACM0", machine.usb("1-1", "0c2e", "0caa", "Honeywell 1950g"))
    (device,) = listed(machine)
    assert only_scanner(device) == ("0c2e:0caa", "honeywell")


@pytest.mark.parametrize(
    ("vendor", "product", "name"),
    [("1546", "01a8", "u-blox AG - www.u-blox.com"), ("0e8d", "3329", "MTK GPS Receiver")],
)
def test_a_receiver_is_not_taken_for_a_scanner_and_its_udev_rule_is_shown(
    machine: Machine, vendor: str, product: str, name: str
) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-1.2", vendor, product, name))
    path = machine.link("serial/by-path/usb-0:1.2:1.0", node)
    (device,) = listed(machine)
    assert device.kind == "receiver"
    assert settings_of(device) == Settings.model_validate({"gps": {"device": path}})
    assert f'ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}"' in (device.rule or "")
    assert 'KERNELS=="1-1.2"' in (device.rule or "")


def test_an_adapter_in_the_settings_of_the_receiver_is_one_and_else_it_is_said_how_it_would_be(
    machine: Machine,
) -> None:
    node = machine.tty("ttyUSB0", machine.usb("1-1", "067b", "2303", "Prolific USB-Serial"))
    (device,) = listed(machine)
    assert device.kind == "serial"
    assert '[gps]\n  device = "067b:2303"' in (device.note or "")
    assert "SYSTEMD_WANTS" in (device.note or "")
    (device,) = listed(machine, Settings.model_validate({"gps": {"device": str(node)}}))
    assert device.kind == "receiver"
    assert "SYSTEMD_WANTS" in (device.rule or "")


def test_serial_lines_that_do_not_exist_are_not_listed(machine: Machine) -> None:
    board = machine.board("serial8250")
    machine.tty("ttyS0", board, type="4")
    machine.tty("ttyS1", board, type="0")
    machine.tty("tty1", None)
    (device,) = listed(machine)
    assert only_scanner(device) == (str(machine.dev / "ttyS0"), "line")


def test_a_serial_line_that_is_the_system_console_is_said_to_be_one(machine: Machine) -> None:
    machine.tty("ttyS0", machine.board("serial8250"), type="4")
    console = machine.sys / "class/tty/console"
    console.mkdir()
    (console / "active").write_text("tty0 ttyS0\n")
    (device,) = listed(machine)
    assert "console" in (device.note or "")


def test_a_camera_is_listed_once(machine: Machine) -> None:
    usb = machine.usb("1-3", "046d", "0825", "Logitech C270")
    node = machine.camera("video0", usb, "C270 HD WEBCAM")
    machine.camera("video1", usb, "C270 HD WEBCAM", index="1")
    path = machine.link("v4l/by-id/usb-046d_C270-video-index0", node)
    (device,) = listed(machine)
    assert (device.kind, device.name) == ("camera", "C270 HD WEBCAM")
    assert settings_of(device).camera.source == path


def test_a_scanner_that_types_is_listed_with_the_block_that_keeps_it_from_the_screen(machine: Machine) -> None:
    usb = machine.usb("1-4", "05e0", "1200", "Zebra Scanner", "K1")
    machine.keyboard("event2", usb, "05e0:1200", "Zebra Scanner Consumer Control", keys="3007f 0 0 0 c00 0")
    node = machine.keyboard("event3", usb, "05e0:1200", "Zebra Scanner")
    path = machine.link("input/by-id/usb-Zebra_Scanner_K1-event-kbd", node)
    (device,) = listed(machine)
    assert (device.kind, device.usb, device.serial_number) == ("keyboard", "05e0:1200", "K1")
    assert only_scanner(device) == (path, "hid")
    assert "USB serial" in (device.note or "")


def test_the_keyboard_of_a_computer_is_not_taken_for_a_scanner(machine: Machine) -> None:
    machine.keyboard("event0", machine.board("i8042"), "0001:0001", "AT Translated Set 2 keyboard", bus="0011")
    assert listed(machine) == []


def test_a_scanner_in_hid_pos_mode_is_found_by_what_it_reports(machine: Machine) -> None:
    usb = machine.usb("1-6", "0c2e", "0c61", "Honeywell 1470g", "H1")
    machine.hid("hidraw0", usb, "0c2e:0c61", BOOT_KEYBOARD_DESCRIPTOR)
    node = machine.hid("hidraw1", usb, "0c2e:0c61", POS_DESCRIPTOR, title="Honeywell 1470g")
    (device,) = listed(machine)
    assert (device.kind, device.node, device.name) == ("hidpos", str(node), "Honeywell 1470g")
    assert only_scanner(device) == ("0c2e:0c61:H1", "hidpos")


def test_what_the_settings_use_already_is_marked_however_they_name_it(machine: Machine) -> None:
    for number in (1, 2, 3):
        node = machine.tty(f"ttyACM{number}", machine.usb(f"1-{number}", "05e0", "1701", serial=f"S{number}"))
        path = machine.link(f"serial/by-path/usb-0:{number}:1.0", node)
    scanners = [{"name": "scanner", "port": "05e0:1701:S1"}, {"name": "fixed", "port": path}]
    devices = listed(machine, Settings.model_validate({"scanner": scanners}))
    assert [device.used_by for device in devices] == [['scanner[0] "scanner"'], [], ['scanner[1] "fixed"']]
    assert [settings_of(device).scanner[0].name for device in devices] == ["scanner", "scanner2", "fixed"]


def test_who_has_a_device_open_is_named(machine: Machine) -> None:
    node = machine.tty("ttyACM0", machine.usb("1-1", "05e0", "1701"))
    far_end, near_end = os.openpty()
    node.unlink()
    node.symlink_to(os.ttyname(near_end))
    child = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    os.set_inheritable(near_end, True)
    holder = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    try:
        (device,) = listed(machine)
        assert [(held.process, held.command) for held in device.held_by] == [(holder, "sleep")]
    finally:
        for process in (child, holder):
            os.kill(process, 9)
            os.waitpid(process, 0)
        os.close(near_end)
        os.close(far_end)


def _udev_can_verify() -> bool:
    found = shutil.which("udevadm", path="/usr/bin:/bin:/usr/sbin:/sbin")
    return bool(found) and subprocess.run([found, "verify", "--help"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _udev_can_verify(), reason="needs udevadm verify (udev 254 or newer, as in Debian 13)")
def test_udev_takes_the_rules_that_are_shipped_and_those_that_are_shown(machine: Machine, tmp_path: Path) -> None:
    machine.tty("ttyACM0", machine.usb("1-1", "1546", "01a8", "u-blox 8", 'a "b" [c]*'))
    machine.tty("ttyUSB0", machine.usb("1-2", "067b", "2303", "Prolific GPS"))
    shown = [rule for device in listed(machine) if (rule := device.rule)]
    assert len(shown) == 2
    rules = tmp_path / "71-kerbside-receiver.rules"
    rules.write_text("\n".join(shown) + "\n")
    files = [*(Path(__file__).parents[2] / "config/udev").glob("*.rules"), rules]
    done = subprocess.run(["udevadm", "verify", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_machine_with_nothing_plugged_in_has_an_empty_list(machine: Machine) -> None:
    assert listed(machine) == []


def test_the_command_lists_this_machine() -> None:
    done = kerbside("devices")
    assert done.returncode == 0
    assert done.stdout
    found = kerbside_json("devices")["devices"]
    assert all(device["path"] in done.stdout and device["settings"].splitlines()[0] in done.stdout for device in found)


def test_settings_that_are_wrong_are_told_when_they_were_asked_for(tmp_path: Path) -> None:
    settings = tmp_path / "agent.toml"
    settings.write_text('[[scanner]]\nname = "hand"\nport = "ttyUSB0"\n')
    done = kerbside("devices", "--settings", settings)
    assert done.returncode == 2
    assert "scanner[0].port: expected a path" in done.stderr
