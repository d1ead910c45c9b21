"""`kerbside firmware` as a technician uses it: on a simulated mount, with and without a unit around it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.simulated import Gpsd, SimulatedReceiver
from firmware_bridge import images
from firmware_bridge.images import Image
from firmware_bridge.simulated.boot import Flash, Found
from firmware_bridge.simulated.mcu import NO_PANEL, Microcontroller
from firmware_bridge.simulated.simulator import Simulator
from tests.cli.kerbside import kerbside, kerbside_json
from tests.firmware.signing import make_image, make_key, public_half
from tests.waiting import wait_until

BODY = bytes(range(256)) * 60
STEPS = ["update_started", "uploaded", "test_started", "booted", "confirmed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def key(folder: Path) -> Path:
    return make_key(folder)


@pytest.fixture(scope="module")
def old(folder: Path, key: Path) -> Image:
    return images.read(make_image(folder, key=key, version="1.0.0", body=b"old" + BODY))


@pytest.fixture(scope="module")
def new(folder: Path, key: Path) -> Path:
    return make_image(folder, key=key, version="2.0.0", body=b"new" + BODY)


@pytest.fixture
def mount(old: Image) -> Iterator[Simulator]:
    """A mount on which version 1.0.0 runs."""
    flash = Flash(slot_bytes=128 * 1024)
    flash.install(old.content)
    with Simulator(Microcontroller(flash)) as simulator:
        yield simulator


@pytest.fixture
def unit(tmp_path: Path, mount: Simulator, key: Path) -> Path:
    """The settings of a unit with that mount."""
    settings = tmp_path / "agent.toml"
    settings.write_text(
        f"""
        unit = {{ id = "u1", fleet = "demo", state_dir = "{tmp_path / "state"}" }}
        gps.gpsd = ""
        mount = {{ port = "{mount.port}", firmware_keys = ["{public_half(key)}"], confirm_after_s = 1 }}
        """
    )
    return settings


def events(settings: Path) -> list[dict[str, Any]]:
    """What the unit's journal says of firmware, with the step as ``step``."""
    exported = kerbside("journal", "export", "--settings", settings).stdout.splitlines()
    told = [json.loads(line) for line in exported if ".firmware." in line]
    return [{"step": event["type"].split(".")[3], **event["data"]} for event in told]


def steps(settings: Path) -> list[str]:
    return [event["step"] for event in events(settings)]


# --- without a unit --------------------------------------------------------------------------------------------------


def test_list_shows_what_runs(mount: Simulator, old: Image) -> None:
    shown = kerbside("firmware", "list", "--port", mount.port)
    listed = kerbside_json("firmware", "list", "--port", mount.port)

    assert shown.returncode == 0
    assert "1.0.0" in shown.stdout
    assert "runs" in shown.stdout
    assert listed["image_management"] is True
    assert listed["parameters"] == {"buffer_bytes": 384, "buffers": 4, "told": True}
    (slot,) = listed["slots"]
    assert (slot["version"], slot["hash"], slot["active"]) == ("1.0.0", old.hash.hex(), True)


def test_what_a_server_says_can_not_move_the_cursor(mount: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Found, "version_text", "1.0\x1b[2J\r9.9")

    shown = kerbside("firmware", "list", "--port", mount.port)

    assert "\x1b" not in shown.stdout
    assert "1.0\\x1b[2J\\r9.9" in shown.stdout


def test_a_speed_that_no_line_has_is_wrong_use(mount: Simulator) -> None:
    refused = kerbside("firmware", "list", "--port", mount.port, "--baud", 99_999_999_999)

    assert refused.returncode == 2
    assert "4000000" in refused.stderr


def test_a_server_without_image_management_is_no_error(mount: Simulator) -> None:
    mount.mcu.lacks = frozenset({1})

    shown = kerbside("firmware", "list", "--port", mount.port)

    assert shown.returncode == 0
    assert "no image management" in shown.stdout
    assert kerbside_json("firmware", "list", "--port", mount.port)["slots"] == []


