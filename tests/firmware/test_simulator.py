"""The simulated mount before independent witnesses: smpclient talks to it, imgtool makes what it is given."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from smp.image_management import IMG_MGMT_ERR
from smpclient import SMPClient
from smpclient.generics import error_v1, error_v2, success
from smpclient.mcuboot import ImageInfo
from smpclient.requests.image_management import ImageErase, ImageStatesRead, ImageStatesWrite, ImageUploadWrite
from smpclient.requests.os_management import (
    DateTimeRead,
    DateTimeWrite,
    EchoWrite,
    MCUMgrParametersRead,
    ResetWrite,
)
from smpclient.transport.serial import SMPSerialTransport

from firmware_bridge.link import BridgeError, Cause, Link
from firmware_bridge.simulated.boot import Flash, Swap, find, make
from firmware_bridge.simulated.mcu import CRASH, MUTE, NO_PANEL, Microcontroller
from firmware_bridge.simulated.simulator import Faults, Simulator
from tests.firmware.signing import make_image, make_key, public_half
from tests.waiting import wait_on_loop_until

Result = TypeVar("Result")
SLOT_BYTES = 0x40000


def by_smpclient(port: str, talk: Callable[[SMPClient], Awaitable[Result]]) -> Result:
    """What smpclient makes of a conversation."""

    async def run() -> Result:
        client = SMPClient(SMPSerialTransport(write_timeout=1), port)
        await client.connect()
        try:
            return await talk(client)
        finally:
            await client.disconnect()

    return asyncio.run(run())


async def uploaded(client: SMPClient, image: bytes, **options: Any) -> int:
    """Upload and give the last offset."""
    last = 0
    async for offset in client.upload(image, first_timeout_s=5, subsequent_timeout_s=2, **options):
        last = offset
    return last


async def states(client: SMPClient) -> list[tuple[int, str, str]]:
    """Slot, version and flags of each image."""
    answer = await client.request(ImageStatesRead())
    assert success(answer)
    flags = ("active", "confirmed", "pending", "permanent")
    return [
        (image.slot, image.version, " ".join(flag for flag in flags if getattr(image, flag))) for image in answer.images
    ]


def refused(answer: Any, rc: IMG_MGMT_ERR) -> bool:
    return bool(error_v2(answer) and answer.err.rc == rc)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Keys and images, made once."""
    folder = tmp_path_factory.mktemp("workshop")
    key, stranger, p256 = make_key(folder), make_key(folder), make_key(folder, "ecdsa-p256")
    board = ("--vid", "kerbside.example", "--cid", "mount-2")

    def image(*options: Any, signer: Path = key, **what: Any) -> bytes:
        return make_image(folder, *options, key=signer, **what).read_bytes()

    return {
        "keys": (public_half(key).read_bytes(), public_half(p256).read_bytes()),
        "old": image(version="1.0.0"),
        "new": image(version="1.1.0+7"),
        "p256": image(version="1.2.0", signer=p256),
        "foreign": image(version="1.3.0", signer=stranger),
        "boarded": image(*board, version="1.4.0"),
        "make": image,
    }


@pytest.fixture
def mount(workshop: dict[str, Any]) -> Iterator[Simulator]:
    flash = Flash(slot_bytes=SLOT_BYTES, keys=workshop["keys"])
    flash.install(workshop["old"])
    with Simulator(Microcontroller(flash, buffer_bytes=1024)) as simulator:
        yield simulator


async def restarted(client: SMPClient, mount: Simulator) -> None:
    """Reset, and wait until it answers again."""
    count = len(mount.mcu.resets)
    assert success(await client.request(ResetWrite()))
    await wait_on_loop_until(
        lambda: len(mount.mcu.resets) > count and time.monotonic() >= mount.mcu.starts_at, "the restart"
    )
    mount.mcu.reset_due = None


