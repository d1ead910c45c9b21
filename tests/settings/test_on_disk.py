"""Files that settings name are opened before anything starts: what was found, what was expected, and what to do."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agent.settings import SettingsError, load, on_disk
from agent.uplink.connection import UplinkError, tls_context
from tests.certificates import Authority

PEM = serialization.Encoding.PEM


class Unit:
    """A unit with sound certificates in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = self.authority.sign("unit")
        self.password = self.put("password", b"hunter2\n")
        public = ed25519.Ed25519PrivateKey.generate().public_key()
        pem = public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.firmware_key = self.put("firmware.pem", pem)
        self.tiles = self.put("tiles", b"tiles")
        self.environ = {
            "UNIT__STATE_DIR": str(folder / "state"),
            "BROKER__URL": "mqtts://broker.example",
            "BROKER__CA_FILE": str(self.authority.path),
            "BROKER__CERT_FILE": str(self.certificate),
            "BROKER__KEY_FILE": str(self.key),
            "BROKER__USERNAME": "u1",
            "BROKER__PASSWORD_FILE": str(self.password),
            "MOUNT__FIRMWARE_KEYS": str(self.firmware_key),
            "ROUTE__TILES": str(self.tiles),
        }

    def put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def faults(self, **changed: object) -> list[str]:
        environ = self.environ | {name: str(value) for name, value in changed.items()}
        settings = load(None, {f"KERBSIDE_{name}": value for name, value in environ.items()})
        return [f"{each.key}: {each}" for each in on_disk.examine(settings, None)]


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def weak(folder: Path) -> tuple[Path, Path]:
    """A certificate that TLS does not take, and its key."""
    authority = Authority(folder)
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([])
    certificate = authority._builder(name, key.public_key(), *_days()).sign(authority._key, hashes.SHA256())
    (folder / "weak.pem").write_bytes(certificate.public_bytes(PEM))
    (folder / "weak.key").write_bytes(_private(key))
    (folder / "weak.key").chmod(0o600)
    return folder / "weak.pem", folder / "weak.key"


def _days() -> tuple[object, object]:
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)


def test_a_unit_whose_files_are_sound_has_no_faults(unit: Unit) -> None:
    assert unit.faults() == []


FILES = {
    "BROKER__CA_FILE": "broker.ca_file",
    "BROKER__CERT_FILE": "broker.cert_file",
    "BROKER__KEY_FILE": "broker.key_file",
    "BROKER__PASSWORD_FILE": "broker.password_file",
    "MOUNT__FIRMWARE_KEYS": "mount.firmware_keys[0]",
    "ROUTE__TILES": "route.tiles",
}


@pytest.mark.parametrize(("variable", "key"), FILES.items(), ids=FILES.values())
@pytest.mark.parametrize(
    "found", ["nothing", "an empty file", "a folder", "something else", "a link that leads nowhere"]
)
def test_a_file_that_is_not_what_its_key_needs_is_told_in_one_line(
    unit: Unit, tmp_path: Path, variable: str, key: str, found: str
) -> None:
    path = tmp_path / "other"
    match found:
        case "an empty file":
            unit.put("other", b"")
        case "a folder":
            path.mkdir()
        case "something else":
            unit.put("other", b"\xff\x00 garbage \n")
        case "a link that leads nowhere":
            path.symlink_to("other")
    if variable == "ROUTE__TILES" and found in {"a folder", "something else"}:
        assert unit.faults(**{variable: path}) == []
        return
    (fault,) = unit.faults(**{variable: path})
    assert fault.startswith(f"{key}: expected ")
    words = "what is no text in UTF-8" if (variable, found) == ("BROKER__PASSWORD_FILE", "something else") else found
    assert f", found {words} at {path}: " in fault
    assert "\n" not in fault


def key_of_another(unit: Unit) -> tuple[str, Path]:
    return "broker.key_file", unit.authority.sign("another")[1]


