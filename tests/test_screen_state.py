"""What the driver's screen shows, in words and in the block's time, also while a piece of it cannot be drawn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.actions import Actions
from agent.clock import Clock
from agent.console.encoding import encoded
from agent.containment import Containment
from agent.delivery.model.decision import Effect, Feedback
from agent.delivery.model.inputs import InboxMessage, Located, Moment, Scanned, Tick
from agent.delivery.model.state import Policy
from agent.delivery.screen import view as drawing
from agent.identity.seal import Sealer
from agent.journal.store import Journal
from agent.screen_state import ScreenState
from agent.settings import UnitSettings
from agent.unit import Unit
from agent.uplink.inbox import InboxReader, Token
from agent.uplink.uplink import Uplink
from demo.messages import envelope
from tests.delivery.support import STATION, block_data
from tests.delivery.test_messages import offer

NOW_MS = 1_795_251_600_000
"""2026-11-21T09:00:00Z, ten o'clock in Amsterdam."""


class Listener:
    """Fails at whatever it is told."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.told: list[str] = []

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if self.fails:
            raise OSError(what)

    def committed(self) -> None:
        self._tell("committed")

    def feedback(self, feedback: Feedback, device: str | None) -> None:
        self._tell("feedback")

    def carry_out(self, effect: Effect) -> None:
        self._tell("effect")

    def reloaded(self) -> None:
        self._tell("reloaded")


class Vehicle:
    """A unit with a real journal, and its screen."""

    def __init__(self, state_dir: Path) -> None:
        self.moment = Moment(NOW_MS, 1_000_000, "boot", "gps")
        self.journal = Journal.open(state_dir, max_bytes=1 << 28, retain_days=30, confirm="broker")
        self.unit = Unit(self.journal, "/testers/u1", Policy(), lambda: self.moment)
        self.sealer = Sealer(state_dir, self.journal.keys())
        link = SimpleNamespace(state=SimpleNamespace(online=True, reason="", since_ns=0))
        self.extra: dict[str, Callable[[], dict[str, Any] | None]] = {"mount": lambda: {"lamp": "off"}}
        self.screen = ScreenState(
            UnitSettings(id="u1", fleet="testers"),
            self.unit,
            cast("Uplink", link),
            self.journal,
            cast("Clock", SimpleNamespace(now=lambda: self.moment)),
            self.sealer,
            parts=lambda: {"gps": {"state": "ready", "reason": "", "since": ""}},
            act=Actions(self.unit.act).act,
            examine=dict,
            extra=self.extra,
        )

    async def receive(self, type_: str, data: dict[str, Any]) -> None:
        message = InboxMessage(f"{type_} {len(self.unit.state.blocks)}", type_.partition(".")[0], type_, data)
        acknowledged = asyncio.Event()
        self.unit.receive(message, b"{}", {}, acknowledged.set, lambda: None)
        await acknowledged.wait()
        await self.unit.settle()

    def state(self) -> dict[str, Any]:
        return dict(json.loads(encoded(self.screen.view())))


def on(state_dir: Path, drive: Callable[[Vehicle], Any]) -> None:
    async def run() -> None:
        vehicle = Vehicle(state_dir)
        try:
            await drive(vehicle)
        finally:
            await vehicle.unit.settle()
            vehicle.journal.close()

    asyncio.run(run())


def full_block() -> dict[str, Any]:
    data = block_data(2)
    data["stops"][1]["window"] = {"from": "2026-11-21T10:00:00+01:00", "to": "2026-11-21T11:30:00+01:00"}
    return data


async def fill(vehicle: Vehicle) -> None:
    """A state with something in every member."""
    await vehicle.receive("block.assigned", full_block())
    await vehicle.receive("offer.made", offer())
    await vehicle.receive("message.sent", {"message_id": "M1", "text": "Call us"})
    vehicle.unit.take(Located(vehicle.moment.uptime_ms, 3, STATION["latitude"], STATION["longitude"], 5.0, 0.0))
    for action in ("check_in", "start_loading"):
        answer = await vehicle.screen.act(action, {})
        assert answer.refusal is None, answer


def broken(*_args: Any, **_members: Any) -> Any:
    raise OverflowError("date value out of range")


# ---------------------------------------------------------------------------------- times in the zone of the block


def test_an_amsterdam_block_is_told_in_amsterdam_time(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await vehicle.receive("block.assigned", full_block())
        state = vehicle.state()
        assert state["prompt"]["text"] == "Check in at Station DUT2. The block begins at 10:00"
        assert state["block"]["hours"] == "10:00 to 14:00"
        assert [stop["hours"] for stop in state["stops"]] == [None, "10:00 to 11:30", None]
        assert state["feedback"]["text"] == "A block has come, from 10:00. Parcels: 2, stops: 3."

    on(tmp_path, drive)


def test_a_block_of_tomorrow_has_its_day(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        tomorrow = {"starts_at": "2026-11-22T04:29:00Z", "ends_at": "2026-11-22T08:29:00Z"}
        await vehicle.receive("block.assigned", block_data(1, **tomorrow))
        state = vehicle.state()
        wait = "Your block begins at 05:29 on Sunday 22 November. Check-in from 04:29 on Sunday 22 November"
        assert state["prompt"]["text"] == wait
        assert state["block"]["hours"] == "05:29 to 09:29 on Sunday 22 November"
        refused = await vehicle.screen.act("check_in", {})
        assert refused.message == "Check-in is not open yet. It opens at 04:29 on Sunday 22 November."

    on(tmp_path, drive)


def test_with_a_clock_that_is_not_set_every_time_has_its_date(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        vehicle.moment = Moment(NOW_MS, 1_000_000, "boot", "unsynced")
        await vehicle.receive("block.assigned", block_data(1))
        assert vehicle.state()["prompt"]["text"].endswith("begins at 10:00 on Saturday 21 November 2026")

    on(tmp_path, drive)


def test_with_a_clock_that_is_not_set_yesterdays_block_waits_for_the_drivers_word(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        vehicle.moment = Moment(NOW_MS, 1_000_000, "boot", "unsynced")
        times = {"starts_at": "2026-11-20T04:30:00+01:00", "ends_at": "2026-11-20T08:00:00+01:00"}
        await vehicle.receive("block.assigned", block_data(1, **times))
        vehicle.unit.take(Located(vehicle.moment.uptime_ms, 3, STATION["latitude"], STATION["longitude"], 5.0, 0.0))
        answer = await vehicle.screen.act("check_in", {})
        assert answer.refusal is not None
        date = "04:30 on Friday 20 November 2026"
        assert (answer.refusal.reason, date in answer.message) == ("CONFIRM_DATE", True)
        state = vehicle.state()
        assert (state["prompt"]["code"], date in state["prompt"]["text"]) == ("CONFIRM_DATE", True)
        assert state["feedback"]["speech"] == f"The block begins at {date}. Is that today?"
        assert (await vehicle.screen.act("check_in", {})).refusal is None

    on(tmp_path, drive)


@pytest.mark.parametrize(("zone", "hours"), [("Asia/Kolkata", "14:30 to 18:30"), (None, "10:00 to 14:00")])
def test_an_offer_is_told_in_its_own_zone_or_in_that_of_the_block_under_way(
    zone: str | None, hours: str, tmp_path: Path
) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await vehicle.receive("block.assigned", full_block())
        times = {"starts_at": "2026-11-21T09:00:00Z", "ends_at": "2026-11-21T13:00:00Z"}
        await vehicle.receive("offer.made", offer(**times, timezone=zone))
        assert [each["hours"] for each in vehicle.state()["offers"]] == [hours]

    on(tmp_path, drive)


def test_what_a_recipient_said_is_read_by_the_driver_and_lies_sealed_in_the_state(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        given = {"feedback_id": "F1", "parcel_id": "P1", "rating": 4, "text": "kind and quick"}
        payload = json.dumps(envelope("feedback.given", given)).encode()
        incoming = InboxReader(vehicle.sealer).read("feedback", payload, Token(1, 1))
        assert isinstance(incoming.message, InboxMessage)
        acknowledged = asyncio.Event()
        vehicle.unit.receive(incoming.message, incoming.body, incoming.keys, acknowledged.set, lambda: None)
        await acknowledged.wait()
        assert "kind and quick" not in repr(vehicle.unit.state)
        assert vehicle.state()["recipient_feedback"] == [given]

    on(tmp_path, drive)


# ------------------------------------------------------------------------------------- a piece that cannot be drawn

PIECES = {
    "_driver": "driver",
    "_offer": "offers",
    "_block": "block",
    "_stop": "stops",
    "_parcel": "parcels",
    "_current_stop": "current_stop",
    "_message": "messages",
    "_position": "position",
    "prompt": "prompt",
    "scorecard": "scorecard",
    "earnings": "earnings",
}


@pytest.mark.parametrize(("piece", "member"), PIECES.items())
def test_what_cannot_be_drawn_is_left_out_told_and_the_rest_is_shown(
    piece: str, member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await fill(vehicle)
        whole = vehicle.state()
        assert all(whole[name] for name in PIECES.values())
        assert vehicle.screen.health() == []
        with monkeypatch.context() as patch:
            patch.setattr(drawing, piece, broken)
            vehicle.unit._drawn = drawing.Drawn()
            for _ in range(5):
                state = vehicle.state()
            hit = {name for name in whole if state[name] != whole[name]}
            assert member in hit
            assert hit <= ({member, "current_stop"} if piece == "_stop" else {member})
            assert (state["block"]["block_id"], state["block"]["state"]) == ("B1", "LOADING")
            assert any(member in fault for fault in vehicle.screen.health())
            told = vehicle.unit.containment.state
            assert told is not None
            assert member in told.reason
            assert vehicle.unit.containment.counts[member] >= 5
            # the deliveries go on
            vehicle.unit.take(Scanned("TBA000000000001", ("TBA000000000001",), device="left"))
            await vehicle.unit.settle()
            assert vehicle.unit.state.blocks["B1"].parcels["P1"].state == "LOADED"
            vehicle.unit.take(Tick())
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) <= 2
        assert vehicle.screen.health() == []
        assert vehicle.unit.containment.state is None

    on(tmp_path, drive)


def test_one_stop_that_cannot_be_drawn_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await fill(vehicle)
        draw = drawing._stop
        monkeypatch.setattr(
            drawing, "_stop", lambda block, stop: broken() if stop.stop_id == "T1" else draw(block, stop)
        )
        assert [stop["stop_id"] for stop in vehicle.state()["stops"]] == ["T0", "T2"]

    on(tmp_path, drive)


def test_neither_a_part_nor_the_store_nor_the_words_can_take_the_screen_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await fill(vehicle)
        vehicle.extra["mount"] = broken
        monkeypatch.setattr(vehicle.journal, "status", broken)
        monkeypatch.setattr(vehicle.screen, "_parts", broken)
        monkeypatch.setattr("agent.words.prompt", broken)
        monkeypatch.setattr("agent.words.feedback", broken)
        state = vehicle.state()
        assert (state["unit"]["mount"], state["unit"]["parts"], state["unit"]["backlog"]) == (None, {}, None)
        assert state["prompt"]["code"] == "SCAN_LOAD"
        assert len(state["parcels"]) == 2
        assert len(vehicle.screen.health()) == 5

    on(tmp_path, drive)


def test_a_value_that_json_does_not_have_takes_only_its_member_away(tmp_path: Path) -> None:
    state = json.loads(
        encoded({"position": {"accuracy_m": float("nan")}, "driver": {"name": "\ud800"}, "block": {"n": 1}})
    )
    assert state == {"position": {"accuracy_m": None}, "driver": None, "block": {"n": 1}}


# ---------------------------------------------------------------------------------------------- the way to the disk


def test_who_only_has_to_be_told_cannot_stop_what_is_being_kept(tmp_path: Path) -> None:
    """Tones, news for the uplink and effects fail: everything is answered, acknowledged and kept all the same."""

    async def drive(vehicle: Vehicle) -> None:
        listener = Listener(fails=True)
        vehicle.unit.tell(listener)
        await vehicle.receive("block.assigned", block_data(1))
        await vehicle.receive("command.requested", {"command_id": "C1", "command": "diag"})
        vehicle.unit.take(Located(vehicle.moment.uptime_ms, 3, STATION["latitude"], STATION["longitude"], 5.0, 0.0))
        answer = await vehicle.screen.act("check_in", {})
        assert answer.refusal is None
        assert len(answer.events) == 2
        assert {"committed", "feedback", "effect"} <= set(listener.told)
        assert vehicle.unit.containment.state is not None
        listener.fails = False
        assert (await vehicle.screen.act("start_loading", {})).events

    on(tmp_path, drive)


def test_an_input_at_which_the_core_fails_is_answered_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drive(vehicle: Vehicle) -> None:
        await vehicle.receive("block.assigned", block_data(1))
        before = vehicle.unit.state
        with monkeypatch.context() as patch:
            patch.setattr("agent.unit.decide", broken)
            answer = await vehicle.screen.act("start_loading", {})
            assert answer.refusal is not None
            assert (answer.refusal.reason, answer.message[:19]) == ("FAULT", "A fault of the unit")
            vehicle.unit.take(Scanned("TBA1", ("TBA1",), device="left"))
            assert vehicle.state()["feedback"]["code"] == "FAULT"
            vehicle.unit.take(Tick())
            assert vehicle.screen.health()
        assert vehicle.unit.state == before
        vehicle.unit.take(Tick())
        vehicle.unit.take(Scanned("TBA1", ("TBA1",), device="left"))
        await vehicle.screen.act("start_loading", {})
        assert vehicle.screen.health() == []

    on(tmp_path, drive)


def test_a_journal_that_takes_nothing_is_not_healthy(tmp_path: Path) -> None:
    async def drive(vehicle: Vehicle) -> None:
        vehicle.unit._failure = OSError("gone")  # type: ignore[assignment]
        assert vehicle.screen.health() == ["the journal cannot be written"]
        vehicle.unit._failure = None

    on(tmp_path, drive)


def test_a_fault_that_lasts_is_logged_once_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    containment, changes = Containment(), []
    containment.on_change = lambda: changes.append(containment.failing)
    for _ in range(500):
        assert containment.attempt("block", broken, "instead") == "instead"
    assert containment.attempt_each("stops", [1, 0], lambda number: 1 // number) == [1]
    assert containment.attempt("block", lambda: "drawn", "instead") == "drawn"
    assert changes == [("block",), ("block", "stops"), ("stops",)]
    assert containment.counts == {"block": 500, "stops": 1}
    assert len(caplog.records) == 2
