"""What a killed writer had promised, and whether the store keeps it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from agent.journal.verify import verify
from contract.canonical import GENESIS
from tests.journal.writing import all_events, opened

ROOT = Path(__file__).parents[2]


class Promises:
    """Everything that writers on one directory ever promised."""

    def __init__(self) -> None:
        self.events: dict[int, str] = {}
        self.messages: set[str] = set()
        self.sent: set[int] = set()

    def hear(self, line: str) -> None:
        match line.split():
            case ["w", sequence, id_]:
                assert self.events.setdefault(int(sequence), id_) == id_, "a number was given twice"
            case ["m", id_]:
                self.messages.add(id_)
            case ["p", sequence]:
                self.sent.add(int(sequence))

    def check(self, directory: Path) -> int:
        """Open the store as the next agent does; how many events it holds."""
        journal = opened(directory)
        try:
            assert journal.recovered is None, journal.recovered
            events = all_events(journal)
            verdict = verify(("", event.payload) for event in events)
            assert verdict.whole, verdict.findings
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert journal.head.sequence == len(events)
            assert journal.head.hash == (verdict.hash or GENESIS)
            kept = {event.sequence: event.id for event in events}
            assert self.events.items() <= kept.items(), "an event that was promised is gone"
            assert all(journal.seen(id_) for id_ in self.messages), "a message that was promised is gone"
            assert journal.confirmed <= max(self.sent, default=0), "something unsent is confirmed"
            assert set(range(1, journal.confirmed + 1)) <= self.sent
            # What was not promised may be there, too: the next writer goes on from it.
            self.events.update(kept)
        finally:
            journal.close()
        return len(events)


class Child:
    """A writer in a process of its own, and a thread that hears its promises."""

    def __init__(self, directory: Path, seed: int, promises: Promises, *, draining: bool) -> None:
        self.ready = threading.Event()
        self.power_goes = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.child", str(directory), str(seed), "draining" if draining else "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._promises = promises
        self.fault: AssertionError | None = None
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == "ready\n":
                self.ready.set()
            # A line that was cut off in the middle promises nothing.
            # Once the power goes, only what was sent before a cursor moved is still of interest.
            elif line.endswith("\n") and (line.startswith("p") or not self.power_goes):
                try:
                    self._promises.hear(line)
                except AssertionError as fault:
                    self.fault = fault
        self.ready.set()

    def kill(self) -> str:
        """End it at once; what it said on standard error."""
        self._process.kill()
        self._thread.join()
        assert self._process.stderr is not None
        said = self._process.stderr.read()
        self._process.stderr.close()
        self._process.wait()
        if self.fault is not None:
            raise self.fault
        return said
