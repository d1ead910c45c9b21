"""Updates of the mount's firmware in the unit's own records: their events, and what a later start must see through.

An update that has begun and not ended stands in `state_dir/firmware.json`, so that whoever next speaks to the mount,
the agent or a technician's command, keeps the new image or says what became of it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from agent.delivery.model.state import Block
from agent.files import read, remove_durably, write_durably
from contract.vocabulary import BLOCK_ACTIVE
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.link import Link
from firmware_bridge.update import PASSING, Note, Update, Wanted

log = logging.getLogger(__name__)

FILE: Final = "firmware.json"
MOVING_MPS: Final = 1.0
_ENDS: Final = frozenset({"firmware.confirmed", "firmware.reverted", "firmware.refused", "firmware.failed"})
AWAY: Final = frozenset(cause.upper() for cause in PASSING)
"""Reasons of a failure after which the mount may still come back, with either image."""
_FINAL: Final = frozenset({"INTERRUPTED", "UNHEALTHY"})
"""Reasons of a failure after which the mount does not change its image any more, whatever it was told before."""


def pending(state_dir: Path) -> Wanted | None:
    """The update that has begun and not ended; ``None`` when there is none."""
    return read(state_dir / FILE, _wanted, "an update that has begun is not seen through")


def _wanted(content: bytes) -> Wanted:
    kept = json.loads(content)
    hash_, booted = bytes.fromhex(kept["hash"]), kept.get("booted", False)
    return Wanted(kept["version"], hash_, panel=kept["panel"], tried=kept["tried"], booted=booted)


def begin(state_dir: Path, event: str, data: Mapping[str, Any]) -> None:
    """Keep in mind what an event of an update is about to begin: called before it is written."""
    if event in ("firmware.update_started", "firmware.test_started", "firmware.booted"):
        known = pending(state_dir)
        panel = data.get("panel", known.panel if known else None)
        tried, booted = event != "firmware.update_started", event == "firmware.booted"
        kept = {"version": data["version"], "hash": data["hash"], "panel": panel, "tried": tried, "booted": booted}
        write_durably(state_dir / FILE, json.dumps(kept).encode())


def end(state_dir: Path, event: str, data: Mapping[str, Any]) -> None:
    """Forget the update that an event of it has ended: called once it is written.

    While the mount may still change its image, the update stands, so that it is told later which one runs.
    """
    known = pending(state_dir)
    if event not in _ENDS or known is None or known.hash.hex() != data.get("hash"):
        return
    reason = data.get("reason")
    if event == "firmware.failed" and reason not in _FINAL and (known.tried or reason in AWAY):
        return
    remove_durably(state_dir / FILE)


def note(state_dir: Path, event: str, data: Mapping[str, Any], write: Note) -> None:
    """`write` an event of an update, and keep what it begins or ends."""
    begin(state_dir, event, data)
    write(event, data)
    end(state_dir, event, data)


def objection(blocks: Iterable[Block], speed_mps: float | None) -> tuple[str, str] | None:
    """Why the mount's firmware may not be touched now: a code and a sentence. A speed that is not known is none."""
    for block in blocks:
        if block.state in BLOCK_ACTIVE:
            return "BLOCK_ACTIVE", f"block {block.block_id} is {block.state}: firmware is updated between blocks"
    if speed_mps is not None and speed_mps > MOVING_MPS:
        return "MOVING", f"the vehicle moves ({speed_mps * 3.6:.0f} km/h): firmware is updated while it stands"
    return None


def see_through(
    link: Link,
    state_dir: Path,
    write: Note,
    *,
    may_restart: Callable[[], tuple[str, str] | None],
    confirm_after_s: float,
    ending: Callable[[], bool],
) -> None:
    """An update that broke off: keep the new image if it is well, or say what became of it. Blocks while it does.

    :param write: writes an event; returns once it is durable
    :param may_restart: why the mount may not be restarted now, as `objection`
    :param ending: whether the agent ends: what is not done then stands until its next start
    :raises BridgeError: the mount has fallen silent
    """
    if (wanted := pending(state_dir)) is None:
        return

    def keep(event: str, data: Mapping[str, Any]) -> None:
        note(state_dir, event, data, write)

    def sleep(seconds: float) -> None:
        if ending():
            raise _EndingError
        time.sleep(seconds)

    log.warning("the update of the mount to firmware %s broke off: seeing it through", wanted.version)
    update = Update(link, wanted, keep, may_restart=may_restart, confirm_after_s=confirm_after_s, sleep=sleep)
    try:
        outcome = update.run()
    except _EndingError:
        return
    log.warning("the mount's firmware %s: %s, %s", wanted.version, outcome.result, outcome.message)
    if outcome.reason in AWAY:
        # The line is opened anew until the mount answers, and then this comes first again.
        raise BridgeError(outcome.message, Cause.TIMEOUT)


class _EndingError(Exception):
    """The agent ends while an update is not over."""
