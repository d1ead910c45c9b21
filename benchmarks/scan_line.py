"""How long from a scan's last byte to the Scan in hand, beside a thread that does nothing but read the line.

Three processes wait on pseudo-terminals of their own: a bare thread in a blocking read, the floor of what any driver
can do; the agent's driver for a scanner that sends lines; and the same for one that speaks SSI, which acknowledges as
well. They are asked in turn in one run. Each stamps the moment at which it holds the code; the time runs from just
before the line is written, by the clock that all processes share.

    python benchmarks/scan_line.py [--scans 1000]
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
import time
from contextlib import ExitStack

from _verdict import Goal, conclude

from drivers.scanner.ssi import Opcode, Packet, Source
from drivers.simulated.terminal import Terminal

GOAL_MS = 1.0
"""Above the bare read, at the 95th percentile."""
BARE = """
import os, struct, sys, threading, time, tty
line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(line)
def read():
    code = b""
    os.write(1, bytes(8))
    while True:
        code += os.read(line, 4096)
        if code.endswith(b"\\r"):
            os.write(1, struct.pack("q", time.monotonic_ns()))
            code = b""
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""
DRIVER = """
import asyncio, os, struct, sys, time
from drivers.readings import Condition
from drivers.scanner.serial_port import SerialScanner, framer
def out(scan):
    os.write(1, struct.pack("q", time.monotonic_ns()))
def report(state):
    if state.condition is Condition.READY:
        os.write(1, bytes(8))
asyncio.run(SerialScanner("hand", sys.argv[1], framer(sys.argv[2])).run(out, report))
"""


class Reader:
    """One way to read, in a process of its own."""

    def __init__(self, stack: ExitStack, name: str, program: str, *arguments: str) -> None:
        self.waits_ms: list[float] = []
        self._ssi = "ssi" in arguments
        terminal = stack.enter_context(Terminal(name))
        assert terminal.master is not None
        self._master = terminal.master
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, terminal.port, *arguments], stdout=subprocess.PIPE, bufsize=0
        )
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)
        assert self._process.stdout is not None
        self._stamps = self._process.stdout
        self._stamp(10.0)

    def ask(self, text: str) -> None:
        """Send one code and note how long it took."""
        data = text.encode()
        if self._ssi:
            message = Packet(Opcode.DECODE_DATA, b"\x03" + data, source=Source.DECODER).encode()
        else:
            message = data + b"\r"
        sent_ns = time.monotonic_ns()
        os.write(self._master, message)
        self.waits_ms.append((self._stamp(5.0) - sent_ns) / 1e6)
        time.sleep(0.002)
        if select.select([self._master], [], [], 0)[0]:
            os.read(self._master, 4096)

    def _stamp(self, timeout_s: float) -> int:
        if not select.select([self._stamps], [], [], timeout_s)[0]:
            raise SystemExit(f"no code within {timeout_s:g} s")
        return int.from_bytes(self._stamps.read(8), sys.byteorder)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=1000)
    options = parser.parse_args()
    with ExitStack() as stack:
        readers = {
            "bare read": Reader(stack, "bare", BARE),
            "line": Reader(stack, "line", DRIVER, "line"),
            "ssi": Reader(stack, "ssi", DRIVER, "ssi"),
        }
        for number in range(-20, options.scans):
            for reader in readers.values():
                reader.ask(f"TBA{random.randrange(10**12):012d}")
                if number < 0:
                    reader.waits_ms.clear()
                time.sleep(0.003)
    figures = {
        name: {"p50": statistics.median(waits), "p95": sorted(waits)[int(len(waits) * 0.95)]}
        for name, waits in ((name, reader.waits_ms) for name, reader in readers.items())
    }
    print(f"last byte to code in hand, {options.scans} scans each, in turn (ms)")
    print(f"{'':10}{'p50':>9}{'p95':>9}{'p95 above bare':>17}")
    above = {}
    for name, figure in figures.items():
        above[name] = figure["p95"] - figures["bare read"]["p95"]
        print(f"{name:10}{figure['p50']:9.3f}{figure['p95']:9.3f}{above[name]:17.3f}")
    worst = max(above.values())
    print(json.dumps({**figures, "p95_above_bare_ms": worst}))
    raise SystemExit(conclude([Goal("p95 above the bare read", worst, at_most=GOAL_MS, unit="ms")]))


if __name__ == "__main__":
    main()
