"""What is known of events that the broker refuses: none is lost, and each has its pause without holding others up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.backoff import Timing
from agent.uplink.kept import Kept

TIMING = Timing(retry_min_s=1, retry_max_s=60, alone_max_s=900)


def due(kept: Kept, now_s: float) -> list[int]:
    """All that may be tried now."""
    found = []
    while (sequence := kept.next(now_s)) is not None:
        found.append(sequence)
    return found


def test_a_refusal_closes_its_topic_for_newer_events_and_no_other() -> None:
    kept = Kept(TIMING)
    kept.refused(3, "a", "not allowed", 0)
    assert (kept.is_closed("a"), kept.is_closed("b")) == (True, False)
    kept.add(5, "a")
    assert due(kept, 0) == []
    assert due(kept, 2) == [3], "one is tried for all of them"
    kept.accepted(3, "a")
    assert due(kept, 2) == [5]
    kept.accepted(5, "a")
    assert (len(kept), kept.complaint) == (0, "")


def test_an_event_that_is_refused_while_others_of_its_topic_pass_waits_for_itself() -> None:
    kept = Kept(TIMING)
    kept.refused(3, "a", "not allowed", 0)
    kept.accepted(4, "a")
    assert due(kept, 0) == [3]
    kept.refused(3, "a", "not allowed", 0)
    assert not kept.is_closed("a")
    assert due(kept, 0.9) == []
    assert due(kept, 2) == [3]
    assert "not allowed on a" in kept.complaint


def test_while_a_topic_is_refused_more_events_are_tried_each_time_the_oldest_first() -> None:
    kept = Kept(TIMING)
    for sequence in range(1, 30):
        kept.refused(sequence, "a", "no", 0)
    now_s, tried = 0.0, []
    for _ in range(6):
        now_s += 61
        tried.append(due(kept, now_s))
        for sequence in tried[-1]:
            kept.refused(sequence, "a", "no", now_s)
    assert tried == [[1], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]


def test_what_ends_connections_is_tried_alone_ever_more_seldom_and_its_neighbours_before_it() -> None:
    kept = Kept(TIMING)
    kept.refused(3, "a", "cut", 0, alone=True)
    kept.add(4, "a")
    assert due(kept, 1000) == []
    assert kept.is_alone_due(1000)
    assert kept.next_alone(1000) == 4, "is it the topic, or only that event?"
    kept.accepted(4, "a")
    assert due(kept, 1000) == [], "the other one still goes alone"
    assert kept.next_alone(1000) == 3
    waits = []
    now_s = 1000.0
    for _ in range(9):
        kept.refused(3, "a", "cut", now_s, alone=True)
        left_s = kept.left_s(now_s)
        assert left_s is not None
        waits.append(left_s)
        now_s += left_s
        assert kept.next_alone(now_s) == 3
    assert waits == sorted(waits) or waits[-1] > 400
    assert max(waits) <= 900


def test_what_cannot_be_sent_over_this_connection_is_tried_with_the_next_one() -> None:
    kept = Kept(TIMING)
    kept.park(3, "a")
    assert due(kept, 1000) == []
    assert kept.left_s(1000) is None
    kept.connected()
    assert due(kept, 1000) == [3]


@pytest.mark.parametrize("alone", [False, True])
@given(data=st.data())
def test_whatever_is_refused_in_the_end_everything_is_accepted_once(alone: bool, data: st.DataObject) -> None:
    kept = Kept(TIMING)
    now_s, sequence = 0.0, 0
    open_: set[int] = set()
    under_way: dict[int, str] = {}
    topic_of: dict[int, str] = {}
    for _ in range(data.draw(st.integers(1, 60))):
        now_s += data.draw(st.sampled_from([0.0, 0.1, 1.0, 100.0]))
        step = data.draw(st.sampled_from(["new", "try", "alone", "accept", "refuse", "rewind", "connected"]))
        if step == "new":
            sequence += 1
            topic_of[sequence] = topic = data.draw(st.sampled_from("abc"))
            open_.add(sequence)
            if kept.is_closed(topic):
                kept.add(sequence, topic)
            else:
                under_way[sequence] = topic
        elif step in {"try", "alone"}:
            found = kept.next(now_s) if step == "try" else kept.next_alone(now_s)
            if found is not None:
                assert found not in under_way
                assert found in open_
                under_way[found] = topic_of[found]
        elif step == "rewind":
            for each in [each for each in under_way if each not in kept]:
                kept.add(each, topic_of[each])
            under_way.clear()
            kept.rewind()
        elif step == "connected":
            kept.connected()
        elif under_way:
            which = data.draw(st.sampled_from(sorted(under_way)))
            topic = under_way.pop(which)
            if step == "accept":
                kept.accepted(which, topic)
                open_.discard(which)
            else:
                kept.refused(which, topic, "no", now_s, alone=alone and data.draw(st.booleans()))
        assert {*kept.sequences} <= open_ <= {*kept.sequences} | under_way.keys()
    for _ in range(200):  # from now on everything is taken
        for each in [*under_way]:
            kept.accepted(each, under_way.pop(each))
            open_.discard(each)
        now_s += 1000
        for found in (kept.next(now_s), kept.next_alone(now_s)):
            if found is not None:
                under_way[found] = topic_of[found]
    assert not open_
    assert not kept.sequences
    assert kept.complaint == ""
