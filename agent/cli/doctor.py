"""`kerbside doctor`: is everything that the unit needs in order, and if not, what to do.

Each check looks for itself, changes nothing, and ends within seconds whatever it meets. A running agent is not
disturbed: its journal is only read, its ports are not opened, and the broker sees a client of another name.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json

if TYPE_CHECKING:
    from agent.settings import Broker, Settings

_TIMEOUT_S: Final = 5.0
_EXPIRES_SOON: Final = timedelta(days=14)
_LITTLE_SPACE: Final = 100_000_000
_BUILT_IN_SCANNERS: Final = ("line", "honeywell")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found."""

    name: str
    state: Literal["ok", "warning", "fault"]
    message: str
    advice: str | None = None
    """What to do about it."""


def doctor(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Check the unit: clock, disk, database, certificates, broker, receiver, scanners, camera, mount."""
    chosen = chosen_settings(settings)
    with ThreadPoolExecutor(len(_CHECKS)) as pool:
        findings = [finding for found in pool.map(lambda check: list(check(chosen)), _CHECKS) for finding in found]
    faulty = any(finding.state == "fault" for finding in findings)
    if as_json:
        print_json({"ok": not faulty, "checks": [asdict(finding) for finding in findings]})
    else:
        colours = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "fault": typer.colors.RED}
        for finding in findings:
            mark = typer.style(f"{finding.state:8}", fg=colours[finding.state])
            typer.echo(f"{mark}{finding.name:13}{finding.message}")
            if finding.advice:
                typer.echo(f"{'':21}→ {finding.advice}")
    raise typer.Exit(1 if faulty else 0)


def _clock(settings: Settings) -> Iterator[Finding]:
    from agent.clock import Clock

    moment = Clock(settings.unit.state_dir).now()
    if abs(moment.wall_ms / 1000 - time.time()) > 60:
        yield Finding(
            "clock",
            "fault",
            f"the system says {datetime.now(UTC):%Y-%m-%d %H:%M}, which can not be: it was {moment.time} before",
            "TLS will fail until the clock is set: see `chronyc tracking`, check network and antenna",
        )
    elif moment.trust == "unsynced":
        yield Finding(
            "clock",
            "warning",
            f"not synchronised; it shows {moment.time}",
            "see `chronyc tracking` or `timedatectl`; without network the receiver's time counts after three 3D fixes",
        )
    else:
        words = {"ntp": "synchronised", "rtc": "from the battery clock, not synchronised yet"}
        yield Finding("clock", "ok", f"{words.get(moment.trust, moment.trust)}; it shows {moment.time}")


def _disk(settings: Settings) -> Iterator[Finding]:
    state_dir, needed = settings.unit.state_dir, settings.journal.max_bytes
    existing = next(folder for folder in (state_dir, *state_dir.absolute().parents) if folder.exists())
    if not existing.is_dir():
        yield Finding("disk", "fault", f"{existing} is not a folder", "correct unit.state_dir")
        return
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "disk",
            "fault",
            f"{existing} can not be written by this user",
            "run doctor as the agent's user (sudo -u kerbside); is the file system mounted read-only?",
        )
        return
    free = shutil.disk_usage(existing).free
    used = sum(file.stat().st_size for file in state_dir.glob("*") if file.is_file()) if existing == state_dir else 0
    text = f"{free / 1e6:,.0f} MB free at {state_dir}, {used / 1e6:,.0f} MB used"
    if free < _LITTLE_SPACE:
        yield Finding("disk", "fault", text, f"make room: less than {_LITTLE_SPACE / 1e6:.0f} MB are left")
    elif free + used < needed:
        advice = f"journal.max_bytes allows {needed / 1e6:,.0f} MB: lower it or make room"
        yield Finding("disk", "warning", text, advice)
    else:
        yield Finding("disk", "ok", text)


def _database(settings: Settings) -> Iterator[Finding]:
    import sqlite3

    from agent.journal.database import Damage, connect, examine, is_damage
    from agent.journal.entries import JournalError

    path = settings.unit.state_dir / "journal.db"
    try:
        if not path.exists():
            yield Finding("database", "ok", "none yet: the agent makes it at its first start")
            return
        with closing(connect(path, writable=False)) as connection:
            contents = examine(connection, thorough=True)
    except (Damage, JournalError, sqlite3.Error, OSError) as error:
        if isinstance(error, Damage) or (isinstance(error, sqlite3.Error) and is_damage(error)):
            advice = "the agent recovers it at its next start and declares the gap; then `kerbside journal verify`"
            yield Finding("database", "fault", f"{path} is damaged: {error}", advice)
        else:
            yield Finding("database", "fault", f"{path} can not be read: {error}", "run doctor as the agent's user")
    else:
        waiting = contents.sequence - contents.number("confirmed")
        yield Finding("database", "ok", f"sound; {contents.sequence} events, {waiting} of them not confirmed")


def _certificates(settings: Settings) -> Iterator[Finding]:
    broker = settings.broker
    if not broker.tls:
        yield Finding("certificates", "ok", "none needed: the broker is on this unit")
        return
    from agent.uplink.connection import UplinkError, tls_context

    try:
        tls_context(broker)
    except UplinkError as error:
        yield Finding("certificates", "fault", str(error), "correct the setting, or the rights of the file")
        return
    yield from _dates("broker.ca_file", broker.ca_file)
    yield from _dates("broker.cert_file", broker.cert_file)
    if broker.key_file and stat.S_IMODE(broker.key_file.stat().st_mode) & 0o077:
        message = f"{broker.key_file} can be read by other users"
        yield Finding("certificates", "warning", message, f"chmod 600 {broker.key_file}")
    if broker.ca_file is None:
        yield Finding("certificates", "ok", "the broker is checked by the authorities of the system")


def _dates(key: str, path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    from cryptography.x509 import load_pem_x509_certificates

    now = datetime.now(UTC)
    certificates = load_pem_x509_certificates(path.read_bytes())
    first, last = (
        max(certificate.not_valid_before_utc for certificate in certificates),
        min(certificate.not_valid_after_utc for certificate in certificates),
    )
    message = f"{key}: valid until {last:%Y-%m-%d}"
    if now < first:
        advice = "is the clock right? Otherwise wait, or get another"
        yield Finding("certificates", "fault", f"{key}: not valid before {first:%Y-%m-%d %H:%M}", advice)
    elif now > last:
        yield Finding("certificates", "fault", f"{key}: expired on {last:%Y-%m-%d}", f"put a new one at {path}")
    elif last - now < _EXPIRES_SOON:
        yield Finding("certificates", "warning", message, f"put a new one at {path} before that day")
    else:
        yield Finding("certificates", "ok", message)


def _broker(settings: Settings) -> Iterator[Finding]:
    from agent.uplink.connection import UplinkError

    broker = settings.broker
    where = f"{broker.host}:{broker.port}"
    protocols = ("5", "3.1.1") if broker.protocol == "auto" else (broker.protocol,)
    try:
        for protocol in protocols:
            answer = _connack(broker, protocol)
            if answer is not None and answer[0] in _VERSION_REFUSED and protocol != protocols[-1]:
                continue
            break
    except UplinkError as error:
        yield Finding("broker", "fault", str(error), "correct the setting, or the rights of the file")
    except ssl.SSLCertVerificationError as error:
        advice = "is the clock right? Did the right authority (broker.ca_file) sign for this very name?"
        yield Finding("broker", "fault", f"{where}: its certificate is refused: {error.verify_message}", advice)
    except ssl.SSLError as error:
        advice = "is it a port for TLS, and does it know the unit's certificate?"
        yield Finding("broker", "fault", f"{where}: no TLS: {error.reason}", advice)
    except TimeoutError:
        advice = "check the network, a firewall, and broker.url"
        yield Finding("broker", "fault", f"{where} does not answer within {_TIMEOUT_S:.0f} s", advice)
    except OSError as error:
        yield Finding("broker", "fault", f"{where}: {error.strerror or error}", "check the network and broker.url")
    else:
        yield _answered(where, protocol, answer)


_VERSION_REFUSED: Final = (0x84, 1)
_CLIENT_ID_REFUSED: Final = (0x85, 2)


def _answered(where: str, protocol: str, answer: tuple[int, str] | None) -> Finding:
    if answer is None:
        advice = "is it an MQTT broker, with TLS where broker.url says mqtts?"
        return Finding("broker", "fault", f"{where} closes the connection without an answer", advice)
    code, name = answer
    if code == 0:
        return Finding("broker", "ok", f"{where} takes connections, MQTT {protocol}")
    if code in _CLIENT_ID_REFUSED:
        message = f"{where} answers, and takes only clients that it knows by their id"
        return Finding("broker", "warning", message, "the agent's own state says whether it knows this unit")
    return Finding("broker", "fault", f"{where} refuses: {name} (0x{code:02X})", "check user, certificate, the broker")


def _connack(broker: Broker, protocol: str) -> tuple[int, str] | None:
    """Reason code and name of the CONNACK that a client of a passing name gets; ``None`` when there is none.

    :raises OSError: there is no connection, or no TLS
    """
    from secrets import token_hex

    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    from agent.uplink.connection import password_of, tls_context

    five = protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        f"kerbside-doctor-{token_hex(4)}",
        clean_session=None if five else True,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = _TIMEOUT_S
    if broker.username is not None:
        client.username_pw_set(broker.username, password_of(broker))
    if broker.tls:
        client.tls_set_context(tls_context(broker))
    answers: list[tuple[int, str]] = []
    ended: list[bool] = []

    def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.append((reason.value, reason.getName()))

    def on_disconnect(*_arguments: Any) -> None:
        ended.append(True)

    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    client.connect(broker.host, broker.port)
    deadline = time.monotonic() + _TIMEOUT_S
    while not answers and not ended:
        if time.monotonic() > deadline:
            raise TimeoutError
        client.loop(0.1)
    client.disconnect()
    return answers[0] if answers else None


def _receiver(settings: Settings) -> Iterator[Finding]:
    from drivers.gps import look

    if settings.gps.gpsd is None:
        yield Finding("receiver", "ok", "none in the settings")
        return
    seen = look(settings.gps.gpsd, _TIMEOUT_S)
    # Newer versions of gpsd name them only now and then.
    satellites = f", {seen.satellites_used} of {seen.satellites_seen} satellites" if seen.satellites_seen else ""
    if seen.fault:
        yield Finding("receiver", "fault", seen.fault, "`kerbside devices` lists what is plugged in; see `cgps`")
    elif seen.mode < 2:
        advice = "give the antenna a view of the sky; a cold start takes minutes"
        yield Finding("receiver", "warning", f"{', '.join(seen.devices)}: no fix{satellites}", advice)
    else:
        accuracy = "" if seen.accuracy_m is None else f", ± {seen.accuracy_m:.0f} m"
        yield Finding("receiver", "ok", f"{', '.join(seen.devices)}: {seen.mode}D fix{accuracy}{satellites}")


def _scanners(settings: Settings) -> Iterator[Finding]:
    if not settings.scanner:
        yield Finding("scanners", "ok", "none in the settings")
    for scanner in settings.scanner:
        if scanner.kind not in _BUILT_IN_SCANNERS:
            message = f"{scanner.name}: scanners of kind {scanner.kind} can not be read by this version"
            advice = 'let it read the code of its manual for USB serial (CDC), and set kind = "line"'
            yield Finding("scanners", "fault", message, advice)
        else:
            yield _port("scanners", f"{scanner.name}: {scanner.port}", Path(scanner.port), _agent(settings))


def _camera(settings: Settings) -> Iterator[Finding]:
    source = settings.camera.source
    if source is None:
        yield Finding("camera", "ok", "none in the settings")
    elif "://" in source:
        yield _camera_address(source)
    elif Path(source).is_char_device():
        yield _port("camera", source, Path(source), _agent(settings))
    elif not Path(source).exists():
        yield Finding("camera", "fault", f"{source} is not there", "plug it in; `kerbside devices` lists what is there")
    elif not os.access(source, os.R_OK):
        yield Finding("camera", "fault", f"{source} can not be read by this user", "correct the rights of the file")
    else:
        yield Finding("camera", "ok", f"{source} is there")


def _camera_address(source: str) -> Finding:
    parts = urlsplit(source)
    port = parts.port or {"rtsp": 554, "https": 443}.get(parts.scheme, 80)
    where = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname or "", port), _TIMEOUT_S).close()
    except OSError as error:
        message = f"{where} can not be reached: {error.strerror or error}"
        return Finding("camera", "fault", message, "check the camera's power and network")
    return Finding("camera", "ok", f"{where} takes connections")


def _mount(settings: Settings) -> Iterator[Finding]:
    if settings.mount.port is None:
        yield Finding("mount", "ok", "none in the settings")
    else:
        yield _port("mount", settings.mount.port, Path(settings.mount.port), _agent(settings))


def _agent(settings: Settings) -> int | None:
    """The process that has the state directory, by the lock that it holds."""
    try:
        return int((settings.unit.state_dir / "agent.lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _port(name: str, what: str, path: Path, agent: int | None) -> Finding:
    """Whether a device is there, may be used, and is free or the agent's."""
    if not path.exists():
        return Finding(name, "fault", f"{what} is not there", "plug it in; `kerbside devices` lists what is there")
    if not path.is_char_device():
        return Finding(name, "fault", f"{what} is not a device", "`kerbside devices` lists what is there")
    if not os.access(path, os.R_OK | os.W_OK):
        group = path.group() if path.stat().st_gid else "root"
        advice = f"add this user to the group {group}, or run doctor as the agent's user (sudo -u kerbside)"
        return Finding(name, "fault", f"{what} may not be used by this user", advice)
    holders = list(_holders(path))
    strangers = [f"{command} (process {pid})" for pid, command in holders if pid != agent]
    if strangers:
        advice = "two readers get half of each scan: stop it, or let udev keep it away (config/udev)"
        return Finding(name, "fault", f"{what} is held by {', '.join(strangers)}", advice)
    return Finding(name, "ok", f"{what} is {'in use by the agent' if holders else 'there and free'}")


def _holders(path: Path) -> Iterator[tuple[int, str]]:
    """Process id and command of each process that has the device open, as far as this user may see them."""
    device = path.stat().st_rdev
    for process in Path("/proc").glob("[0-9]*"):
        try:
            holds = any(
                stat.S_ISCHR(descriptor.stat().st_mode) and descriptor.stat().st_rdev == device
                for descriptor in (process / "fd").iterdir()
            )
            if holds and int(process.name) != os.getpid():
                yield int(process.name), (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue


_CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    _clock,
    _disk,
    _database,
    _certificates,
    _broker,
    _receiver,
    _scanners,
    _camera,
    _mount,
)