def key_with_password(unit: Unit) -> tuple[str, Path]:
    return "broker.key_file", unit.put("other", _private(ec.generate_private_key(ec.SECP256R1()), b"secret"))


def certificate_for_key(unit: Unit) -> tuple[str, Path]:
    return "broker.key_file", unit.put("other", unit.certificate.read_bytes())


def key_for_certificate(unit: Unit) -> tuple[str, Path]:
    return "broker.cert_file", unit.put("other", unit.key.read_bytes())


def certificate_in_der(unit: Unit) -> tuple[str, Path]:
    certificate = x509.load_pem_x509_certificate(unit.certificate.read_bytes())
    return "broker.cert_file", unit.put("other", certificate.public_bytes(serialization.Encoding.DER))


def chain_in_the_wrong_order(unit: Unit) -> tuple[str, Path]:
    return "broker.cert_file", unit.put("other", unit.authority.path.read_bytes() + unit.certificate.read_bytes())


def private_firmware_key(unit: Unit) -> tuple[str, Path]:
    return "mount.firmware_keys", unit.put("other", _private(ec.generate_private_key(ec.SECP256R1())))


def first_line_empty(unit: Unit) -> tuple[str, Path]:
    return "broker.password_file", unit.put("other", b"\nhunter2\n")


@pytest.mark.parametrize(
    ("made", "key", "says"),
    [
        (key_of_another, "broker.key_file", "found that of another certificate"),
        (key_with_password, "broker.key_file", "found one with a password"),
        (certificate_for_key, "broker.key_file", "found a certificate"),
        (key_for_certificate, "broker.cert_file", "found a private key"),
        (certificate_in_der, "broker.cert_file", "openssl x509 -inform DER"),
        (chain_in_the_wrong_order, "broker.key_file", "put the unit's own certificate first"),
        (private_firmware_key, "mount.firmware_keys[0]", "found a private one"),
        (first_line_empty, "broker.password_file", "found an empty first line"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_there_and_wrong_is_told_apart(
    unit: Unit, made: Callable[[Unit], tuple[str, Path]], key: str, says: str
) -> None:
    name, path = made(unit)
    (fault,) = unit.faults(**{name.replace(".", "__").upper(): path})
    assert fault.startswith(f"{key}: expected ")
    assert says in fault
    assert "hunter2" not in fault


def test_no_word_of_openssl_or_python_reaches_who_reads_a_fault(unit: Unit, tmp_path: Path) -> None:
    certificate, key = weak(tmp_path)
    environ = {"BROKER__CA_FILE": "", "BROKER__CERT_FILE": certificate, "BROKER__KEY_FILE": key}
    (fault,) = unit.faults(**environ)
    assert fault.startswith("broker.cert_file: expected a certificate that TLS takes, found one that is too weak")
    settings = load(None, {f"KERBSIDE_{name}": str(value) for name, value in (unit.environ | environ).items()})
    with pytest.raises(UplinkError) as error:
        tls_context(settings.broker)
    assert str(error.value) == fault
    for word in ("_ssl.c", "PEM lib", "EE_KEY", "MISMATCH", "Errno", "('"):
        assert word not in fault


@pytest.mark.parametrize(("first_day", "last_day", "says"), [(-30, -1, "expired on"), (1, 30, "is valid from")])
def test_a_certificate_out_of_its_time_is_a_fault_but_no_reason_not_to_start(
    unit: Unit, first_day: int, last_day: int, says: str
) -> None:
    unit.authority.sign("unit", first_day=first_day, last_day=last_day)
    (fault,) = unit.faults()
    assert fault.startswith("broker.cert_file: expected a certificate that is valid now")
    assert says in fault
    settings = load(None, {f"KERBSIDE_{name}": value for name, value in unit.environ.items()})
    assert [str(each) for each in on_disk.require(settings, None)] == [fault]
    unit.key.unlink()
    with pytest.raises(SettingsError, match=r"broker\.key_file: expected .* found nothing"):
        on_disk.require(settings, None)


@pytest.mark.parametrize("written", ["hunter2", "hun/ter2", "-----BEGIN PRIVATE KEY-----\nMC4CAQ"])
def test_a_secret_in_the_place_of_its_files_path_is_not_repeated(unit: Unit, written: str) -> None:
    for variable in ("BROKER__PASSWORD_FILE", "BROKER__KEY_FILE"):
        try:
            told = "\n".join(unit.faults(**{variable: written}))
        except SettingsError as error:
            told = str(error)
        assert variable.replace("__", ".").lower() in told
        assert "ter2" not in told
        assert "MC4CAQ" not in told


def test_a_state_directory_that_is_no_folder_or_cannot_be_made_is_a_fault(unit: Unit, tmp_path: Path) -> None:
    file = unit.put("file", b"x")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for place, found in ((file, "a file"), (file / "state", "a file"), (link, "a link that leads nowhere")):
        (fault,) = unit.faults(UNIT__STATE_DIR=place)
        assert fault.startswith("unit.state_dir: expected a folder that the agent may write into, found " + found)
    assert unit.faults(UNIT__STATE_DIR=tmp_path / "a" / "b") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_state_directory_that_this_user_may_not_write_is_a_fault(unit: Unit, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o500)
    (fault,) = unit.faults()
    assert "found one that this user may not write into" in fault


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_state_directory_on_a_read_only_file_system_is_a_fault(unit: Unit, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,mode=700", "none", state], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (fault,) = unit.faults()
    finally:
        subprocess.run(["umount", state], check=True)
    assert "found a file system that is mounted read-only" in fault


@pytest.mark.parametrize("variable", ["GPS__DEVICE", "MOUNT__PORT", "CAMERA__SOURCE"])
def test_a_file_where_a_device_belongs_is_a_fault_and_a_device_that_is_unplugged_is_none(
    unit: Unit, variable: str
) -> None:
    if variable != "CAMERA__SOURCE":
        (fault,) = unit.faults(**{variable: unit.put("file", b"x")})
        assert fault.startswith(f"{variable.replace('__', '.').lower()}: expected a device, found a file")
    assert unit.faults(**{variable: "/dev/serial/by-id/usb-none"}) == []
    assert unit.faults(**{variable: "/dev/null"}) == []


def test_pictures_of_a_camera_that_are_not_there_are_a_fault(unit: Unit, tmp_path: Path) -> None:
    (fault,) = unit.faults(CAMERA__SOURCE=tmp_path / "pictures")
    assert fault.startswith("camera.source: expected a file or folder that may be read, found nothing")
    (tmp_path / "pictures").mkdir()
    assert unit.faults(CAMERA__SOURCE=tmp_path / "pictures") == []


@pytest.mark.parametrize(
    ("name", "mode", "right"),
    [("unit.key", 0o644, "640"), ("unit.key", 0o660, "640"), ("password", 0o604, "640"), ("ca.pem", 0o666, "644")],
)
def test_a_secret_that_others_may_read_or_change_is_refused_with_the_command_that_mends_it(
    unit: Unit, name: str, mode: int, right: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.chmod(mode)
    if mode == 0o660 and os.getgid() == 0:
        os.chown(path, -1, 65534)
        right = "600"
    (fault,) = unit.faults()
    assert fault.endswith(f": chmod {right} {path}")
    path.chmod(int(right, 8))
    assert unit.faults() == []


def test_a_settings_file_with_a_password_in_it_is_kept_from_others(unit: Unit, tmp_path: Path) -> None:
    file = unit.put("agent.toml", b"")
    file.chmod(0o644)
    environ = {f"KERBSIDE_{name}": value for name, value in unit.environ.items()}
    assert list(on_disk.exposed(load(None, environ), file)) == []
    environ["KERBSIDE_CAMERA__SOURCE"] = "rtsp://me:hunter2@127.0.0.9/live"
    (fault,) = on_disk.exposed(load(None, environ), file)
    assert (fault.key, fault.step) == ("settings", f"chmod 640 {file}")
    assert "hunter2" not in str(fault)
