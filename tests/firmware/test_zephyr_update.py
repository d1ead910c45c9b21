"""Updates of real firmware: Zephyr's server behind MCUboot in an emulated board, which really swaps and goes back."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge import images
from firmware_bridge.images import Image
from firmware_bridge.link import Link
from firmware_bridge.slots import look, read_slots
from firmware_bridge.update import Outcome, Result, Update, Wanted
from tests.cli.kerbside import kerbside, kerbside_json
from tests.firmware.signing import make_image, make_key
from tests.firmware.zephyr import FOLDER, Server, servers

pytestmark = pytest.mark.skipif(
    not (FOLDER / "manifest.json").is_file(),
    reason="no real servers at hand: run with ./scripts/test --zephyr",
)
MEGABAUD = 1_000_000


def one(found: list[Server]) -> pytest.MarkDecorator:
    cases = (
        [pytest.param(found[0], id=found[0].name)] if found else [pytest.param(None, marks=pytest.mark.skip("none"))]
    )
    return pytest.mark.parametrize("server", cases)


SWAPS = servers("qemu_cortex_m0", "serial", mcuboot=True)
FORWARD_ONLY = servers("mps2_an385", "serial", mcuboot=True)
NO_IMAGES = servers("native_sim", "serial")


@contextmanager
def started(server: Server, folder: Path) -> Iterator[str]:
    if why := server.why_not:
        pytest.skip(why)
    folder.mkdir()
    with server.running(folder) as port:
        yield port


def newer(server: Server, folder: Path, *options: Any) -> Image:
    """What runs on that server, as version 1.0.0 and signed by us."""
    image = server.entry["artifact"].replace(".merged.hex", ".signed.bin").replace(".hex", ".signed.bin")
    content = (FOLDER / image).read_bytes()
    (header_size,), (size,) = struct.unpack_from("<H", content, 8), struct.unpack_from("<I", content, 12)
    load_address = struct.unpack_from("<I", content, 4)[0]
    address = ("--load-addr", load_address) if load_address else ()
    key, body = make_key(folder, "ecdsa-p256"), content[header_size : header_size + size]
    return images.read(make_image(folder, *address, *options, key=key, version="1.0.0", body=body))


def updated(
    port: str, image: Image, during: Mapping[str, Callable[[Link], object]] | None = None, **options: Any
) -> tuple[Outcome, list[str], dict[int, str]]:
    """How an update ended, its steps, and what is in the slots then."""
    steps: list[str] = []
    with Link(port, MEGABAUD, timeout_s=2) as link:

        def note(event: str, _data: Mapping[str, Any]) -> None:
            steps.append(event.removeprefix("firmware."))
            if act := (during or {}).get(steps[-1]):
                threading.Timer(0.5, act, [link]).start()

        outcome = Update(link, Wanted.of(image), note, confirm_after_s=2.0, boot_s=60, **options).run()
        return outcome, steps, {slot.slot: slot.version for slot in read_slots(link) if slot.active}


@one(SWAPS)
def test_mcuboot_swaps_to_the_new_image_and_keeps_it(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path)
    with started(server, tmp_path / "board") as port:
        outcome, steps, active = updated(port, image)

    assert (outcome.result, outcome.running) == (Result.CONFIRMED, "1.0.0")
    assert steps == ["update_started", "uploaded", "test_started", "booted", "confirmed"]
    assert active == {0: "1.0.0"}


@one(SWAPS)
def test_mcuboot_takes_an_image_back_that_restarts_before_it_is_kept(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path)
    with started(server, tmp_path / "board") as port:
        outcome, steps, active = updated(port, image, {"booted": Link.reset})

    assert (outcome.result, outcome.running) == (Result.REVERTED, "0.0.0")
    assert steps[-2:] == ["booted", "reverted"]
    assert active == {0: "0.0.0"}


@one(SWAPS)
def test_mcuboot_refuses_an_image_that_it_can_not_run(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path, "--compression", "lzma2")  # this boot loader was built without decompression
    with started(server, tmp_path / "board") as port:
        outcome, steps, active = updated(port, image)

    assert (outcome.result, outcome.reason) == (Result.REFUSED, "BOOT_LOADER")
    assert steps[-1] == "refused"
    assert active == {0: "0.0.0"}


@one(FORWARD_ONLY)
def test_a_boot_loader_that_only_goes_forward_is_sent_nothing(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path)
    with started(server, tmp_path / "board") as port:
        outcome, _, _ = updated(port, image)
        with Link(port, MEGABAUD, timeout_s=2) as link:
            assert [slot.version for slot in read_slots(link)] == ["0.0.0"]
            assert look(link).sizes[0, 1] == 512 * 1024

    assert (outcome.result, outcome.reason) == (Result.REFUSED, "WAY_BACK")


@one(FORWARD_ONLY)
def test_a_boot_loader_that_only_goes_forward_is_updated_on_request(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path)
    with started(server, tmp_path / "board") as port:
        outcome, _, active = updated(port, image, without_return=True)

    assert (outcome.result, outcome.running) == (Result.CONFIRMED, "1.0.0")
    assert active == {1: "1.0.0"}


@one(NO_IMAGES)
def test_a_server_without_image_management_is_listed_as_one(server: Server, tmp_path: Path) -> None:
    with started(server, tmp_path / "host") as port:
        shown = kerbside("firmware", "list", "--port", port)
        listed = kerbside_json("firmware", "list", "--port", port)
        refused = kerbside("firmware", "confirm", "--port", port)

    assert shown.returncode == 0
    assert "no image management" in shown.stdout
    assert (listed["image_management"], listed["slots"]) == (False, [])
    assert listed["parameters"]["buffer_bytes"] == server.told_bytes
    assert refused.returncode == 1
    assert "no image management" in refused.stderr


@one(SWAPS)
def test_the_command_shows_and_updates_real_firmware(server: Server, tmp_path: Path) -> None:
    image = newer(server, tmp_path)
    file, key = next(tmp_path.glob("app-*.signed.bin")), next(tmp_path.glob("ecdsa-*.pem"))
    with started(server, tmp_path / "board") as port:
        listed = kerbside_json("firmware", "list", "--port", port, "--baud", MEGABAUD)
        options = ("--port", port, "--baud", MEGABAUD, "--key", key, "--confirm-after", 1)
        done = kerbside_json("firmware", "update", file, *options)
        again = kerbside_json("firmware", "update", file, *options)
        shown = kerbside("firmware", "list", "--port", port, "--baud", MEGABAUD)

    assert [(slot["slot"], slot["version"], slot["active"]) for slot in listed["slots"]] == [(0, "0.0.0", True)]
    assert (done["result"], done["running"], done["image"]["hash"]) == ("confirmed", "1.0.0", image.hash.hex())
    assert again["result"] == "unchanged"
    assert "1.0.0" in shown.stdout
