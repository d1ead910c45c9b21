"""The unit that the tests of the check-up and of the doctor examine."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.checkup import Finding, examine
from agent.parts import PartsShown
from agent.settings import load
from drivers.simulated import free_port


class Patient:
    """A unit whose settings come from the environment; nothing is plugged in but what a test adds."""

    def __init__(self, tmp_path: Path) -> None:
        self.state_dir = tmp_path / "state"
        self.state_dir.mkdir()
        self.environ = {
            "KERBSIDE_UNIT__STATE_DIR": str(self.state_dir),
            "KERBSIDE_GPS__GPSD": "",
            "KERBSIDE_BROKER__URL": f"mqtt://127.0.0.1:{free_port()}",
        }

    def set(self, **values: object) -> None:
        self.environ |= {f"KERBSIDE_{name}": str(value) for name, value in values.items()}

    def findings(self, parts: PartsShown | None = None) -> list[Finding]:
        """All of them, by default without a running agent."""
        return examine(load(None, self.environ), parts or {})

    def examined(self, name: str) -> Finding:
        """The one finding of a check."""
        (finding,) = [finding for finding in self.findings() if finding.name == name]
        return finding


@contextmanager
def serial_line() -> Iterator[str]:
    """A serial line that is there and that nobody has open."""
    far_end, near_end = os.openpty()
    name = os.ttyname(near_end)
    os.close(near_end)
    yield name
    os.close(far_end)


def without_time(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each check-up tells the time, and how full the disk is, anew."""
    return [each | {"message": re.sub(r"[\d:TZ.,-]+", "", each["message"])} for each in findings]
