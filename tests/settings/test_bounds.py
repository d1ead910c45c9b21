"""A message of the cloud cannot point the unit at what the settings file neither names nor allows."""

import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import Settings, SettingsError, change, load
from agent.settings.addresses import host_in_one_spelling, place_of
from agent.settings.bounds import BOUNDS
from contract.vocabulary import CHANGEABLE_SECTIONS

BARE = Settings()
CAMERA = "rtsp://me:hunter2@127.0.0.7/live?channel=1"


def settings(**values: object) -> Settings:
    return load(None, {f"KERBSIDE_{name}": str(value) for name, value in values.items()})


def refusal(file: Settings, key: str, value: object) -> str:
    with pytest.raises(SettingsError) as error:
        change(file, {key: value})
    (fault,) = error.value.faults
    assert fault.path == key
    return fault.expected


def test_every_text_that_a_message_may_change_is_bounded() -> None:
    def is_text(annotation: object) -> bool:
        return annotation in (str, Path) or any(is_text(each) for each in typing.get_args(annotation))

    texts = {
        f"{section}.{key}"
        for section in CHANGEABLE_SECTIONS
        for key, field in Settings.model_fields[section].annotation.model_fields.items()  # type: ignore[union-attr]
        if is_text(field.annotation)
    }
    assert texts == set(BOUNDS), "add what a message may set to BOUNDS in agent/settings/bounds.py"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gps.gpsd", "127.0.0.9:2947"),
        ("gps.gpsd", "127.0.0.1:22"),
        ("gps.gpsd", "2130706433:2947"),
        ("gps.device", "/dev/sda"),
        ("camera.source", "http://127.0.0.9/picture.jpg"),
        ("camera.source", "http://127.0.0.1:8321/api/state"),
        ("camera.source", "/etc/shadow"),
        ("camera.source", "/dev/video0"),
        ("camera.source", "046d:0825"),
        ("camera.source", "pictures"),
        ("route.tiles", "/etc"),
        ("route.tiles", "tiles"),
    ],
)
def test_by_default_a_message_may_set_nothing_but_what_the_file_names(key: str, value: str) -> None:
    told = refusal(BARE, key, value)
    assert "[allowed]" in told
    assert value not in told


def test_what_the_file_names_may_be_switched_off_and_set_again() -> None:
    file = settings(CAMERA__SOURCE=CAMERA, GPS__DEVICE="1546:01a8", ROUTE__TILES="/srv/tiles")
    keys = {
        "gps.gpsd": "127.0.0.1:2947",
        "gps.device": "1546:01A8",
        "camera.source": CAMERA,
        "route.tiles": "/srv/tiles",
    }
    off = change(file, dict.fromkeys(keys, ""))
    assert (off.gps.gpsd, off.gps.device, off.camera.source, off.route.tiles) == (None, None, None, None)
    on = change(off, keys, file)
    assert on.camera.source == CAMERA


def test_a_message_may_change_what_is_asked_of_a_camera_and_not_which_camera() -> None:
    file = settings(CAMERA__SOURCE=CAMERA)
    for source in ("rtsp://you:other@127.0.0.7/live?channel=2", "rtsp://127.0.0.7:554/", "rtsp://[::ffff:127.0.0.7]/x"):
        assert change(file, {"camera.source": source}).camera.source == source


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://127.0.0.7@127.0.0.9/live",
        "rtsp://127.0.0.7:554@127.0.0.9/live",
        "rtsp://127.0.0.9/@127.0.0.7/live",
        "rtsp://127.0.0.9#@127.0.0.7/live",
        "rtsp://127.0.0.9?@127.0.0.7/live",
        "rtsp://127.0.0.9\\@127.0.0.7/live",
        "rtsp://127.0.0.7\\@127.0.0.9/live",
        "rtsp://127.0.0.7 @127.0.0.9/live",
        "rtsp://127.0.0.7:8554/live",
        "http://127.0.0.7/live",
        "rtsp://127.0.0.7.example/live",
        "rtsp://127.0.0.07/live",
        "rtsp://2130706439/live",
        "rtsp://0x7f000007/live",
        "rtsp://10.7/live",
        "rtsp://[fe80::1%25eth0]/live",
        "rtsp://\uff1127.0.0.7/live",
        "rtsp://127.0.0.7\u00ad/live",
        "file:///127.0.0.7/live",
        "concat:rtsp://127.0.0.7/live",
    ],
)
def test_no_spelling_of_a_url_leads_to_another_host(source: str) -> None:
    told = refusal(settings(CAMERA__SOURCE=CAMERA), "camera.source", source)
    assert "hunter2" not in told


