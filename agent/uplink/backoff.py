"""When to connect again, and how: a machine of named states that needs no socket, no thread and no clock.

    CONNECTING ──CONNACK──▶ ONLINE
        ▲  │                   │
        │  └───── the end of the connection, and its cause ─────┐
        │                                                       ▼
        └──────── the wait is over ──────── RETRYING, OTHER_VERSION or CONTESTED

Whoever owns the connection says what happens to it (`connecting`, `online`, `ended`), and waits `wait_s` in between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

Protocol = Literal["5", "3.1.1"]

SHORT_LIVES: Final = 3
"""So many short connections in a row that ended without a word look like another client with our id."""
SILENT_CLOSES: Final = 2
"""So many brokers in a row that closed instead of answering look like one that does not know this version of MQTT."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the uplink waits for what, in seconds."""

    connack_s: float = 15.0
    puback_s: float = 30.0
    """Silence: nothing acknowledged for so long although something is under way."""
    retry_min_s: float = 0.5
    retry_max_s: float = 60.0
    alone_max_s: float = 900.0
    """Between two tries of a message that the broker has ended a connection for."""
    quiet_s: float = 2.0
    """How long nothing is sent first, where it is to be found out what connections end for."""
    takeover_s: float = 300.0
    """Between two attempts when somebody else keeps using our client id."""
    stable_s: float = 10.0
    """A connection that lived so long starts the back-off anew."""
    telemetry_s: float = 10.0
    """Between two looks for samples to send."""
    resend_s: float = 600.0
    """Without a new high-water mark for so long, events are sent again (`confirm = "cloud"`)."""


TIMING: Final = Timing()


class State(Enum):
    """Where the connection is; the value says what is waited for."""

    IDLE = "to be started"
    CONNECTING = "the broker's answer to CONNECT"
    ONLINE = "the end of the connection"
    RETRYING = "a time that doubles with each failure"
    OTHER_VERSION = "the same time, and then another version of MQTT is asked for"
    CONTESTED = "a long time: another client takes our client id as soon as we have it"


