"""A path whose device went away, and which leads to another one later: a stranger is not taken for a scanner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from machine import Machine
from watched_part import needs, watching

from drivers.gps import Gps
from drivers.hotplug import Subsystem
from drivers.readings import Condition, DriverError
from drivers.same_device import Opened
from drivers.scanner.serial_port import SerialScanner, framer
from drivers.simulated import Gpsd, SimulatedReceiver
from firmware_bridge.mount import Mount
from firmware_bridge.simulated.simulator import Simulator


class Pty:
    """Both ends of a virtual terminal, as some program holds them."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.node = os.ttyname(self.slave)
        Path(self.node).chmod(0o666)

    def close(self) -> None:
        for end in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(end)

    def is_open_here(self) -> bool:
        """Whether somebody else in this process has opened it."""
        number, opened = os.fstat(self.slave).st_rdev, 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                opened += descriptor.stat().st_rdev == number
        return opened > 1


@contextlib.asynccontextmanager
async def stranger(node: str) -> AsyncIterator[Pty]:
    """Another program that gets the number of a terminal that is gone, once everybody has let go of it."""
    for _ in range(200):
        pty = Pty()
        if pty.node == node:
            try:
                yield pty
            finally:
                pty.close()
            return
        pty.close()
        await asyncio.sleep(0.05)
    pytest.skip("a program outside of this test has got the number")


def scanner(path: str) -> SerialScanner:
    return SerialScanner("hand", path, framer("honeywell"))


@pytest.fixture(params=["its own path", "a link", "a link to a folder", "a node made for it"])
def path_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """A path that leads to a terminal, and stays when that goes."""

    def path(node: str) -> str:
        if request.param == "a link":
            (tmp_path / "scanner").symlink_to(node)
            return str(tmp_path / "scanner")
        if request.param == "a link to a folder":
            (tmp_path / "terminals").symlink_to(Path(node).parent)
            return str(tmp_path / "terminals" / Path(node).name)
        if request.param == "a node made for it":
            try:
                os.mknod(tmp_path / "node", 0o20666, Path(node).stat().st_rdev)
                os.close(os.open(tmp_path / "node", os.O_RDWR | os.O_NOCTTY))
            except OSError:
                pytest.skip("needs the right to make nodes of devices")
            return str(tmp_path / "node")
        return node

    return path


def test_the_number_of_a_scanners_terminal_that_another_program_got_is_not_opened(
    path_of: Callable[[str], str],
) -> None:
    async def test() -> None:
        first = Pty()
        part = scanner(path_of(first.node))
        async with watching(part) as watched:
            await watched.until_state(Condition.READY)
            os.write(first.master, b"TBA1\r")
            await watched.until_readings(1)
            first.close()
            await watched.until_state(Condition.ABSENT)
            async with stranger(first.node) as other:
                os.write(other.master, b"PASSWORD\r")
                await watched.until(lambda: "belongs to another virtual terminal" in watched.state.reason)
                assert watched.state.condition is Condition.ABSENT
                part.signal("bad")
                await asyncio.sleep(1)
                assert not other.is_open_here()
        assert [scan.text for scan in watched.readings] == ["TBA1"]

    asyncio.run(test())


def test_a_scanner_that_comes_back_under_the_same_number_is_taken_when_its_link_was_made_anew(tmp_path: Path) -> None:
    async def test() -> None:
        link = tmp_path / "scanner"
        first = Pty()
        link.symlink_to(first.node)
        async with watching(scanner(str(link))) as watched:
            await watched.until_state(Condition.READY)
            link.unlink()
            first.close()
            await watched.until_state(Condition.ABSENT)
            async with stranger(first.node) as again:
                link.symlink_to(again.node)
                await watched.until_state(Condition.READY)
                os.write(again.master, b"TBA2\r")
                await watched.until_readings(1)

    asyncio.run(test())


def test_a_terminal_that_was_open_all_the_time_is_taken_again_after_a_fault() -> None:
    async def test() -> None:
        pty = Pty()
        part = scanner(pty.node)
        async with watching(part) as watched:
            await watched.until_state(Condition.READY)
            taken = watched.out

            def fails_once(reading: object) -> None:
                assert part._session is not None
                part._session._hand_over._out = taken
                raise DriverError("the scan could not be handed over")

            assert part._session is not None
            part._session._hand_over._out = fails_once
            os.write(pty.master, b"TBA1\r")
            await watched.until_state(Condition.FAULTY)
            await watched.until_state(Condition.READY)
            os.write(pty.master, b"TBA2\r")
            await watched.until_readings(1)
        pty.close()

    asyncio.run(test())


def test_a_mount_is_not_looked_for_in_another_programs_terminal() -> None:
    async def test() -> None:
        with Simulator() as device:
            node = str(Path(device.port).resolve())
            async with watching(Mount(node)) as watched:
                await watched.until_state(Condition.READY)
                device.unplug()
                await watched.until_state(Condition.ABSENT)
                async with stranger(node) as other:
                    await watched.until(lambda: "belongs to another virtual terminal" in watched.state.reason)
                    await asyncio.sleep(1)
                    assert not other.is_open_here()

    asyncio.run(test())


