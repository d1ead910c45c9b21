"""Settings: one TOML file, every key of which an environment variable may override.

What `load` returns is complete and valid; otherwise `SettingsError` names every fault by its path, such as
``scanner[0].baud: expected a whole number, got "fast"``. Passwords and keys are named by the path of their file;
only the URL of a camera may hold a password, and `shown` leaves that out.

>>> load(None, {"KERBSIDE_DELIVERY__GEOFENCE_INNER_M": "60"}).delivery.geofence_inner_m
60.0
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from agent.redaction import redact
from drivers.hotplug import Numbers, Subsystem

DEFAULT_PATH: Final = Path("/etc/kerbside/agent.toml")
PREFIX: Final = "KERBSIDE_"
SIMULATED: Final = "simulated"
"""The mount's port for a vehicle without one: the demo's."""
CHANGEABLE: Final = ("delivery", "route", "gps", "camera")
"""The sections that a message of the cloud may change (contract §4, inbox `settings`)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    path: str
    """``scanner[0].baud``; the name of the file where the file itself can not be read."""
    message: str
    """What was expected and what was found."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SettingsError(Exception):
    """The settings can not be used; `faults` holds every reason, one a line in the message."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``.

    :raises ValueError: the text is not of that form; the message says what was expected
    """
    host, colon, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536) or ("[" in host or "]" in host):
        raise ValueError('expected "host:port"')
    if ":" in host and not address.startswith("["):
        raise ValueError('expected "host:port", an IPv6 address in brackets')
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host can only be this unit itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError('expected 1 to 64 letters, digits, ".", "_" or "-", a letter or digit first')
    return text


def _fleet(text: str) -> str:
    if "-" in text:
        raise ValueError('expected a name without "-" (the client id is "{fleet}-{unit}")')
    return _name(text)


def _part_name(text: str) -> str:
    if text in {"broker", "camera", "clock", "console", "gps", "journal", "mount"}:
        raise ValueError("expected a name that no other part of the unit has")
    return _name(text)


def _topic_root(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", text):
        raise ValueError('expected one to three topic levels of letters, digits, ".", "_" or "-"')
    return text


def _address(text: str) -> str:
    split_address(text)
    return text


def _loopback_address(text: str) -> str:
    host, _ = split_address(text)
    if not is_loopback(host):
        raise ValueError("expected an address of the unit itself, such as 127.0.0.1:8321 (phones use phone_listen)")
    return text


def _broker_url(text: str) -> str:
    expected = 'expected "mqtts://host:8883"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected}: user name and password belong in username and password_file")
    if parts.scheme not in {"mqtt", "mqtts"} or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(expected)
    if parts.scheme == "mqtt" and not is_loopback(host):
        raise ValueError("expected mqtts:// (mqtt:// is not encrypted, and allowed only to this unit itself)")
    return text


def _device(text: str) -> str:
    if not text.startswith("/") and Numbers.parse(text) is None:
        raise ValueError(
            'expected a path such as "/dev/serial/by-id/…", or the numbers "vendor:product" or "vendor:product:serial" '
            "(`kerbside devices` lists them)"
        )
    return text


def _mount(text: str) -> str:
    return text if text == SIMULATED else _device(text)


def _camera_source(text: str) -> str:
    if "://" in text:
        try:
            parts = urlsplit(text)
            found = bool(parts.port or parts.hostname or parts.scheme not in {"http", "https", "rtsp", "rtsps"})
        except ValueError:
            found = False
        if not found:
            raise ValueError(
                'expected a URL such as "rtsp://user:password@host/path", with "/" in a password written as %2F, '
                '"?" as %3F, "#" as %23 and "@" as %40'
            )
    elif ":" in text and "/" not in text:
        return _device(text)
    return text


def _named_terminator(value: object) -> object:
    names = {"\r": "cr", "\n": "lf", "\r\n": "crlf", "\x03": "etx", "": "none"}
    return names.get(value, value) if isinstance(value, str) else value


def _listed(value: object) -> object:
    """An environment variable holds a list as the shell does its paths."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of paths, such as ["/etc/kerbside/firmware.pem"]')  # noqa: TRY004
    return value


def _empty_is_unset(value: object) -> object:
    return None if value == "" else value


