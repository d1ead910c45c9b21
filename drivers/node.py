"""What every driver that opens a device's node shares: keeping others out of it, saying why it cannot be opened."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import stat
import termios
from pathlib import Path

from drivers.hotplug import in_use
from drivers.readings import Condition, DriverError


def keep_others_out(fd: int) -> None:
    """Keep programs off an open serial port that do not ask for its lock.

    Not of a pseudo-terminal, which would stay closed for ever after a kill: it forgets this only with its other end.
    """
    if not os.ttyname(fd).startswith("/dev/pts/"):
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCEXCL)


def not_opened(who: str, node: str, number: int | None) -> DriverError | None:
    """Why a scanner's node cannot be opened, by the errno, and what to do; ``None`` for what only its driver knows."""
    match number:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV | errno.EIO:
            return DriverError(
                f"{who} is not plugged in: plug it in, or correct its port (`kerbside devices` lists them)",
                Condition.ABSENT,
            )
        case errno.EACCES:
            return DriverError(f"{who} may not be opened by this user: {membership(node)}")
        case errno.EPERM:
            return DriverError(f"{who} may not be opened by this service: allow its kind in DeviceAllow of the unit")
        case errno.EBUSY:
            return DriverError(f"{who} is {in_use(node)}")
    return None


def membership(node: str) -> str:
    """What to do for a device that this user may not open."""
    try:
        status = Path(node).stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return "add the user to the group of the port"
    if status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) != stat.S_IRGRP | stat.S_IWGRP:
        return f"its group {group} may not either; install config/udev, which gives it to the agent's group"
    return f"add the user to its group {group}, then start the agent anew"
