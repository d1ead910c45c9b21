"""Whether the system's clock is synchronised, and which boot this is: what the kernel and systemd know of time.

The kernel itself is asked where that is allowed. The service as it is shipped may not: systemd's ``ProtectClock`` takes
adjtimex(2) away altogether, also for looking. Then systemd-timedated is asked, which looks for others, and its answer
is a few seconds old at most.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final
from uuid import UUID

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
BOOT_ID_VARIABLE: Final = "KERBSIDE_BOOT_ID"
"""Where the service finds it: ``ProcSubset`` hides the kernel's own file."""
_ASK_TIMEOUT_S: Final = 5.0
_ASK_AGAIN_S: Final = {False: 5.0, True: 60.0}
"""How long an answer of timedated holds: a clock that becomes right is waited for, one that is right stays so."""
_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5


def boot_id(environ: Mapping[str, str] = os.environ) -> str:
    """The kernel's id of this boot: a UUID in its usual form."""
    given = environ.get(BOOT_ID_VARIABLE) or BOOT_ID_FILE.read_text(encoding="ascii").strip()
    return str(UUID(given))


def system_is_synchronised() -> bool:
    """Whether the system counts its clock as synchronised; chrony, systemd-timesyncd and ntpd all tell the kernel."""
    timex = _Timex()
    answer = _libc().adjtimex(ctypes.byref(timex))
    if answer < 0:
        return _timedated().answer()
    return answer < _TIME_ERROR and not timex.status & _STA_UNSYNC


class Timedated:
    """systemd-timedated's word, asked in a thread of its own but for the first time.

    :param command: what prints ``yes`` when the clock is synchronised
    """

    def __init__(
        self, command: tuple[str, ...] = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
    ) -> None:
        self._command = command
        self._synchronised: bool | None = None
        self._asked_s = 0.0
        self._asking = threading.Lock()

    def answer(self) -> bool:
        """The newest that is known; waits only for the first one."""
        if self._synchronised is None:
            self._asking.acquire()
            self._ask()
        elif time.monotonic() - self._asked_s >= _ASK_AGAIN_S[self._synchronised] and self._asking.acquire(
            blocking=False
        ):
            threading.Thread(target=self._ask, name="timedated", daemon=True).start()
        return bool(self._synchronised)

    def _ask(self) -> None:
        """Who calls it has taken the lock."""
        try:
            self._synchronised = self._says() == "yes"
        finally:
            self._asked_s = time.monotonic()
            self._asking.release()

    def _says(self) -> str:
        program = shutil.which(self._command[0])
        if program is None:
            return ""
        try:
            done = subprocess.run(  # noqa: S603 - a program of the system with our own arguments
                [program, *self._command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ASK_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as its status; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 208),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _timedated() -> Timedated:
    return Timedated()