def test_echo_parameters_and_clock(mount: Simulator) -> None:
    async def talk(client: SMPClient) -> None:
        echo = await client.request(EchoWrite(d="hello"))
        assert success(echo)
        assert echo.r == "hello"
        parameters = await client.request(MCUMgrParametersRead())
        assert success(parameters)
        assert (parameters.buf_size, parameters.buf_count) == (1024, 4)
        assert error_v2(await client.request(DateTimeRead()))
        assert success(await client.request(DateTimeWrite(datetime="2026-11-21T09:00:00.000")))
        clock = await client.request(DateTimeRead())
        assert success(clock)
        assert clock.datetime.startswith("2026-11-21T09:00:00")

    by_smpclient(mount.port, talk)


def test_an_image_is_uploaded_tried_and_kept(mount: Simulator, workshop: dict[str, Any]) -> None:
    async def talk(client: SMPClient) -> None:
        assert await states(client) == [(0, "1.0.0", "active confirmed")]
        assert await uploaded(client, workshop["new"]) == len(workshop["new"])
        assert await states(client) == [(0, "1.0.0", "active confirmed"), (1, "1.1.0.7", "")]
        new = find(workshop["new"])
        assert new
        assert success(await client.request(ImageStatesWrite(hash=new.hash)))
        assert await states(client) == [(0, "1.0.0", "active confirmed"), (1, "1.1.0.7", "pending")]
        await restarted(client, mount)
        assert await states(client) == [(0, "1.1.0.7", "active"), (1, "1.0.0", "confirmed")]
        assert success(await client.request(ImageStatesWrite(hash=None, confirm=True)))
        assert await states(client) == [(0, "1.1.0.7", "active confirmed"), (1, "1.0.0", "")]
        await restarted(client, mount)
        assert await states(client) == [(0, "1.1.0.7", "active confirmed"), (1, "1.0.0", "")]

    by_smpclient(mount.port, talk)


def test_an_image_that_nobody_confirms_is_taken_back(mount: Simulator, workshop: dict[str, Any]) -> None:
    async def talk(client: SMPClient) -> None:
        await uploaded(client, workshop["p256"])
        image = find(workshop["p256"])
        assert image
        assert success(await client.request(ImageStatesWrite(hash=image.hash)))
        await restarted(client, mount)
        assert (await states(client))[0] == (0, "1.2.0", "active")
        busy = await client.request(ImageUploadWrite(off=0, data=workshop["new"][:64], len=9999, sha=bytes(32)))
        assert refused(busy, IMG_MGMT_ERR.NO_FREE_SLOT)
        await restarted(client, mount)
        assert await states(client) == [(0, "1.0.0", "active confirmed"), (1, "1.2.0", "")]

    by_smpclient(mount.port, talk)


@pytest.mark.parametrize("which", ["foreign", "damaged"])
def test_the_boot_loader_erases_what_it_may_not_run(mount: Simulator, workshop: dict[str, Any], which: str) -> None:
    image = workshop["foreign"] if which == "foreign" else workshop["new"]

    async def talk(client: SMPClient) -> None:
        await uploaded(client, image)
        if which == "damaged":
            mount.mcu.flash.secondary.data[0x400] ^= 1
        found = find(image)
        assert found
        assert success(await client.request(ImageStatesWrite(hash=found.hash, confirm=which == "damaged")))
        await restarted(client, mount)
        assert await states(client) == [(0, "1.0.0", "active confirmed")]

    by_smpclient(mount.port, talk)
    assert mount.mcu.flash.refused == ["signature" if which == "foreign" else "hash"]


def test_an_image_for_another_board_is_not_run(workshop: dict[str, Any]) -> None:
    boarded = find(workshop["boarded"])
    assert boarded
    ids = [value for number, value in boarded.tlvs if number in (0x74, 0x75)]
    assert len(ids) == 2
    flash = Flash(slot_bytes=SLOT_BYTES, keys=workshop["keys"], board=(ids[0], ids[1]))
    flash.secondary.data[: len(workshop["boarded"])] = workshop["boarded"]
    assert flash.fault(flash.secondary) is None
    flash.secondary.data[: len(workshop["new"])] = workshop["new"]
    assert flash.fault(flash.secondary) == "board"


