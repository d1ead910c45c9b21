"""Scanners that are HID devices, from the kernel's node to the scan, and everything that goes wrong with one.

A pseudo-terminal stands for the node, and answers of ours for those of the kernel's ioctls.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hid_devices import ENTER, SHIFT, descriptor, press, report, scanned_data, stroke, strokes, trigger
from pytest_mock import MockerFixture
from watched_part import watching

from drivers.readings import Condition, DriverError, Scan
from drivers.scanner import input_device
from drivers.scanner.input_device import HidPosScanner, KeyboardScanner
from drivers.simulated.terminal import Terminal
from tests.waiting import wait_on_loop_until

KEYBOARD_KEYS = range(1, 120)
MOUSE_BUTTONS = range(0x110, 0x118)


def run(test: object) -> None:
    asyncio.run(test)  # type: ignore[arg-type]


class Kernel:
    """Answers what the driver asks of a device node."""

    def __init__(self) -> None:
        self.name = b"Handheld"
        self.keys: range | list[int] = KEYBOARD_KEYS
        self.held: list[int] = []
        self.descriptor = descriptor(scanned_data(), trigger(0, 0x5F, 0x60, 0, 0, 0x85, 0x86))
        self.refusal: int | None = None
        self.grabbed: list[str] = []
        """The nodes that were grabbed, as often as they were."""

    def ioctl(self, fd: int, request: int, argument: bytearray | int) -> int:
        if self.refusal is not None:
            raise OSError(self.refusal, os.strerror(self.refusal))
        if request == input_device.EVIOCGRAB:
            self.grabbed.append(os.ttyname(fd))
            return 0
        assert isinstance(argument, bytearray)
        if request in (input_device.EVIOCGBIT_KEY, input_device.EVIOCGKEY):
            for key in self.keys if request == input_device.EVIOCGBIT_KEY else self.held:
                argument[key // 8] |= 1 << key % 8
        elif request in (input_device.EVIOCGNAME, input_device.HIDIOCGRAWNAME):
            argument[: len(self.name)] = self.name
        elif request == input_device.HIDIOCGRDESCSIZE:
            argument[:4] = len(self.descriptor).to_bytes(4, "little")
        elif request == input_device.HIDIOCGRDESC:
            asked = int.from_bytes(argument[:4], "little")
            argument[4 : 4 + asked] = self.descriptor[:asked]
        else:
            raise OSError(errno.EINVAL, "Invalid argument")
        return 0


@pytest.fixture
def kernel(mocker: MockerFixture) -> Kernel:
    kernel = Kernel()
    mocker.patch("drivers.scanner.input_device.fcntl").ioctl = kernel.ioctl
    return kernel


@pytest.fixture
def device(kernel: Kernel) -> Iterator[Terminal]:
    with Terminal("event0") as terminal:
        yield terminal


def fault_of(part: KeyboardScanner | HidPosScanner) -> DriverError:
    """What the part says when it is run."""

    async def test() -> DriverError:
        with pytest.raises(DriverError) as found:
            async with asyncio.timeout(20):
                await part.run(lambda _: None, lambda _: None)
        return found.value

    return asyncio.run(test())


def test_the_numbers_of_the_questions_are_those_of_the_kernel() -> None:
    assert input_device.EVIOCGRAB == 0x40044590
    assert input_device.EVIOCGNAME == 0x81004506
    assert input_device.EVIOCGKEY == 0x80604518
    assert input_device.EVIOCGBIT_KEY == 0x80604521
    assert input_device.HIDIOCGRDESCSIZE == 0x80044801
    assert input_device.HIDIOCGRDESC == 0x90044802
    assert input_device.HIDIOCGRAWNAME == 0x81004804


def test_what_is_typed_arrives_as_a_scan_with_the_name_of_the_scanner(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            sent_ns = time.monotonic_ns()
            device.write(strokes(27) + stroke(46, SHIFT) + strokes(2, 30, 48, ENTER))
            (scan,) = await watched.until_readings(1)
        assert isinstance(scan, Scan)
        assert (scan.device, scan.text, scan.identifier, scan.symbology) == ("hand", "ab", "]C1", "Code 128")
        assert sent_ns <= scan.monotonic_ns <= time.monotonic_ns()

    run(test())


def test_the_layout_of_the_settings_is_used(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port, "de")) as watched:
            await watched.until_state(Condition.READY)
            device.write(strokes(21, 44, ENTER))
            (scan,) = await watched.until_readings(1)
        assert scan.text == "zy"

    run(test())


def test_the_same_code_twice_is_marked_and_not_swallowed(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            device.write(strokes(2, ENTER, 3, ENTER, 2, ENTER))
            scans = await watched.until_readings(3)
        assert [(scan.text, scan.repeat) for scan in scans] == [("1", False), ("2", False), ("1", True)]

    run(test())


def test_a_scanner_without_a_suffix_is_read_when_it_falls_silent(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port, "us", "none", 50)) as watched:
            await watched.until_state(Condition.READY)
            for text in (strokes(2, 3), strokes(4)):
                device.write(text)
                await asyncio.sleep(0)
            (scan,) = await watched.until_readings(1)
            assert scan.text == "123"
            device.write(strokes(5))
            assert (await watched.until_readings(2))[1].text == "4"

    run(test())


def test_a_scanner_that_never_types_enter_is_faulty_and_says_what_to_set(device: Terminal) -> None:
    async def test() -> None:
        scanner = KeyboardScanner("hand", device.port)
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            for turn in range(1, 4):
                device.write(strokes(2, 3))
                await watched.until(lambda turn=turn: scanner.counters.unterminated == turn)
            state = await watched.until_state(Condition.FAULTY)
            assert state.reason.startswith(f"scanner hand at {device.port} types codes without an Enter")
            device.write(strokes(2, ENTER))
            await watched.until_state(Condition.READY)
        assert [scan.text for scan in watched.readings] == ["1"]

    run(test())


def test_a_keyboard_is_grabbed_for_as_long_as_it_is_open(device: Terminal, kernel: Kernel) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            assert kernel.grabbed == [os.path.realpath(device.port)]
            gc.collect()
            opened = _open_files(device)
        assert _open_files(device) == opened - 1

    run(test())


def _open_files(device: Terminal) -> int:
    node = os.path.realpath(device.port)
    return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()].count(node)


def test_a_code_that_is_half_typed_when_the_scanner_is_opened_is_no_scan(device: Terminal, kernel: Kernel) -> None:
    async def test() -> None:
        kernel.held = [SHIFT, 30]
        device.write(strokes(2, ENTER) + strokes(3, ENTER))
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_readings(1)
            assert [scan.text for scan in watched.readings] == ["2"]

    run(test())


def test_a_key_that_is_down_when_the_scanner_is_opened_is_up_after_a_while(device: Terminal, kernel: Kernel) -> None:
    async def test() -> None:
        kernel.held = [SHIFT]
        scanner = KeyboardScanner("hand", device.port)
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            await watched.until(lambda: scanner.framer.due_ns is None)
            device.write(strokes(30, ENTER))
            assert (await watched.until_readings(1))[0].text == "a"

    run(test())


@pytest.mark.parametrize("kind", [KeyboardScanner, HidPosScanner])
@pytest.mark.usefixtures("kernel")
def test_a_scanner_that_is_not_plugged_in_is_absent(
    kind: type[KeyboardScanner | HidPosScanner], tmp_path: Path
) -> None:
    fault = fault_of(kind("hand", str(tmp_path / "event0")))
    assert fault.condition is Condition.ABSENT
    assert str(fault).startswith(f"scanner hand at {tmp_path}/event0 is not plugged in")


@pytest.mark.parametrize("kind", [KeyboardScanner, HidPosScanner])
def test_numbers_that_no_device_has_are_absent_too(kind: type[KeyboardScanner | HidPosScanner]) -> None:
    fault = fault_of(kind("hand", "fffe:fffe:NONE"))
    assert fault.condition is Condition.ABSENT
    assert "fffe:fffe:NONE" in str(fault)


@pytest.mark.parametrize("kind", [KeyboardScanner, HidPosScanner])
def test_unplugging_is_absent_and_plugging_in_again_is_enough(
    kind: type[KeyboardScanner | HidPosScanner], device: Terminal
) -> None:
    sent, text = (strokes(2, ENTER), "1") if kind is KeyboardScanner else (report(b"TBA1"), "TBA1")

    async def test() -> None:
        async with watching(kind("hand", device.port)) as watched:
            for turn in range(1, 4):
                await watched.until_state(Condition.READY)
                device.write(sent)
                assert (await watched.until_readings(turn))[-1].text == text
                device.unplug()
                state = await watched.until_state(Condition.ABSENT)
                assert "plug it in" in state.reason
                device.plug()

    run(test())


def test_a_device_that_the_kernel_takes_away_is_absent(device: Terminal, mocker: MockerFixture) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            gone = OSError(errno.ENODEV, "No such device")
            mocker.patch("drivers.scanner.input_device.os.read", side_effect=gone)
            device.write(strokes(2))
            state = await watched.until_state(Condition.ABSENT)
            assert "was unplugged (No such device): plug it in again" in state.reason

    run(test())


def test_strokes_from_before_the_unplugging_are_no_part_of_the_next_code(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            device.write(strokes(2, ENTER, 3) + press(SHIFT))
            await watched.until_readings(1)
            device.unplug()
            await watched.until_state(Condition.ABSENT)
            device.plug()
            await watched.until_state(Condition.READY)
            device.write(strokes(30, ENTER))
            assert (await watched.until_readings(2))[1].text == "a"

    run(test())


def test_a_keyboard_that_another_program_has_grabbed_is_in_use(device: Terminal, kernel: Kernel) -> None:
    kernel.refusal = errno.EBUSY
    fault = fault_of(KeyboardScanner("hand", device.port))
    assert fault.condition is Condition.FAULTY
    assert f"scanner hand at {device.port} is in use by another program" in str(fault)
    assert "fuser" in str(fault)


def test_a_mouse_is_no_keyboard_and_is_named(device: Terminal, kernel: Kernel) -> None:
    kernel.keys, kernel.name = MOUSE_BUTTONS, b"Optical Mouse\0rest"
    fault = fault_of(KeyboardScanner("hand", device.port))
    assert f'scanner hand at {device.port} is no keyboard but "Optical Mouse": correct its port' in str(fault)
    assert not kernel.grabbed


def test_a_device_that_is_no_hid_pos_scanner_is_named(device: Terminal, kernel: Kernel) -> None:
    kernel.descriptor, kernel.name = b"\x05\x01\x09\x06\xa1\x01\xc0", b"USB Keyboard"
    fault = fault_of(HidPosScanner("hand", device.port))
    assert f'scanner hand at {device.port} is no HID POS scanner but "USB Keyboard"' in str(fault)
    assert "USB HID POS" in str(fault)


@pytest.mark.parametrize(("kind", "found"), [(KeyboardScanner, "input device"), (HidPosScanner, "HID device")])
def test_a_path_of_another_kind_is_said_to_be_one(
    kind: type[KeyboardScanner | HidPosScanner], found: str, tmp_path: Path
) -> None:
    # Without answers of ours: this is what the real kernel says.
    file = tmp_path / "file"
    file.write_text("")
    with Terminal("ttyACM0") as terminal:
        for path in (terminal.port, str(file), "/dev/null", str(tmp_path)):
            fault = fault_of(kind("hand", path))
            assert fault.condition is Condition.FAULTY
            assert f"scanner hand at {path} is no {found}" in str(fault)


@pytest.mark.parametrize("kind", [KeyboardScanner, HidPosScanner])
def test_a_device_that_may_not_be_opened_names_the_group_that_may(
    kind: type[KeyboardScanner | HidPosScanner], device: Terminal, mocker: MockerFixture
) -> None:
    Path(device.port).chmod(0o660)
    refused = PermissionError(errno.EACCES, "Permission denied")
    mocker.patch("drivers.scanner.input_device.os.open", side_effect=refused)
    group = Path(device.port).group()
    assert f"may not be opened by this user: add the user to its group {group}" in str(
        fault_of(kind("hand", device.port))
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_node_without_rights_is_refused_by_the_kernel(device: Terminal) -> None:
    Path(device.port).chmod(0o000)
    assert "may not be opened by this user" in str(fault_of(KeyboardScanner("hand", device.port)))


def test_two_settings_that_match_one_device_are_told(device: Terminal, tmp_path: Path) -> None:
    other_name = tmp_path / "by-id"
    other_name.symlink_to(device.port)

    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            fault = await asyncio.to_thread(fault_of, KeyboardScanner("second", str(other_name)))
            assert "scanner second" in str(fault)
            assert "scanner hand" in str(fault)
            device.write(strokes(2, ENTER))
            await watched.until_readings(1)

    run(test())


def test_reports_arrive_as_scans_with_their_symbology(device: Terminal) -> None:
    async def test() -> None:
        async with watching(HidPosScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            device.write(report(b"A" * 56, identifier=b"]Q3", more=True) + report(b"B", identifier=b"]Q3"))
            device.write(report(b"TBA1"))
            scans = await watched.until_readings(2)
        assert [(scan.device, scan.text, scan.identifier, scan.symbology) for scan in scans] == [
            ("hand", "A" * 56 + "B", "]Q3", "QR Code"),
            ("hand", "TBA1", "]C0", "Code 128"),
        ]

    run(test())


def test_a_lost_continuation_is_given_up_and_the_next_code_is_read(device: Terminal) -> None:
    async def test() -> None:
        scanner = HidPosScanner("hand", device.port)
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            device.write(report(b"A" * 56, more=True))
            await watched.until(lambda: scanner.counters.unterminated == 1)
            device.write(report(b"TBA1"))
            assert [scan.text for scan in await watched.until_readings(1)] == ["TBA1"]

    run(test())


async def heard(device: Terminal, count: int) -> bytes:
    """What the scanner was sent."""
    assert device.master is not None
    master, data = device.master, bytearray()

    def all_came() -> bool:
        with contextlib.suppress(BlockingIOError):
            data.extend(os.read(master, 100))
        return len(data) >= count

    await wait_on_loop_until(all_came, f"{count} bytes")
    return bytes(data)


def test_a_hid_pos_scanner_that_has_beeps_sounds_them(device: Terminal) -> None:
    async def test() -> None:
        scanner = HidPosScanner("hand", device.port)
        scanner.signal("good")  # nobody is there yet
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            scanner.signal("good")
            scanner.signal("bad")
            assert await heard(device, 4) == b"\x04\x40\x04\x20"
        assert scanner.signals_dropped == 0

    run(test())


def test_a_hid_pos_scanner_that_has_no_beeps_is_sent_nothing(device: Terminal, kernel: Kernel) -> None:
    async def test() -> None:
        kernel.descriptor = descriptor(scanned_data())
        scanner = HidPosScanner("hand", device.port)
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            scanner.signal("good")
            scanner.signal("bad")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await heard(device, 1)

    run(test())


def test_a_hid_pos_scanner_that_takes_no_feedback_holds_nobody_up(device: Terminal, mocker: MockerFixture) -> None:
    async def test() -> None:
        stuck, let_go = threading.Event(), threading.Event()

        def write(_fd: int, _data: bytes) -> int:
            stuck.set()
            let_go.wait(20)
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

        scanner = HidPosScanner("hand", device.port)
        async with watching(scanner) as watched:
            await watched.until_state(Condition.READY)
            mocker.patch("drivers.scanner.input_device.os.write", write)
            scanner.signal("good")
            await asyncio.to_thread(stuck.wait, 20)
            for _ in range(input_device.MAX_UNSENT_REPORTS):
                scanner.signal("bad")
            assert scanner.signals_dropped == 0
            scanner.signal("bad")
            assert scanner.signals_dropped == 1
            device.unplug()
            await watched.until_state(Condition.ABSENT)
            device.plug()
            await watched.until_state(Condition.READY)
            let_go.set()
            scanner.signal("good")
            await watched.until(lambda: scanner.signals_dropped == 2)

    run(test())


def test_thirty_replugs_leave_no_thread_and_no_open_file_behind(device: Terminal) -> None:
    async def test() -> None:
        async with watching(KeyboardScanner("hand", device.port)) as watched:
            await watched.until_state(Condition.READY)
            gc.collect()
            files, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
            for turn in range(1, 31):
                device.unplug()
                await watched.until_state(Condition.ABSENT)
                device.plug()
                await watched.until_state(Condition.READY)
                device.write(strokes(2, ENTER))
                await watched.until_readings(turn)
            assert len(list(Path("/proc/self/fd").iterdir())) <= files
            # The loop keeps a few workers for opening devices; it does not keep one more for each replug.
            assert threading.active_count() < threads + 10

    run(test())


def test_a_device_that_opens_only_after_it_was_given_up_is_closed_again(
    device: Terminal, kernel: Kernel, mocker: MockerFixture
) -> None:
    async def test() -> None:
        asked, answer = threading.Event(), threading.Event()

        def slowly(fd: int, request: int, argument: bytearray | int) -> int:
            asked.set()
            answer.wait(20)
            return kernel.ioctl(fd, request, argument)

        mocker.patch("drivers.scanner.input_device.fcntl.ioctl", slowly)
        before = len(list(Path("/proc/self/fd").iterdir()))
        running = asyncio.create_task(KeyboardScanner("hand", device.port).run(lambda _: None, lambda _: None))
        await asyncio.to_thread(asked.wait, 20)
        running.cancel()
        await asyncio.wait([running])
        answer.set()
        await wait_on_loop_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, "the node to be closed")

    run(test())