class Cause(Enum):
    """Why a connection has ended, as far as it matters for the next one."""

    FAILED = "it did not come about, or a fault of our own ended it"
    REFUSED = "the broker refused it in its CONNACK, but not for our version of MQTT"
    VERSION_REFUSED = "the broker does not speak our version of MQTT"
    CLOSED_UNANSWERED = "the broker closed it instead of answering CONNECT"
    DISCONNECTED = "the broker said DISCONNECT, or we left"
    TAKEN_OVER = "the broker said that another client uses our client id"
    LOST = "it ended without a word, after CONNACK"
    SILENT = "we left, because the broker did not answer"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a connection."""

    cause: Cause
    reason: str
    """In words."""
    idle: bool = True
    """Whether nothing of ours was under way: then it was no message of ours that the broker did not like."""


class Backoff:
    """Decides when and how the next connection is tried.

    :param protocol: the setting; ``auto`` begins with MQTT 5 and changes when a broker does not know it
    :param random: gives numbers from 0 to 1, so that two units that lost their broker together do not return together
    """

    def __init__(
        self,
        timing: Timing,
        client_id: str,
        protocol: Literal["auto", "5", "3.1.1"],
        random: Callable[[], float] | None = None,
    ) -> None:
        self.state = State.IDLE
        self.protocol: Protocol = "3.1.1" if protocol == "3.1.1" else "5"
        """What the next CONNECT speaks."""
        self.wait_s = 0.0
        """How long the state lasts, if it is one that lasts for a time."""
        self._timing = timing
        self._client_id = client_id
        self._may_change_version = protocol == "auto"
        self._random = random or _random
        self._failures = 0
        self._silent_closes = 0
        self._short_lives = 0
        self._some_idle = False
        """Whether one of those short connections ended while nothing was under way."""
        self._began_s = 0.0
        self._online_s = 0.0
        self._taken_over_s: float | None = None

    def connecting(self, now_s: float) -> None:
        """CONNECT is on its way."""
        self.state = State.CONNECTING
        self._began_s = now_s

    def online(self, now_s: float) -> None:
        """CONNACK has come, with success."""
        self.state = State.ONLINE
        self._silent_closes = 0
        self._online_s = now_s

    def ended(self, end: End, now_s: float) -> str:
        """The connection is over; gives the reason in words, with what the causes before it make likely."""
        was_short = self.state is State.ONLINE and now_s - self._online_s < self._timing.stable_s
        self._failures = 1 if now_s - self._began_s >= self._timing.stable_s else self._failures + 1
        self.state = State.RETRYING
        self.wait_s = grown(self._timing, self._failures, self._random)
        if end.cause is Cause.FAILED:
            return end.reason  # says nothing about the broker
        short_lives, self._short_lives = self._short_lives, 0
        match end.cause:
            case Cause.VERSION_REFUSED:
                self._change_version()
            case Cause.CLOSED_UNANSWERED:
                self._silent_closes += 1
                if self._silent_closes >= SILENT_CLOSES:
                    self._change_version()
            case Cause.TAKEN_OVER:
                return self._taken_over(now_s)
            case Cause.LOST if was_short:
                self._some_idle = end.idle or (self._some_idle and short_lives > 0)
                self._short_lives = short_lives + 1
                if self._short_lives >= SHORT_LIVES and self._some_idle:
                    self._give_way()
                    return (
                        f'{end.reason}, soon after it began: does another client use our client id "{self._client_id}"?'
                    )
        return end.reason

    def _change_version(self) -> None:
        """MQTT 3.1.1 once the broker does not want 5, and 5 again if it wants neither."""
        self._silent_closes = 0
        if self._may_change_version:
            self.state = State.OTHER_VERSION
            self.protocol = "3.1.1" if self.protocol == "5" else "5"

    def _taken_over(self, now_s: float) -> str:
        """Two clients that take one id from each other would do so for ever: the second time, give way for long."""
        before_s, self._taken_over_s = self._taken_over_s, now_s
        reason = f'another client uses our client id "{self._client_id}"'
        if before_s is None or now_s - before_s >= 2 * self._timing.takeover_s + 60:
            return reason
        self._give_way()
        return f"{reason}: is this unit's card copied into a second one?"

    def _give_way(self) -> None:
        self.state = State.CONTESTED
        self.wait_s = max(self.wait_s, self._timing.takeover_s * (0.5 + self._random() / 2))


class Pause:
    """Back-off of one lane, after the broker has answered one of its messages but not accepted it."""

    def __init__(self, timing: Timing) -> None:
        self.reason = ""
        """Why, in words; empty while all goes well."""
        self.pending = False
        """Something was refused, and other answers are still awaited."""
        self.alone = False
        """What was refused has ended a connection: it is tried while nothing else is under way."""
        self._timing = timing
        self._failures = 0
        self._until_s = 0.0

    def refused(self, reason: str, *, alone: bool = False) -> None:
        """Send nothing until every answer has come."""
        self.pending = True
        self.reason = reason
        self.alone = alone

    def begin(self, now_s: float) -> None:
        """Every answer has come: wait, longer each time."""
        self.pending = False
        self._failures += 1
        self._until_s = now_s + wait_of(self._timing, self._failures, alone=self.alone)

    def accepted(self) -> None:
        """All is well again."""
        if not self.pending:
            self._failures, self.reason, self.alone = 0, "", False

    def allows(self, under_way: int, now_s: float) -> bool:
        """Whether the lane may send; after a refusal one message at a time, until one is accepted."""
        if self.pending:
            return False
        return self._failures == 0 or (under_way == 0 and now_s >= self._until_s)

    def put_off(self, now_s: float) -> None:
        """There is nothing to try now: wait once more, as long as before."""
        if self._failures:
            self._failures -= 1
            self.begin(now_s)

    def left_s(self, now_s: float) -> float | None:
        """How long it still takes; ``None`` where nothing waits for its end."""
        return None if self.pending or self._failures == 0 else self._until_s - now_s


def _random() -> float:
    return secrets.randbelow(1_000_000) / 1_000_000


def wait_of(timing: Timing, failures: int, *, alone: bool) -> float:
    """The wait of a message that was refused so often; of one that ends connections (`alone`) it is longer."""
    if alone:
        return grown(timing, failures + 4, longest_s=timing.alone_max_s)
    return grown(timing, failures)


def grown(
    timing: Timing, failures: int, random: Callable[[], float] = _random, *, longest_s: float | None = None
) -> float:
    """The wait after so many failures: twice as long each time up to a limit, and of that at least the half."""
    ceiling_s = min(longest_s or timing.retry_max_s, timing.retry_min_s * 2.0 ** min(failures - 1, 30))
    return ceiling_s * (0.5 + random() / 2)
