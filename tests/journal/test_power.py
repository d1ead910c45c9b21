"""The power goes, the disk is full, the disk fails: on real file systems that are made for the test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from agent.journal.entries import JournalError, JournalFull
from tests.journal.promises import Child, Promises
from tests.journal.writing import Writer, all_events, opened, verified
from tests.waiting import wait_until

CUTS = 22
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = b"\x02\x00\x00\x00"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Disk:
    """A small file system whose power can be cut."""

    def __init__(self, directory: Path) -> None:
        self.mounted = directory / "mounted"
        self.mounted.mkdir()
        image = directory / "image"
        with image.open("wb") as file:
            file.truncate(96 << 20)
        run("mkfs.ext4", "-q", "-F", str(image))
        self._device = run("losetup", "--find", "--show", str(image))
        self.mount()

    def mount(self) -> None:
        run("mount", "-t", "ext4", self._device, str(self.mounted))

    def cut(self) -> None:
        """From now on nothing reaches the disk, and what was not flushed is gone."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        for _ in range(50):
            if subprocess.run(["umount", str(self.mounted)], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        run("umount", "--lazy", str(self.mounted))

    def detach(self) -> None:
        if os.path.ismount(self.mounted):
            self.unmount()
        run("losetup", "--detach", self._device)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root may make and mount a file system")
    if not (shutil.which("mkfs.ext4") and shutil.which("losetup")):
        pytest.skip("mkfs.ext4 or losetup is not installed")
    try:
        disk = Disk(tmp_path)
    except subprocess.CalledProcessError as fault:
        pytest.skip(f"no loop device can be mounted here: {fault.stderr}")
    yield disk
    disk.detach()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = tmp_path / "small"
    mounted.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(mounted))
    except subprocess.CalledProcessError as fault:
        pytest.skip(f"no file system can be mounted here: {fault.stderr}")
    yield mounted
    run("umount", "--lazy", str(mounted))


@pytest.mark.power_cut
def test_no_promised_event_is_lost_by_power_cuts(disk: Disk) -> None:
    random = Random(3)
    promises = Promises()
    events = 0
    for turn in range(CUTS):
        directory = disk.mounted / "state"
        child = Child(directory, turn, promises, draining=turn % 2 == 1)
        assert child.ready.wait(60)
        time.sleep(random.uniform(0, 0.15))
        # An answer that is heard from here on may have been given after the power went.
        child.power_goes = True
        disk.cut()
        child.kill()
        disk.unmount()
        disk.mount()
        events = max(events, promises.check(directory))
    assert events > 100, "the children hardly wrote anything"


@pytest.mark.power_cut
def test_a_disk_that_fails_is_an_error_with_a_name_and_the_next_start_goes_on(disk: Disk) -> None:
    directory = disk.mounted / "state"
    journal = opened(directory)
    writer = Writer(journal)
    written = writer.events(20)
    disk.cut()
    fault = writer.write(writer.event())
    assert isinstance(fault, JournalError)
    assert not isinstance(fault, JournalFull)
    assert "check the disk" in str(fault)
    with pytest.raises(JournalError, match="check the disk"):
        journal.reload()
    journal.confirm_through(5)
    journal.close()
    disk.unmount()
    disk.mount()

    journal = opened(directory)
    assert journal.recovered is None
    assert all_events(journal) == written
    writer = Writer(journal)
    assert writer.write(writer.event()) is None
    journal.close()
    assert verified(directory).whole


def test_a_full_disk_refuses_whole_batches_and_works_again_once_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 << 20))
    journal = opened(small_disk / "state")
    writer = Writer(journal)
    written = 0
    while (fault := writer.write(*(writer.event() for _ in range(10)))) is None:
        written += 10
        assert written < 100_000
    assert isinstance(fault, JournalFull)
    assert "the disk is full; free space on it" in str(fault)
    assert journal.full
    for _ in range(3):
        writer.again()
        assert len(all_events(journal)) == journal.head.sequence == written
        assert isinstance(writer.write(*(writer.event() for _ in range(10))), JournalFull)

    ballast.unlink()
    wait_until(lambda: not journal.full, "room on the disk")
    writer.again()
    assert writer.write(*(writer.event() for _ in range(10))) is None
    journal.close()
    assert verified(small_disk / "state").whole
    journal = opened(small_disk / "state")
    assert journal.head.sequence == written + 10
    assert journal.recovered is None
    journal.close()


def test_a_start_on_a_full_disk_harms_nothing(small_disk: Path) -> None:
    journal = opened(small_disk / "state")
    Writer(journal).events(50)
    journal.close()
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    with contextlib.suppress(JournalError):
        journal = opened(small_disk / "state")
        assert journal.head.sequence == 50
        journal.close()
    (small_disk / "ballast").unlink()
    journal = opened(small_disk / "state")
    assert journal.head.sequence == 50
    assert journal.recovered is None
    journal.close()
