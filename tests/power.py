"""A small ext4 file system on a loop device whose power can be cut: what the disk had not yet got is gone."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
"""Not even the file system's own journal is written out."""
SIZE_BYTES = 96 << 20


class Disk:
    """`make` it, `cut` its power, `restore` it as a restart would, `remove` it in the end. Needs root."""

    def __init__(self, image: Path, mountpoint: Path) -> None:
        self._image = image
        self._mountpoint = mountpoint

    @staticmethod
    def missing() -> str:
        """Why this machine cannot do it; empty when it can."""
        if os.geteuid() != 0:
            return "cutting the power of a file system needs root"
        return "" if Path("/dev/loop-control").exists() else "cutting the power of a file system needs loop devices"

    def make(self) -> None:
        """Create the file system and mount it."""
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self._mount()

    def cut(self) -> None:
        """From now on nothing reaches the disk, and every access is an I/O error."""
        directory = os.open(self._mountpoint, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(directory)

    def restore(self) -> None:
        """Unmount what is dead and mount the disk again; the file system replays its own journal."""
        subprocess.run(["umount", str(self._mountpoint)], check=True)
        self._mount()

    def remove(self) -> None:
        """Leave nothing mounted."""
        subprocess.run(["umount", "-l", str(self._mountpoint)], check=False, stderr=subprocess.DEVNULL)

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self._mountpoint)], check=True)
