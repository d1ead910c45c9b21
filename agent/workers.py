"""Slow work beside the loop: the core's effect `Work` is done in a thread or a process and comes back as `Finished`.

Each kind of work is done one at a time, in the order asked for, and every `Work` is answered by one `Finished`, at its
deadline at the latest: what could not be done says so in its member `failure` (`FAILURES`). The same work that is under
way or waits is not begun twice. Work is not kept over a restart of the agent: what must survive one is asked for again
by whoever derives it from the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_process

from agent.delivery.model.decision import Work
from agent.delivery.model.inputs import FAILURE, Finished
from drivers.readings import Condition, PartState

log = logging.getLogger(__name__)

Do = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Does a piece of work: its payload to its result, JSON values both."""

FAILURES: Final = {
    "UNKNOWN_WORK": "this version does not know how to do {kind}",
    "QUEUE_FULL": "too much of {kind} is waiting: ask again later",
    "DEADLINE": "{kind} was not done within {deadline_s:g} s",
    "STUCK": "{kind} is not done since an earlier one has not come to its end",
    "FAILED": "{kind} failed: {found}",
    "STOPPED": "the unit stopped before {kind} was done: ask again",
}
"""Why work was not done: the codes of `failure`, and what its `message` says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of work is done."""

    do: Do
    deadline_s: float
    in_process: bool = False
    """Do it in a process of its own, which is killed at the deadline; then `do` is a function of a module."""
    most_waiting: int = 8


class Workers:
    """The part ``workers``: does what is asked of it while it runs.

    :param finished: takes each result, in the loop
    """

    name = "workers"

    def __init__(self, kinds: Mapping[str, Kind], finished: Callable[[Finished], None]) -> None:
        self._kinds = {name: _Queue(name, kind) for name, kind in kinds.items()}
        self._finished = finished
        self._asked: set[tuple[str, str]] = set()
        self._report: Callable[[PartState], None] = lambda _state: None
        self._stopped = False

    def start(self, work: Work) -> None:
        """Begin a piece of work, or let it wait for its turn. Called in the loop."""
        if (work.kind, work.key) in self._asked:
            return
        queue = self._kinds.get(work.kind)
        if queue is None:
            self._refuse(work, "UNKNOWN_WORK")
        elif self._stopped:
            self._refuse(work, "STOPPED")
        elif len(queue.waiting) >= queue.kind.most_waiting:
            self._refuse(work, "QUEUE_FULL")
        else:
            self._asked.add((work.kind, work.key))
            queue.waiting.append(work)
            queue.has_work.set()

    async def run(self, _out: Callable[[Any], None], report: Callable[[PartState], None]) -> None:
        """Work until cancelled; what is under way then comes back as stopped, what waits is done by the next run."""
        self._report = report
        self._show()
        async with asyncio.TaskGroup() as group:
            for queue in self._kinds.values():
                group.create_task(self._work(queue), name=f"work {queue.name}")

    def stop(self) -> None:
        """The agent ends: what waits, and what is asked for from now on, comes back as stopped."""
        self._stopped = True
        for queue in self._kinds.values():
            while queue.waiting:
                self._refuse(queue.waiting.popleft(), "STOPPED")

    async def _work(self, queue: _Queue) -> None:
        while True:
            await queue.has_work.wait()
            while queue.waiting:
                work = queue.waiting.popleft()
                try:
                    result = await queue.do(work)
                except asyncio.CancelledError:
                    self._refuse(work, "STOPPED")
                    raise
                queue.fault = result[FAILURE]["message"] if FAILURE in result else ""
                self._give(work, result)
                self._show()
            queue.has_work.clear()

    def _refuse(self, work: Work, code: str) -> None:
        self._give(work, failure(code, kind=work.kind))

    def _give(self, work: Work, result: Mapping[str, Any]) -> None:
        self._asked.discard((work.kind, work.key))
        self._finished(Finished(work.kind, work.key, result))

    def _show(self) -> None:
        """The part is well while the last work of each kind was done."""
        faults = [queue.fault for queue in self._kinds.values() if queue.fault]
        self._report(PartState.now(Condition.FAULTY if faults else Condition.READY, "; ".join(faults)))


class _Queue:
    """Work of one kind: what waits, and how the last one went."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.waiting: deque[Work] = deque()
        self.has_work = asyncio.Event()
        self.fault = ""
        self._left: threading.Thread | None = None
        """A thread that was not done at its deadline: it cannot be ended, and nothing else begins before it is over."""

    async def do(self, work: Work) -> Mapping[str, Any]:
        """The result, or the failure."""
        if self._left is not None and self._left.is_alive():
            return failure("STUCK", kind=self.name)
        try:
            async with asyncio.timeout(self.kind.deadline_s) as deadline:
                if self.kind.in_process:
                    return await anyio.to_process.run_sync(self.kind.do, dict(work.payload), cancellable=True)
                return await self._in_thread(work.payload)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                log.warning("%s of %s was not done in time", self.name, work.key)
                return failure("DEADLINE", kind=self.name, deadline_s=self.kind.deadline_s)
            log.exception("%s of %s failed", self.name, work.key)
            return failure("FAILED", kind=self.name, found=f"{type(error).__name__}, {error}")

    async def _in_thread(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """In a thread that nobody waits for: one that hangs holds up neither the loop nor the end of the agent."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Mapping[str, Any]] = loop.create_future()

        def settle(result: Mapping[str, Any] | None, error: Exception | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result or {})

        def work() -> None:
            result, error = None, None
            try:
                result = self.kind.do(payload)
            except Exception as raised:  # noqa: BLE001 - it is the result
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                loop.call_soon_threadsafe(settle, result, error)

        thread = threading.Thread(target=work, name=f"work {self.name}", daemon=True)
        thread.start()
        try:
            return await done
        except asyncio.CancelledError:
            self._left = thread
            raise


def failure(code: str, **params: Any) -> dict[str, Any]:
    """The result of work that was not done."""
    return {FAILURE: {"code": code, "message": FAILURES[code].format(**params)}}
