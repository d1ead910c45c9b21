"""A broker, a gate before it, a subscriber behind it, and vehicles as a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from drivers.simulated.servers import Broker
from tests.uplink.support import Gate, Subscriber, Vehicle


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", max_inflight=100) as running:
        yield running


@pytest.fixture
def gate(broker: Broker) -> Iterator[Gate]:
    with Gate(broker.port) as standing:
        yield standing


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    listening = Subscriber(broker.port)
    yield listening
    listening.close()


@pytest.fixture
def vehicle(tmp_path: Path) -> Iterator[Callable[..., Vehicle]]:
    """Makes a vehicle that speaks to a URL; not started yet."""
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> Vehicle:
            made = Vehicle(tmp_path / "state", url, **options)
            stack.callback(made.close)
            return made

        yield make
