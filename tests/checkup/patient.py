"""The unit that the tests of the check-up and of the doctor examine."""

from pathlib import Path

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
