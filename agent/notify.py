"""Telling systemd how the service is doing: one datagram to the socket it names (sd_notify(3)), and no library.

Outside of systemd nothing happens. A message that cannot be sent is logged, never raised: the agent has better
things to do than to fail for its supervisor. The agent itself may not switch the unit off: it leaves a file, and the
service's ExecStopPost does it.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Final

_LOGGER: Final = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1``; several on lines of their own."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError as error:
        _LOGGER.warning("systemd did not take %r: %s", state, error.strerror or error)


def ask_power_off() -> None:
    """Have the unit switched off once the service has ended: ``power-off`` in its runtime directory says so."""
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        try:
            (Path(folder) / "power-off").touch()
        except OSError as error:
            _LOGGER.warning("the unit stays on, %s cannot be written: %s", folder, error.strerror)
