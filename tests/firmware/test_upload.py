"""Uploads to, and slots of, servers that behave strangely: an end in time, and a sentence that names the line."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge import update, upload
from firmware_bridge.errors import BridgeError, Cause
from firmware_bridge.link import Link
from firmware_bridge.simulated.boot import make
from firmware_bridge.slots import Server, look
from firmware_bridge.update import Result, Update, Wanted
from tests.firmware.stranger import Request, Stranger, answer_to, framed

CONTENT = make((2, 0, 0, 0), bytes(range(256)) * 20)
MAX_REQUESTS = 60
"""The longest that an upload may go on with a server that takes nothing."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PATIENCE_S", 2.0)
    monkeypatch.setattr(upload, "FIRST_ANSWERS_S", (0.3, 0.3))
    monkeypatch.setattr(update, "POLL_S", 0.02)


def says(answer: Callable[[Request], Any]) -> Stranger:
    return Stranger(lambda request: [framed(answer_to(request, answer(request)))])


@pytest.mark.parametrize(
    "name",
    ["zero", "always the same", "beyond the end", "below zero", "text", "nothing", "back and forth", "an error"],
)
def test_a_server_that_does_not_get_on_is_given_up(name: str) -> None:
    numbers = count()
    answers: dict[str, Callable[[], Any]] = {
        "zero": lambda: {"off": 0},
        "always the same": lambda: {"off": 700},
        "beyond the end": lambda: {"off": len(CONTENT) + 1},
        "below zero": lambda: {"off": -5},
        "text": lambda: {"off": "17"},
        "nothing": dict,
        "back and forth": lambda: {"off": (next(numbers) % 3) * 350},
        "an error": lambda: {"rc": 9},
    }
    with says(lambda _request: answers[name]()) as peer, Link(peer.port, 4_000_000) as link:
        with pytest.raises(BridgeError) as raised:
            upload.upload(link, CONTENT, lambda _sent: None)

        assert len(peer.requests) <= MAX_REQUESTS
        assert peer.port in str(raised.value)
        assert raised.value.cause in (Cause.GARBLED, Cause.TIMEOUT, Cause.REFUSED)


def test_a_server_that_falls_silent_is_given_up() -> None:
    asked = count()

    def react(request: Request) -> list[bytes]:
        number = next(asked)
        return [] if number > 4 else [framed(answer_to(request, {"off": request[4]["off"] + len(request[4]["data"])}))]

    with Stranger(react) as peer, Link(peer.port, 4_000_000) as link:
        with pytest.raises(BridgeError) as raised:
            upload.upload(link, CONTENT, lambda _sent: None)

        assert raised.value.cause is Cause.TIMEOUT
        assert len(peer.requests) <= MAX_REQUESTS


def test_a_server_whose_flash_holds_something_else_says_so() -> None:
    def answer(request: Request) -> Any:
        end = request[4]["off"] + len(request[4]["data"])
        return {"off": end} if end < len(CONTENT) else {"off": end, "match": False}

    with (
        says(answer) as peer,
        Link(peer.port, 4_000_000) as link,
        pytest.raises(BridgeError, match="not what was sent"),
    ):
        upload.upload(link, CONTENT, lambda _sent: None)


def test_answers_that_come_twice_late_or_never_cost_no_byte() -> None:
    chance = random.Random(5)
    taken = bytearray()

    def react(request: Request) -> list[bytes]:
        piece = request[4]
        if piece["off"] == len(taken):
            taken.extend(piece["data"])
        answer = framed(answer_to(request, {"off": len(taken)}))
        return [answer] * chance.choice((0, 1, 1, 1, 1, 2))

    with Stranger(react) as peer, Link(peer.port, 4_000_000) as link:
        told: list[int] = []
        assert upload.upload(link, CONTENT, told.append)

    assert bytes(taken) == CONTENT
    assert told == sorted(set(told))
    assert told[-1] == len(CONTENT)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SLOT = st.fixed_dictionaries(
    {},
    optional={
        "image": ANYTHING,
        "slot": st.integers(0, 3) | ANYTHING,
        "version": st.just("1.0.0") | ANYTHING,
        "hash": st.binary(min_size=32, max_size=32) | ANYTHING,
        "active": st.booleans() | ANYTHING,
        "confirmed": st.booleans() | ANYTHING,
    },
)
STATE = st.fixed_dictionaries({}, optional={"images": st.lists(SLOT | ANYTHING, max_size=3) | ANYTHING})


def test_whatever_a_server_lists_is_read_or_refused() -> None:
    said: dict[str, Any] = {}
    with says(lambda _request: said) as peer, Link(peer.port, 4_000_000) as link:

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(STATE, st.dictionaries(st.sampled_from(["bootloader", "mode", "output"]), ANYTHING, max_size=3))
        def ask(state: dict[str, Any], rest: dict[str, Any]) -> None:
            said.clear()
            said.update(rest | state)
            try:
                server = look(link)
            except BridgeError as error:
                if peer.port not in str(error):
                    raise
            else:
                assert isinstance(server, Server)
                assert server.slots is not None
                assert all(isinstance(slot.version, str) for slot in server.slots)

        ask()


def test_an_update_of_a_server_that_says_anything_ends_with_a_sentence() -> None:
    hash_ = bytes(32)

    def answers(seed: int) -> Callable[[Request], list[bytes]]:
        chance = random.Random(seed)
        flags = ("active", "confirmed", "pending", "bootable")

        def react(request: Request) -> list[bytes]:
            slots = [
                {"slot": n, "version": "1.0.0", "hash": chance.choice((hash_, b"x" * 32)), chance.choice(flags): True}
                for n in range(2)
            ]
            payload = chance.choice(
                (
                    {"images": slots},
                    {"images": slots},
                    {"off": chance.randrange(6000)},
                    {"r": "kerbside"},
                    {"rc": 8},
                    {},
                    b"\xff",
                )
            )
            return [framed(answer_to(request, payload))] if chance.random() < 0.9 else [chance.randbytes(20)]

        return react

    def run(seed: int) -> tuple[Result, str]:
        with Stranger(answers(seed)) as peer, Link(peer.port, 4_000_000, timeout_s=0.1, retries=1) as link:
            wanted = Wanted("1.0.0", hash_, CONTENT)
            outcome = Update(link, wanted, lambda *_: None, confirm_after_s=0.1, boot_s=1.0).run()
            return outcome.result, outcome.message

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(run, range(24)))

    assert all(message or result is Result.CONFIRMED for result, message in ends)
