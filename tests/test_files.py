"""Small files over restarts, power cuts, full disks and two writers at once."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.files import FileError, LazyFile, read, read_strictly, remove_drafts, remove_durably, write_durably
from agent.journal.directory import Lock
from tests.crash import crash_states
from tests.power import Disk

OLD, NEW = b'{"old": 1}', b'{"new": 22222222222222222222}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte, with one file in it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = tmp_path / "full"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(mounted)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    (mounted / "kept").write_bytes(OLD)
    with contextlib.suppress(OSError), (mounted / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_a_power_cut_at_any_moment_leaves_the_old_content_or_the_new(folder: Path, tmp_path: Path) -> None:
    path = folder / "kept"
    path.write_bytes(OLD)
    found = set()
    for left in crash_states(folder, lambda: write_durably(path, NEW), tmp_path / "left"):
        found.add((left / "kept").read_bytes())
    assert found == {OLD, NEW}


def test_what_was_written_durably_survives_a_power_cut_right_after(folder: Path, tmp_path: Path) -> None:
    path = folder / "kept"
    for left in crash_states(folder, lambda: write_durably(path, NEW), tmp_path / "left", finished=True):
        assert (left / "kept").read_bytes() == NEW
        assert [entry.name for entry in left.iterdir()] == ["kept"]
    for left in crash_states(folder, lambda: remove_durably(path), tmp_path / "left", finished=True):
        assert list(left.iterdir()) == []


def test_what_a_power_cut_left_of_a_half_written_file_is_removed_by_the_next_agent(
    folder: Path, tmp_path: Path
) -> None:
    leftovers = 0
    for left in crash_states(folder, lambda: write_durably(folder / "kept", NEW), tmp_path / "left"):
        leftovers += any(entry.name != "kept" for entry in left.iterdir())
        Lock(left).release()
        assert {entry.name for entry in left.iterdir()} <= {"kept", "agent.lock"}
    assert leftovers


def test_a_lazy_file_is_old_or_new_or_can_be_told_to_be_damaged(folder: Path, tmp_path: Path) -> None:
    path = folder / "kept"
    path.write_bytes(OLD)
    for left in crash_states(folder, lambda: LazyFile(path, "the count").write(NEW), tmp_path / "left"):
        assert read(left / "kept", json.loads, "counted anew") in (json.loads(OLD), json.loads(NEW), None)


@pytest.mark.power_cut
def test_no_promised_content_is_lost_by_real_power_cuts(tmp_path: Path) -> None:
    if why := Disk.missing():
        pytest.skip(why)
    disk = Disk(tmp_path / "image", tmp_path / "mounted")
    (tmp_path / "mounted").mkdir()
    disk.make()
    try:
        path = tmp_path / "mounted" / "kept"
        promised = 0
        for _ in range(8):
            written = threading.Event()

            def count(start: int, written: threading.Event) -> None:
                nonlocal promised
                for number in range(start, start + 100_000):
                    try:
                        write_durably(path, b"%d" % number * 100)
                    except FileError:
                        return
                    promised = number
                    written.set()

            writer = threading.Thread(target=count, args=(promised + 1, written))
            writer.start()
            assert written.wait(60)
            before = promised
            disk.cut()
            writer.join()
            disk.restore()
            kept = path.read_bytes()
            number = int(kept[: len(kept) // 100])
            assert kept == b"%d" % number * 100
            assert before <= number <= promised + 1
            promised = number
    finally:
        disk.remove()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_may_read_it(folder: Path, umask: int) -> None:
    path = folder / "kept"
    path.write_bytes(OLD)
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        write_durably(path, NEW)
        LazyFile(folder / "lazy", "the count").write(NEW)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == (folder / "lazy").stat().st_mode & 0o777 == 0o600


def test_a_kernel_that_takes_one_byte_at_a_time_gets_all_of_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, bytes(content[:1])))
    write_durably(folder / "kept", NEW)
    assert (folder / "kept").read_bytes() == NEW


def test_a_full_disk_is_told_by_name_and_keeps_the_old_content(full_disk: Path) -> None:
    with pytest.raises(FileError) as error:
        write_durably(full_disk / "kept", NEW * 10_000)
    assert str(error.value) == (f"{full_disk}/kept cannot be written (No space left on device): free space on the disk")
    assert error.value.errno == errno.ENOSPC
    assert (full_disk / "kept").read_bytes() == OLD
    assert {entry.name for entry in full_disk.iterdir()} == {"kept", "ballast"}


def test_a_disk_that_is_mounted_read_only_is_told_by_name(full_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    with pytest.raises(FileError, match=r"kept cannot be written .*: its file system is mounted read-only"):
        write_durably(full_disk / "kept", NEW)
    with pytest.raises(FileError, match=r"kept cannot be removed .*: its file system is mounted read-only"):
        remove_durably(full_disk / "kept")
    assert read(full_disk / "kept", json.loads, "counted anew") == json.loads(OLD)


def test_a_folder_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"kept cannot be written .*: check that its folder exists"):
        write_durably(tmp_path / "nowhere" / "kept", NEW)


def test_a_disk_that_takes_no_counter_is_told_once_until_it_takes_one_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    file = LazyFile(folder / "kept", "the odometer")
    assert not file.write(OLD)
    assert not file.write(NEW)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the odometer cannot be kept: " in caplog.text
    folder.mkdir()
    assert file.write(NEW)
    (folder / "kept").unlink()
    folder.rmdir()
    assert not file.write(OLD)
    assert len(caplog.records) == 2


def test_a_file_that_is_missing_is_nothing_and_no_reason_for_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(folder / "kept", json.loads, "counted anew") is None
    assert read_strictly(folder / "kept", json.loads) is None
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b'{"old": ', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_nothing_with_a_warning_and_a_fault_to_who_must_know(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "kept"
    path.write_bytes(content)
    assert read(path, json.loads, "counted anew") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{path} cannot be understood" in caplog.text
    assert ": counted anew" in caplog.text
    with pytest.raises(FileError, match=r"kept cannot be understood .*: remove or restore it"):
        read_strictly(path, json.loads)


def test_a_file_that_cannot_be_read_is_a_fault_to_who_must_know(folder: Path) -> None:
    (folder / "kept").mkdir()
    assert read(folder / "kept", json.loads, "counted anew") is None
    with pytest.raises(FileError, match="kept cannot be read"):
        read_strictly(folder / "kept", json.loads)


def test_two_writers_of_one_file_never_mix(folder: Path) -> None:
    path = folder / "kept"
    contents = [bytes([letter]) * 5_000 for letter in b"abcd"]
    faults = []

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_durably(path, content)
        except OSError as fault:
            faults.append(fault)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_bytes() in contents
    for writer in writers:
        writer.join()
    assert faults == []
    assert [entry.name for entry in folder.iterdir()] == ["kept"]


def test_leftovers_are_told_from_what_is_kept(folder: Path) -> None:
    for name in ("kept", "trip.new", "kept.0a1b.new", "newer"):
        (folder / name).write_bytes(OLD)
    remove_drafts(folder)
    assert {entry.name for entry in folder.iterdir()} == {"kept", "newer"}
