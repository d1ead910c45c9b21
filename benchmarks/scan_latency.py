"""How long from a scan's last byte to its beep, beside the floor: a bare line read and one FULL commit.

Two processes answer on pseudo-terminals: the real agent (a scanner that beeps, a real Mosquitto connected, a block of
parcels to load, so that each scan is one durable event), and a bare loop that reads a line, commits one row of the same
size in a WAL database with synchronous=FULL on the same file system, and writes the same bytes back. They are asked in
turn in one run; the wait is measured from outside, from the last byte written to the first byte that comes back.

    python benchmarks/scan_latency.py [--parcels 300] [--directory DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from contextlib import ExitStack
from pathlib import Path

from _process import written_bytes

from agent.journal.store import Journal
from demo.messages import block_of
from demo.stage import Agent, send, wait_until
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


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parcels", type=int, default=300)
    parser.add_argument("--directory", type=Path, default=None, help="the file system to measure on")
    options = parser.parse_args()
    numbers = [f"TBA{random.randrange(10**12):012d}" for _ in range(options.parcels)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        scanner = stack.enter_context(Terminal("scanner"))
        master, slave = os.openpty()
        tty.setraw(slave)
        floor = subprocess.Popen(
            [sys.executable, "-c", FLOOR, os.ttyname(slave), str(directory / "floor.sqlite"), str(EVENT_BYTES)]
        )
        stack.callback(floor.wait)
        stack.callback(floor.kill)
        broker = stack.enter_context(Broker(directory / "broker", max_inflight=100))
        agent = stack.enter_context(
            Agent(
                directory,
                {
                    "broker": {"url": broker.url},
                    "gps": {"gpsd": ""},
                    "scanner": [{"name": "handheld", "kind": "honeywell", "port": scanner.port}],
                },
            )
        )
        screen = agent.screen
        wait_until(lambda: (screen.look() or {}).get("unit", {}).get("online"), "the link")
        send(broker, "block", block_of(numbers, per_stop=10))
        wait_until(lambda: (screen.look() or {}).get("block"), "the block")
        for action, arguments in (("check_in", {"reason": "no receiver here"}), ("start_loading", {})):
            answer = screen.press(action, **arguments)
            if not answer or not answer["accepted"]:
                raise SystemExit(f"{action}: {answer}")
        for _ in range(20):
            ask(master, b"warm up")
        ours, bare = [], []
        before = written_bytes(agent.pid)
        for number in numbers:
            bare.append(ask(master, number.encode()))
            time.sleep(0.01)
            ours.append(ask(scanner.master or -1, number.encode()))
            time.sleep(0.01)
        written = (written_bytes(agent.pid) - before) / len(numbers)
        loaded = wait_until(screen.look, "the screen")["block"]["counts"].get("LOADED")
        agent.stop()
        journal = Journal.open(agent.state_dir, max_bytes=1 << 30, retain_days=30, confirm="broker")
        sizes = [len(entry.payload) for entry in journal.events_after(0, 10_000) if entry.type == "parcel.loaded"]
        journal.close()
    if loaded != len(numbers):
        raise SystemExit(f"expected {len(numbers)} parcels loaded, got {loaded}")
    figures = {
        name: {"p50": statistics.median(waits), "p99": sorted(waits)[int(len(waits) * 0.99)]}
        for name, waits in (("agent", ours), ("floor", bare))
    }
    print(f"scan to feedback, {len(numbers)} scans, one event of {statistics.median(sizes):.0f} B each (ms)")
    print(f"{'':8}{'p50':>9}{'p99':>9}")
    for name, figure in figures.items():
        print(f"{name:8}{figure['p50']:9.3f}{figure['p99']:9.3f}")
    ratio = figures["agent"]["p50"] / figures["floor"]["p50"]
    print(f"p50 ratio {ratio:.2f} (goal: at most 1.5)")
    print(f"written to disk {written / 1024:.1f} KiB per event, one event a commit")
    print(json.dumps({**figures, "p50_ratio": ratio, "bytes_per_event": written}))


if __name__ == "__main__":
    main()
