"""Which packet connections end for: found by sending each one alone, and never by guessing."""

from __future__ import annotations

from agent.uplink.cuts import Cuts


def test_one_cut_is_an_accident_and_two_are_looked_into() -> None:
    cuts = Cuts()
    assert cuts.cut(["a", "b"], short=True, alone=False) is None
    assert not cuts.careful
    assert cuts.cut(["a", "b"], short=True, alone=False) is None
    assert cuts.careful


def test_what_is_under_way_alone_when_a_careful_connection_ends_is_what_it_ended_for() -> None:
    cuts = Cuts()
    for _ in range(2):
        cuts.cut(["a", "b", "c"], short=True, alone=False)
    cuts.answered("a")
    assert cuts.careful
    assert cuts.cut(["b"], short=True, alone=False) == "b"
    assert cuts.careful, "another one may be to blame as well"
    cuts.answered("c")
    assert not cuts.careful


def test_a_careful_connection_that_ends_while_nothing_is_under_way_says_nothing_of_a_packet() -> None:
    cuts = Cuts()
    for _ in range(2):
        cuts.cut(["a"], short=True, alone=False)
    assert cuts.cut([], short=True, alone=False) is None
    assert cuts.careful
    cuts.calm()
    assert not cuts.careful


def test_connections_that_live_long_are_not_looked_into() -> None:
    cuts = Cuts()
    for _ in range(5):
        assert cuts.cut(["a"], short=False, alone=False) is None
    assert not cuts.careful


def test_a_packet_that_is_tried_alone_is_known_to_be_what_the_connection_ended_for() -> None:
    assert Cuts().cut(["a"], short=False, alone=True) == "a"
