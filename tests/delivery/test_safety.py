"""The driver calls for help: by the button of the mount or of the screen, with a block and without one."""

from __future__ import annotations

from agent.delivery.model.decision import Decision
from agent.delivery.model.inputs import Located, Panel
from tests.delivery.support import STATION, CoreUnit, assigned, at_door, door

PANIC = 1
OTHER = 2


def pressed(unit: CoreUnit, buttons: int = PANIC) -> Decision:
    return unit.give(Panel(ignition=True, buttons=buttons, supply_mv=13_800, uptime_ms=60_000))


def released(unit: CoreUnit) -> Decision:
    return pressed(unit, 0)


def test_a_press_at_a_stop_says_who_where_and_at_which_stop() -> None:
    unit = at_door()
    (event,) = pressed(unit).events
    assert (event.type, event.subject) == ("driver.panic", "driver/D1")
    where = event.data["where"]
    assert (where["latitude"], where["longitude"]) == (door(1)["latitude"], door(1)["longitude"])
    known = {name: value for name, value in event.data.items() if name != "where"}
    assert known == {"device": "mount", "block_id": "B1", "stop_id": "T1", "driver_id": "D1"}
    assert unit.last.feedback is not None
    assert (unit.code(), unit.last.feedback.tone) == ("PANIC", "attention")


def test_without_a_block_and_without_a_position_the_call_is_made_all_the_same() -> None:
    unit = CoreUnit()
    (event,) = pressed(unit).events
    assert (event.type, event.subject, event.data) == ("driver.panic", "unit", {"device": "mount"})
    assert unit.last.feedback is not None
    assert unit.last.feedback.params == {"kind": "unlocated"}


def test_the_position_belongs_to_a_call_for_help_outside_a_block_and_however_old_it_is() -> None:
    unit = assigned()
    unit.at(STATION)
    unit.give(Located(unit.uptime_ms, 0))  # the receiver has lost it since
    unit.wait(600)
    (event,) = pressed(unit).events
    assert event.data["where"]["latitude"] == STATION["latitude"]
    assert event.data["where"]["age_s"] > 600
    assert "block_id" not in event.data  # nobody has checked in
    assert unit.last.feedback is not None
    assert unit.last.feedback.params == {"kind": "located"}


def test_a_button_that_is_held_calls_once() -> None:
    unit = CoreUnit()
    assert len(pressed(unit).events) == 1
    for _ in range(100):
        unit.wait(0.2)
        assert pressed(unit) == Decision()


def test_pressing_again_at_once_is_the_same_call_and_is_confirmed_again() -> None:
    unit = CoreUnit()
    pressed(unit)
    released(unit)
    unit.wait(1)
    again = pressed(unit)
    assert again.events == ()
    assert again.feedback is not None
    assert (again.feedback.code, again.feedback.params) == ("PANIC", {"kind": "again"})
    released(unit)
    unit.wait(5)
    assert [event.type for event in pressed(unit).events] == ["driver.panic"]


def test_another_button_calls_nobody() -> None:
    unit = CoreUnit()
    assert pressed(unit, OTHER) == Decision()
    assert len(pressed(unit, OTHER | PANIC).events) == 1


def test_the_button_on_the_screen_is_the_same_call() -> None:
    unit = at_door()
    assert unit.must("panic") == ["driver.panic"]
    assert unit.last.events[0].data["device"] == "console"
    assert unit.must("panic") == []
    assert unit.code() == "PANIC"
    assert pressed(unit).events == ()


def test_a_call_for_help_changes_nothing_about_the_deliveries() -> None:
    unit = at_door()
    before = unit.state
    pressed(unit)
    assert unit.state == before
