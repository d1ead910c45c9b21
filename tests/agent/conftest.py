"""The rig that the tests of the whole agent work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.simulated import Broker, SimulatedScanner
from tests.agent.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A broker and a scanner; agent and consumer as the test wants them."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", max_inflight=100))
        scanner = stack.enter_context(SimulatedScanner())
        yield Rig(tmp_path, stack, broker, scanner)