def test_each_bad_upload_is_refused_with_its_own_error(mount: Simulator, workshop: dict[str, Any]) -> None:
    image = workshop["new"]
    first: dict[str, Any] = {"off": 0, "data": image[:200], "len": len(image), "sha": bytes(range(32))}

    async def talk(client: SMPClient) -> None:
        async def refusal(**changes: Any) -> Any:
            answer = await client.request(ImageUploadWrite(**{**first, **changes}))
            assert error_v2(answer), answer
            return answer.err.rc

        assert await refusal(data=b"no image" * 20) == IMG_MGMT_ERR.INVALID_IMAGE_HEADER_MAGIC
        assert await refusal(data=image[:20]) == IMG_MGMT_ERR.INVALID_IMAGE_HEADER
        assert await refusal(len=SLOT_BYTES) == IMG_MGMT_ERR.INVALID_IMAGE_TOO_LARGE
        assert await refusal(image=1) == IMG_MGMT_ERR.INVALID_SLOT
        assert await refusal(data=workshop["old"][:200], upgrade=True) == IMG_MGMT_ERR.CURRENT_VERSION_IS_NEWER
        assert await refusal(sha=bytes(33)) == IMG_MGMT_ERR.INVALID_HASH

    by_smpclient(mount.port, talk)


def test_an_upload_is_resumed_by_its_sha_and_lost_by_a_reset(mount: Simulator, workshop: dict[str, Any]) -> None:
    image = workshop["new"]
    first = ImageUploadWrite(off=0, data=image[:200], len=len(image), sha=bytes(range(32)))

    async def talk(client: SMPClient) -> None:
        for _ in range(2):
            answer = await client.request(first)
            assert success(answer)
            assert answer.off == 200
        wrong = await client.request(ImageUploadWrite(off=700, data=image[700:800]))
        assert success(wrong)
        assert wrong.off == 200
        await restarted(client, mount)
        forgotten = await client.request(ImageUploadWrite(off=200, data=image[200:300]))
        assert success(forgotten)
        assert forgotten.off == 0

    by_smpclient(mount.port, talk)


def test_a_slot_that_is_in_use_is_not_erased(mount: Simulator, workshop: dict[str, Any]) -> None:
    async def talk(client: SMPClient) -> None:
        await uploaded(client, workshop["new"])
        image = find(workshop["new"])
        assert image
        await client.request(ImageStatesWrite(hash=image.hash))
        assert refused(await client.request(ImageErase(slot=1)), IMG_MGMT_ERR.NO_FREE_SLOT)
        active = await client.request(ImageStatesWrite(hash=bytes(32)))
        assert refused(active, IMG_MGMT_ERR.HASH_NOT_FOUND)

    by_smpclient(mount.port, talk)


def test_a_server_of_the_first_version_answers_with_rc(workshop: dict[str, Any]) -> None:
    async def talk(client: SMPClient) -> None:
        answer = await client.request(ImageErase(slot=0))
        assert error_v1(answer)
        assert answer.rc == 6

    with Simulator(Microcontroller(version_1=True)) as mount:
        by_smpclient(mount.port, talk)


