"""What the agent costs a small board: start to ready, resident memory, processor time and disk writes at idle.

The agent runs as on a unit, without a camera: a real gpsd reading a 1 Hz receiver, a scanner, a real Mosquitto. Beside
it stands the floor that no Python agent can get under: an interpreter that has imported nothing.

    python benchmarks/footprint.py [--idle 60] [--starts 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _process import written_bytes
from _verdict import Goal, conclude

from demo.stage import Agent, wait_until
from drivers.simulated import Broker, Gpsd, SimulatedReceiver
from drivers.simulated.terminal import Terminal

START_S, RESIDENT_MB, IDLE_PERCENT = 1.5, 80, 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str) -> float:
    """VmRSS or VmHWM of a process in MB (10**6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def bare_interpreter() -> tuple[float, float]:
    """Seconds to start and end, and megabytes, of an interpreter that does nothing."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", ""], check=True)
    seconds = time.monotonic() - begun
    read = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    answer = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True)
    return seconds, int(answer.stdout) * 1024 / 1e6


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch it idle")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    bare_s, bare_mb = bare_interpreter()
    starts = []
    with ExitStack() as stack:
        receiver = stack.enter_context(SimulatedReceiver(rate_hz=1.0))
        gpsd = stack.enter_context(Gpsd(receiver.port))
        scanner = stack.enter_context(Terminal("scanner"))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Broker(directory / "broker", max_inflight=100))
        sections: dict[str, Any] = {
            "broker": {"url": broker.url},
            "gps": {"gpsd": gpsd.address},
            "scanner": [{"name": "handheld", "port": scanner.port}],
        }
        agent = Agent(directory, sections)
        stack.callback(agent.stop)
        for _ in range(options.starts):
            agent.stop()
            begun = time.monotonic()
            agent.start_ready()
            starts.append(time.monotonic() - begun)
        wait_until(lambda: (agent.screen.state() or {}).get("unit", {}).get("online"), "the link")
        time.sleep(5.0)
        pid = agent.pid or 0
        cpu, written, begun = cpu_s(pid), written_bytes(pid), time.monotonic()
        time.sleep(options.idle)
        elapsed = time.monotonic() - begun
        share = (cpu_s(pid) - cpu) / elapsed
        per_hour = (written_bytes(pid) - written) / elapsed * 3600
        resident, peak = memory_mb(pid, "VmRSS"), memory_mb(pid, "VmHWM")
    start = statistics.median(starts)
    print(f"{'':26}{'agent':>9}{'bare Python':>13}")
    print(f"{'start to ready (s)':26}{start:9.2f}{bare_s:13.2f}")
    print(f"{'resident memory (MB)':26}{resident:9.1f}{bare_mb:13.1f}")
    print(f"{'peak resident memory (MB)':26}{peak:9.1f}")
    print(f"{'idle CPU (% of a core)':26}{share * 100:9.2f}")
    print(f"{'written per idle hour (KB)':26}{per_hour / 1000:9.1f}")
    print(
        json.dumps(
            {
                "start_s": start,
                "resident_mb": resident,
                "peak_mb": peak,
                "idle_cpu": share,
                "written_per_hour_bytes": per_hour,
            }
        )
    )
    goals = [
        Goal("start to ready", start, at_most=START_S, unit="s"),
        Goal("resident memory", resident, at_most=RESIDENT_MB, unit="MB"),
        Goal("idle processor time", share * 100, at_most=IDLE_PERCENT, unit="% of a core"),
    ]
    raise SystemExit(conclude(goals))


if __name__ == "__main__":
    main()
