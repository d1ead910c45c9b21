"""Whether the system's clock is synchronised, also where the service may not ask the kernel, and which boot this is."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import system_clock
from agent.system_clock import BOOT_ID_FILE, Timedated, boot_id, system_is_synchronised
from tests.waiting import wait_until

KERNELS = BOOT_ID_FILE.read_text(encoding="ascii").strip()


def timedatectl(folder: Path, says: str) -> tuple[str, ...]:
    """A program that answers like timedatectl, and notes that it was asked."""
    program = folder / "timedatectl"
    draft = folder / "timedatectl.new"
    draft.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\n{says}\n")
    draft.chmod(0o755)
    draft.replace(program)
    return (str(program), "show")


def asked(folder: Path) -> int:
    return len((folder / "asked").read_text().splitlines())


def test_where_the_kernel_may_not_be_asked_timedated_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Barred:
        """As seccomp answers for the kernel."""

        @staticmethod
        def adjtimex(_timex: object) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(system_clock, "_libc", Barred)
    for says, expected in (("echo yes", True), ("echo no", False)):
        timedated = Timedated(timedatectl(tmp_path, says))
        monkeypatch.setattr(system_clock, "_timedated", lambda timedated=timedated: timedated)
        assert system_is_synchronised() is expected


@pytest.mark.parametrize("says", ["exit 1", "echo perhaps", "kill -9 $$"])
def test_a_timedated_that_says_nothing_useful_means_not_synchronised(says: str, tmp_path: Path) -> None:
    assert not Timedated(timedatectl(tmp_path, says)).answer()


def test_without_timedatectl_the_clock_is_not_synchronised(tmp_path: Path) -> None:
    assert not Timedated((str(tmp_path / "none"),)).answer()


def test_a_clock_that_becomes_synchronised_is_noticed_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_clock, "_ASK_AGAIN_S", {False: 0.0, True: 3600.0})
    timedated = Timedated(timedatectl(tmp_path, "echo no"))
    assert not timedated.answer()
    timedatectl(tmp_path, "echo yes")
    wait_until(timedated.answer, "the clock to be synchronised")
    before = asked(tmp_path)
    assert all(timedated.answer() for _ in range(100))
    assert asked(tmp_path) == before


def test_the_boot_is_the_kernels_and_one_that_systemd_hands_over_is_written_the_same_way() -> None:
    assert boot_id({}) == KERNELS
    assert boot_id({"KERBSIDE_BOOT_ID": KERNELS.replace("-", "")}) == KERNELS


def test_the_clock_of_the_agent_takes_the_boot_id_of_the_service() -> None:
    program = "from agent.clock import Clock; print(Clock().now().boot_id)"
    environ = {**os.environ, "KERBSIDE_BOOT_ID": "0123456789abcdef0123456789abcdef"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "01234567-89ab-cdef-0123-456789abcdef"