def test_imgtool_and_smpclient_read_an_image_as_the_boot_loader_does(workshop: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new.bin"
    path.write_bytes(workshop["new"])
    theirs, ours = ImageInfo.load_file(str(path)), find(workshop["new"])
    assert ours
    version = theirs.header.ver
    assert ours.version == (version.major, version.minor, version.revision, version.build_num)
    assert [(tlv.header.type, tlv.value) for tlv in theirs.tlvs] == [(n, v) for n, v in ours.tlvs]
    unsigned = make((1, 2, 3, 4), b"body")
    path.write_bytes(unsigned)
    assert ImageInfo.load_file(str(path)).header.ver.build_num == 4


def test_a_swap_that_loses_its_power_at_any_step_ends_as_it_would_have(workshop: dict[str, Any]) -> None:
    from firmware_bridge.simulated.boot import PowerCut

    def updated() -> Flash:
        flash = Flash(slot_bytes=SLOT_BYTES)
        flash.install(workshop["old"])
        flash.write(0, workshop["new"])
        flash.request(permanent=False)
        return flash

    left = 0

    def power() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut

    flash = updated()
    for step in range(1000):
        flash, left = updated(), step
        flash.power = power
        try:
            flash.boot()
        except PowerCut:
            left = 10**9
            running = flash.boot()
            assert running
            assert running.version == (1, 1, 0, 7)
            assert flash.next_swap is Swap.REVERT
        else:
            break
    assert step > 30


def test_a_cut_during_the_upload_leaves_the_old_image_running(mount: Simulator, workshop: dict[str, Any]) -> None:
    mount.off_s = 0.05
    with Link(mount.port, timeout_s=0.2, retries=10) as link:
        mount.cut_at_byte(3000)
        for _ in range(30):
            link.echo("x" * 100)
        assert mount.seen.cuts
        assert link.read(65, 0)["rst"] == "brownout"
        assert [image["version"] for image in link.read(1, 0)["images"]] == ["1.0.0"]


@pytest.mark.parametrize(("how", "cause"), [(MUTE, "watchdog"), (CRASH, "watchdog")])
def test_an_image_that_is_ill_is_taken_back_by_the_watchdog(
    mount: Simulator, workshop: dict[str, Any], how: bytes, cause: str
) -> None:
    ill = workshop["make"](version="2.0.0", body=how + bytes(5000))
    mount.mcu.watchdog_s = 0.2
    flash = mount.mcu.flash
    flash.write(0, ill)
    flash.request(permanent=False)
    with Link(mount.port, timeout_s=0.2, retries=20) as link:
        link.reset()
        time.sleep(1.0)
        panel = link.read(65, 0)
        assert panel["rst"] == cause
        assert link.read(1, 0)["images"][0]["version"] == "1.0.0"


def test_an_image_without_a_panel_answers_all_else(mount: Simulator, workshop: dict[str, Any]) -> None:
    ill = workshop["make"](version="2.0.0", body=NO_PANEL + bytes(5000))
    mount.mcu.flash.install(ill)
    mount.cut()
    with Link(mount.port, timeout_s=0.2, retries=20) as link:
        with pytest.raises(BridgeError) as raised:
            link.read(65, 0)
        assert raised.value.cause is Cause.UNSUPPORTED


def test_the_line_is_as_slow_as_it_is_told_to_be() -> None:
    with Simulator(baud=19_200) as mount, Link(mount.port, 19_200, timeout_s=5) as link:
        began = time.monotonic()
        for _ in range(3):
            link.echo("x" * 300)
        seen, elapsed = mount.seen, time.monotonic() - began
    least = 3 * 2 * 440 * 10 / 19_200  # base64 and framing, there and back
    assert elapsed > least * 0.9, seen


def test_faults_happen_as_often_as_they_are_asked_for() -> None:
    with Simulator(faults=Faults(loss=0.2, seed=1)) as mount, Link(mount.port, timeout_s=0.1, retries=20) as link:
        for _ in range(50):
            link.echo("x")
        assert link.counters.repeated > 5


def test_it_runs_by_itself_and_obeys_lines_on_its_standard_input() -> None:
    command = [sys.executable, "-m", "firmware_bridge.simulated", "--baud", "0", "--buffer", "512"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        port = json.loads(process.stdout.readline())["port"]
        with Link(port) as link:
            assert link.parameters.buffer_bytes == 512
            process.stdin.write("ignition off\nsupply 9000\nnonsense\n")
            process.stdin.flush()
            answers = [json.loads(process.stdout.readline()) for _ in range(3)]
            assert answers[1]["panel"] == {"ignition": False, "supply_mv": 9000, "buttons": 0}
            assert "error" in answers[2]
            assert link.read(65, 0)["mv"] == 9000
        process.stdin.close()
        assert process.wait(10) == 0
