"""One virtual unit for all tests of the rig: booted once, with the agent set up anew by each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.rig import image
from tests.rig.vehicle import Adapter, SerialGadget, Vehicle


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Emulated machines are slow: what is here has its own time-out, the boot included."""
    for item in items:
        if "tests/rig/" in item.nodeid:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def _possible() -> None:
    if why := image.missing():
        pytest.skip(why)
    if not image.built():
        pytest.skip(f"the virtual unit's image is not at {image.IMAGE}: `./scripts/test --rig` builds it")


@pytest.fixture(scope="session")
def vehicle(_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vehicle]:
    """The unit that all tests share."""
    with ExitStack() as stack:
        yield Vehicle("kerbside", tmp_path_factory.mktemp("vehicle"), stack)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is put away after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def scanner(vehicle: Vehicle, stack: ExitStack) -> SerialGadget:
    """A serial scanner (CDC-ACM) that is not plugged in yet."""
    gadget = SerialGadget(vehicle, "SCAN1")
    stack.callback(gadget.remove)
    return gadget


@pytest.fixture
def second_scanner(vehicle: Vehicle, stack: ExitStack) -> SerialGadget:
    """Another one of the same model, not plugged in yet."""
    gadget = SerialGadget(vehicle, "SCAN2")
    stack.callback(gadget.remove)
    return gadget


@pytest.fixture
def adapter(vehicle: Vehicle, stack: ExitStack) -> Adapter:
    """A serial adapter (FTDI) that is not plugged in yet."""
    adapter = Adapter(vehicle, "wired")
    stack.callback(adapter.unplug)
    return adapter
