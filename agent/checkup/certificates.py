"""Whether certificates and key of the broker's connection are there, in their time, and kept from others."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.settings import Settings

_EXPIRES_SOON: Final = timedelta(days=14)


def examine(settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
    broker = settings.broker
    if not broker.tls:
        yield Finding("certificates", "ok", "none needed: the broker is on this unit")
        return
    from agent.uplink.connection import UplinkError, tls_context

    try:
        tls_context(broker)
    except UplinkError as error:
        yield Finding("certificates", "fault", str(error), "correct the setting, or the rights of the file")
        return
    yield from _dates("broker.ca_file", broker.ca_file)
    yield from _dates("broker.cert_file", broker.cert_file)
    if broker.key_file and stat.S_IMODE(broker.key_file.stat().st_mode) & 0o077:
        message = f"{broker.key_file} can be read by other users"
        yield Finding("certificates", "warning", message, f"chmod 600 {broker.key_file}")
    if broker.ca_file is None:
        yield Finding("certificates", "ok", "the broker is checked by the authorities of the system")


def _dates(key: str, path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    from cryptography.x509 import load_pem_x509_certificates

    now = datetime.now(UTC)
    certificates = load_pem_x509_certificates(path.read_bytes())
    first, last = (
        max(certificate.not_valid_before_utc for certificate in certificates),
        min(certificate.not_valid_after_utc for certificate in certificates),
    )
    message = f"{key}: valid until {last:%Y-%m-%d}"
    if now < first:
        advice = "is the clock right? Otherwise wait, or get another"
        yield Finding("certificates", "fault", f"{key}: not valid before {first:%Y-%m-%d %H:%M}", advice)
    elif now > last:
        yield Finding("certificates", "fault", f"{key}: expired on {last:%Y-%m-%d}", f"put a new one at {path}")
    elif last - now < _EXPIRES_SOON:
        yield Finding("certificates", "warning", message, f"put a new one at {path} before that day")
    else:
        yield Finding("certificates", "ok", message)
