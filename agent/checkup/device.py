"""Whether a device node is there, of the right kind, may be used and is free; nothing is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from drivers import hotplug
from drivers.hotplug import Subsystem
from drivers.readings import DriverError

_NOUNS: Final = {
    "tty": "a serial line",
    "input": "an input device",
    "hidraw": "a HID device",
    "video4linux": "a camera",
}
_AGENT_USER: Final = "kerbside"


def examine_device(
    name: str, what: str, match: str, subsystem: Subsystem, agent: RunningAgent, user: str | None = None
) -> Finding:
    """Whether a device is there, is of its kind, may be used, and is free, the agent's or of the program `user`."""
    try:
        path = Path(hotplug.resolve(match, subsystem))
    except DriverError as error:
        message, _, advice = str(error).partition(": ")
        return Finding(name, "fault", f"{what} {message.removeprefix(match).strip()}", advice)
    try:
        is_device = stat.S_ISCHR(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(name, "fault", f"{what} is not there", "plug it in; `kerbside devices` lists what is there")
    except OSError as error:
        advice = "correct the path, or the rights of its folders; `kerbside devices` lists what is there"
        return Finding(name, "fault", f"{what} cannot be reached: {(error.strerror or '').lower()}", advice)
    if not is_device:
        return Finding(name, "fault", f"{what} is not a device", "`kerbside devices` lists what is there")
    if (kind := hotplug.subsystem_of(str(path))) not in (subsystem, None):
        found = _NOUNS.get(kind or "", "another device")
        advice = "`kerbside devices` lists what is there, with the settings for it"
        return Finding(name, "fault", f"{what} is {found}, expected {_NOUNS[subsystem]}", advice)
    if user is None and (barred := _barred(path)):
        return Finding(name, "fault", f"{what} {barred[0]}", barred[1])
    holders = hotplug.holders([str(path)]).get(str(path), [])
    strangers = [str(holder) for holder in holders if holder.process != agent.process and holder.command != user]
    if strangers:
        advice = "two readers get half of each scan: stop it, or let udev keep it away (config/udev)"
        return Finding(name, "fault", f"{what} is held by {', '.join(strangers)}", advice)
    return Finding(name, "ok", f"{what} is {'in use by ' + (user or 'the agent') if holders else 'there and free'}")


def _barred(path: Path) -> tuple[str, str] | None:
    """That a device may not be used, and what to do; asked by root, it is the agent's user who must be able to."""
    import grp
    import pwd

    status = path.stat()
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    who = "this user"
    allowed = os.access(path, os.R_OK | os.W_OK)
    if os.geteuid() == 0:
        try:
            agent = pwd.getpwnam(_AGENT_USER)
        except KeyError:
            return None
        who = f"the user {_AGENT_USER}"
        groups = os.getgrouplist(_AGENT_USER, agent.pw_gid)
        bits = 6 << (6 if status.st_uid == agent.pw_uid else 3 if status.st_gid in groups else 0)
        allowed = status.st_mode & bits == bits
    if allowed:
        return None
    message = f"may not be used by {who} ({group}, {stat.filemode(status.st_mode)})"
    if status.st_gid == 0 or status.st_mode & 0o060 != 0o060:
        return message, "give it to a group of the agent: install config/udev/70-kerbside.rules, and plug it in again"
    if who == "this user":
        return message, f"add this user to the group {group}, or run doctor as the agent's user (sudo -u kerbside)"
    return message, f"`usermod -aG {group} {_AGENT_USER}`, then `systemctl restart kerbside`"
