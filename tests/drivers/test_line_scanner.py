"""A scanner on a pseudo-terminal that sends lines, from the byte to the scan, and all that goes wrong with one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from watched_part import watching

from drivers.readings import Condition, Scan
from drivers.scanner import serial_port
from drivers.scanner.serial_port import Kind, SerialScanner, framer
from drivers.scanner.ssi import Opcode, Packet, Source
from drivers.simulated import SimulatedScanner
from tests.waiting import wait_on_loop_until

READER = "import os, sys, time; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(flush=True); time.sleep(600)"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def scanner_at(port: str, name: str = "hand", kind: Kind = "line", **options: Any) -> SerialScanner:
    return SerialScanner(name, port, framer(kind, **options))


def test_a_scan_arrives_with_its_identifier_the_name_of_the_scanner_and_its_time() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                sent_ns = time.monotonic_ns()
                device.scan("]C100340434161094042557")
                (scan,) = await watched.until_readings(1)
        assert isinstance(scan, Scan)
        assert (scan.device, scan.text, scan.identifier, scan.repeat) == ("hand", "00340434161094042557", "]C1", False)
        assert sent_ns <= scan.monotonic_ns <= time.monotonic_ns()

    run(test)


def test_the_same_code_twice_is_marked_and_not_swallowed() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.write(b"TBA1\rTBA2\rTBA1\r]C0TBA1\r")
                scans = await watched.until_readings(4)
        assert [(scan.text, scan.repeat) for scan in scans] == [
            ("TBA1", False),
            ("TBA2", False),
            ("TBA1", True),
            ("TBA1", False),
        ]

    run(test)


def test_a_scan_that_waited_in_the_port_before_it_was_opened_counts() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            device.scan("TBA1")
            async with watching(scanner_at(device.port)) as watched:
                (scan,) = await watched.until_readings(1)
        assert scan.text == "TBA1"

    run(test)


def test_a_port_in_cooked_mode_is_read_as_it_is_and_echoes_nothing() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            fd = os.open(device.port, os.O_RDWR | os.O_NOCTTY)
            tty.setcbreak(fd)
            os.close(fd)
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.write(b"TBA\x1d1\r")
                (scan,) = await watched.until_readings(1)
                assert await device.wait_signal(0.2) is None
        assert scan.text == "TBA\x1d1"

    run(test)


def test_a_line_of_a_megabyte_does_no_harm() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                await asyncio.to_thread(device.write, b"A" * 1_000_000 + b"\r")
                device.scan("TBA1")
                await watched.until_readings(1)
        assert [scan.text for scan in watched.readings] == ["TBA1"]
        assert scanner.counters.too_long == 1

    run(test)


def test_binary_noise_gives_no_scan_is_counted_and_the_next_scan_is_read() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                await asyncio.to_thread(device.noise, 20_000)
                device.write(b"\r")
                device.scan("TBA1")
                await watched.until(lambda: any(scan.text == "TBA1" for scan in watched.readings))
        assert scanner.counters.unreadable > 0
        separators = dict.fromkeys(map(ord, "\t\x04\x1c\x1d\x1e\x1f"))
        assert all(scan.text.translate(separators).isprintable() for scan in watched.readings)

    run(test)


def test_half_a_scan_is_not_glued_to_the_next_one() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                device.write(b"TBA12345")
                await watched.until(lambda: scanner.counters.unterminated == 1)
                device.scan("TBA2")
                await watched.until_readings(1)
        assert [scan.text for scan in watched.readings] == ["TBA2"]

    run(test)


def test_a_scan_in_slow_pieces_is_one_scan() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                for piece in (b"]C1", b"TBA", b"1", b"\r"):
                    device.write(piece)
                    await asyncio.sleep(0.05)
                (scan,) = await watched.until_readings(1)
        assert (scan.text, scan.identifier) == ("TBA1", "]C1")

    run(test)


def test_a_scanner_without_a_suffix_is_read_by_its_silence() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port, terminator="none", idle_flush_ms=50)) as watched:
                await watched.until_state(Condition.READY)
                device.scan("TBA1", terminator="")
                await watched.until_readings(1)
                device.scan("TBA2", terminator="")
                await watched.until_readings(2)
        assert [scan.text for scan in watched.readings] == ["TBA1", "TBA2"]

    run(test)


def test_a_wrong_terminator_is_told_in_the_state_and_forgotten_when_codes_come() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port, terminator="crlf")
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                for lost in range(1, 3):
                    device.scan("TBA1", terminator="\r")
                    await watched.until(lambda lost=lost: scanner.counters.unterminated == lost)  # type: ignore[misc]
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} ends its codes with CR" in state.reason
                assert 'set terminator = "cr"' in state.reason
                assert watched.readings == []
                device.scan("TBA2", terminator="\r\n")
                await watched.until_state(Condition.READY)
        assert [scan.text for scan in watched.readings] == ["TBA2"]

    run(test)


def test_a_wrong_baud_is_told_in_the_state_and_forgotten_when_codes_come() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                for lost in range(1, 4):
                    assert watched.state.condition is Condition.READY
                    # "TBA123456789012\r" at 38,400 baud, as a line at 9,600 takes it.
                    device.write(bytes.fromhex("00F8 8000 F880 00F8 0080 F800 F880 00F8 00F8 8000 F880 00F8 0080 F800"))
                    await watched.until(lambda lost=lost: len(watched.lost) == lost)  # type: ignore[misc]
                    await asyncio.sleep(0.6)
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} sends what is no text: set baud" in state.reason
                assert "9600 baud" in state.reason
                device.scan("TBA2")
                await watched.until_state(Condition.READY)
        assert [scan.text for scan in watched.readings] == ["TBA2"]

    run(test)


def test_bytes_that_the_port_counts_as_damaged_are_told_to_be_a_wrong_baud_whatever_they_look_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A pseudo-terminal has no such counts.
    damaged = 0
    monkeypatch.setattr(serial_port, "_damaged_bytes", lambda _fd: damaged)

    async def test() -> None:
        nonlocal damaged
        with SimulatedScanner() as device:
            part = scanner_at(device.port)
            async with watching(part) as watched:
                await watched.until_state(Condition.READY)
                for code in range(1, 4):
                    assert watched.state.condition is Condition.READY
                    damaged += 7
                    device.write(b"u5q\r")
                    await watched.until(lambda code=code: part.counters.damaged == code)  # type: ignore[misc]
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} sends what arrives damaged (21 bytes): set baud" in state.reason
                device.scan("TBA1")
                await watched.until_state(Condition.READY)
                device.write(b"TBA2")
                await asyncio.sleep(0.6)
        assert watched.state.condition is Condition.READY, "old damage says nothing of what is lost now"

    run(test)


def test_a_scanner_that_speaks_ssi_is_told_with_the_kind_to_set() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.write(Packet(Opcode.DECODE_DATA, b"\x03TBA1", source=Source.DECODER).encode())
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port}" in state.reason
                assert 'set kind = "ssi"' in state.reason
                assert await device.wait_signal(0.1) is None

    run(test)


def test_an_unplugged_scanner_is_absent_and_works_again_when_it_is_plugged_in() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.unplug()
                state = await watched.until_state(Condition.ABSENT)
                assert device.port in state.reason
                device.plug()
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                await watched.until_readings(1)
        assert [scan.text for scan in watched.readings] == ["TBA1"]
        assert not any(state.condition is Condition.FAULTY for state in watched.states)

    run(test)


def test_a_scanner_that_was_never_there_is_absent_and_not_faulty(tmp_path: Path) -> None:
    async def test() -> None:
        async with watching(scanner_at(str(tmp_path / "ttyACM0"))) as watched:
            state = await watched.until_state(Condition.ABSENT)
            assert "is not plugged in" in state.reason

    run(test)


def test_a_port_that_is_in_use_is_named_with_what_to_do() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            other = os.open(device.port, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(other, fcntl.LOCK_EX)
            async with watching(scanner_at(device.port)) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} is in use by another program" in state.reason
                assert f"`fuser {device.port}`" in state.reason
                os.close(other)
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                await watched.until_readings(1)

    run(test)


def test_a_program_that_has_the_port_open_without_a_lock_is_named_and_no_scan_is_shared_with_it() -> None:
    async def test() -> None:
        with (
            SimulatedScanner() as device,
            subprocess.Popen([sys.executable, "-c", READER, device.port], stdout=subprocess.PIPE) as other,
        ):
            assert other.stdout
            other.stdout.readline()
            async with watching(scanner_at(device.port)) as watched:
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} is in use by" in state.reason
                assert f"(process {other.pid}): stop that program" in state.reason
                other.kill()
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                await watched.until_readings(1)

    run(test)


@pytest.mark.parametrize("name", ["loop", "file/ttyACM0"])
def test_a_path_that_leads_nowhere_is_told_as_a_wrong_setting_and_not_as_a_wrong_speed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()

    async def test() -> None:
        async with watching(scanner_at(str(tmp_path / name))) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert "is not there" in state.reason
            assert "correct its port" in state.reason

    run(test)


def test_two_settings_for_one_device_are_both_named_by_whatever_path_they_reach_it() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port, "first")) as first:
                await first.until_state(Condition.READY)
                async with watching(scanner_at(str(Path(device.port).resolve()), "second")) as second:
                    state = await second.until_state(Condition.FAULTY)
                    assert "scanner second" in state.reason
                    assert "scanner first" in state.reason
                    assert "two settings match one device" in state.reason
                device.scan("TBA1")
                await first.until_readings(1)
                assert second.readings == []

    run(test)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As somebody who is in no group of the port."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def test_a_port_that_may_not_be_opened_says_which_group_owns_it() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            terminal = Path(device.port).resolve()
            terminal.chmod(0o060 if os.geteuid() == 0 else 0)
            with nobody():
                async with watching(scanner_at(device.port)) as watched:
                    state = await watched.until_state(Condition.FAULTY)
        assert f"scanner hand at {device.port} may not be opened by this user" in state.reason
        assert f"its group {group}" in state.reason

    with SimulatedScanner() as device:
        group = Path(device.port).group()
    run(test)


@pytest.mark.parametrize("other", ["/dev/null", "/dev/zero"])
def test_a_device_of_another_kind_is_not_taken_for_a_scanner(other: str) -> None:
    async def test() -> None:
        async with watching(scanner_at(other)) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert f"scanner hand at {other} is not a serial port" in state.reason

    run(test)


def test_a_file_is_not_taken_for_a_scanner(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "scans.txt").write_text("TBA1\r")
        async with watching(scanner_at(str(tmp_path / "scans.txt"))) as watched:
            state = await watched.until_state(Condition.FAULTY)
            assert "is not a serial port" in state.reason

    run(test)


def test_a_honeywell_scanner_beeps_differently_for_each_answer() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port, kind="honeywell")
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                heard = []
                for tone in ("good", "repeat", "bad", "attention"):
                    scanner.signal(tone)  # type: ignore[arg-type]
                    signal = await device.wait_signal()
                    assert signal is not None
                    heard.append(signal.data)
        assert heard[0] == bytes.fromhex("16070D")
        assert len(set(heard)) == 4

    run(test)


def test_a_honeywell_in_host_ack_mode_is_answered_by_escape_sequences_also_when_it_was_not_understood() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port, kind="honeywell", host_ack=True)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                heard = []
                for tone in ("good", "repeat", "bad", "attention"):
                    scanner.signal(tone)  # type: ignore[arg-type]
                    signal = await device.wait_signal()
                    assert signal is not None
                    heard.append(signal.data)
                device.write(b"TB\x00A1\r")
                await watched.until(lambda: bool(watched.lost))
                assert await device.wait_signal(0.1) is None, "who is told of it gives the answer"
        assert heard[0].startswith(b"\x1b6,")
        assert len(set(heard)) == 4
        assert all(part[1:] == b"," and part[:1].isalnum() for data in heard for part in data.split(b"\x1b")[1:])

    run(test)


def test_nothing_is_ever_written_to_a_scanner_of_unknown_make() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                for tone in ("good", "repeat", "bad", "attention"):
                    scanner.signal(tone)  # type: ignore[arg-type]
                device.scan("TBA1")
                await watched.until_readings(1)
                assert await device.wait_signal(0.3) is None

    run(test)


def test_a_scanner_that_takes_no_feedback_holds_nobody_up() -> None:
    async def test() -> None:
        with SimulatedScanner(deaf=True) as device:
            scanner = scanner_at(device.port, kind="honeywell")

            def dropped_of_many() -> int:
                for _ in range(1000):
                    scanner.signal("attention")
                return scanner.signals_dropped

            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                await wait_on_loop_until(dropped_of_many, "a signal that finds no room")
                device.scan("TBA1")
                await watched.until_readings(1)

    run(test)


def test_feedback_without_a_scanner_is_no_error(tmp_path: Path) -> None:
    scanner_at(str(tmp_path / "none"), kind="honeywell").signal("good")


def test_thirty_replugs_leave_no_thread_and_no_open_file_behind() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.scan("TBA0")
                await watched.until_readings(1)
                gc.collect()
                files, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
                for turn in range(1, 31):
                    device.unplug()
                    await watched.until_state(Condition.ABSENT)
                    device.plug()
                    await watched.until_state(Condition.READY)
                    device.scan(f"TBA{turn}")
                    await watched.until_readings(turn + 1)
                assert len(list(Path("/proc/self/fd").iterdir())) <= files
                # The loop keeps a few workers for opening ports; it does not keep one more for each replug.
                assert threading.active_count() < threads + 10

    run(test)
