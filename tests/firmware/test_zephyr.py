"""The link with Zephyr's own SMP server: on the host, and in an emulated board behind MCUboot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge.framing import FRAME_BYTES
from firmware_bridge.images import parse
from firmware_bridge.link import BridgeError, Cause, Link
from firmware_bridge.upload import upload
from tests.firmware.zephyr import FOLDER, Server, servers

pytestmark = pytest.mark.skipif(
    not (FOLDER / "manifest.json").is_file(),
    reason="no real servers at hand: run with ./scripts/test --zephyr",
)
MEGABAUD = 1_000_000
"""The emulated line has no speed; so it is not waited for."""


def of(*found: Server) -> pytest.MarkDecorator:
    """A test for each; one that is skipped where there is none."""
    cases = [pytest.param(server, id=server.name) for server in found]
    return pytest.mark.parametrize("server", cases or [pytest.param(None, marks=pytest.mark.skip("none at hand"))])


ON_THE_HOST = [*servers("native_sim", "serial"), *servers("native_sim", "shell")]
EMULATED = servers("mps2_an385", "serial", mcuboot=True)


@pytest.fixture
def port(server: Server, tmp_path: Path) -> Iterator[str]:
    if why := server.why_not:
        pytest.skip(why)
    with server.running(tmp_path) as running:
        yield running


def full(link: Link) -> str:
    """The longest text that it takes."""
    return "x" * link.room({}, "d")


@of(*ON_THE_HOST)
def test_parameters_echo_and_reset(server: Server, port: str) -> None:
    with Link(port) as link:
        told = server.name != "serial_noparams"
        assert link.parameters.told is told
        if told:
            assert (link.parameters.buffer_bytes, link.parameters.buffers) == (server.told_bytes, 4)
        assert link.echo("grüße") == "grüße"
        for _ in range(5):
            assert link.echo(full(link)) == full(link)
        assert link.counters.repeated < 5  # on a machine that is not busy, none
        assert link.counters.garbled == 0
        with pytest.raises(BridgeError) as raised:
            link.read(1, 0)
        assert raised.value.cause is Cause.UNSUPPORTED
        assert link.reset()


@of(*(server for server in ON_THE_HOST if server.name in ("serial", "shell")))
def test_a_server_that_looks_at_its_line_each_20_ms_keeps_up_with_a_fast_one(server: Server, port: str) -> None:
    with Link(port, MEGABAUD, timeout_s=0.5) as link:
        for _ in range(5):
            assert link.echo(full(link)) == full(link)


@of(*servers("native_sim", "serial_raw"))
def test_a_server_without_framing_is_a_timeout_and_no_hang(server: Server, port: str) -> None:
    with pytest.raises(BridgeError) as raised:
        Link(port, timeout_s=0.3, retries=1).open()
    assert raised.value.cause in (Cause.TIMEOUT, Cause.GARBLED)


@of(*EMULATED)
def test_an_image_is_uploaded_to_the_other_slot_and_the_board_restarts(server: Server, port: str) -> None:
    image = parse(server.image.read_bytes(), server.image.name)
    with Link(port, MEGABAUD, timeout_s=5) as link:
        assert link.parameters.buffer_bytes == server.told_bytes
        assert link.echo(full(link)) == full(link)
        assert [slot["slot"] for slot in link.read(1, 0)["images"]] == [0]
        assert link.read(1, 6)["images"][0]["slots"]
        sent: list[int] = []
        assert upload(link, image.content, sent.append)
        assert sent[-1] == len(image.content)
        listed = link.read(1, 0)["images"]
        assert [(slot["slot"], slot["hash"]) for slot in listed] == [(0, image.hash), (1, image.hash)]
        assert link.reset()
        time.sleep(0.5)
        assert link.echo("back again") == "back again"


@of(*EMULATED[-1:])
def test_the_serial_recovery_of_mcuboot_answers_too(server: Server, port: str) -> None:
    with Link(port, MEGABAUD, timeout_s=2) as link:
        link.write(0, 5, {"boot_mode": 1}, retries=0)
        time.sleep(1)
        link.open()
        assert link.parameters.buffer_bytes >= FRAME_BYTES
        assert "images" in link.read(1, 0)
