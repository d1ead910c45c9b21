"""Slow work comes back once, whatever becomes of it, and nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.model.decision import Work
from agent.delivery.model.inputs import FAILURE, Finished
from agent.workers import Kind, Workers
from drivers.readings import Condition, PartState
from tests.waiting import wait_on_loop_until


class Bench:
    """Workers that run, what has come back, and how the part says it is."""

    def __init__(self, **kinds: Kind) -> None:
        self.finished: list[Finished] = []
        self.state = PartState.now(Condition.OPENING)
        self.workers = Workers(kinds, self.finished.append)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.workers.run(lambda _: None, self._report))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _report(self, state: PartState) -> None:
        self.state = state

    async def ask(self, kind: str, key: str, **payload: Any) -> Mapping[str, Any]:
        """The result of a piece of work."""
        self.workers.start(Work(kind, key, payload))
        return await self.result(key)

    async def result(self, key: str) -> Mapping[str, Any]:
        found: list[Mapping[str, Any]] = await wait_on_loop_until(
            lambda: [each.result for each in self.finished if each.key == key], f"the result of {key}"
        )
        return found[-1]

    async def code(self, key: str) -> str:
        """Why it was not done."""
        return str((await self.result(key))[FAILURE]["code"])


class Gate:
    """Work that goes on until it may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()

    def pass_through(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        self.begun.append(str(payload.get("name")))
        assert self.may_end.wait(30)
        return {"passed": True}


def double(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"twice": 2 * payload["number"], "process": os.getpid()}


def sleep_long(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    Path(payload["note"]).write_text(str(os.getpid()))
    time.sleep(600)
    return {}


@pytest.mark.parametrize("in_process", [False, True])
def test_work_comes_back_with_its_result_from_a_thread_or_from_a_process_of_its_own(in_process: bool) -> None:
    async def test() -> None:
        bench = Bench(double=Kind(double, 30, in_process=in_process))
        async with bench.running():
            result = await bench.ask("double", "A", number=21)
            assert result["twice"] == 42
            assert (result["process"] == os.getpid()) is not in_process
            assert bench.finished == [Finished("double", "A", result)]
            assert bench.state.condition is Condition.READY

    asyncio.run(test())


def test_work_that_is_asked_for_before_the_workers_run_is_done_once_they_do() -> None:
    async def test() -> None:
        bench = Bench(double=Kind(double, 30))
        bench.workers.start(Work("double", "A", {"number": 1}))
        async with bench.running():
            assert (await bench.result("A"))["twice"] == 2

    asyncio.run(test())


def test_a_process_that_is_not_done_at_its_deadline_is_killed_and_its_kind_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        note = tmp_path / "process"
        bench = Bench(sleep=Kind(sleep_long, 3, in_process=True), double=Kind(double, 30, in_process=True))
        async with bench.running():
            await bench.ask("double", "first", number=1)  # now there is a process
            bench.workers.start(Work("sleep", "A", {"note": str(note)}))
            assert await bench.code("A") == "DEADLINE"
            assert bench.state.condition is Condition.FAULTY
            assert "sleep was not done within 3 s" in bench.state.reason
            with pytest.raises(ProcessLookupError):
                os.kill(int(note.read_text()), 0)
            assert (await bench.ask("double", "B", number=2))["twice"] == 4

    asyncio.run(test())


def test_a_thread_that_hangs_is_given_up_and_its_kind_works_again_once_it_is_over() -> None:
    async def test() -> None:
        gate = Gate()
        bench = Bench(gate=Kind(gate.pass_through, 0.1), double=Kind(double, 30))
        async with bench.running():
            bench.workers.start(Work("gate", "A"))
            assert await bench.code("A") == "DEADLINE"
            bench.workers.start(Work("gate", "B"))
            assert await bench.code("B") == "STUCK"
            assert (await bench.ask("double", "C", number=2))["twice"] == 4
            assert bench.state.condition is Condition.FAULTY
            gate.may_end.set()
            for thread in threading.enumerate():
                if thread.name == "work gate":
                    await asyncio.to_thread(thread.join)
            assert await bench.ask("gate", "D") == {"passed": True}
            assert bench.state.condition is Condition.READY
            assert [each.key for each in bench.finished] == ["A", "B", "C", "D"]

    asyncio.run(test())


def test_the_same_work_is_not_begun_twice_and_what_finds_no_room_is_told_so() -> None:
    async def test() -> None:
        gate = Gate()
        bench = Bench(gate=Kind(gate.pass_through, 30, most_waiting=2))
        async with bench.running():
            bench.workers.start(Work("gate", "A", {"name": "A"}))
            await wait_on_loop_until(lambda: gate.begun, "the first work")
            for name in ("A", "B", "C", "B"):
                bench.workers.start(Work("gate", name, {"name": name}))
            assert bench.finished == []
            bench.workers.start(Work("gate", "D", {"name": "D"}))
            assert await bench.code("D") == "QUEUE_FULL"
            gate.may_end.set()
            await bench.result("C")
            assert gate.begun == ["A", "B", "C"]
            bench.workers.start(Work("gate", "A", {"name": "A again"}))
            await wait_on_loop_until(lambda: gate.begun[-1] == "A again", "the work that is asked for again")

    asyncio.run(test())


def test_what_is_not_done_when_the_agent_ends_comes_back_as_stopped() -> None:
    async def test() -> None:
        gate = Gate()
        bench = Bench(gate=Kind(gate.pass_through, 30))
        async with bench.running():
            for name in ("A", "B"):
                bench.workers.start(Work("gate", name, {"name": name}))
            await wait_on_loop_until(lambda: gate.begun, "the first work")
        assert await bench.code("A") == "STOPPED"
        bench.workers.stop()
        assert await bench.code("B") == "STOPPED"
        bench.workers.start(Work("gate", "C"))
        assert await bench.code("C") == "STOPPED"
        gate.may_end.set()

    asyncio.run(test())


@pytest.mark.parametrize("in_process", [False, True])
def test_work_that_fails_says_how_and_its_part_is_well_again_after_the_next_one(in_process: bool) -> None:
    async def test() -> None:
        bench = Bench(double=Kind(double, 30, in_process=in_process))
        async with bench.running():
            failed = (await bench.ask("double", "A"))[FAILURE]
            assert failed["code"] == "FAILED"
            assert "KeyError" in failed["message"]
            assert bench.state.condition is Condition.FAULTY
            await bench.ask("double", "B", number=1)
            assert bench.state.condition is Condition.READY

    asyncio.run(test())


def test_work_that_nobody_knows_how_to_do_is_answered() -> None:
    async def test() -> None:
        bench = Bench()
        bench.workers.start(Work("dream", "A"))
        assert await bench.code("A") == "UNKNOWN_WORK"

    asyncio.run(test())
