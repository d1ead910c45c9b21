"""What the kernel counts of a process: of this one, or of another by its number (``None``: it has ended, an error)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Self

Pid = int | None | Literal["self"]


class Use(NamedTuple):
    """What a process holds now."""

    threads: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: Pid = "self") -> Self:
        status = _status(pid)
        descriptors = len([*(_folder(pid) / "fd").iterdir()])
        return cls(int(status["Threads"]), descriptors, _bytes(status["VmRSS"]))


def peak_bytes(pid: Pid = "self") -> int:
    """The most memory that a process had at once; what `getrusage` tells begins with that of who started it."""
    return _bytes(_status(pid)["VmHWM"])


def _folder(pid: Pid) -> Path:
    return Path(f"/proc/{pid}")


def _status(pid: Pid) -> dict[str, str]:
    return dict(line.split(":", 1) for line in (_folder(pid) / "status").read_text().splitlines())


def _bytes(counted: str) -> int:
    return int(counted.removesuffix("kB")) * 1024
