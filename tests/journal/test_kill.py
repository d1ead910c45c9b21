"""Kill -9 at any moment: what was promised is there, the chain is whole, no number is missing."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from tests.journal.promises import Child, Promises

KILLS = 26


def kill_again_and_again(directory: Path, *, draining: bool, seed: int) -> None:
    random = Random(seed)
    promises = Promises()
    before = 0
    for turn in range(KILLS):
        child = Child(directory, turn, promises, draining=draining)
        if random.random() < 0.8:
            assert child.ready.wait(60)
            time.sleep(random.uniform(0, 0.12))
        else:  # while it starts
            time.sleep(random.uniform(0.05, 0.4))
        said = child.kill()
        assert not said, said
        before = max(before, promises.check(directory))
    assert before > 100, "the children hardly wrote anything"
    assert promises.messages
    assert bool(promises.sent) == draining


def test_no_promised_event_is_lost_by_kills_while_events_are_written(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, draining=False, seed=1)


def test_no_promised_event_is_lost_by_kills_while_a_backlog_drains(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, draining=True, seed=2)
