"""The agent that has the state directory, where one runs: what it says of its parts comes before what is seen."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.checkup.finding import Finding
from agent.parts import PartsShown
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """The agent that has the state directory, where one runs."""

    process: int | None
    """By the lock that it holds; ``None`` also where this user may not read that."""
    parts: PartsShown
    """How it finds its parts; empty when it does not answer."""
    settings_file: Path | None = None
    """Where the settings were read from, where that is known."""

    @classmethod
    def of(cls, settings: Settings, parts: PartsShown, settings_file: Path | None = None) -> RunningAgent:
        """The one that holds the lock of the settings' state directory."""
        process = None
        with suppress(OSError, ValueError):
            process = int((settings.unit.state_dir / "agent.lock").read_text(encoding="ascii"))
        return cls(process, parts, settings_file)

    def finds(self, name: str, part: str, what: str) -> Finding | None:
        """What the running agent says of one of its parts; ``None`` when there is nobody to ask."""
        if not self.parts:
            return None
        state = self.parts.get(part)
        if state is None:
            advice = "the settings were changed since it started: `systemctl restart kerbside`"
            return Finding(name, "warning", f"{what} is not known to the agent that runs", advice)
        message, _, advice = state["reason"].partition(": ")
        since = _clock_time(state["since"])
        if state["state"] == "ready":
            text = f"{what} is ready since {since}"
            if message:
                return Finding(name, "warning", f"{text}, {message}", advice or None)
            return Finding(name, "ok", text)
        text = f"{what} is {state['state']} since {since}"
        return Finding(
            name,
            "warning" if state["state"] == "opening" else "fault",
            f"{text}: {message}" if message else text,
            advice or "see the agent's log: `journalctl -u kerbside`",
        )


def _clock_time(since: str) -> str:
    """As a wall clock shows it, with the day when that is another one."""
    try:
        at = datetime.fromisoformat(since).astimezone()
    except (ValueError, OverflowError, OSError):  # no time, or none that this machine's calendar reaches
        return since
    return f"{at:%H:%M:%S}" if at.date() == datetime.now().astimezone().date() else f"{at:%Y-%m-%d %H:%M}"
