"""What the tests of the whole agent work on: a unit with everything around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.simulated import Broker, SimulatedScanner
from tests.agent.running_agent import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A broker and a scanner; agent and consumer as the test wants them."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", max_inflight=100))
        scanner = stack.enter_context(SimulatedScanner())
        yield World(tmp_path, stack, broker, scanner)
