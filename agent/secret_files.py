"""Who else may read or change a file: its mode and owner, and those of every folder on the way to it.

A secret is kept by all of these together: who may write into a folder can put another file in the place of the one
that nobody else may read. `weaknesses` finds what is wrong and names the command that mends it; it changes nothing.

>>> mode_command(Path("/etc/kerbside/unit.key"), 0o600)
'chmod 600 /etc/kerbside/unit.key'
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

AGENT_USER: Final = "kerbside"
"""The user of the service as it is shipped; asked by root, it is this one's rights that count."""
Keeping = Literal["owner", "group", "writing"]
"""Who may have a file: its owner alone; its group may read it, too; or everybody may read and only the owner write."""

_TOO_MUCH: Final[dict[Keeping, int]] = {"owner": 0o077, "group": 0o037, "writing": 0o022}
_RIGHT_MODE: Final[dict[Keeping, int]] = {"owner": 0o600, "group": 0o640, "writing": 0o644}
_WRITING: Final = 0o022
_LINKS: Final = 40


@dataclass(frozen=True, slots=True)
class Weakness:
    """One way in which others reach a file."""

    path: Path
    """The file or folder whose rights are wrong."""
    found: str
    """Such as ``may be written by everybody (mode 0666, expected at most 0600)``."""
    command: str
    """What mends it."""

    @property
    def finding(self) -> str:
        """Which file, and what is wrong with it."""
        return f"{self.path} {self.found}"

    def __str__(self) -> str:
        return f"{self.finding}: {self.command}"


def weaknesses(path: Path, keeping: Keeping) -> Iterator[Weakness]:
    """What is wrong with the rights of a file or folder, and of the folders on the way to it."""
    trusted, real = _trusted(), os.path.realpath(path)
    seen: set[Path] = set()
    for step in _way(path.absolute()):
        if step in seen:
            continue
        seen.add(step)
        try:
            status = step.lstat()
        except OSError:
            continue
        is_it = os.path.realpath(step) == real
        if status.st_uid not in trusted:
            # Whoever owns a link can let it lead elsewhere.
            yield _foreign(step, status, is_it=is_it)
        elif stat.S_ISLNK(status.st_mode):
            continue
        elif is_it:
            yield from _open_to_others(step, status, keeping)
        elif not status.st_mode & stat.S_ISVTX and (writing := status.st_mode & _others(status)):
            # In a sticky folder, such as /tmp, only its owner can replace a file.
            right = stat.S_IMODE(status.st_mode) & ~_WRITING
            yield Weakness(step, _said(writing, status, right), mode_command(step, right))


def mode_command(path: Path, mode: int) -> str:
    """What sets this mode."""
    return f"chmod {mode:o} {shlex.quote(str(path))}"


def _open_to_others(path: Path, status: os.stat_result, keeping: Keeping) -> Iterator[Weakness]:
    if stat.S_ISDIR(status.st_mode) and keeping != "writing":
        return  # a folder where a file belongs is told by whoever opens it
    too_much = stat.S_IMODE(status.st_mode) & _TOO_MUCH[keeping]
    if keeping == "group" and status.st_gid not in _groups():
        too_much |= status.st_mode & 0o040
    if keeping != "owner" and _is_private(status.st_gid):
        too_much &= 0o007
    if too_much:
        right = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600 if too_much & 0o040 else _RIGHT_MODE[keeping]
        yield Weakness(path, _said(too_much, status, right), mode_command(path, right))


def _others(status: os.stat_result) -> int:
    """Who may not write into a folder on the way."""
    return 0o002 if _is_private(status.st_gid) else _WRITING


def _is_private(gid: int) -> bool:
    """Whether a group is as good as one trusted user: root's, or one of the user's name without other members."""
    if gid == 0:
        return True
    try:
        group = grp.getgrgid(gid)
        owner = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    return owner.pw_uid in _trusted() and owner.pw_gid == gid and not set(group.gr_mem) - {owner.pw_name}


def _said(too_much: int, status: os.stat_result, right: int) -> str:
    what = "written" if too_much & _WRITING else "read"
    who = "everybody" if too_much & 0o007 else f"the group {_group_name(status.st_gid)}"
    return f"may be {what} by {who} (mode {stat.S_IMODE(status.st_mode):04o}, expected {right:04o})"


def _foreign(path: Path, status: os.stat_result, *, is_it: bool) -> Weakness:
    found = f"belongs to {_name(status.st_uid)}, who may change it"
    if not is_it and stat.S_ISDIR(status.st_mode):
        # The folder may be somebody's home: that is not to be taken from them.
        return Weakness(path, found, "move what must be kept to a folder of root's, such as /etc/kerbside")
    wanted = AGENT_USER if os.geteuid() == 0 and _agent() is not None else "root"
    itself = "--no-dereference " if stat.S_ISLNK(status.st_mode) else ""
    return Weakness(path, found, f"chown {itself}{wanted} {shlex.quote(str(path))}")


def _way(path: Path) -> Iterator[Path]:
    """Every folder, link and the file itself between the root and what a path means at last."""
    steps = list(reversed(path.parts[1:]))
    place, links = Path("/"), 0
    yield place
    while steps:
        step = steps.pop()
        if step == "..":
            place = place.parent
            continue
        here = place / step
        yield here
        if here.is_symlink() and links < _LINKS:
            links += 1
            target = here.readlink()
            steps += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            place = Path("/") if target.is_absolute() else place
        else:
            place = here


def _trusted() -> set[int]:
    """Whose files are as good as the agent's own; who has become root by sudo is as good as root."""
    agent, asked_by = _agent(), os.environ.get("SUDO_UID", "")
    trusted = {0, os.geteuid()} | ({agent.pw_uid} if agent else set())
    return trusted | ({int(asked_by)} if os.geteuid() == 0 and asked_by.isdecimal() else set())


def _agent() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(AGENT_USER)
    except KeyError:
        return None


def _groups() -> set[int]:
    """Whose members are the agent, this user or root."""
    agent = _agent()
    return {0, os.getegid(), *os.getgroups(), *(os.getgrouplist(AGENT_USER, agent.pw_gid) if agent else ())}


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def may_use(path: Path, *, writing: bool = False) -> bool:
    """Whether the agent may read a file, or look into a folder and, if asked, write into it.

    Asked by root it is the agent's user who must be able to, where there is one.
    """
    agent = _agent()
    needed = 0o4 | (0o2 if writing else 0) | (0o1 if path.is_dir() else 0)
    if os.geteuid() != 0 or agent is None:
        return os.access(path, needed)
    groups = os.getgrouplist(AGENT_USER, agent.pw_gid)

    def allows(place: Path, bits: int) -> bool:
        status = place.stat()
        shift = 6 if status.st_uid == agent.pw_uid else 3 if status.st_gid in groups else 0
        return status.st_mode >> shift & bits == bits

    real = Path(os.path.realpath(path))
    return allows(real, needed) and all(allows(folder, 0o1) for folder in real.parents)