def test_verify_names_the_signer(new: Path, key: Path) -> None:
    shown = kerbside("firmware", "verify", new, "--key", public_half(key))
    checked = kerbside_json("firmware", "verify", new, "--key", public_half(key))

    assert shown.returncode == 0
    assert public_half(key).name in shown.stdout
    assert checked["ok"] is True
    assert checked["image"]["version"] == "2.0.0"
    assert [check["name"] for check in checked["checks"]] == ["signature", "board"]


def test_verify_finds_a_foreign_signer_and_a_missing_key(folder: Path, new: Path) -> None:
    foreign = kerbside_json("firmware", "verify", new, "--key", make_key(folder), expect=1)
    nobody = kerbside_json("firmware", "verify", new, expect=1)

    assert "not known here" in foreign["checks"][0]["message"]
    assert "no key is known" in nobody["checks"][0]["message"]


def test_verify_refuses_what_is_no_image_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "app.bin"
    path.write_bytes(b"no image at all" * 10)

    refused = kerbside("firmware", "verify", path)

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("app.bin is no MCUboot image")
    assert refused.stderr.count("\n") == 1


def test_a_key_that_can_not_be_read_is_wrong_use(new: Path, tmp_path: Path) -> None:
    refused = kerbside("firmware", "verify", new, "--key", tmp_path / "gone.pem")

    assert refused.returncode == 2
    assert "gone.pem" in refused.stderr


def test_without_a_mount_it_says_how_to_name_one(tmp_path: Path) -> None:
    settings = tmp_path / "agent.toml"
    settings.write_text('unit = { id = "u1", fleet = "demo" }')

    refused = kerbside("firmware", "list", "--settings", settings)

    assert refused.returncode == 2
    assert "mount.port" in refused.stderr
    assert "--port" in refused.stderr


def test_a_port_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    refused = kerbside("firmware", "list", "--port", tmp_path / "ttyACM9")

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "not plugged in" in refused.stderr


def test_update_by_port_alone_checks_as_well_and_says_that_nothing_is_kept(
    mount: Simulator, new: Path, key: Path
) -> None:
    refused = kerbside("firmware", "update", new, "--port", mount.port)
    assert refused.returncode == 1
    assert "no key is known" in refused.stderr
    assert mount.seen.steps == 0

    done = kerbside("firmware", "update", new, "--port", mount.port, "--key", key, "--confirm-after", 1)

    assert done.returncode == 0, done.stderr
    assert "no event of this is kept" in done.stderr
    assert done.stdout == "2.0.0 runs, and stays\n"


# --- of a unit -------------------------------------------------------------------------------------------------------