def test_hosts_that_the_file_allows_may_be_set() -> None:
    file = settings(ALLOWED__HOSTS="camera.local, 127.0.0.8:8554, [fd00::7]:554", GPS__GPSD="")
    for source in ("http://Camera.Local.:8080/x", "rtsp://127.0.0.8:8554/x", "rtsp://[FD00:0::7]/x"):
        assert change(file, {"camera.source": source}).camera.source == source
    assert change(file, {"gps.gpsd": "camera.local:2947"}).gps.gpsd == "camera.local:2947"
    for source in (
        "http://xcamera.local/x",
        "http://camera.local.example/x",
        "rtsp://127.0.0.8/x",
        "rtsp://[fd00::8]/x",
    ):
        refusal(file, "camera.source", source)


def test_files_may_be_set_where_the_file_allows_folders_and_links_lead_out_of_none(tmp_path: Path) -> None:
    inside, outside = tmp_path / "tiles", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "utrecht").write_bytes(b"x")
    (inside / "link").symlink_to(outside)
    (inside / "good").symlink_to("utrecht")
    for file in (settings(ALLOWED__FOLDERS=inside), settings(ROUTE__TILES=inside, CAMERA__SOURCE=inside)):
        for key in ("route.tiles", "camera.source"):
            for right in (inside, inside / "utrecht", inside / "good", inside / "new"):
                change(file, {key: str(right)})
            for wrong in (
                outside / "utrecht",
                inside / "link" / "utrecht",
                f"{inside}/../outside/utrecht",
                f"{inside}/link/../tiles/utrecht",
                f"{inside}2",
                tmp_path,
            ):
                refusal(file, key, str(wrong))


def test_devices_that_the_file_allows_may_be_set() -> None:
    file = settings(ALLOWED__DEVICES="/dev/v4l/by-id/usb-A, 1546:01a8")
    change(file, {"camera.source": "/dev/v4l/by-id/usb-A", "gps.device": "1546:01A8"})
    for wrong in ("/dev/v4l/by-id/../../sda", "/dev/x/../v4l/by-id/usb-A", "/dev/v4l/by-id/usb-B", "1546:01a9"):
        refusal(file, "camera.source", wrong)


def test_what_the_cloud_has_set_before_does_not_widen_what_it_may_set_next() -> None:
    file = settings(ALLOWED__HOSTS="127.0.0.8")
    changed = change(file, {"camera.source": "rtsp://127.0.0.8/live"}, file)
    narrowed = settings()
    with pytest.raises(SettingsError, match=r"^camera\.source: expected"):
        change(changed, {"camera.source": "rtsp://127.0.0.8/other"}, narrowed)


def test_a_message_cannot_change_what_is_allowed() -> None:
    assert refusal(BARE, "allowed.hosts", ["127.0.0.9"]).startswith("expected a key of")


@pytest.mark.parametrize(
    "entry", ["", "127.0.0.7:", "127.0.0.7:99999", "user@host", "http://host", "0x7f.1", "a b", "127.7"]
)
def test_an_allowed_host_that_is_none_is_a_fault_of_the_file(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"^allowed\.hosts: expected hosts such as"):
        load(None, {"KERBSIDE_ALLOWED__HOSTS": f"127.0.0.1,{entry or ':'}"})


@given(st.ip_addresses())
def test_an_address_has_one_spelling(address: typing.Any) -> None:
    spelled = host_in_one_spelling(str(address))
    assert spelled is not None
    assert host_in_one_spelling(spelled) == spelled
    assert host_in_one_spelling(address.exploded) == spelled
    assert host_in_one_spelling(str(address).upper()) == spelled


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_none(text: str) -> None:
    spelled = host_in_one_spelling(text)
    assert spelled is None or host_in_one_spelling(spelled) == spelled
    assert place_of(text) is None or place_of(text)
