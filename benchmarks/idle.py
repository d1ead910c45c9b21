"""What the drivers cost while nothing happens: processor time of the agent with devices, less that without any.

Agents run side by side for the same time, each with one thing more than the one before: none; serial scanners of three
protocols, and one that is not plugged in; a receiver at 1 Hz through a real gpsd; a camera on the network that gives
1280x720 JPEGs at 30 a second, at which nobody looks. What the kernel counts for the whole process is taken, so that no
thread is left out. The goal is one percent of a core for all of them.

    python benchmarks/idle.py [--seconds 60]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _verdict import Goal, conclude

from demo.stage import Agent, wait_until
from drivers.simulated import Broker, Gpsd, SimulatedReceiver, SimulatedScanner, SimulatedSsiScanner

GOAL = 0.01
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PICTURES_PER_S = 30


def cpu_s(pid: int) -> float:
    """User and system time of a process and all its threads, those that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def camera() -> None:
    """A camera of the network: prints its port, and sends the same picture to whoever connects."""
    import cv2
    import numpy as np

    scene = np.random.default_rng(7).integers(0, 255, (18, 32, 3), np.uint8)
    good, picture = cv2.imencode(".jpg", cv2.resize(scene, (1280, 720), interpolation=cv2.INTER_CUBIC))
    assert good
    body = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        picture.size,
        picture.tobytes(),
    )

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
            due = time.monotonic()
            try:
                while True:
                    connection.sendall(body)
                    due += 1 / PICTURES_PER_S
                    time.sleep(max(0.0, due - time.monotonic()))
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], picture.size, flush=True)
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch")
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.camera:
        camera()
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Broker(folder / "broker", max_inflight=100))
        source = subprocess.Popen([sys.executable, __file__, "--camera"], stdout=subprocess.PIPE, text=True)
        stack.callback(source.wait)
        stack.callback(source.kill)
        assert source.stdout
        port, size = source.stdout.readline().split()

        def devices(count: int) -> dict[str, Any]:
            """The settings of an agent with so many of the things."""
            sections: dict[str, Any] = {"broker": {"url": broker.url}, "gps": {"gpsd": ""}}
            if count >= 1:
                line, honeywell = (stack.enter_context(SimulatedScanner()) for _ in range(2))
                ssi = stack.enter_context(SimulatedSsiScanner())
                sections["scanner"] = [
                    {"name": "line", "kind": "line", "port": line.port},
                    {"name": "honeywell", "kind": "honeywell", "port": honeywell.port},
                    {"name": "ssi", "kind": "ssi", "port": ssi.port},
                    {"name": "away", "kind": "line", "port": "0c2e:ffff"},
                ]
            if count >= 2:
                receiver = stack.enter_context(SimulatedReceiver(rate_hz=1.0))
                sections["gps"] = {"gpsd": stack.enter_context(Gpsd(receiver.port)).address}
            if count >= 3:
                url = f"http://127.0.0.1:{port}/live.mjpg"
                sections["camera"] = {"source": url, "read_labels": False}
            return sections

        names = ["no device", "4 scanners", "+ receiver", "+ camera"]
        agents = []
        for count, name in enumerate(names):
            directory = folder / str(count)
            directory.mkdir()
            agent = Agent(directory, devices(count), unit=f"u{count}")
            stack.callback(agent.stop)
            agent.start_ready()
            agents.append(agent)
            expected = ("line", "ssi", "gps", "camera")[: (0, 2, 3, 4)[count]]

            def all_ready(agent: Agent = agent, expected: tuple[str, ...] = expected) -> bool:
                parts = (agent.screen.state() or {}).get("unit", {}).get("parts", {})
                return all(parts.get(part, {}).get("state") == "ready" for part in expected)

            wait_until(all_ready, f"{name}: {', '.join(expected)}", 60.0)
        time.sleep(5.0)
        pids = [agent.pid or 0 for agent in agents]
        before = [cpu_s(pid) for pid in pids]
        begun = time.monotonic()
        time.sleep(options.seconds)
        elapsed = time.monotonic() - begun
        shares = [(cpu_s(pid) - spent) / elapsed for pid, spent in zip(pids, before, strict=True)]
    print(f"{'% of a core':24}{'agent':>8}{'drivers':>9}")
    for name, share in zip(names, shares, strict=True):
        print(f"{name:24}{share * 100:8.2f}{(share - shares[0]) * 100:9.2f}")
    print(f"a picture has {int(size):,} bytes")
    print(json.dumps({"seconds": elapsed, **dict(zip(names, shares, strict=True))}))
    drivers = (shares[-1] - shares[0]) * 100
    raise SystemExit(conclude([Goal("all drivers", drivers, at_most=GOAL * 100, unit="% of a core")]))


if __name__ == "__main__":
    main()
