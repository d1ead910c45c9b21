"""The lane: whatever is acknowledged, refused or begun again, nothing is passed over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.journal.entries import EventEntry
from agent.uplink import events
from agent.uplink.events import Stream


def log_of(sequences: list[int]) -> list[EventEntry]:
    return [EventEntry(sequence, f"id-{sequence}", "parcel.loaded", b"{}") for sequence in sequences]


class Log:
    """Events by sequence, with the gaps that a recovery leaves."""

    def __init__(self, sequences: list[int]) -> None:
        self.events = log_of(sequences)

    def read(self, after: int, limit: int) -> list[EventEntry]:
        return [event for event in self.events if event.sequence > after][: min(limit, 7)]


@given(st.data(), st.sets(st.integers(1, 60), min_size=1, max_size=40))
def test_the_prefix_never_passes_an_event_that_is_not_acknowledged(data: st.DataObject, chosen: set[int]) -> None:
    sequences = sorted(chosen)
    log = Log(sequences)
    stream = Stream(log.read, 0)
    under_way: list[int] = []
    acknowledged: set[int] = set()
    for _ in range(data.draw(st.integers(0, 120))):
        step = data.draw(st.sampled_from(["take", "take", "ack", "ack", "refuse", "rewind"]))
        if step == "take" and (entry := stream.take()) is not None:
            assert entry.sequence not in under_way
            assert entry.sequence not in acknowledged
            under_way.append(entry.sequence)
        elif step == "ack" and under_way:
            sequence = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            stream.acknowledged(sequence)
            acknowledged.add(sequence)
        elif step == "refuse" and under_way:
            under_way.pop()
        elif step == "rewind":
            under_way.clear()
            stream.rewind()
        assert {s for s in sequences if s <= stream.prefix} <= acknowledged
    stream.rewind()
    rest = []
    while (entry := stream.take()) is not None:
        rest.append(entry.sequence)
        stream.acknowledged(entry.sequence)
    assert rest == [s for s in sequences if s not in acknowledged]
    assert stream.prefix == sequences[-1]
    assert not stream.waiting


def test_a_lane_that_was_empty_goes_on_when_there_is_news() -> None:
    log = Log([1])
    stream = Stream(log.read, 0)
    first = stream.take()
    assert first is not None
    stream.acknowledged(1)
    assert stream.take() is None
    log.events += log_of([2])
    stream.news()
    second = stream.take()
    assert second is not None
    assert second.sequence == 2


def test_a_replay_ends_where_it_was_told_to() -> None:
    stream = Stream(Log([*range(1, 40)]).read, 9, 20)
    sent = []
    while (entry := stream.take()) is not None:
        sent.append(entry.sequence)
        stream.acknowledged(entry.sequence)
    assert sent == [*range(10, 21)]
    assert not stream.waiting


def test_going_back_before_the_prefix_sends_everything_again() -> None:
    stream = Stream(Log([*range(1, 6)]).read, 0)
    while (entry := stream.take()) is not None:
        stream.acknowledged(entry.sequence)
    stream.rewind(2)
    again = []
    while (entry := stream.take()) is not None:
        again.append(entry.sequence)
    assert again == [3, 4, 5]


def test_it_reads_ahead_by_the_hundreds_so_that_a_backlog_drains_fast() -> None:
    reads = []

    def read(after: int, limit: int) -> list[EventEntry]:
        reads.append(after)
        return log_of([*range(after + 1, min(after + limit, 1000) + 1)])

    stream = Stream(read, 0)
    while stream.take() is not None:
        pass
    assert len(reads) <= 1000 // events.READ_AHEAD + 2
