"""What `kerbside devices` makes of a machine: trees as sysfs and udev build them."""

import tomllib
from pathlib import Path

import pytest

from agent.cli.devices import Device, plugged_in
from agent.settings import Settings
from tests.cli.kerbside import kerbside, kerbside_json


class Machine:
    """A /sys and a /dev to which things are plugged."""

    def __init__(self, root: Path) -> None:
        self.sys, self.dev = root / "sys", root / "dev"
        self.sys.mkdir()
        self.dev.mkdir()

    def plugged_in(self) -> list[Device]:
        return list(plugged_in(self.sys, self.dev))

    def usb(self, port: str, vendor: str, product: str, name: str, serial: str | None = None) -> Path:
        device = self.sys / "devices/pci0/usb1" / port
        (device / f"{port}:1.0").mkdir(parents=True)
        (device / "idVendor").write_text(f"{vendor}\n")
        (device / "idProduct").write_text(f"{product}\n")
        maker, _, model = name.partition(" ")
        (device / "manufacturer").write_text(f"{maker}\n")
        (device / "product").write_text(f"{model}\n")
        if serial:
            (device / "serial").write_text(f"{serial}\n")
        return device / f"{port}:1.0"

    def node(self, kind: str, entry_name: str, device: Path | None, **files: str) -> Path:
        """An entry of /sys/class with its node in /dev."""
        entry = self.sys / "class" / kind / entry_name
        entry.mkdir(parents=True)
        for file, content in files.items():
            (entry / file).write_text(f"{content}\n")
        if device:
            (device / "driver").mkdir(exist_ok=True)
            (entry / "device").symlink_to(device)
        node = self.dev / ("input" if kind == "input" else "") / entry_name
        node.parent.mkdir(exist_ok=True)
        node.touch()
        return node

    def link(self, name: str, node: Path) -> str:
        link = self.dev / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(node)
        return str(link)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def settings_of(device: Device) -> Settings:
    """The block that is suggested, read as a settings file."""
    assert device.settings is not None
    return Settings.model_validate(tomllib.loads(device.settings))


def test_a_scanner_is_listed_by_its_identity_with_the_block_that_uses_it(machine: Machine) -> None:
    usb = machine.usb("1-1", "05e0", "1701", "Zebra DS2208", "S22")
    node = machine.node("tty", "ttyACM0", usb)
    machine.link("serial/by-path/pci-0-usb-0:1:1.0", node)
    path = machine.link("serial/by-id/usb-Zebra_DS2208_S22-if00", node)
    (device,) = machine.plugged_in()
    assert (device.path, device.node, device.name) == (path, str(node), "Zebra DS2208")
    assert (device.usb, device.serial_number) == ("05e0:1701", "S22")
    (scanner,) = settings_of(device).scanner
    assert (scanner.port, scanner.kind) == (path, "line")


def test_without_a_serial_number_the_usb_port_is_the_name_that_stays(machine: Machine) -> None:
    node = machine.node("tty", "ttyUSB0", machine.usb("1-2", "067b", "2303", "Prolific USB-Serial"))
    path = machine.link("serial/by-path/pci-0-usb-0:2:1.0", node)
    assert [device.path for device in machine.plugged_in()] == [path]


def test_only_a_honeywell_is_said_to_be_one(machine: Machine) -> None:
    machine.node("tty", "ttyACM0", machine.usb("1-1", "0c2e", "0caa", "Honeywell 1950g"))
    (device,) = machine.plugged_in()
    assert settings_of(device).scanner[0].kind == "honeywell"


def test_a_receiver_is_not_taken_for_a_scanner(machine: Machine) -> None:
    node = machine.node("tty", "ttyACM0", machine.usb("1-1", "1546", "01a8", "u-blox 8"))
    (device,) = machine.plugged_in()
    assert settings_of(device).gps.device == str(node)
    assert settings_of(device).scanner == ()


def test_serial_lines_that_do_not_exist_are_not_listed(machine: Machine) -> None:
    board = machine.sys / "devices/platform/serial8250"
    board.mkdir(parents=True)
    machine.node("tty", "ttyS0", board, type="4")
    machine.node("tty", "ttyS1", board, type="0")
    machine.node("tty", "tty1", None)
    assert [Path(device.node).name for device in machine.plugged_in()] == ["ttyS0"]


def test_a_camera_is_listed_once(machine: Machine) -> None:
    usb = machine.usb("1-3", "046d", "0825", "Logitech C270")
    node = machine.node("video4linux", "video0", usb, name="C270 HD WEBCAM", index="0")
    machine.node("video4linux", "video1", usb, name="C270 HD WEBCAM", index="1")
    path = machine.link("v4l/by-id/usb-046d_C270-video-index0", node)
    (device,) = machine.plugged_in()
    assert device.name == "C270 HD WEBCAM"
    assert settings_of(device).camera.source == path


def test_a_scanner_that_types_like_a_keyboard_is_told_how_to_be_one_that_does_not(machine: Machine) -> None:
    node = machine.node("input", "event3", machine.usb("1-4", "05e0", "1200", "Zebra Scanner"))
    machine.link("input/by-id/usb-Zebra-event-kbd", node)
    mouse = machine.node("input", "event4", machine.usb("1-5", "046d", "c077", "Logitech Mouse"))
    machine.link("input/by-id/usb-Logitech-event-mouse", mouse)
    (device,) = machine.plugged_in()
    assert (device.kind, device.settings) == ("keyboard", None)
    assert "USB serial" in (device.note or "")


def test_a_scanner_in_hid_pos_mode_is_found_by_what_it_reports(machine: Machine) -> None:
    usb = machine.usb("1-6", "0c2e", "0c61", "Honeywell 1470g")
    (usb / "report_descriptor").write_bytes(b"\x05\x8c\x09\x02\xa1\x01")
    machine.node("hidraw", "hidraw0", usb)
    (device,) = machine.plugged_in()
    assert (device.kind, device.usb) == ("hidpos", "0c2e:0c61")


def test_a_machine_with_nothing_plugged_in_has_an_empty_list(machine: Machine) -> None:
    assert machine.plugged_in() == []


def test_the_command_lists_this_machine() -> None:
    done = kerbside("devices")
    assert done.returncode == 0
    assert done.stdout
    listed = kerbside_json("devices")["devices"]
    assert all(device["path"] in done.stdout for device in listed)
