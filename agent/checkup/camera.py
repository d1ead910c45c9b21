"""Whether the camera is there, or its address takes connections."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from agent.checkup.agent import RunningAgent
from agent.checkup.device import examine_device
from agent.checkup.finding import TIMEOUT_S, Finding
from agent.settings import Settings
from drivers import hotplug
from drivers.camera import label_of


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    source = settings.camera.source
    if source is None:
        yield Finding("camera", "ok", "none in the settings")
        return
    if found := agent.finds("camera", "camera", label_of(source)):
        yield found
    elif "://" in source:
        yield _camera_address(source)
    elif hotplug.Numbers.parse(source) or Path(source).is_char_device():
        yield examine_device("camera", source, source, "video4linux", agent)
    elif not Path(source).exists():
        yield Finding("camera", "fault", f"{source} is not there", "plug it in; `kerbside devices` lists what is there")
    elif not os.access(source, os.R_OK):
        yield Finding("camera", "fault", f"{source} cannot be read by this user", "correct the rights of the file")
    else:
        yield Finding("camera", "ok", f"{source} is there")


def _camera_address(source: str) -> Finding:
    parts = urlsplit(source)
    port = parts.port or {"rtsp": 554, "https": 443}.get(parts.scheme, 80)
    where = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname or "", port), TIMEOUT_S).close()
    except OSError as error:
        message = f"{where} cannot be reached: {error.strerror or error}"
        return Finding("camera", "fault", message, "check the camera's power and network")
    return Finding("camera", "ok", f"{where} takes connections")
