"""What a camera costs while nobody looks at it, beside OpenCV reading the same stream as its manual shows.

A process of its own serves 1280x720 JPEGs of a noisy scene over HTTP at ten a second. Four readers take their turn,
each in a fresh process: an interpreter that has only loaded OpenCV, the driver without and with its ring, and
``cv2.VideoCapture.read()``, which decodes every picture. Processor time is that of the reading process. Then a clip of
all that the ring holds is written, and timed. Exits 1 when a goal is missed.

    python benchmarks/camera.py [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _verdict import Goal, conclude

from drivers.camera import Camera
from drivers.readings import Frame

PICTURES_PER_S = 10
SHARE = 0.5
"""Of what OpenCV takes: nobody looks, so nothing needs to be decoded."""
RING_S = 10.0
QUALITY = 80


def serve() -> None:
    """Print the URL, then serve until killed."""
    rng = np.random.default_rng(1)
    scene = cv2.resize(rng.integers(0, 255, (45, 80, 3), np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC)
    shots = [np.clip(scene + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8) for _ in range(20)]
    pictures = [cv2.imencode(".jpg", shot, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes() for shot in shots]

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        due, number = time.monotonic(), 0
        while not writer.is_closing():
            content = pictures[number % len(pictures)]
            writer.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content))
            writer.write(content + b"\r\n")
            number, due = number + 1, due + 1 / PICTURES_PER_S
            await asyncio.sleep(due - time.monotonic())

    async def listen() -> None:
        server = await asyncio.start_server(send, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"
        print(json.dumps({"url": url, "kb": round(sum(map(len, pictures)) / len(pictures) / 1000)}), flush=True)
        await server.serve_forever()

    asyncio.run(listen())


def resident_mb() -> float:
    """Of this process, in MB (10**6 bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def read(how: str, url: str, seconds: float) -> dict[str, Any]:
    """Read in this process, and tell what it took from the second second on."""
    taken = {"pictures": 0, "began": 0.0, "cpu": 0.0}

    def count() -> None:
        taken["pictures"] += 1
        if taken["pictures"] == PICTURES_PER_S:
            taken["began"], taken["cpu"] = time.monotonic(), time.process_time()

    result: dict[str, Any] = {}
    if how == "opencv":
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        end = time.monotonic() + seconds
        while time.monotonic() < end and capture.read()[0]:
            count()
    elif how == "driver":
        result = asyncio.run(drive(url, seconds, RING_S, count))
    elif how == "driver without ring":
        result = asyncio.run(drive(url, seconds, 0.0, count))
    if how != "nothing":
        lasted_s = time.monotonic() - taken["began"]
        result["core_percent"] = round(100 * (time.process_time() - taken["cpu"]) / lasted_s, 2)
        result["pictures_per_s"] = round((taken["pictures"] - PICTURES_PER_S) / lasted_s, 1)
    return {"resident_mb": round(resident_mb(), 1), **result}


async def drive(url: str, seconds: float, ring_s: float, count: Any) -> dict[str, Any]:
    """The driver as the agent runs it."""
    camera = Camera(url, fps=PICTURES_PER_S, ring_s=ring_s)

    def take(_frame: Frame) -> None:
        count()

    running = asyncio.create_task(camera.run(take, lambda _state: None))
    await asyncio.sleep(seconds)
    result: dict[str, Any] = {"ring_pictures": len(camera.ring), "ring_mb": round(camera.ring.bytes / 1e6, 1)}
    if ring_s:
        # What its process takes is not this process's; what it takes of the clock is.
        used, began = time.process_time(), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            clip = await camera.clip(Path(folder) / "clip.mkv", ring_s, 0)
            result["clip"] = {
                "pictures": clip.frames,
                "mb": round(clip.path.stat().st_size / 1e6, 1),
                "ms": round((time.monotonic() - began) * 1000),
                "own_cpu_ms": round((time.process_time() - used) * 1000),
                "ffmpeg_cpu_ms": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime * 1000),
            }
    running.cancel()
    await asyncio.wait([running])
    return result


def goals(found: dict[str, dict[str, Any]]) -> list[Goal]:
    """What the driver is to cost and give, from the figures of each reader; what one has not told is missing."""
    driver, peer = found["driver"], found["opencv"]
    spent, peers = driver.get("core_percent"), peer.get("core_percent")
    ring, clip = driver.get("ring_pictures"), driver.get("clip", {}).get("pictures")
    return [
        Goal("processor time as a share of OpenCV's", spent / peers if spent and peers else None, at_most=SHARE),
        Goal("pictures a second", driver.get("pictures_per_s"), at_least=0.9 * PICTURES_PER_S),
        Goal("share of the ring's pictures in the clip", clip / ring if clip and ring else None, at_least=0.95),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", nargs=2, metavar=("HOW", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.read:
        print(json.dumps(read(*options.read, options.seconds)))
    else:
        server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
        assert server.stdout
        try:
            served = json.loads(server.stdout.readline())
            print(f"1280x720, {PICTURES_PER_S} pictures a second of {served['kb']} kB")
            found: dict[str, dict[str, Any]] = {}
            for how in ("nothing", "driver without ring", "driver", "opencv"):
                command = [sys.executable, __file__, "--seconds", str(options.seconds), "--read", how, served["url"]]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(f"{how:20} {done.stdout.strip()}", flush=True)
                found[how] = json.loads(done.stdout)
        finally:
            server.kill()
            server.wait()
        sys.exit(conclude(goals(found)))


if __name__ == "__main__":
    main()
