"""When everything is looked at for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from agent.collector import AT_LEAST_EVERY_S, EVERY_S, Collector


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generation of each collection, as it happens."""
    seen: list[int] = []

    def note(phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            seen.append(about["generation"])

    thresholds = gc.get_threshold()
    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    gc.set_threshold(*thresholds)


def test_everything_is_looked_at_once_a_minute_when_the_driver_is_told_nothing(collections: list[int]) -> None:
    collector = Collector()
    for _ in range(2 * EVERY_S):
        collector.each_second("a scan of a while ago")
    assert collections.count(2) == 2


def test_while_the_driver_scans_it_is_put_off_but_not_for_ever(collections: list[int]) -> None:
    collector = Collector()
    for second in range(AT_LEAST_EVERY_S - 1):
        collector.each_second(f"scan {second}")
    assert 2 not in collections
    collector.each_second("one scan more")
    assert collections.count(2) == 1


def test_many_new_objects_do_not_start_a_look_at_everything(collections: list[int]) -> None:
    Collector()
    kept = [[number] for number in range(200_000)]
    assert len(kept) == 200_000
    assert 2 not in collections
    assert collections