def test_an_update_is_kept_step_by_step(unit: Path, mount: Simulator, new: Path) -> None:
    done = kerbside("firmware", "update", new, "--settings", unit, "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["result"], told["running"]) == (True, "confirmed", "2.0.0")
    assert all(check["ok"] for check in told["checks"])
    assert done.stderr.split() == ["uploading", "…", "restarting", "…", "proving", "…"]
    assert steps(unit) == STEPS
    assert {event["hash"] for event in events(unit)} == {images.read(new).hash.hex()}
    assert kerbside("journal", "verify", "--settings", unit).returncode == 0
    assert mount.mcu.kicks > 0


def test_a_dry_run_finds_everything_and_sends_nothing(unit: Path, mount: Simulator, folder: Path, key: Path) -> None:
    wrong = make_image(folder, "--cid", "ffffffff-0000-0000-0000-000000000001", key=key, version="0.9.0")

    refused = kerbside_json("firmware", "update", wrong, "--dry-run", "--settings", unit, expect=1)

    assert [check["name"] for check in refused["checks"] if not check["ok"]] == ["board", "version"]
    assert (refused["dry_run"], refused["message"]) == (True, "nothing was sent")
    assert mount.seen.steps == 0
    assert events(unit) == []


@pytest.mark.parametrize(
    ("reason", "options", "version"),
    [
        ("VERSION", (), "0.9.0"),
        ("BOARD", ("--cid", "ffffffff-0000-0000-0000-000000000001"), "2.0.0"),
        ("SIGNATURE", None, "2.0.0"),
        ("SIZE", (), "2.0.0"),
        ("IMAGE", (), "2.0.0"),
    ],
)
def test_what_does_not_pass_is_refused_before_anything_is_sent(
    unit: Path, mount: Simulator, folder: Path, key: Path, reason: str, options: tuple[str, ...] | None, version: str
) -> None:
    body = bytes(130_000) if reason == "SIZE" else b"other" + BODY
    image = make_image(folder, *(options or ()), key=None if options is None else key, version=version, body=body)
    if reason == "IMAGE":
        image.write_bytes(image.read_bytes()[:-40])

    refused = kerbside_json("firmware", "update", image, "--settings", unit, expect=1)

    assert (refused["result"], refused["reason"]) == ("refused", reason)
    assert mount.seen.steps == 0
    (event,) = events(unit)
    assert (event["step"], event["reason"]) == ("refused", reason)
    assert event["message"] == refused["message"]


def test_an_image_that_is_not_well_goes_back_and_says_so(unit: Path, mount: Simulator, folder: Path, key: Path) -> None:
    sick = make_image(folder, key=key, version="2.0.0", body=NO_PANEL + BODY)

    done = kerbside("firmware", "update", sick, "--settings", unit)

    assert done.returncode == 1
    assert "was taken back" in done.stderr
    assert "1.0.0 runs" in done.stderr
    assert steps(unit) == [*STEPS[:-1], "reverted"]
    assert mount.mcu.running
    assert mount.mcu.running.version_text == "1.0.0"


def test_confirm_keeps_an_image_on_trial_and_reset_takes_it_back(unit: Path, mount: Simulator, new: Path) -> None:
    image = images.read(new)
    flash = mount.mcu.flash
    flash.secondary.data[: len(image.content)] = image.content
    flash.request(permanent=False)

    listed = kerbside("firmware", "list", "--settings", unit).stdout
    assert "starts at the next restart, for a trial" in listed
    tried = kerbside("firmware", "reset", "--settings", unit).stdout
    assert "runs for a trial" in tried
    assert "comes back at the next restart" in tried
    back = kerbside("firmware", "reset", "--settings", unit).stdout
    assert "1.0.0" in back
    assert "trial" not in back
    assert kerbside("firmware", "confirm", "--settings", unit).stdout == "1.0.0 stays already\n"

    flash.request(permanent=False)
    kerbside("firmware", "reset", "--settings", unit)
    kept = kerbside_json("firmware", "confirm", "--settings", unit)
    assert (kept["changed"], kept["running"]) == (True, "2.0.0")
    assert "2.0.0" in kerbside("firmware", "reset", "--settings", unit).stdout
    assert steps(unit) == ["restarted", "restarted", "restarted", "confirmed", "restarted"]


def on_trial(unit: Path, mount: Simulator, new: Path) -> Path:
    """An update whose command died while the image was on trial; gives what the unit has kept of it."""
    image = images.read(new)
    flash = mount.mcu.flash
    flash.secondary.data[: len(image.content)] = image.content
    flash.request(permanent=False)
    mount.cut()
    time.sleep(mount.off_s + 0.5)
    kept = unit.parent / "state" / "firmware.json"
    kept.parent.mkdir(mode=0o700)
    kept.write_text(
        json.dumps({"version": "2.0.0", "hash": image.hash.hex(), "panel": True, "tried": True, "booted": True})
    )
    return kept


def test_an_update_that_broke_off_is_seen_through_before_another_file_is_refused(
    unit: Path, mount: Simulator, new: Path, folder: Path
) -> None:
    kept = on_trial(unit, mount, new)
    foreign = make_image(folder, key=make_key(folder), version="3.0.0", body=b"other" + BODY)

    refused = kerbside_json("firmware", "update", foreign, "--settings", unit, expect=1)

    assert refused["reason"] == "SIGNATURE"
    assert steps(unit) == ["confirmed", "refused"]
    assert not kept.exists()
    assert "2.0.0" in kerbside("firmware", "reset", "--settings", unit).stdout


def test_no_other_update_is_begun_while_one_is_not_over(unit: Path, mount: Simulator, new: Path) -> None:
    kept = on_trial(unit, mount, new)
    mount.mcu.lacks = frozenset({1})

    refused = kerbside_json("firmware", "update", new, "--settings", unit, expect=1)

    assert refused["reason"] == "STATE"
    assert "the update to 2.0.0 is not over" in refused["message"]
    assert "run this again" in refused["message"]
    assert kept.exists()
    mount.mcu.lacks = frozenset()
    done = kerbside("firmware", "update", new, "--settings", unit)
    assert done.returncode == 0, done.stderr
    assert steps(unit) == ["failed", "refused", "confirmed"]


def test_a_mount_that_refuses_to_restart_is_not_said_to_have_restarted(
    unit: Path, mount: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Microcontroller, "_reset", lambda _mcu, _data: {"rc": 6})

    refused = kerbside("firmware", "reset", "--settings", unit)

    assert refused.returncode == 1
    assert "refuses" in refused.stderr
    assert steps(unit) == []
    assert mount.mcu.resets == ["por"]


def test_a_mount_that_takes_its_time_to_restart_is_shown_as_it_is_then(
    unit: Path, mount: Simulator, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(mcu: Microcontroller, _data: object) -> dict[str, Any]:
        mcu.reset_due = time.monotonic() + 2.5
        return {}

    monkeypatch.setattr(Microcontroller, "_reset", later)
    image = images.read(new)
    mount.mcu.flash.secondary.data[: len(image.content)] = image.content
    mount.mcu.flash.request(permanent=False)

    done = kerbside("firmware", "reset", "--settings", unit)

    assert "waiting until the mount is back" in done.stderr
    assert "2.0.0" in done.stdout
    assert "runs for a trial" in done.stdout
    assert steps(unit) == ["restarted"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for another user")
def test_root_does_not_leave_files_behind_that_the_agent_can_not_read(unit: Path, new: Path) -> None:
    state_dir = unit.parent / "state"
    state_dir.mkdir()
    os.chown(state_dir, 65534, 65534)

    refused = kerbside("firmware", "update", new, "--settings", unit)

    assert refused.returncode == 1
    assert "sudo -u nobody kerbside firmware" in refused.stderr
    assert list(state_dir.iterdir()) == []


def test_a_vehicle_that_moves_keeps_its_firmware(unit: Path, mount: Simulator, new: Path) -> None:
    with SimulatedReceiver() as receiver, Gpsd(receiver.port) as gpsd:
        unit.write_text(unit.read_text().replace('gps.gpsd = ""', f'gps.gpsd = "{gpsd.address}"'))
        receiver.move(52.09, 5.12, speed_mps=12.0)
        refused = kerbside_json("firmware", "update", new, "--settings", unit, expect=1)
        receiver.move(52.09, 5.12, speed_mps=0.0)
        seen: list[str] = []

        def stands() -> bool:
            tried = kerbside("firmware", "update", new, "--dry-run", "--settings", unit)
            seen.append(tried.stdout)
            return tried.returncode == 0

        wait_until(stands, "a vehicle that stands", instead=lambda: seen[-1])
        done = kerbside("firmware", "update", new, "--settings", unit)

    assert refused["reason"] == "MOVING"
    assert "km/h" in refused["message"]
    assert "it stands" in seen[-1]
    assert done.returncode == 0, done.stderr
    assert steps(unit) == ["refused", *STEPS]
    assert events(unit)[0]["reason"] == "MOVING"
    assert mount.mcu.running
