"""How long from a scan's last byte to its beep, beside the floor: a bare line read and one FULL commit.

Two processes answer on pseudo-terminals: the real agent (a scanner that beeps, a real Mosquitto connected, a block of
parcels to load, so that each scan is one durable event), and a bare loop that reads a line, commits one row of the same
size in a WAL database with synchronous=FULL on the same file system, and writes the same bytes back. They are asked in
turn in one run; the wait is measured from outside, from the last byte written to the first byte that comes back.

    python benchmarks/scan_latency.py [--parcels 300] [--directory DIR]
    python benchmarks/scan_latency.py --load [--disk plain|slow|both]

Without `--load` nothing else happens. With it the agent has everything to do at once (see `_load.py`): its camera reads
labels, 20,000 events drain to the broker again and again, three screens follow, and a revision of the whole block comes
every five seconds. Both are measured under that load, on the disk as it is and on one whose every commit takes 8 ms
longer, as on a card. That delay is strace's: it holds fsync and fdatasync of either process and no other system call
(`--seccomp-bpf`). Commits of the two do not queue behind each other, so the floor is lower than on a real card, and the
goal is stricter. Where the kernel has dm-delay, a file system on it can be given as DIR, with `--disk plain`.
The run fails when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _backlog import backlog, fill
from _process import written_bytes
from _verdict import Goal, conclude

from agent.journal.store import Journal
from demo.driver import draw_label
from demo.messages import block_of
from demo.stage import FLEET, UNIT, Agent, StageError, send, wait_until
from drivers.simulated import Broker
from drivers.simulated.terminal import Terminal

EVENT_BYTES = 700
"""What the floor commits: about as much as one event."""
FLOOR = """
import os, sqlite3, sys
terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
database = sqlite3.connect(sys.argv[2], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE entry (sequence INTEGER PRIMARY KEY, payload BLOB)")
payload = b"x" * int(sys.argv[3])
line = b""
while True:
    line += os.read(terminal, 4096)
    if line.endswith(b"\\r"):
        database.execute("INSERT INTO entry (payload) VALUES (?)", (payload,))
        os.write(terminal, b"\\x16\\x07\\r")
        line = b""
"""
DELAY_MS = 8
BACKLOG_EVENTS = 20_000
SHOWN_LABELS = 20
"""Parcels that are shown to the camera and not scanned."""
LOADED_ROUNDS = 2
"""A block each: together more than 500 scans, so that the 99th percentile is not the slowest of all."""
PAUSE_S = (0.1, 0.25)
"""Between two pairs of scans under load."""
P99_OVER_FLOOR_MS = 15.0
WORST_MS = 100.0
P50_RATIO = 1.25
IDLE_P50_RATIO = 1.5


@dataclass(slots=True)
class Round:
    """What one block has given."""

    agent_ms: list[float] = field(default_factory=list)
    floor_ms: list[float] = field(default_factory=list)
    written_bytes: int = 0
    event_bytes: list[int] = field(default_factory=list)
    load: Counter[str] = field(default_factory=Counter)


def ask(master: int, text: bytes) -> float:
    """Milliseconds from the last byte of the line to the first byte of the answer."""
    os.write(master, text + b"\r")
    sent_ns = time.monotonic_ns()
    if not select.select([master], [], [], 10.0)[0]:
        raise SystemExit(f"no answer to {text!r} within 10 s")
    waited_ms = (time.monotonic_ns() - sent_ns) / 1e6
    time.sleep(0.005)
    os.read(master, 4096)
    return waited_ms


def delaying() -> list[str]:
    """What a process is started under so that its commits take longer."""
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("the slow disk needs strace (apt-get install strace), or choose --disk plain")
    calls = "fsync,fdatasync"
    return [
        *(strace, "--follow-forks", "--daemonize", "--quiet=all", "--seccomp-bpf", "--output=/dev/null"),
        *(f"--trace={calls}", f"--inject={calls}:delay_exit={DELAY_MS * 1000}"),
    ]


def one_block(directory: Path, count: int, under: Sequence[str], *, loaded: bool) -> Round:
    """Scan the parcels of one block, in turn with the floor."""
    numbers = [f"TBA{random.randrange(10**12):012d}" for _ in range(count)]
    shown, scanned = (numbers[:SHOWN_LABELS], numbers[SHOWN_LABELS:]) if loaded else ([], numbers)
    pictures = directory / "pictures"
    (pictures / ".labels").mkdir(parents=True)
    for number in shown:
        draw_label(number, pictures / ".labels" / f"{number}.png")
    result = Round()
    with ExitStack() as stack:
        scanner = stack.enter_context(Terminal("scanner"))
        master, slave = os.openpty()
        tty.setraw(slave)
        floor_arguments = [os.ttyname(slave), str(directory / "floor.sqlite"), str(EVENT_BYTES)]
        floor = subprocess.Popen([*under, sys.executable, "-c", FLOOR, *floor_arguments])
        stack.callback(floor.wait)
        stack.callback(floor.kill)
        broker = stack.enter_context(Broker(directory / "broker", max_inflight=100, settings=["sys_interval 1"]))
        sections: dict[str, Any] = {
            "broker": {"url": broker.url},
            "gps": {"gpsd": ""},
            "scanner": [{"name": "handheld", "kind": "honeywell", "port": scanner.port}],
        }
        if loaded:
            sections["camera"] = {"source": str(pictures)}
        agent = Agent(directory, sections, under=under)
        if loaded:
            agent.state_dir.mkdir()
            with_journal(agent.state_dir)
        stack.enter_context(agent)
        screen = agent.screen
        wait_until(lambda: (screen.state() or {}).get("unit", {}).get("online"), "the link")
        block = block_of(numbers, per_stop=10)
        for parcel in block["data"]["parcels"]:
            parcel["instruction"] = {"kind": "front_door", "text": "Ring twice, then wait.", "access_codes": ["#2580"]}
        for stop in block["data"]["stops"][1:]:
            stop["recipient"] = {"name": "The family at the corner", "phone": "+31 30 0000000"}
        for timeout_s in (5.0, 30.0):  # what comes between the unit's connection and its subscription is lost
            send(broker, "block", block)
            with suppress(StageError):
                wait_until(lambda: (screen.state() or {}).get("block"), "the block", timeout_s)
                break
        for action, arguments in (("check_in", {"reason": "no receiver here"}), ("start_loading", {})):
            answer = screen.act(action, **arguments)
            if not answer or not answer["accepted"]:
                raise SystemExit(f"{action}: {answer}")
        for _ in range(20):
            ask(master, b"warm up")
        load = None
        if loaded:
            load = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, Path(__file__).with_name("_load.py")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(load.kill)
            wanted = {
                "broker": broker.port,
                "console": int(screen.url.rstrip("/").rpartition(":")[2]),
                "pictures": str(pictures),
                "block": block["data"],
                "through": BACKLOG_EVENTS,
            }
            assert load.stdin
            assert load.stdout
            load.stdin.write(json.dumps(wanted) + "\n")
            load.stdin.flush()
            load.stdout.readline()
        before = written_bytes(agent.pid)
        for number in scanned:
            result.floor_ms.append(ask(master, number.encode()))
            time.sleep(0.01)
            result.agent_ms.append(ask(scanner.master or -1, number.encode()))
            time.sleep(random.uniform(*PAUSE_S) if loaded else 0.01)
        result.written_bytes = written_bytes(agent.pid) - before
        if load:
            result.load.update(json.loads(load.communicate()[0]))
        loaded_parcels = wait_until(screen.state, "the screen")["block"]["counts"].get("LOADED")
        agent.stop()
        journal = Journal.open(agent.state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
        recent = journal.events_after(BACKLOG_EVENTS if loaded else 0, 10_000)
        result.event_bytes = [len(entry.payload) for entry in recent if entry.type == "parcel.loaded"]
        journal.close()
    if loaded_parcels != len(numbers):
        raise SystemExit(f"expected {len(numbers)} parcels loaded, got {loaded_parcels}")
    return result


def with_journal(state_dir: Path) -> None:
    """A journal of a long day without a signal."""
    journal = Journal.open(state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
    fill(journal, backlog(BACKLOG_EVENTS, FLEET, UNIT))
    journal.close()


def measure(rounds: int, options: argparse.Namespace, under: Sequence[str] = (), *, loaded: bool) -> Round:
    """So many blocks, each with an agent of its own."""
    whole = Round()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            one = one_block(Path(directory), options.parcels, under, loaded=loaded)
        whole.agent_ms += one.agent_ms
        whole.floor_ms += one.floor_ms
        whole.written_bytes += one.written_bytes
        whole.event_bytes += one.event_bytes
        whole.load.update(one.load)
    return whole


def figures(waits: list[float]) -> dict[str, float]:
    """Median, 99th percentile and slowest."""
    return {"p50": statistics.median(waits), "p99": sorted(waits)[int(len(waits) * 0.99)], "worst": max(waits)}


def table(result: Round) -> dict[str, dict[str, float]]:
    """Print agent beside floor."""
    found = {"agent": figures(result.agent_ms), "floor": figures(result.floor_ms)}
    size = statistics.median(result.event_bytes)
    print(f"scan to feedback, {len(result.agent_ms)} scans, one event of {size:.0f} B each (ms)")
    print(f"{'':8}{'p50':>9}{'p99':>9}{'worst':>9}")
    for name, figure in found.items():
        print(f"{name:8}" + "".join(f"{value:9.3f}" for value in figure.values()))
    return found


def idle(options: argparse.Namespace) -> int:
    """Nothing else happens."""
    result = measure(1, options, loaded=False)
    found = table(result)
    ratio = found["agent"]["p50"] / found["floor"]["p50"]
    written = result.written_bytes / len(result.agent_ms)
    print(f"written to disk {written / 1024:.1f} KiB per event, one event a commit")
    print(json.dumps({**found, "p50_ratio": ratio, "bytes_per_event": written}))
    return conclude([Goal("p50 ratio", ratio, at_most=IDLE_P50_RATIO)])


def under_load(options: argparse.Namespace, disk: str) -> int:
    """Everything at once."""
    what = f"strace delays each fsync and fdatasync by {DELAY_MS} ms" if disk == "slow" else "nothing is delayed"
    print(f"{disk} disk: {what}", flush=True)
    result = measure(LOADED_ROUNDS, options, delaying() if disk == "slow" else (), loaded=True)
    print("meanwhile: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in result.load.items()))
    found = table(result)
    over_ms = found["agent"]["p99"] - found["floor"]["p99"]
    ratio = found["agent"]["p50"] / found["floor"]["p50"]
    goals = [
        Goal("p99 over the floor's", over_ms, at_most=P99_OVER_FLOOR_MS, unit="ms"),
        Goal("worst", found["agent"]["worst"], at_most=WORST_MS, unit="ms"),
        # A load that did nothing proves nothing.
        *(Goal(f"{name.replace('_', ' ')} meanwhile", count, at_least=1) for name, count in result.load.items()),
    ]
    if disk == "slow":
        goals.append(Goal("p50 ratio", ratio, at_most=P50_RATIO))
    else:
        print(f"p50 ratio {ratio:.2f}")
    print(json.dumps({"disk": disk, **found, "p50_ratio": ratio, "load": result.load}), flush=True)
    return conclude(goals)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parcels", type=int, default=300, help="of a block")
    parser.add_argument("--directory", type=Path, default=None, help="the file system to measure on")
    parser.add_argument("--load", action="store_true", help="measure while the agent has everything to do at once")
    parser.add_argument("--disk", choices=("plain", "slow", "both"), default="both", help="with --load")
    options = parser.parse_args()
    if not options.load:
        sys.exit(idle(options))
    disks = ("plain", "slow") if options.disk == "both" else (options.disk,)
    sys.exit(max([under_load(options, disk) for disk in disks]))


if __name__ == "__main__":
    main()
