"""Settings: what a fleet technician writes, and what is said when it is wrong."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.settings import Settings, SettingsError, change, load, shown, split_address

EXAMPLE = Path(__file__).parents[2] / "config" / "agent.example.toml"
NAMED = {"KERBSIDE_UNIT__ID": "u1", "KERBSIDE_UNIT__FLEET": "demo"}
SCANNER = '[[scanner]]\nname = "hand"\nport = "/dev/ttyACM0"\n'


def faults_of(text: str, tmp_path: Path, environ: dict[str, str] | None = None) -> list[str]:
    """What is wrong with a settings file, line by line."""
    path = tmp_path / "agent.toml"
    path.write_text(text)
    names = {name: value for name, value in NAMED.items() if f"\n{name[15:].lower()} = " not in text}
    with pytest.raises(SettingsError) as error:
        load(path, names | (environ or {}))
    return [str(fault) for fault in error.value.faults]


def test_without_a_file_the_defaults_need_no_hardware() -> None:
    settings = load(None, {})
    assert settings == Settings()
    assert settings.scanner == ()
    assert settings.camera.source is None
    assert settings.mount.port is None
    assert (settings.broker.host, settings.broker.port, settings.broker.tls) == ("127.0.0.1", 1883, False)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SCANNER + 'baud = "fast"', 'scanner[0].baud: expected a whole number, got "fast"'),
        (SCANNER + "baud = 9600.5", "scanner[0].baud: expected a whole number, got 9600.5"),
        (
            SCANNER + SCANNER.replace("ACM0", "ACM1"),
            'scanner[1].name: expected a name of its own, got "hand", which scanner[0] has',
        ),
        (
            SCANNER + SCANNER.replace("hand", "dock"),
            'scanner[1].port: expected a device of its own, got "/dev/ttyACM0", which scanner[0].port has',
        ),
        (
            '[[scanner]]\nname = "a"\nport = "0C2E:0b6a"\n[mount]\nport = "0c2e:0B6A"',
            'mount.port: expected a device of its own, got "0c2e:0B6A", which scanner[0].port has',
        ),
        (
            SCANNER + '[gps]\ndevice = "/dev/../dev//ttyACM0"',
            'gps.device: expected a device of its own, got "/dev/../dev//ttyACM0", which scanner[0].port has',
        ),
        ('[console]\nphone_listen = "0.0.0.0:8321"', "console.phone_listen: expected another port than that of listen"),
        (
            "[gps]\nstale_after_s = 4000",
            "gps.stale_after_s: expected 1 to 60, got 4000: correct it, or leave it out for 4",
        ),
        ("[broker]\nmonthly_bytes = 500", "broker.monthly_bytes: expected 0 (no budget) or at least 1000000 bytes"),
        ('[camera]\nsource = "file:///etc/passwd"', "camera.source: expected a URL such as"),
        ('[camera]\nsource = "concat:/a|/b"', "camera.source: expected a path"),
        ('[mount]\nclass_id = "mount-a"', "mount.vendor_id: expected whose board it is"),
        ('[[scanner]]\nname = "hand"', "scanner[0].port: expected a value, got none"),
        (
            SCANNER + 'kind = "laser"',
            'scanner[0].kind: expected one of "line", "ssi", "honeywell", "hid", "hidpos", got "laser"',
        ),
        (SCANNER + 'terminator = "none"', 'scanner[0].idle_flush_ms: expected more than 0 with terminator = "none"'),
        ('[[scanner]]\nname = "gps"\nport = "/dev/x"', "scanner[0].name: expected a name that no other part of"),
        (
            '[[scanner]]\nname = "hand"\nport = "ttyUSB0"',
            'scanner[0].port: expected a path such as "/dev/serial/by-id/…", or the numbers "vendor:product"',
        ),
        ('[[scanner]]\nname = "hand"\nport = "0c2e"', "scanner[0].port: expected a path"),
        ('[[scanner]]\nname = "hand"\nport = "0c2e:0b6a:"', "scanner[0].port: expected a path"),
        ('[[scanner]]\nname = "hand"\nport = "0xc2e:b6a"', "scanner[0].port: expected a path"),
        ('[[scanner]]\nname = "hand"\nport = ""', "scanner[0].port: expected a path"),
        ('[gps]\ndevice = "ublox"', "gps.device: expected a path"),
        ('[mount]\nport = "COM3"', "mount.port: expected a path"),
        ('[camera]\nsource = "46d:825"', "camera.source: expected a path"),
        ('[scanner]\nname = "hand"', "scanner: expected a list of tables ([[scanner]]), got"),
        ('[unit]\nfleet = "north-west"', 'unit.fleet: expected a name without "-"'),
        ('[unit]\nid = "u/1"', 'unit.id: expected 1 to 64 letters, digits, ".", "_" or "-"'),
        ('[unit]\nid = "u+"', "unit.id: "),
        ('[unit]\nid = "u#"', "unit.id: "),
        ('[unit]\nfleet = "a/b"', "unit.fleet: "),
        ("[unit]\nid = 7", "unit.id: expected text in quotes, got 7"),
        ('[broker]\ntopic_root = "a/#"', "broker.topic_root: expected one to three topic levels"),
        ('[broker]\nurl = "mqtt://broker.example:1883"', "broker.url: expected mqtts://"),
        ('[broker]\nurl = "broker.example"', 'broker.url: expected "mqtts://host:8883", got "broker.example"'),
        ('[broker]\nurl = "mqtts://host:99999"', 'broker.url: expected "mqtts://host:8883"'),
        ('[broker]\ncert_file = "unit.pem"', "broker.key_file: expected the private key of cert_file"),
        ('[broker]\npassword_file = "secret"', "broker.username: expected a name with password_file"),
        ("[broker]\nkeepalive_s = 0", "broker.keepalive_s: expected 5 to 3,600, got 0"),
        ('[gps]\ngpsd = "localhost"', 'gps.gpsd: expected "host:port", got "localhost"'),
        ('[gps]\nstale_after_s = "soon"', 'gps.stale_after_s: expected a number, got "soon"'),
        ("[gps]\nstale_after_s = nan", "gps.stale_after_s: expected "),
        ('[camera]\nread_labels = "perhaps"', 'camera.read_labels: expected true or false, got "perhaps"'),
        ('[console]\nlisten = "0.0.0.0:8321"', "console.listen: expected an address of the unit itself"),
        (
            "[delivery]\ngeofence_inner_m = 250",
            "delivery.geofence_outer_m: expected more than geofence_inner_m (250), got 200",
        ),
        ("[delivery]\nphoto_retake = 1", "delivery.photo_retake: unknown key, did you mean photo_retakes?"),
        ("[deliverey]\n", "deliverey: unknown section, did you mean delivery?"),
        ("[journal]\nconfirm = 1", 'journal.confirm: expected one of "broker", "cloud", got 1'),
        ("gps = 3", "gps: expected a table of keys, got 3"),
    ],
)
def test_a_fault_is_named_by_its_path(text: str, fault: str, tmp_path: Path) -> None:
    (found,) = faults_of(text, tmp_path)
    assert found.startswith(fault)


def test_every_fault_is_named_not_only_the_first(tmp_path: Path) -> None:
    found = faults_of(
        '[unit]\nfleet = "a-b"\n[gps]\nstale_after_s = 0\n' + SCANNER + "baud = true\nspeed = 1", tmp_path
    )
    assert [fault.split(":")[0] for fault in found] == [
        "unit.fleet",
        "gps.stale_after_s",
        "scanner[0].baud",
        "scanner[0].speed",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[unit\nid = 1", "expected TOML"), (b"\xff\xfe", "expected UTF-8 text"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(path, {})
    assert str(error.value).startswith(f"{path}: {reason}")


def test_passwords_never_stand_in_a_fault(tmp_path: Path) -> None:
    found = faults_of('[broker]\nurl = "mqtts://me:hunter2@host"\npassword = "hunter2"', tmp_path)
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


def test_a_password_in_the_url_of_a_camera_is_not_shown() -> None:
    settings = load(None, {"KERBSIDE_CAMERA__SOURCE": "rtsp://me:hunter2@127.0.0.9/live"})
    assert settings.camera.source == "rtsp://me:hunter2@127.0.0.9/live"
    assert shown(settings)["camera"]["source"] == "rtsp://…@127.0.0.9/live"
    settings = load(None, {"KERBSIDE_CAMERA__SOURCE": "rtsp://127.0.0.9/live?user=me&password=hunter2"})
    assert shown(settings)["camera"]["source"] == "rtsp://127.0.0.9/live?…"


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://me:hun/ter2@127.0.0.9/live",
        "rtsp://me:hun?ter2@127.0.0.9/live",
        "rtsp://h:port/?key=hunter2",
        "http:///live",
    ],
)
def test_a_url_of_a_camera_that_cannot_be_one_is_a_fault_that_says_how_to_write_it(source: str, tmp_path: Path) -> None:
    (found,) = faults_of(f'[camera]\nsource = "{source}"', tmp_path)
    assert found.startswith("camera.source: expected a URL such as")
    assert "%2F" in found
    assert "ter2" not in found


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[unit]\nid = "u7"\nfleet = "west"\n[delivery]\nallow_adoption = false\n' + SCANNER)
    settings = load(
        path,
        {
            "KERBSIDE_UNIT__ID": "7",
            "KERBSIDE_DELIVERY__ALLOW_ADOPTION": "true",
            "KERBSIDE_DELIVERY__GEOFENCE_INNER_M": "60.5",
            "KERBSIDE_SCANNER__0__BAUD": "115200",
            "KERBSIDE_SCANNER__1__NAME": "dock",
            "KERBSIDE_SCANNER__1__PORT": "/dev/ttyACM1",
            "KERBSIDE_SCANNER__1__TERMINATOR": "\r\n",
            "KERBSIDE_GPS__GPSD": "",
            "KERBSIDE_SHARED": "something of another program",
            "PATH": "/usr/bin",
        },
    )
    assert settings.unit.id == "7"
    assert settings.delivery.allow_adoption
    assert settings.delivery.geofence_inner_m == 60.5
    assert [(scanner.name, scanner.baud, scanner.terminator) for scanner in settings.scanner] == [
        ("hand", 115200, "auto"),
        ("dock", 9600, "crlf"),
    ]
    assert settings.gps.gpsd is None


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        (
            "KERBSIDE_SCANNER__0__BAUD",
            "fast",
            'scanner[0].baud: expected a whole number, got "fast" (from KERBSIDE_SCANNER__0__BAUD)',
        ),
        (
            "KERBSIDE_UNIT__STATE_DIRECTORY",
            "u1",
            "unit.state_directory: unknown key, did you mean state_dir? (from KERBSIDE_UNIT__STATE_DIRECTORY)",
        ),
        ("KERBSIDE_FOO__BAR", "1", "foo: unknown section"),
        ("KERBSIDE_SCANNER__3__BAUD", "1", "scanner[3]: expected the scanners before it, too"),
        ("KERBSIDE_UNIT__ID__X", "1", "KERBSIDE_UNIT__ID__X: expected KERBSIDE_SECTION__KEY"),
    ],
)
def test_a_fault_of_the_environment_names_the_variable(variable: str, value: str, fault: str, tmp_path: Path) -> None:
    assert any(found.startswith(fault) for found in faults_of(SCANNER, tmp_path, {variable: value}))


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtts://broker.example", "broker.example", 8883, True),
        ("mqtts://[2001:db8::1]:443", "2001:db8::1", 443, True),
        ("mqtt://localhost", "localhost", 1883, False),
        ("mqtt://127.8.8.8:2883", "127.8.8.8", 2883, False),
        ("mqtt://[::1]:1883", "::1", 1883, False),
    ],
)
def test_the_broker_is_where_its_url_says(url: str, host: str, port: int, tls: bool) -> None:
    broker = load(None, {"KERBSIDE_BROKER__URL": url}).broker
    assert (broker.host, broker.port, broker.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "url", ["mqtt://127.0.0.1.example", "mqtt://10.0.0.1", "mqtt://localhost.example", "mqtt://0.0.0.0"]
)
def test_an_unencrypted_broker_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"broker\.url: expected mqtts://"):
        load(None, {"KERBSIDE_BROKER__URL": url})


@pytest.mark.parametrize("address", ["", ":80", "host", "host:", "host:x", "host:65536", "::1:80", "[::1:80", "host:²"])
def test_an_address_without_a_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        split_address(address)


@pytest.mark.parametrize(
    "key", ["camera.source", "delivery.photo_retakes", "gps.gpsd", "camera.hunter2", "gps.stale_after_s"]
)
def test_a_wrong_value_that_the_cloud_sends_is_not_repeated(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        change(Settings(), {key: "xyz://me:hunter2@127.0.0.9/?a=hunter2"})
    assert "hunter2@" not in str(refused.value)
    assert "=hunter2" not in str(refused.value)
    assert str(refused.value).startswith(f"{key}: expected ")


def test_the_cloud_may_change_the_rules_of_delivery_and_nothing_of_the_link() -> None:
    settings = Settings()
    assert change(settings, {"delivery.photo_retakes": 1}).delivery.photo_retakes == 1
    assert settings.delivery.photo_retakes == 2
    with pytest.raises(SettingsError) as error:
        change(settings, {"broker.url": "mqtts://elsewhere", "delivery.max_attempts": 0, "gps.speed": 1})
    assert [fault.path for fault in error.value.faults] == ["broker.url", "gps.speed", "delivery.max_attempts"]


def keys(values: dict[str, Any]) -> set[str]:
    sections = {name: section[0] if isinstance(section, list) else section for name, section in values.items()}
    return {f"{name}.{key}" for name, section in sections.items() for key in section}


def uncommented(text: str) -> str:
    """The example with its commented-out keys and tables put in force."""
    return re.sub(r"^#(?=\w+ = |\[)", "", text, flags=re.MULTILINE)


def test_the_example_file_documents_every_key_and_no_other() -> None:
    settings = load(None, {"KERBSIDE_SCANNER__0__NAME": "hand", "KERBSIDE_SCANNER__0__PORT": "/dev/x"})
    assert keys(tomllib.loads(uncommented(EXAMPLE.read_text()))) == keys(shown(settings))


def test_the_example_file_holds_the_defaults() -> None:
    assert load(EXAMPLE, NAMED) == Settings()


def test_the_examples_within_the_example_file_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(uncommented(EXAMPLE.read_text()))
    settings = load(path, {})
    defaults = load(None, {"KERBSIDE_SCANNER__0__NAME": "hand", "KERBSIDE_SCANNER__0__PORT": settings.scanner[0].port})
    assert settings.scanner == defaults.scanner


def test_settings_survive_being_written_as_json() -> None:
    settings = load(None, {"KERBSIDE_SCANNER__0__NAME": "hand", "KERBSIDE_SCANNER__0__PORT": "/dev/x"})
    assert Settings.model_validate(json.loads(json.dumps(shown(settings)))) == settings


def test_a_file_of_an_earlier_version_says_what_it_said_there() -> None:
    folder = Path(__file__).parent
    said = json.loads((folder / "earlier.json").read_text())

    def known_then(values: dict[str, Any]) -> dict[str, Any]:
        return {section: values[section] for section in said["loaded"]}

    settings = load(folder / "earlier.toml", {})

    assert known_then(settings.model_dump(mode="json")) == said["loaded"]
    assert known_then(shown(settings)) == said["shown"]
    changed = change(settings, {"delivery.photo_retakes": 5, "route.tiles": "", "camera.fps": 5})
    assert known_then(changed.model_dump(mode="json")) == said["changed"]


@given(
    content=st.one_of(
        st.binary(max_size=200), st.text(st.sampled_from("[]{}=\"'.,#\n\\ae1-_"), max_size=80).map(str.encode)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_its_faults_are_told_without_a_traceback(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(path, {})
    assert all(line.isprintable() for line in str(error.value).split("\n"))
    assert not re.search(r"\('|Traceback|tomllib", str(error.value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a.b]\n[a.b]\n", "expected TOML, got at line 2, column 5: cannot declare a.b twice: correct that line"),
        ("[a]\n[[a]]\n", "cannot"),
        ("a = 1\na = 2\n", "cannot overwrite a value"),
        ("a = " + "[" * 100_000, "got lists in each other without end"),
        ("a = " + "1" * 5000, "got a number of too many digits"),
        ("#" * 2_000_000, "got more than 1048576 bytes"),
    ],
)
def test_a_fault_of_toml_is_told_without_the_words_of_python(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(path, {})
    assert str(error.value).startswith(f"{path}: expected ")
    assert says in str(error.value)
    assert "('" not in str(error.value)


def test_what_a_file_holds_cannot_move_the_cursor_of_who_reads_its_faults(tmp_path: Path) -> None:
    (found,) = faults_of('"\\u001b[2J" = 1', tmp_path)
    assert found.startswith("\\x1b[2J: unknown section")
    (found,) = faults_of('[camera]\nsource = "/a\\u0000b"', tmp_path)
    assert found.startswith("camera.source: expected one line of printable characters")
