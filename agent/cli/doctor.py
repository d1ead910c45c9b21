"""`kerbside doctor`: is everything that the unit needs in order, and if not, what to do.

Each check changes nothing and ends within seconds whatever it meets. No device is opened: a running agent is asked how
it finds them, otherwise it is seen whether each is there, is of the right kind, may be used and is free. The agent's
journal is only read, and the broker sees a client of another name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import typer

from agent.cli import JsonOption, SettingsOption, chosen_settings, print_json
from drivers import hotplug
from drivers.hotplug import Subsystem
from drivers.readings import DriverError

if TYPE_CHECKING:
    from agent.settings import Broker, Settings

_TIMEOUT_S: Final = 5.0
_EXPIRES_SOON: Final = timedelta(days=14)
_LITTLE_SPACE: Final = 100_000_000
_NOUNS: Final = {
    "tty": "a serial line",
    "input": "an input device",
    "hidraw": "a HID device",
    "video4linux": "a camera",
}
_AGENT_USER: Final = "kerbside"


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
    agent = _Agent.of(chosen)
    checks = [*(partial(check, chosen) for check in _CHECKS), *(partial(check, chosen, agent) for check in _DEVICES)]
    with ThreadPoolExecutor(len(checks)) as pool:
        findings = [finding for found in pool.map(lambda check: list(check()), checks) for finding in found]
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


@dataclass(frozen=True, slots=True)
class _Agent:
    """The agent that has the state directory, where one runs."""

    process: int | None
    """By the lock that it holds; ``None`` also where this user may not read that."""
    parts: Mapping[str, Mapping[str, str]]
    """How it finds its parts; empty when it does not answer."""

    @classmethod
    def of(cls, settings: Settings) -> _Agent:
        process = None
        with suppress(OSError, ValueError):
            process = int((settings.unit.state_dir / "agent.lock").read_text(encoding="ascii"))
        return cls(process, _asked(settings))

    def finds(self, name: str, part: str, what: str) -> Finding | None:
        """What the running agent says of one of its parts; ``None`` when there is nobody to ask."""
        if not self.parts:
            return None
        state = self.parts.get(part)
        if state is None:
            advice = "the settings were changed since it started: `systemctl restart kerbside`"
            return Finding(name, "warning", f"{what} is not known to the agent that runs", advice)
        message, _, advice = state["reason"].partition(": ")
        since = _clock_time(state["since"])
        if state["state"] == "ready":
            text = f"{what} is ready since {since}"
            if message:
                return Finding(name, "warning", f"{text}, {message}", advice or None)
            return Finding(name, "ok", text)
        text = f"{what} is {state['state']} since {since}"
        return Finding(
            name,
            "warning" if state["state"] == "opening" else "fault",
            f"{text}: {message}" if message else text,
            advice or "see the agent's log: `journalctl -u kerbside`",
        )


def _asked(settings: Settings) -> Mapping[str, Mapping[str, str]]:
    """The parts in the agent's own state; empty when it does not answer, or another unit does."""
    from http.client import HTTPConnection, HTTPException

    from agent.settings import split_address

    host, port = split_address(settings.console.listen)
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/api/state")
        unit = json.loads(connection.getresponse().read())["unit"]
        if (unit["id"], unit["fleet"]) == (settings.unit.id, settings.unit.fleet):
            parts: Mapping[str, Mapping[str, str]] = unit["parts"]
            return parts
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        pass
    finally:
        connection.close()
    return {}


def _clock_time(since: str) -> str:
    """As a wall clock shows it, with the day when that is another one."""
    try:
        at = datetime.fromisoformat(since).astimezone()
    except ValueError:
        return since
    return f"{at:%H:%M:%S}" if at.date() == datetime.now().astimezone().date() else f"{at:%Y-%m-%d %H:%M}"


def _receiver(settings: Settings, agent: _Agent) -> Iterator[Finding]:
    from drivers.fixes import POOR_M
    from drivers.gps import look

    gps = settings.gps
    if gps.gpsd is None:
        yield Finding("receiver", "ok", "none in the settings")
        return
    if (found := agent.finds("receiver", "gps", gps.device or "the receiver")) and found.state == "fault":
        yield found
        return
    if gps.device and (found := _device("receiver", gps.device, gps.device, "tty", agent, "gpsd")).state != "ok":
        yield found
        return
    seen = look(gps.gpsd, _TIMEOUT_S, gps.device)
    if seen.fault:
        yield Finding("receiver", "fault", seen.fault, "`kerbside devices` lists what is plugged in; see `cgps`")
        return
    which = gps.device or ", ".join(seen.devices)
    fix = "no fix" if seen.mode < 2 else f"{seen.mode}D fix"
    accuracy = "" if seen.accuracy_m is None else f", ± {seen.accuracy_m:.0f} m"
    satellites = ""
    if seen.satellites_seen is not None:
        satellites = f", {seen.satellites_used or 0} of {seen.satellites_seen} satellites"
    advice = None
    if seen.satellites_seen == 0:
        advice = "it hears no satellite: check the antenna and its plug"
    elif seen.mode < 2:
        advice = "give the antenna a view of the sky; a cold start takes minutes"
    elif seen.accuracy_m is not None and seen.accuracy_m > POOR_M:
        advice = f"beyond ± {POOR_M:.0f} m no arrival is seen: give the antenna a wider view of the sky"
    elif seen.mode == 2:
        advice = "it needs one satellite more to tell the time: give the antenna a wider view of the sky"
    message = f"{which}: {fix}{accuracy}{satellites}"
    yield Finding("receiver", "warning" if advice else "ok", message, advice)


