"""What one session keeps, without a broker: the order of acknowledgements, and what is remembered of a lost session."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.arrivals import Acknowledgements
from agent.uplink.session_record import SESSION_FILE, SessionRecord


@given(st.permutations(range(1, 9)))
def test_pubacks_go_out_in_the_order_the_messages_came_whatever_becomes_durable_first(order: list[int]) -> None:
    acknowledgements = Acknowledgements()
    for mid in range(1, 9):
        acknowledgements.came(mid)
    sent: list[int] = []
    for mid in order:
        acknowledgements.durable(mid)
        sent += acknowledgements.due()
        assert {*sent} <= {*order[: order.index(mid) + 1]}, "none before it is durable"
    assert sent == [*range(1, 9)]


def test_a_message_that_is_called_durable_twice_does_not_vouch_for_a_later_one_with_its_identifier() -> None:
    acknowledgements = Acknowledgements()
    acknowledgements.came(7)
    acknowledgements.durable(7)
    assert [*acknowledgements.due()] == [7]
    acknowledgements.durable(7)
    acknowledgements.came(7)
    assert [*acknowledgements.due()] == []


def test_a_first_connection_without_a_session_is_no_loss(tmp_path: Path) -> None:
    assert not SessionRecord(tmp_path).connected(session_present=False, head=0)


def test_a_lost_session_is_told_until_a_later_event_about_it_has_arrived(tmp_path: Path) -> None:
    record = SessionRecord(tmp_path)
    record.subscribed()
    assert not record.connected(session_present=True, head=5)
    assert record.connected(session_present=False, head=5)
    record.told(5)  # an older event of the same kind says nothing about this loss
    assert SessionRecord(tmp_path).connected(session_present=True, head=6), "also in the next life"
    record.told(6)
    assert not SessionRecord(tmp_path).connected(session_present=True, head=6)


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / SESSION_FILE).write_bytes(b"\xff\x00")
    assert not SessionRecord(tmp_path).connected(session_present=False, head=1)