Name = Annotated[str, AfterValidator(_name)]
DeviceMatch = Annotated[str, AfterValidator(_device)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Metres = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_unset)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_unset)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_listed)]
OptionalAddress = Annotated[Annotated[str, AfterValidator(_address)] | None, BeforeValidator(_empty_is_unset)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Unit(_Section):
    """Who this unit is and where it keeps what must not be lost."""

    id: Name = "u1"
    """The unit within its fleet; part of its topics, its client id and the source of its events."""
    fleet: Annotated[str, AfterValidator(_fleet)] = "demo"
    """The fleet it belongs to; without "-", so that the client id `{fleet}-{unit}` can be read back."""
    state_dir: Path = Path("/var/lib/kerbside")
    """The journal and the unit's own keys; one agent at a time."""


class Broker(_Section):
    """The MQTT broker and how to talk to it."""

    url: Annotated[str, AfterValidator(_broker_url)] = "mqtt://127.0.0.1:1883"
    """`mqtts://host:8883`; `mqtt://` only to this unit itself."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto` is MQTT 5, and 3.1.1 where the broker refuses it."""
    ca_file: OptionalPath = None
    """The authorities that may have signed the broker's certificate (PEM); unset: those of the system."""
    cert_file: OptionalPath = None
    """The unit's own certificate (PEM)."""
    key_file: OptionalPath = None
    """The private key of that certificate (PEM)."""
    username: OptionalText = None
    """User name, for a broker that asks for one."""
    password_file: OptionalPath = None
    """The file whose first line is the password."""
    keepalive_s: Annotated[int, Field(ge=5, le=65_535)] = 30
    """A silent connection is found dead after twice this time."""
    max_inflight: Annotated[int, Field(ge=1, le=65_535)] = 100
    """Messages under way before the first is acknowledged; the broker's Receive Maximum bounds it further."""
    max_packet_bytes: Annotated[int, Field(ge=16_384, le=268_435_455)] = 131_072
    """The largest MQTT packet to send or take."""
    topic_root: Annotated[str, AfterValidator(_topic_root)] = "kerbside"
    """What every topic begins with."""
    monthly_bytes: Count = 0
    """The budget of a metered link; 0 is no budget."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port, by default that of the scheme."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, got only one of them")
        if self.password_file is not None and self.username is None:
            raise ValueError("expected a username with password_file")
        return self


class Gps(_Section):
    """The GNSS receiver, through gpsd."""

    gpsd: OptionalAddress = "127.0.0.1:2947"
    """Where gpsd listens; empty: no receiver."""
    device: Annotated[DeviceMatch | None, BeforeValidator(_empty_is_unset)] = None
    """The receiver, handed to gpsd when it is plugged in; unset: gpsd knows its devices itself."""
    stale_after_s: Seconds = 4.0
    """A position older than this is no position."""


class Scanner(_Section):
    """One bar code scanner."""

    name: Annotated[str, AfterValidator(_part_name)]
    """What the scanner is called in events, states and logs."""
    kind: Literal["line", "ssi", "honeywell", "hid", "hidpos"] = "line"
    """Serial: `line`, to which nothing is ever written; `honeywell`, which also beeps with the answer; `ssi`, a Zebra
    that speaks SSI. USB: `hid` types like a keyboard, `hidpos` is HID POS."""
    port: DeviceMatch
    """Its stable path, such as `/dev/serial/by-id/…`, or its numbers, `vendor:product` or `vendor:product:serial`;
    `kerbside devices` lists them."""
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    """Its speed; a scanner on USB ignores it."""
    terminator: Annotated[Literal["auto", "cr", "lf", "crlf", "etx", "none"], BeforeValidator(_named_terminator)] = (
        "auto"
    )
    """What ends a scan; `auto` takes CR, LF and CRLF alike, `etx` is for STX before and ETX behind a code, `none` for a
    scanner without a suffix. Of a scanner that types, `auto` takes Enter and Tab, the others take Enter."""
    idle_flush_ms: Count = 0
    """The silence that ends a scan, for a scanner without a suffix; 0: silence ends none."""
    host_ack: bool = False
    """Whether a scanner of kind `honeywell` is set to Host ACK, and waits for the answer before it reads on."""
    layout: Literal["us", "de", "fr", "uk"] = "us"
    """The keyboard that a scanner of kind `hid` is set to type on; the other kinds ignore it."""

    @property
    def subsystem(self) -> Subsystem:
        """Of which kind its device is to the kernel."""
        kinds: dict[str, Subsystem] = {"hid": "input", "hidpos": "hidraw"}
        return kinds.get(self.kind, "tty")

    @model_validator(mode="after")
    def _a_scan_can_end(self) -> Self:
        if self.terminator == "none" and self.idle_flush_ms == 0:
            raise ValueError('expected idle_flush_ms above 0 with terminator = "none"')
        return self


class Camera(_Section):
    """The camera that reads labels and takes photos."""

    source: Annotated[Annotated[str, AfterValidator(_camera_source)] | None, BeforeValidator(_empty_is_unset)] = None
    """The stable path of a device, such as `/dev/v4l/by-id/…`, or its numbers, `vendor:product` or
    `vendor:product:serial`; or a file, a folder of pictures, or the URL of a stream (http, rtsp); unset: no camera."""
    width: Positive = 1280
    height: Positive = 720
    """Asked of a device, which may give another size; the camera's state says so."""
    fps: Annotated[float, Field(gt=0, le=240, allow_inf_nan=False)] = 10.0
    """Pictures a second, at most; asked of a device, too."""
    ring_s: Annotated[float, Field(ge=0, le=120, allow_inf_nan=False)] = 10.0
    """Seconds of pictures kept in memory, for clips; 0: none."""
    ring_max_bytes: Annotated[int, Field(ge=1_048_576, le=268_435_456)] = 33_554_432
    """The most memory that these pictures may take; what does not fit is forgotten sooner."""
    read_labels: bool = True
    """Whether labels in its pictures count as scans."""


class Mount(_Section):
    """The mount's panel: ignition, supply voltage, buttons, buzzer and lamp."""

    port: Annotated[Annotated[str, AfterValidator(_mount)] | None, BeforeValidator(_empty_is_unset)] = None
    """Its serial port, by path or numbers; unset: no panel."""
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115_200
    """Its speed; for a mount on USB only the pace at which it is written to."""
    shutdown_after_s: Seconds = 600.0
    """How long after the ignition goes off the unit stays up."""
    firmware_keys: Paths = ()
    """The public keys (PEM; Ed25519 or ECDSA P-256) that may have signed its firmware; no other is ever sent to it."""
    vendor_id: OptionalText = None
    """Whose board it is: a UUID, or the domain name that imgtool was given (`--vid`); unset: images must name none."""
    class_id: OptionalText = None
    """Which board it is: a UUID, or the name that imgtool was given (`--cid`); unset: images must name none."""
    slot_bytes: Annotated[int, Field(gt=0)] | None = None
    """How large an image may be, where the mount's firmware does not say."""
    confirm_after_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 10.0
    """How long new firmware must answer without a break before it is kept; otherwise the mount goes back."""

    @model_validator(mode="after")
    def _class_is_whose(self) -> Self:
        if self.class_id is not None and self.vendor_id is None:
            try:
                UUID(self.class_id)
            except ValueError:
                raise ValueError("expected a vendor_id with a class_id that is a name") from None
        return self


class Console(_Section):
    """The driver's screen and its HTTP API."""

    listen: Annotated[str, AfterValidator(_loopback_address)] = "127.0.0.1:8321"
    """Where the unit itself finds it; port 0 takes any free one."""
    phone_listen: OptionalAddress = None
    """Where paired phones find it; unset: nowhere."""


class Delivery(_Section):
    """Rules of the delivery that a fleet may set."""

    geofence_inner_m: Metres = 75.0
    """Within this distance of a stop the unit has arrived."""
    geofence_outer_m: Metres = 200.0
    """Beyond this distance of a stop the unit has left."""
    allow_adoption: bool = False
    """Whether a parcel that is on no manifest may be taken along."""
    check_in_early_s: Count = 3600
    """How long before a block's start its driver may check in."""
    no_show_after_s: Positive = 3600
    """How long after a block's start a driver who has not checked in counts as absent."""
    photo_retakes: Count = 2
    """How often a photo is asked for again before it may be skipped."""
    max_attempts: Positive = 3
    """How often a parcel is taken to its recipient."""

    @model_validator(mode="after")
    def _outer_is_outside(self) -> Self:
        if self.geofence_outer_m <= self.geofence_inner_m:
            raise ValueError(
                f"expected geofence_outer_m above geofence_inner_m, got {self.geofence_outer_m:g} and "
                f"{self.geofence_inner_m:g}"
            )
        return self


class Journal(_Section):
    """The durable store."""

    max_bytes: Annotated[int, Field(ge=1_048_576)] = 1_073_741_824
    """The most that the store may take."""
    retain_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """How long a confirmed event is kept at least."""
    confirm: Literal["broker", "cloud"] = "broker"
    """Whose word frees an event: the broker's acknowledgement or the consumer's high-water mark."""


class Route(_Section):
    """The order of the stops and the way between them."""

    tiles: OptionalPath = None
    """Road tiles of the area; unset: straight lines."""


class Settings(_Section):
    """All settings of a unit (contract §3)."""

    unit: Unit = Unit()
    broker: Broker = Broker()
    gps: Gps = Gps()
    scanner: tuple[Scanner, ...] = ()
    camera: Camera = Camera()
    mount: Mount = Mount()
    console: Console = Console()
    delivery: Delivery = Delivery()
    journal: Journal = Journal()
    route: Route = Route()

    @model_validator(mode="after")
    def _scanner_names_differ(self) -> Self:
        names = [scanner.name for scanner in self.scanner]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected scanners of different names, got {json.dumps(name)} twice")
        return self


def default_path() -> Path | None:
    """The settings file of an installed unit, where there is one."""
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a file (``None``: the defaults) with the overrides of the environment.

    :raises SettingsError: naming every fault that was found, not only the first
    """
    values = {} if path is None else _read(path)
    origins, faults = _override(values, environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_fault(detail, values, origins) for detail in error.errors(include_url=False)]
    if faults:
        raise SettingsError(faults)
    return settings


def change(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some keys changed by the cloud: ``{"delivery.photo_retakes": 1}``.

    :raises SettingsError: a key does not exist, may not be changed from afar, or its value is wrong
    """
    values = settings.model_dump(mode="json")
    faults = []
    for path, value in changes.items():
        section, _, key = path.partition(".")
        if section not in CHANGEABLE or key not in values[section]:
            faults.append(Fault(path, f"expected a key of {', '.join(CHANGEABLE)}"))
        else:
            values[section][key] = value
    try:
        changed = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_fault(detail, values, {}) for detail in error.errors(include_url=False)]
    if faults:
        raise SettingsError(faults)
    return changed


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, fit to be printed."""
    values: dict[str, Any] = redact(settings.model_dump(mode="json"))
    return values


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the settings file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Fault(str(path), f"can not be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([Fault(str(path), f"expected UTF-8 text, got another byte at {error.start}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Fault(str(path), f"expected TOML: {error}")]) from error


def _override(
    values: dict[str, Any], environ: Mapping[str, str]
) -> tuple[dict[tuple[str | int, ...], str], list[Fault]]:
    """Put `KERBSIDE_SECTION__KEY` of the environment over the values of the file; where each of them came from."""
    origins: dict[tuple[str | int, ...], str] = {}
    faults: list[Fault] = []
    path: tuple[str | int, ...]
    for variable in sorted(environ):
        section, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or not rest:
            continue
        if section == "scanner" and len(rest) == 2 and rest[0].isascii() and rest[0].isdigit():
            scanners = values.setdefault("scanner", [])
            index = int(rest[0])
            if not isinstance(scanners, list) or index > len(scanners):
                faults.append(Fault(f"scanner[{index}]", f"expected the scanners before it, too (from {variable})"))
                continue
            if index == len(scanners):
                scanners.append({})
            place, path = scanners[index], ("scanner", index, rest[1])
        elif section != "scanner" and len(rest) == 1:
            place, path = values.setdefault(section, {}), (section, rest[0])
        else:
            faults.append(Fault(variable, "expected KERBSIDE_SECTION__KEY or KERBSIDE_SCANNER__0__KEY"))
            continue
        if isinstance(place, dict):
            place[path[-1]] = environ[variable]
            origins[path] = variable
    return origins, faults


_EXPECTED: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "text",
    "path_type": "a path in quotes",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "model_type": "a table of keys",
    "tuple_type": "a list of tables ([[scanner]])",
}


def _fault(detail: ErrorDetails, values: Mapping[str, Any], origins: Mapping[tuple[str | int, ...], str]) -> Fault:
    """One of pydantic's findings in our words. The value is shown, unless it may hold a secret."""
    place, kind, value, context = detail["loc"], detail["type"], detail["input"], detail.get("ctx", {})
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    origin = f" (from {origins[place]})" if place in origins else ""
    if kind == "extra_forbidden":
        return Fault(path or "settings", _unknown(place) + origin)
    if kind == "missing":
        return Fault(path, "expected a value, got none" + origin)
    if kind == "value_error":
        expected = str(context["error"])
    elif kind == "literal_error":
        expected = "expected one of " + context["expected"].replace("'", '"').replace(" or ", ", ")
    else:
        expected = "expected " + _EXPECTED.get(kind, detail["msg"]).format_map(context)
    if isinstance(value, BaseModel | dict) and kind == "value_error":
        return Fault(path or "scanner", expected + origin)
    found = json.dumps(value, default=str, ensure_ascii=False)
    secret = path in {"broker.url", "camera.source"} and ("@" in found or "?" in found)
    return Fault(path, f"{expected}, got {'one with a secret in it' if secret else _shortened(found)}{origin}")


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


def _unknown(place: tuple[str | int, ...]) -> str:
    """What to say of a key or section that does not exist: the nearest one that does."""
    keys: Iterable[str] = Settings.model_fields
    thing = "section"
    if len(place) > 1:
        section = Scanner if place[0] == "scanner" else Settings.model_fields[str(place[0])].annotation
        keys, thing = getattr(section, "model_fields", {}), "key"
    close = get_close_matches(str(place[-1]), keys, n=1)
    meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(keys)}"
    return f"unknown {thing}, {meant}"
