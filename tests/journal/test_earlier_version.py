"""What an earlier version has written: this one opens it, knows what that one knew, and goes on in it."""

from __future__ import annotations

import asyncio
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.clock import FLOOR_FILE, Clock
from agent.delivery.model.inputs import Acted, Moment
from agent.delivery.model.scopes import scope_of_block
from agent.delivery.model.state import Policy, State
from agent.delivery.screen.view import view
from agent.identity.seal import Sealer
from agent.journal.entries import InboxEntry
from agent.journal.store import Journal
from agent.mount.restarts import Restarts
from agent.mount.updates import pending
from agent.position.trip import Trip
from agent.unit import Unit
from agent.uplink.budget import Budget
from agent.uplink.uplink import BUDGET_FILE
from drivers.readings import Panel
from firmware_bridge.update import Wanted
from tests.journal.writing import kept, opened, verified

EARLIER = Path(__file__).parent / "earlier"
JOURNALS = sorted(path.stem for path in EARLIER.glob("*.json"))


@dataclass
class Earlier:
    """A state directory of an earlier version, and what that version said of it."""

    state_dir: Path
    said: dict[str, Any]

    @property
    def moment(self) -> Moment:
        return Moment(**self.said["moment"])


@pytest.fixture(params=JOURNALS)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Earlier:
    return unpacked(request.param, tmp_path)


def unpacked(name: str, tmp_path: Path) -> Earlier:
    with tarfile.open(EARLIER / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path / name, filter="data")
    return Earlier(tmp_path / name, json.loads((EARLIER / f"{name}.json").read_text()))


def started(journal: Journal, earlier: Earlier) -> Unit:
    """The loop as the agent starts it; a coroutine is running."""
    return Unit(journal, "/demo/u1", Policy(), lambda: earlier.moment)


def state_of(earlier: Earlier, journal: Journal | None = None) -> State:
    """What the loop knows once it has read a journal."""

    opened_journal = journal or opened(earlier.state_dir)

    async def start() -> State:
        return started(opened_journal, earlier).state

    try:
        return asyncio.run(start())
    finally:
        opened_journal.close()


def test_its_chain_and_its_cursors_go_on_where_they_were(earlier: Earlier) -> None:
    said = earlier.said["journal"]
    journal = opened(earlier.state_dir)
    assert journal.recovered is None
    assert journal.head == (said["sequence"], said["hash"])
    assert journal.oldest_sequence == said["oldest_sequence"]
    assert journal.confirmed == said["confirmed"]
    assert journal.status()["backlog"] == said["backlog"]
    assert sorted(journal.keys()) == sorted(id_ if id_ == "roster" else f"block/{id_}" for id_ in said["scopes"])
    assert all(journal.seen(message_id) for message_id in earlier.said["messages"])
    messages = [entry.message_id for entry in kept(journal) if isinstance(entry, InboxEntry)]
    assert messages == earlier.said["messages"]
    journal.close()
    assert verified(earlier.state_dir).whole


def test_its_state_is_what_it_was(earlier: Earlier) -> None:
    state = state_of(earlier)

    shown = json.loads(json.dumps(view(state, earlier.moment)))
    assert {member: shown[member] for member in earlier.said["view"]} == earlier.said["view"]
    assert {
        block_id: {
            "state": block.state,
            "stops": {stop.stop_id: stop.state for stop in block.stops.values()},
            "parcels": {parcel.parcel_id: parcel.state for parcel in block.parcels.values()},
            "recalls": dict(block.recalls),
        }
        for block_id, block in state.blocks.items()
    } == earlier.said["blocks"]
    assert dict(state.settings) == earlier.said["settings"]
    assert sorted(state.advisories) == earlier.said["advisories"]
    assert sorted(state.earnings) == earlier.said["earnings"]
    assert len(state.feedback) == earlier.said["feedback"]


def test_its_secrets_can_be_opened(earlier: Earlier) -> None:
    state = state_of(earlier)
    journal = opened(earlier.state_dir)
    sealer = Sealer(earlier.state_dir, journal.keys())
    journal.close()
    block = state.block
    assert block is not None
    names = {
        stop.stop_id: sealer.open(scope_of_block(block.block_id), stop.plan.recipient["name"])
        for stop in block.stops.values()
        if isinstance(stop.plan.recipient, dict)
    }
    assert names == earlier.said["secrets"]
    assert block.otp_key is not None
    assert sealer.open(scope_of_block(block.block_id), block.otp_key) == earlier.said["otp_key"]


def test_its_snapshot_and_its_whole_log_say_the_same(tmp_path: Path) -> None:
    earlier = unpacked("under_way", tmp_path)
    by_snapshot = state_of(earlier)

    without = unpacked("under_way", tmp_path / "without")
    journal = opened(without.state_dir)
    replay = journal.replay()
    assert replay.snapshot is not None
    journal.close()
    journal = _WithoutSnapshot.open(without.state_dir, max_bytes=64 << 20, retain_days=7)
    by_log = state_of(without, journal)
    # Where an advisory's content is, a snapshot of that version does not say.
    assert list(by_log.advisories) == list(by_snapshot.advisories)
    assert replace(by_log, advisories={}) == replace(by_snapshot, advisories={})


class _WithoutSnapshot(Journal):
    def replay(self, *, from_start: bool = True) -> Any:
        return super().replay(from_start=True)


def test_the_day_goes_on_in_it(tmp_path: Path) -> None:
    earlier = unpacked("under_way", tmp_path)
    journal = opened(earlier.state_dir)

    async def go_on() -> State:
        unit = started(journal, earlier)
        for action, arguments in (("arrive", {"reason": "no receiver"}), ("fail", {"reason": "WEATHER"})):
            answer = await unit.act(Acted(action, arguments))
            assert answer.refusal is None, answer
        unit.snapshot()
        await unit.settle()
        return unit.state

    state = asyncio.run(go_on())
    assert journal.head.sequence > earlier.said["journal"]["sequence"]
    journal.close()
    assert verified(earlier.state_dir).whole
    assert state_of(earlier) == state


def test_its_small_files_say_what_they_said(tmp_path: Path) -> None:
    earlier = unpacked("under_way", tmp_path)
    folder = earlier.state_dir

    assert Trip(folder / "trip.json").metres("B1") == 33.4
    assert Budget(folder / BUDGET_FILE, 123_456, lambda: earlier.moment).used_up
    assert not Budget(folder / BUDGET_FILE, 123_457, lambda: earlier.moment).used_up
    assert pending(folder) == Wanted("1.4.0", bytes.fromhex("ab" * 32), panel=True, tried=False, booted=False)
    assert int((folder / FLOOR_FILE).read_text()) == earlier.moment.wall_ms
    assert Clock(folder).now().wall_ms >= earlier.moment.wall_ms
    told = Panel("mount", 72_345_000_000, True, 12_000, 0, (0, 0, 0), "watchdog", 60_000)
    assert not Restarts(folder, earlier.moment.boot_id).take(told)
    assert Restarts(folder, "another boot").take(told)
