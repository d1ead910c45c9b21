"""Instants are compared, never the texts that they were written as."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.fold import snapshot
from agent.delivery.model.state import Policy
from agent.delivery.model.times import Instant, read_instant
from tests.delivery.support import CoreUnit, block_data, loading, on_route_with

moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def written(moment: datetime, offset: timezone) -> str:
    return moment.astimezone(offset).isoformat(timespec="milliseconds")


@given(moments, offsets, moments, offsets)
def test_instants_are_in_the_order_in_which_they_happen_whatever_their_offsets(
    first: datetime, offset: timezone, second: datetime, other: timezone
) -> None:
    first, second = (each.replace(microsecond=each.microsecond // 1000 * 1000) for each in (first, second))
    one, two = read_instant(written(first, offset)), read_instant(written(second, other))
    assert one is not None
    assert two is not None
    assert (one < two, one == two) == (first < second, first == second)


def test_a_time_cannot_be_compared_with_a_text_by_mistake() -> None:
    with pytest.raises(TypeError):
        _ = Instant.of(0) < "2026-11-21T09:00:00Z"  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", [None, "", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z", "T", "::60"]
)
def test_what_is_no_time_between_1970_and_2100_is_unknown(text: str | None) -> None:
    assert read_instant(text) is None


@pytest.mark.parametrize("text", ["2026-11-21t09:00:00z", "2026-11-21T08:59:60Z", "2026-11-21T14:30:00.000+05:30"])
def test_every_spelling_of_a_time_is_read(text: str) -> None:
    assert read_instant(text) == read_instant("2026-11-21T09:00:00Z")


@pytest.mark.parametrize("first_sent", ["B1", "B2"])
def test_the_block_that_begins_first_is_the_one_to_check_in_for(first_sent: str) -> None:
    """B2 begins at 05:52 UTC, B1 at 07:42 UTC; as texts they are the other way round."""
    starts = {"B1": "2026-11-21T07:42:24Z", "B2": "2026-11-21T11:22:24+05:30"}
    unit = CoreUnit()
    for block_id in sorted(starts, reverse=first_sent == "B2"):
        unit.receive("block.assigned", block_data(1, block_id=block_id, starts_at=starts[block_id]))
    assert unit.block.block_id == "B2"


def test_a_clock_that_is_set_back_between_two_pickups_does_not_change_which_was_the_last() -> None:
    data: dict[str, Any] = block_data(2)
    data["stops"].insert(1, {"stop_id": "T9", "kind": "pickup", "site_id": "S2", "sequence": 0})
    data["parcels"][1]["pickup_stop_id"] = "T9"
    unit = on_route_with(data, 1)
    unit.wall_ms -= 3_600_000
    assert unit.block.current_stop_id == "T9"
    unit.must("arrive", reason="no position here")
    assert unit.block.last_pickup_id == "T9"


def test_an_older_snapshot_knows_at_which_pickup_the_vehicle_was_last() -> None:
    older = json.loads((Path(__file__).parent / "snapshot_2.json").read_text())["snapshot"]
    assert older["version"] == 2
    assert snapshot.load(json.dumps(older).encode(), Policy()).blocks["B1"].last_pickup_id == "T0"


def test_a_snapshot_keeps_each_time_as_it_was_written() -> None:
    unit = loading(1, starts_at="2026-11-21T14:30:00+05:30")
    again = snapshot.load(snapshot.dump(unit.state), Policy())
    assert again == unit.state
    assert str(again.blocks["B1"].starts_at) == "2026-11-21T14:30:00+05:30"
