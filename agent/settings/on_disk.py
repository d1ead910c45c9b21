"""What the settings name on the disk: each file is opened, and what is wrong with it is said before anything starts.

`CHECKS` has an entry for each key that names a file, folder or device, `KEPT` one for each file that others must not
read or change: a test walks all keys, so that a new one cannot be forgotten. A finding says the key, what was expected,
what was found and the next step. Whether a certificate is in its time depends on a clock that a unit without a battery
has not set yet: such findings are told apart, so that the agent starts all the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from agent.redaction import redact_url
from agent.secret_files import Keeping, may_use, weaknesses
from agent.settings import tls_files
from agent.settings.faults import SettingsError
from agent.settings.opened import UnusableError, read
from agent.settings.unit import UnitSettings
from agent.settings.whole import Settings
from contract.faults import Fault
from drivers.hotplug import Numbers

SEAL_KEY: Final = "seal.key"


def require(settings: Settings, file: Path | None) -> list[Fault]:
    """Open all that the settings name; what is left are faults that a wrong clock may have made.

    :param file: where the settings were read from, if from a file
    :raises SettingsError: naming every other fault
    """
    found = list(examine(settings, file))
    if wrong := [Fault(each.key, str(each)) for each in found if not each.timely]:
        raise SettingsError(wrong)
    return [Fault(each.key, str(each)) for each in found]


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong with one file that a key names."""

    key: str
    finding: str
    """What was expected and found."""
    step: str
    """What to do about it."""
    timely: bool = False
    """Whether it is so only by what the clock shows."""

    def __str__(self) -> str:
        return f"{self.finding}: {self.step}"


def examine(settings: Settings, file: Path | None) -> Iterator[FileFault]:
    """Everything that is wrong on the disk."""
    yield from contents(settings)
    yield from exposed(settings, file)


def contents(settings: Settings) -> Iterator[FileFault]:
    """Every file, folder and device that is not what its key needs."""
    for check in CHECKS.values():
        for key, error in check(settings):
            yield FileFault(key, error.finding, error.step, error.timely)


def exposed(settings: Settings, file: Path | None) -> Iterator[FileFault]:
    """Every file of `KEPT` that others reach."""
    told: set[Path] = set()
    for kept in KEPT:
        for path in kept.paths(settings, file):
            for weakness in weaknesses(path, kept.keeping(settings)):
                if weakness.path not in told:  # files of one folder share its weakness
                    told.add(weakness.path)
                    yield FileFault(kept.key, weakness.finding, weakness.command)


Found = Iterator[tuple[str, UnusableError]]


def _each(key: str, paths: tuple[Path, ...], look: Callable[[Path], object]) -> Found:
    for index, path in enumerate(paths):
        try:
            look(path)
        except UnusableError as error:
            yield (f"{key}[{index}]" if key == "mount.firmware_keys" else key), error


def _tls(settings: Settings) -> Found:
    return tls_files.examine(settings.broker)


def _password(settings: Settings) -> Found:
    broker = settings.broker
    return _each("broker.password_file", (broker.password_file,) if broker.password_file else (), tls_files.password)


def _firmware_keys(settings: Settings) -> Found:
    return _each("mount.firmware_keys", settings.mount.firmware_keys, _firmware_key)


def _firmware_key(path: Path) -> None:
    from firmware_bridge.images import read_keys
    from firmware_bridge.link import BridgeError

    wanted = "a public Ed25519 or ECDSA P-256 key (PEM)"
    if b"PRIVATE KEY" in read(path, wanted):
        raise UnusableError(
            path, wanted, "a private one", "take it off the unit; `imgtool getpub -e pem` prints the public half"
        )
    try:
        read_keys([path])
    except BridgeError as error:
        raise UnusableError(path, wanted, "something else", "`imgtool getpub -e pem` prints it") from error


def _state_dir(settings: Settings) -> Found:
    return _each("unit.state_dir", (settings.unit.state_dir,), _usable_folder)


def _usable_folder(path: Path) -> None:
    wanted = "a folder that the agent may write into"
    if path.is_symlink() and not path.exists():
        raise UnusableError(path, wanted, "a link that leads nowhere", "correct the link")
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise UnusableError(existing, wanted, "a file", "move it away, or name another folder")
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise UnusableError(
            existing, wanted, "a file system that is mounted read-only", "see `dmesg`, or name another folder"
        )
    # The service manager makes the folder of the service as it is shipped.
    made_by_systemd = existing != path and path == UnitSettings.model_fields["state_dir"].default
    if not made_by_systemd and not may_use(existing, writing=True):
        found = "one that this user may not write into" if existing == path else "none, and this user may not make it"
        raise UnusableError(existing, wanted, found, "run this as the agent's user (sudo -u kerbside), or `chown` it")


def _tiles(settings: Settings) -> Found:
    return _each("route.tiles", (settings.route.tiles,) if settings.route.tiles else (), _content)


def _camera(settings: Settings) -> Found:
    source = settings.camera.source
    if source is None or "://" in source or Numbers.parse(source) or source.startswith("/dev/"):
        return
    yield from _each("camera.source", (Path(source),), _content)


def _content(path: Path) -> None:
    """A file that may be read and holds something, or a folder."""
    if path.is_dir():
        if not may_use(path):
            raise UnusableError(path, "a folder that may be read", "one that may not", "`chmod 755` it")
    else:
        read(path, "a file or folder that may be read", most=1)


def _devices(settings: Settings) -> Found:
    for key, match in settings.devices():
        if match.startswith("/"):
            yield from _each(key, (Path(match),), _device)


def _device(path: Path) -> None:
    """It may be unplugged; what is there must be a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISCHR(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a file"
        raise UnusableError(path, "a device", found, "`kerbside devices` lists what is plugged in")


CHECKS: Final[Mapping[str, Callable[[Settings], Found]]] = {
    "broker.ca_file broker.cert_file broker.key_file": _tls,
    "broker.password_file": _password,
    "mount.firmware_keys": _firmware_keys,
    "unit.state_dir": _state_dir,
    "route.tiles": _tiles,
    "camera.source": _camera,
    "scanner.port mount.port gps.device": _devices,
}
"""What opens the files of each key."""


class Kept(NamedTuple):
    """Files that others must not read, or must not change."""

    key: str
    """Where the settings name them."""
    keeping: Callable[[Settings], Keeping]
    paths: Callable[[Settings, Path | None], tuple[Path, ...]]


def _given(*paths: Path | None) -> tuple[Path, ...]:
    return tuple(filter(None, paths))


def _of_settings_file(settings: Settings) -> Keeping:
    source = settings.camera.source or ""
    return "group" if redact_url(source) != source else "writing"


KEPT: Final = (
    Kept("settings", _of_settings_file, lambda _, file: _given(file)),
    Kept("unit.state_dir", lambda _: "writing", lambda each, _: (each.unit.state_dir,)),
    Kept("unit.state_dir", lambda _: "owner", lambda each, _: (each.unit.state_dir / SEAL_KEY,)),
    Kept("broker.key_file", lambda _: "group", lambda each, _: _given(each.broker.key_file)),
    Kept("broker.password_file", lambda _: "group", lambda each, _: _given(each.broker.password_file)),
    Kept("broker.ca_file", lambda _: "writing", lambda each, _: _given(each.broker.ca_file)),
    Kept("broker.cert_file", lambda _: "writing", lambda each, _: _given(each.broker.cert_file)),
    Kept("mount.firmware_keys", lambda _: "writing", lambda each, _: each.mount.firmware_keys),
)
"""Every file that is a secret or that trust is built on. A new one is a line here."""