@needs("gpsd", "gpsd")
def test_gpsd_is_not_handed_another_programs_terminal_for_the_receiver(tmp_path: Path) -> None:
    async def test() -> None:
        control = tmp_path / "gpsd.sock"
        receiver = SimulatedReceiver(rate_hz=5)
        receiver.plug()
        node = str(Path(receiver.port).resolve())
        with Gpsd(node, control=control) as gpsd:
            async with watching(Gps(gpsd.address, 1.0, node, control=str(control))) as watched:
                await watched.until_readings(1)
                receiver.close()
                await watched.until_state(Condition.ABSENT)
                async with stranger(node):
                    await watched.until(lambda: "belongs to another virtual terminal" in watched.state.reason)

    asyncio.run(test())


SCANNER, OTHER = ("0c2e", "0b6a", "Maker Scanner"), ("1234", "5678", "Other Thing")


def plug(machine: Machine, port: str, what: tuple[str, str, str], serial: str | None, name: str = "ttyACM0") -> str:
    vendor, product, title = what
    return str(machine.tty(name, machine.usb(port, vendor, product, title, serial)))


def unplug(machine: Machine, port: str, name: str = "ttyACM0") -> None:
    for folder in (machine.sys / f"class/tty/{name}", machine.sys / f"devices/pci0/usb1/{port}"):
        for each in sorted(folder.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
        folder.rmdir()
    (machine.sys / f"bus/usb/devices/{port}").unlink()
    (machine.dev / name).unlink()


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        pytest.param(("1-1", SCANNER, "A"), ("1-1", SCANNER, "A"), True, id="the same one"),
        pytest.param(("1-1", SCANNER, "A"), ("1-2", SCANNER, "A"), True, id="at another port"),
        pytest.param(("1-1", SCANNER, None), ("1-2", SCANNER, None), True, id="without a serial number"),
        pytest.param(("1-1", SCANNER, "A"), ("1-1", SCANNER, "B"), True, id="its replacement at its port"),
        pytest.param(("1-1", SCANNER, "A"), ("1-2", SCANNER, "B"), False, id="another one of its kind elsewhere"),
        pytest.param(("1-1", SCANNER, "A"), ("1-1", OTHER, "A"), False, id="another kind at its port"),
        pytest.param(("1-1", SCANNER, None), ("1-2", OTHER, None), False, id="another kind elsewhere"),
    ],
)
def test_a_number_of_the_kernel_leads_to_the_same_device_or_is_left_alone(
    tmp_path: Path,
    before: tuple[str, tuple[str, str, str], str | None],
    after: tuple[str, tuple[str, str, str], str | None],
    same: bool,
) -> None:
    machine = Machine(tmp_path)
    node = plug(machine, *before)
    static, by_id = tmp_path / "static", tmp_path / "by-id"
    static.symlink_to(node)
    by_id.symlink_to(node)
    opened = [Opened(path, "tty", machine.sys) for path in (node, str(static), str(by_id))]
    for each in opened:
        each.keep(each.look("scanner hand"), "scanner hand")
    unplug(machine, before[0])
    by_id.unlink()
    assert [each.look("scanner hand") for each in opened], "what is away is told by whoever opens it"
    plug(machine, *after)
    by_id.symlink_to(node)
    opened[2].look("scanner hand")  # who names devices says that it is
    for each in opened[:2]:
        if same:
            each.keep(each.look("scanner hand"), "scanner hand")
            continue
        with pytest.raises(DriverError) as refused:
            each.look("scanner hand")
        assert refused.value.condition is Condition.ABSENT
        assert str(refused.value).startswith(f"scanner hand is gone, and its name {each.path} belongs to {after[1][2]}")
        assert "restart the agent" in str(refused.value)


@pytest.mark.parametrize("subsystem", ["input", "hidraw", "video4linux"])
def test_so_does_a_number_of_every_kind_of_device(tmp_path: Path, subsystem: Subsystem) -> None:
    def one(root: Path, numbers: tuple[str, str, str]) -> tuple[Machine, str]:
        machine = Machine(root)
        interface = machine.usb("1-1", *numbers)
        vendor_product = f"{numbers[0]}:{numbers[1]}"
        node = {
            "input": lambda: machine.keyboard("event3", interface, vendor_product, "Thing"),
            "hidraw": lambda: machine.hid("hidraw0", interface, vendor_product, b"\x05\x8c"),
            "video4linux": lambda: machine.camera("video0", interface, "Thing"),
        }[subsystem]()
        return machine, str(node)

    for name in ("first", "again", "other"):
        (tmp_path / name).mkdir()
    first, node = one(tmp_path / "first", SCANNER)
    opened = Opened(node, subsystem, first.sys)
    opened.keep(opened.look("it"), "it")
    opened.sys = one(tmp_path / "again", SCANNER)[0].sys
    opened.keep(opened.look("it"), "it")
    opened.sys = one(tmp_path / "other", OTHER)[0].sys
    with pytest.raises(DriverError, match="belongs to"):
        opened.look("it")


def test_a_line_of_the_board_stays_what_it_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    opened = Opened(str(machine.tty("ttyS0", machine.board("serial8250"))), "tty", machine.sys)
    opened.keep(opened.look("mount"), "mount")
    opened.keep(opened.look("mount"), "mount")


def test_numbers_of_the_settings_are_what_the_device_says_of_itself(tmp_path: Path) -> None:
    opened = Opened("0c2e:0b6a", "tty", Machine(tmp_path).sys)
    opened.keep(opened.look("scanner hand"), "scanner hand")
    opened.look("scanner hand")
