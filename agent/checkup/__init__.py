"""The check-up: is everything that the unit needs in order, and if not, what to do.

`examine` gives the findings: the doctor prints them, the screen shows them and `diagnostics` sends them to the cloud.
Each check changes nothing and ends within seconds whatever it meets. No device is opened: what a running agent says of
its parts comes first, otherwise it is seen whether each device is there, is of the right kind, may be used and is free.
The agent's journal is only read, and the broker sees a client of another name.

A new subject is a module with ``examine(settings, agent)`` and one line in `SUBJECTS`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.checkup import broker, camera, certificates, clock, database, disk, files, mount, receiver, scanners
from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.parts import PartsShown
from agent.redaction import redact, redact_text
from agent.settings import Settings, shown

__all__ = ["SUBJECTS", "Finding", "diagnostics", "document", "examine"]

_log: Final = logging.getLogger(__name__)

Subject = Callable[[Settings, RunningAgent], Iterator[Finding]]

SUBJECTS: Final[tuple[Subject, ...]] = (
    clock.examine,
    disk.examine,
    database.examine,
    files.examine,
    certificates.examine,
    broker.examine,
    receiver.examine,
    scanners.examine,
    camera.examine,
    mount.examine,
)
"""Everything that is checked, in the order in which it is shown."""


def examine(settings: Settings, parts: PartsShown, settings_file: Path | None = None) -> list[Finding]:
    """All findings of a unit, without secrets; blocks for some seconds where something does not answer.

    :param parts: how the running agent finds its parts, as in ``unit.parts`` of ``GET /api/state``; empty where none
        runs
    :param settings_file: where the settings were read from, where that is known: its rights are looked at, too
    """
    agent = RunningAgent.of(settings, parts, settings_file)
    with ThreadPoolExecutor(len(SUBJECTS), thread_name_prefix="check-up") as pool:
        found = [
            finding
            for findings in pool.map(lambda check: _checked(check, settings, agent), SUBJECTS)
            for finding in findings
        ]

    def without_secrets(text: str) -> str:
        return redact_text(text, settings.camera.source)

    return [
        replace(each, message=without_secrets(each.message), advice=each.advice and without_secrets(each.advice))
        for each in found
    ]


def _checked(check: Subject, settings: Settings, agent: RunningAgent) -> list[Finding]:
    """What a check finds; one that fails is a finding itself, and the others are shown."""
    found: list[Finding] = []
    try:
        found.extend(check(settings, agent))
    except Exception as error:  # noqa: BLE001 - the other checks go on
        name = check.__module__.rpartition(".")[2]
        _log.exception("the check of %s failed", name)
        advice = "tell who maintains it what the log says"
        found.append(Finding(name, "fault", f"the check itself failed ({type(error).__name__})", advice))
    return found


def document(findings: list[Finding]) -> dict[str, Any]:
    """The findings as JSON values: ``ok`` unless one is a fault, and ``checks``."""
    return {
        "ok": all(finding.state != "fault" for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }


def diagnostics(settings: Settings, parts: PartsShown) -> dict[str, Any]:
    """What the cloud's command ``diag`` is answered: JSON values, without secrets. Blocks as `examine` does."""
    return {
        "version": __version__,
        "findings": [asdict(finding) for finding in examine(settings, parts)],
        # The findings tell of the connection to the broker; what carries this answer is no part of it.
        "parts": redact({name: part for name, part in parts.items() if name != "broker"}, settings.camera.source),
        "settings": shown(settings),
    }
