"""Whether a path still leads to the device that was opened there before.

The kernel gives the numbers in its names anew: once a scanner is pulled, whatever is plugged in next may be
``/dev/ttyACM0``, and once a virtual terminal is closed, any other program may get its ``/dev/pts/7``. What a stranger
says there must not count as scans, nor may it be written to. A part therefore looks before it opens a path again. What
it finds is the device that it had when

- a symbolic link on the way was made anew, as udev does when a device comes: whoever names devices says that it is;
- or it is the same terminal, still open at its other end, or the same device of USB: by its serial number, or by its
  kind and its place, or by its kind where it has no serial number; or soldered to the same place of the board.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drivers import hotplug
from drivers.hotplug import Numbers, Subsystem
from drivers.readings import Condition, DriverError

_TERMINALS: Final = range(136, 144)
"""Major numbers of the ends of pseudo-terminals that programs open."""
_MOST_LINKS: Final = 40


class Sight:
    """What a path led to when it was looked at."""

    def __init__(self, path: str, subsystem: Subsystem, sys: Path) -> None:
        self.links = _links(path)
        self.terminal = _terminal(path)
        self.device = None if self.terminal else hotplug.device_at(path, subsystem, sys)
        self.place = None if self.device is None else self.device.place

    def is_same(self, now: Sight) -> bool:
        """Whether what is seen now is what was seen then."""
        if now.links != self.links:
            return True
        if self.terminal is not None or now.terminal is not None:
            return self.terminal == now.terminal
        if self.device is None or now.device is None:
            return self.device is None  # nothing was known of it
        before, after = self.device, now.device
        if before.vendor is None or after.vendor is None:
            return self.place == now.place
        if (before.vendor, before.product, before.usb_interface) != (after.vendor, after.product, after.usb_interface):
            return False
        return before.serial_number == after.serial_number or before.usb_port == after.usb_port

    def __str__(self) -> str:
        if self.terminal is not None:
            return "another virtual terminal"
        device = self.device
        if device is None or device.vendor is None:
            return "another device"
        numbers = filter(None, (device.vendor, device.product, device.serial_number))
        return f"{device.name or 'another device'} ({':'.join(numbers)})"


@dataclass(slots=True)
class Opened:
    """What a part has opened at `path`, a path or numbers of the settings, over its replugs."""

    path: str
    subsystem: Subsystem
    sys: Path = Path("/sys")
    _last: Sight | None = None

    def look(self, who: str) -> Sight:
        """What is there now, to be kept once it is open.

        :raises DriverError: it is another device than the one that was open, which is ``ABSENT``
        """
        now = Sight(self.path, self.subsystem, self.sys)
        last = self._last
        # Numbers are what a device says of itself; what leads nowhere is told by whoever opens it.
        if last is None or Numbers.parse(self.path) or not os.access(self.path, os.F_OK) or last.is_same(now):
            return now
        raise DriverError(
            f"{who} is gone, and its name {self.path} belongs to {now} by now, which is left alone: plug it in again, "
            "set a path that stays with the device (`kerbside devices` lists them), or restart the agent to take what "
            "is there",
            Condition.ABSENT,
        )

    def keep(self, seen: Sight, who: str) -> None:
        """What was seen is open now.

        :raises DriverError: another terminal came in between, and may be what was opened, which is ``ABSENT``
        """
        if seen.terminal != _terminal(self.path):
            raise DriverError(f"{who} was unplugged while it was opened: plug it in again", Condition.ABSENT)
        self._last = seen


def _links(path: str) -> tuple[tuple[int, int, int], ...]:
    """The symbolic links on the way to a node, each as it was made."""
    made: list[tuple[int, int, int]] = []
    left = Path(path)
    with contextlib.suppress(OSError, ValueError):
        while len(made) < _MOST_LINKS:
            link = next((each for each in (*reversed(left.parents), left) if each.is_symlink()), None)
            if link is None:
                break
            status = link.lstat()
            made.append((status.st_dev, status.st_ino, status.st_ctime_ns))
            left = Path(os.path.normpath(link.parent / link.readlink() / left.relative_to(link)))
    return tuple(made)


def _terminal(path: str) -> tuple[int, int] | None:
    """A pseudo-terminal by its number, and by when its node came to be: the next one of this number is younger."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116 - also for names that a path cannot have
        if stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _TERMINALS:
            number = (os.major(status.st_rdev) - _TERMINALS[0]) << 8 | os.minor(status.st_rdev)
            with contextlib.suppress(OSError):
                # A node that somebody else has made for it would outlive it.
                status = Path(f"/dev/pts/{number}").stat()
            return status.st_rdev, status.st_ctime_ns
    return None