def _scanners(settings: Settings, agent: _Agent) -> Iterator[Finding]:
    if not settings.scanner:
        yield Finding("scanners", "ok", "none in the settings")
    for scanner in settings.scanner:
        what = f"{scanner.name}: {scanner.port}"
        found = agent.finds("scanners", scanner.name, what)
        # A pseudo-terminal is always held by whoever made it, too.
        if found is None or (found.state == "ok" and not os.path.realpath(scanner.port).startswith("/dev/pts/")):
            seen = _device("scanners", what, scanner.port, scanner.subsystem, agent)
            found = seen if found is None or seen.state != "ok" else found
        yield found


def _camera(settings: Settings, agent: _Agent) -> Iterator[Finding]:
    source = settings.camera.source
    if source is None:
        yield Finding("camera", "ok", "none in the settings")
        return
    shown = re.sub("//[^/]*@", "//", source).partition("?")[0]
    if found := agent.finds("camera", "camera", shown):
        yield found
    elif "://" in source:
        yield _camera_address(source)
    elif hotplug.Numbers.parse(source) or Path(source).is_char_device():
        yield _device("camera", source, source, "video4linux", agent)
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


def _mount(settings: Settings, agent: _Agent) -> Iterator[Finding]:
    from agent.settings import SIMULATED

    port = settings.mount.port
    if port is None:
        yield Finding("mount", "ok", "none in the settings")
    elif found := agent.finds("mount", "mount", port):
        yield found
    elif port == SIMULATED:
        yield Finding("mount", "ok", "simulated")
    else:
        found = _device("mount", port, port, "tty", agent)
        if found.state == "ok":
            found = _microcontroller(port, settings.mount.baud)
        yield found


def _microcontroller(port: str, baud: int) -> Finding:
    """What the mount's firmware says of itself and of the vehicle's power."""
    from firmware_bridge.link import BridgeError, Cause, CommandId, GroupId, Link
    from firmware_bridge.mount import read_panel
    from firmware_bridge.power import ALARMING, is_low

    try:
        with Link(hotplug.resolve(port, "tty"), baud, retries=2) as link:
            panel = read_panel(link)
            try:
                images = link.read(GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.STATE).get("images")
            except BridgeError as error:
                if error.cause is not Cause.UNSUPPORTED:
                    raise
                images = None
    except BridgeError as error:
        if error.cause is Cause.UNSUPPORTED:
            advice = "it needs SMP group 65: see docs/firmware.md"
            return Finding("mount", "fault", f"{port} answers, and its firmware has no panel", advice)
        message, _, advice = str(error).partition(": ")
        return Finding("mount", "fault", message, advice)
    listed = images if isinstance(images, list) else []
    running = next((image for image in listed if isinstance(image, dict) and image.get("active")), None)
    firmware = f"firmware {running.get('version')}" if running else "firmware without image management"
    message = (
        f"{port}: {firmware}, ignition {'on' if panel.ignition else 'off'}, {panel.supply_mv / 1000:.1f} V, "
        f"last reset: {panel.reset_cause}"
    )
    if is_low(panel.supply_mv, panel.supply_mv):
        advice = "charge the battery and look at its wires: the agent shuts the unit down while the supply is so low"
        return Finding("mount", "warning", f"{message}: the supply is low", advice)
    if panel.reset_cause in ALARMING:
        return Finding("mount", "warning", message, "look at its supply: wires, fuse, the battery's age")
    return Finding("mount", "ok", message)


def _device(name: str, what: str, match: str, subsystem: Subsystem, agent: _Agent, user: str | None = None) -> Finding:
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
        return Finding(name, "fault", f"{what} can not be reached: {(error.strerror or '').lower()}", advice)
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


_CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    _clock,
    _disk,
    _database,
    _certificates,
    _broker,
)
_DEVICES: Final[tuple[Callable[[Settings, _Agent], Iterator[Finding]], ...]] = (
    _receiver,
    _scanners,
    _camera,
    _mount,
)
