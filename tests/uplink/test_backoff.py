"""When the next connection is tried, and how: the states and what leads from one to the other, without a socket."""

from __future__ import annotations

import pytest

from agent.uplink.backoff import Backoff, Cause, End, Pause, Protocol, State, Timing, grown

TIMING = Timing(retry_min_s=0.5, retry_max_s=60, takeover_s=300, stable_s=10)


class Attempts:
    """A unit whose connections live as long as they are told to."""

    def __init__(self, protocol: Protocol | str = "auto") -> None:
        self.backoff = Backoff(TIMING, "fleet-u1", protocol, lambda: 1.0)  # type: ignore[arg-type]
        self.now_s = 1000.0
        self.reason = ""

    def try_(self, cause: Cause, lives_s: float | None = None, *, idle: bool = True) -> State:
        """One attempt, its end, and the wait; `lives_s` after a CONNACK, ``None`` without one."""
        self.backoff.connecting(self.now_s)
        assert self.backoff.state is State.CONNECTING
        if lives_s is not None:
            self.backoff.online(self.now_s)
            assert self.backoff.state is State.ONLINE
            self.now_s += lives_s
        self.reason = self.backoff.ended(End(cause, "the reason", idle), self.now_s)
        self.now_s += self.backoff.wait_s
        return self.backoff.state


def test_before_it_is_started_nothing_is_waited_for() -> None:
    assert Attempts().backoff.state is State.IDLE


def test_each_failure_doubles_the_wait_up_to_a_minute() -> None:
    unit = Attempts()
    waits = []
    for _ in range(10):
        assert unit.try_(Cause.FAILED) is State.RETRYING
        waits.append(unit.backoff.wait_s)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert unit.reason == "the reason"


def test_a_connection_that_lived_long_begins_the_doubling_anew() -> None:
    unit = Attempts()
    for _ in range(6):
        unit.try_(Cause.FAILED)
    unit.try_(Cause.LOST, lives_s=10)
    assert unit.backoff.wait_s == 0.5


def test_two_units_that_lost_their_broker_together_do_not_come_back_together() -> None:
    assert len({grown(TIMING, 5) for _ in range(20)}) > 10
    assert all(4 <= grown(TIMING, 5) <= 8 for _ in range(100))


def test_a_broker_that_refuses_our_version_is_asked_in_the_other_one() -> None:
    unit = Attempts()
    assert unit.backoff.protocol == "5"
    assert unit.try_(Cause.VERSION_REFUSED) is State.OTHER_VERSION
    assert unit.backoff.protocol == "3.1.1"
    assert unit.try_(Cause.VERSION_REFUSED) is State.OTHER_VERSION
    assert unit.backoff.protocol == "5", "it wants neither"


def test_a_broker_that_refuses_us_for_another_reason_is_asked_in_the_same_version() -> None:
    unit = Attempts()
    assert unit.try_(Cause.REFUSED) is State.RETRYING
    assert unit.backoff.protocol == "5"


def test_a_broker_that_closes_twice_instead_of_answering_is_asked_in_the_other_version() -> None:
    unit = Attempts()
    assert unit.try_(Cause.CLOSED_UNANSWERED) is State.RETRYING
    assert unit.backoff.protocol == "5", "once may be an accident"
    unit.try_(Cause.FAILED)
    assert unit.try_(Cause.CLOSED_UNANSWERED) is State.OTHER_VERSION
    assert unit.backoff.protocol == "3.1.1"


def test_a_broker_that_has_answered_knows_our_version_whatever_it_closes_later() -> None:
    unit = Attempts()
    unit.try_(Cause.CLOSED_UNANSWERED)
    unit.try_(Cause.LOST, lives_s=60)
    assert unit.try_(Cause.CLOSED_UNANSWERED) is State.RETRYING
    assert unit.backoff.protocol == "5"


@pytest.mark.parametrize("chosen", ["5", "3.1.1"])
def test_a_version_that_was_chosen_is_not_changed(chosen: str) -> None:
    unit = Attempts(chosen)
    for cause in (Cause.VERSION_REFUSED, Cause.CLOSED_UNANSWERED, Cause.CLOSED_UNANSWERED):
        assert unit.try_(cause) is State.RETRYING
        assert unit.backoff.protocol == chosen


def test_who_takes_our_client_id_once_gets_it_contested_and_twice_is_left_alone_for_long() -> None:
    unit = Attempts()
    assert unit.try_(Cause.TAKEN_OVER, lives_s=1) is State.RETRYING
    assert unit.reason == 'another client uses our client id "fleet-u1"'
    assert unit.try_(Cause.TAKEN_OVER, lives_s=1) is State.CONTESTED
    assert unit.backoff.wait_s == TIMING.takeover_s
    assert "is this unit's card copied" in unit.reason
    assert unit.try_(Cause.TAKEN_OVER, lives_s=1) is State.CONTESTED, "and so it goes on"


def test_a_take_over_long_after_the_last_one_is_a_first_one_again() -> None:
    unit = Attempts()
    unit.try_(Cause.TAKEN_OVER, lives_s=1)
    assert unit.try_(Cause.TAKEN_OVER, lives_s=3600) is State.RETRYING


def test_a_third_short_connection_that_ends_without_a_word_looks_like_another_client() -> None:
    unit = Attempts()
    suspicion = 'the reason, soon after it began: does another client use our client id "fleet-u1"?'
    for _ in range(2):
        unit.try_(Cause.LOST, lives_s=1)
        assert unit.reason == "the reason"
    unit.try_(Cause.FAILED)  # no way to the broker says nothing about other clients
    assert unit.try_(Cause.LOST, lives_s=1) is State.CONTESTED
    assert unit.reason == suspicion
    assert unit.backoff.wait_s == TIMING.takeover_s
    unit.try_(Cause.LOST, lives_s=60)
    unit.try_(Cause.LOST, lives_s=1)
    assert unit.reason == "the reason", "a long one has shown that nobody else was there"


def test_connections_that_end_while_something_is_under_way_may_end_for_that() -> None:
    unit = Attempts()
    for _ in range(6):
        assert unit.try_(Cause.LOST, lives_s=1, idle=False) is State.RETRYING
        assert unit.reason == "the reason"
    assert unit.try_(Cause.LOST, lives_s=1) is State.CONTESTED, "and this one ended for nothing of ours"


# ------------------------------------------------------------------------------------------------ one lane's pause


def test_after_a_refusal_a_lane_waits_for_every_answer_and_then_sends_one_at_a_time() -> None:
    pause = Pause(TIMING)
    assert pause.allows(50, 0)
    pause.refused("quota exceeded")
    assert not pause.allows(0, 0)
    assert pause.left_s(0) is None, "an answer comes first"
    pause.begin(0)
    assert not pause.allows(0, 0)
    left_s = pause.left_s(0)
    assert left_s is not None
    assert pause.allows(0, left_s)
    assert not pause.allows(1, left_s)
    assert pause.reason == "quota exceeded"
    pause.accepted()
    assert pause.allows(50, 0)
    assert pause.reason == ""


def test_an_answer_that_was_still_due_does_not_end_a_pause() -> None:
    pause = Pause(TIMING)
    pause.refused("quota exceeded")
    pause.accepted()
    assert not pause.allows(0, 100)
    assert pause.reason == "quota exceeded"
