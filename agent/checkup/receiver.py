"""Whether the receiver is there, and sees enough of the sky."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checkup.agent import RunningAgent
from agent.checkup.device import examine_device
from agent.checkup.finding import TIMEOUT_S, Finding
from agent.settings import Settings
from drivers.fixes import POOR_M
from drivers.gps import look


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    gps = settings.gps
    if gps.gpsd is None:
        yield Finding("receiver", "ok", "none in the settings")
        return
    if (found := agent.finds("receiver", "gps", gps.device or "the receiver")) and found.state == "fault":
        yield found
        return
    if gps.device and (found := examine_device("receiver", gps.device, gps.device, "tty", agent, "gpsd")).state != "ok":
        yield found
        return
    seen = look(gps.gpsd, TIMEOUT_S, gps.device)
    if seen.fault:
        yield Finding("receiver", "fault", seen.fault, "`kerbside devices` lists what is plugged in; see `cgps`")
        return
    which = gps.device or ", ".join(seen.devices)
    fix = "no fix" if seen.mode < 2 else f"{seen.mode}D fix"
    accuracy = "" if seen.accuracy_m is None else f", ± {seen.accuracy_m:.0f} m"
    satellites = ""
    if seen.satellites_seen is not None:
        satellites = f", {seen.satellites_used or 0} of {seen.satellites_seen} satellites"
    advice = None
    if seen.satellites_seen == 0:
        advice = "it hears no satellite: check the antenna and its plug"
    elif seen.mode < 2:
        advice = "give the antenna a view of the sky; a cold start takes minutes"
    elif seen.accuracy_m is not None and seen.accuracy_m > POOR_M:
        advice = f"beyond ± {POOR_M:.0f} m no arrival is seen: give the antenna a wider view of the sky"
    elif seen.mode == 2:
        advice = "it needs one satellite more to tell the time: give the antenna a wider view of the sky"
    if advice is None and found is not None and found.state == "warning":
        yield found
        return
    message = f"{which}: {fix}{accuracy}{satellites}"
    yield Finding("receiver", "warning" if advice else "ok", message, advice)
