"""Whether certificates and key of the broker's connection are there, in their time, and kept from others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.settings import Settings, tls_files

_EXPIRES_SOON: Final = timedelta(days=14)


def examine(settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
    broker = settings.broker
    if not broker.tls:
        yield Finding("certificates", "ok", "none needed: the broker is on this unit")
        return
    wrong = dict(tls_files.examine(broker))
    for key, error in wrong.items():
        yield Finding("certificates", "fault", f"{key}: {error.finding}", error.step)
    for key, path in (("broker.ca_file", broker.ca_file), ("broker.cert_file", broker.cert_file)):
        if path is not None and key not in wrong:
            yield _dates(key, path)
    if broker.ca_file is None:
        yield Finding("certificates", "ok", "the broker is checked by the authorities of the system")


def _dates(key: str, path: Path) -> Finding:
    last = tls_files.valid_until(path)
    message = f"{key}: valid until {last:%Y-%m-%d}"
    if last - datetime.now(UTC) < _EXPIRES_SOON:
        return Finding("certificates", "warning", message, f"put a new one at {path} before that day")
    return Finding("certificates", "ok", message)
