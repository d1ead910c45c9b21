"""Waiting for what a test expects. Nothing else in the tests asks again and again with a deadline of its own.

The patience is for a test that would never end; it says nothing about how quick something has to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from demo.stage import StageError
from demo.stage import wait_until as _wait_until

PATIENCE_S = 60.0


def wait_until(
    done: Callable[[], Any], what: str, patience_s: float = PATIENCE_S, instead: Callable[[], Any] = lambda: ""
) -> Any:
    """The first true answer of `done`, asked again and again; `instead` tells a failing test what there was."""
    try:
        return _wait_until(done, what, patience_s)
    except StageError as error:
        raise AssertionError(f"{error} {instead()}") from error


async def wait_on_loop_until(done: Callable[[], Any], what: str) -> Any:
    """The first true answer of `done`, while the loop goes on."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (answer := done()):
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"waited {PATIENCE_S:g} s for {what}") from error
    return answer
