"""An agent in small, to be killed: writes without end and says on standard output what it was promised.

`w SEQUENCE ID` an event whose commit was answered, `m ID` a message whose commit was answered,
`p SEQUENCE` an event that was read to be sent and is confirmed next.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from random import Random

from agent.journal.entries import Batch, EventEntry
from tests.journal.writing import Writer, at, message, opened


def say(lines: list[str]) -> None:
    os.write(1, "".join(line + "\n" for line in lines).encode())


def drain(writer: Writer) -> None:
    """Read what is not confirmed and confirm it, as the uplink does."""
    journal = writer.journal
    while True:
        events = journal.events_after(journal.confirmed, 50)
        if events:
            say([f"p {event.sequence}" for event in events])
            journal.confirm_through(events[-1].sequence)


def main(directory: Path, seed: int, draining: bool) -> None:
    random = Random(seed)
    journal = opened(directory)
    writer = Writer(journal)
    if draining:
        threading.Thread(target=drain, args=(writer,), daemon=True).start()
    room = threading.Semaphore(random.choice([1, 4, 40]))
    number = 0
    say(["ready"])
    while True:
        room.acquire()
        number += 1
        entries = [writer.event(at(number / 1e6)) for _ in range(random.randint(1, 3))]
        id_ = f"{seed}-{number}"
        batch = Batch(
            (message(id_), *entries) if random.random() < 0.3 else tuple(entries),
            snapshot=b"%d" % writer.chain.sequence if random.random() < 0.01 else None,
        )

        def done(fault: Exception | None, batch: Batch = batch) -> None:
            if fault is None:
                say(
                    [
                        f"w {entry.sequence} {entry.id}" if isinstance(entry, EventEntry) else f"m {entry.message_id}"
                        for entry in batch.entries
                    ]
                )
            room.release()

        journal.write(batch, done)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "draining")
