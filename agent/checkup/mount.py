"""Whether the mount is there, what its firmware says of itself, and of the vehicle's power."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checkup.agent import RunningAgent
from agent.checkup.device import examine_device
from agent.checkup.finding import Finding
from agent.settings import SIMULATED, Settings
from drivers import hotplug


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    port = settings.mount.port
    if port is None:
        yield Finding("mount", "ok", "none in the settings")
    elif found := agent.finds("mount", "mount", port):
        yield found
    elif port == SIMULATED:
        yield Finding("mount", "ok", "simulated")
    else:
        found = examine_device("mount", port, port, "tty", agent)
        if found.state == "ok":
            found = _microcontroller(port, settings.mount.baud)
        yield found


def _microcontroller(port: str, baud: int) -> Finding:
    """What the mount's firmware says of itself and of the vehicle's power."""
    from firmware_bridge.link import BridgeError, Cause, CommandId, GroupId, Link
    from firmware_bridge.mount import read_panel
    from firmware_bridge.power import ALARMING, is_low

    try:
        with Link(hotplug.resolve(port, "tty"), baud, retries=2) as link:
            panel = read_panel(link)
            try:
                images = link.read(GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.STATE).get("images")
            except BridgeError as error:
                if error.cause is not Cause.UNSUPPORTED:
                    raise
                images = None
    except BridgeError as error:
        if error.cause is Cause.UNSUPPORTED:
            advice = "it needs SMP group 65: see docs/firmware.md"
            return Finding("mount", "fault", f"{port} answers, and its firmware has no panel", advice)
        message, _, advice = str(error).partition(": ")
        return Finding("mount", "fault", message, advice)
    listed = images if isinstance(images, list) else []
    running = next((image for image in listed if isinstance(image, dict) and image.get("active")), None)
    firmware = f"firmware {running.get('version')}" if running else "firmware without image management"
    message = (
        f"{port}: {firmware}, ignition {'on' if panel.ignition else 'off'}, {panel.supply_mv / 1000:.1f} V, "
        f"last reset: {panel.reset_cause}"
    )
    if is_low(panel.supply_mv, panel.supply_mv):
        advice = "charge the battery and look at its wires: the agent shuts the unit down while the supply is so low"
        return Finding("mount", "warning", f"{message}: the supply is low", advice)
    if panel.reset_cause in ALARMING:
        return Finding("mount", "warning", message, "look at its supply: wires, fuse, the battery's age")
    return Finding("mount", "ok", message)
