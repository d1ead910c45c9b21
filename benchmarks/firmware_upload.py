"""How fast an image is uploaded to a mount, next to smpclient in the same run; and how long the bridge takes to load.

    python benchmarks/firmware_upload.py [--size 40700] [--buffer 384] [--baud 115200] [--flash-bytes-per-s 0]
        [--runs 3] [--json]

The mount is simulated, in a process of its own, behind a line that is as slow as a real one. Runs alternate; the
figures are medians. Beside them stands what the line could carry at all, and what it could carry of an image in
messages of this size if no answer had to be waited for. Each upload is read back from the slots.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import cbor2
from _verdict import Goal, conclude
from smpclient import SMPClient
from smpclient.transport.serial import SMPSerialTransport

from firmware_bridge.framing import frames
from firmware_bridge.link import Link
from firmware_bridge.simulated.boot import find, make
from firmware_bridge.upload import upload

GOAL, IMPORT_GOAL_S = 1.05, 0.2
IMPORTS = {
    "bridge": "import firmware_bridge.link, firmware_bridge.mount, firmware_bridge.update",
    "smpclient": "import smpclient, smpclient.transport.serial, smpclient.requests.image_management",
}


@contextlib.contextmanager
def mount(options: argparse.Namespace) -> Iterator[str]:
    """A simulated mount; gives its port."""
    command = [sys.executable, "-m", "firmware_bridge.simulated", "--baud", str(options.baud)]
    command += ["--buffer", str(options.buffer), "--flash-bytes-per-s", str(options.flash_bytes_per_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()


def ours(port: str, image: bytes, baud: int) -> float:
    """Seconds."""
    with Link(port, baud) as link:
        began = time.perf_counter()
        upload(link, image, lambda _sent: None)
        elapsed = time.perf_counter() - began
        assert_there(link, image)
    return elapsed


def theirs(port: str, image: bytes, baud: int) -> float:
    """Seconds."""

    async def run() -> float:
        client = SMPClient(SMPSerialTransport(baudrate=baud, write_timeout=1), port)
        await client.connect()
        try:
            began = time.perf_counter()
            async for _ in client.upload(image, first_timeout_s=10, subsequent_timeout_s=5):
                pass
            return time.perf_counter() - began
        finally:
            await client.disconnect()

    elapsed = asyncio.run(run())
    with Link(port, baud) as link:
        assert_there(link, image)
    return elapsed


def assert_there(link: Link, image: bytes) -> None:
    """The server has the whole image in its second slot."""
    found = find(image)
    assert found
    assert [slot["hash"] for slot in link.read(1, 0)["images"]][1:] == [found.hash]


def most_bytes_per_s(size: int, buffer: int, baud: int) -> float:
    """Of an image, in full messages that follow each other without a pause."""
    message = buffer - 4
    # The header, the map, and two more bytes for the length of the piece.
    beside = 8 + len(cbor2.dumps({"off": size // 2, "data": b""})) + 2
    return (message - beside) / sum(map(len, frames(bytes(message)))) * baud / 10


def import_s(code: str) -> float:
    """Of a fresh interpreter, the quickest of several."""
    timed = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    runs = [subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True) for _ in range(5)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=40_700)
    parser.add_argument("--buffer", type=int, default=384)
    parser.add_argument("--baud", type=int, default=115_200)
    parser.add_argument("--flash-bytes-per-s", type=float, default=0.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    took: dict[str, list[float]] = {"ours": [], "smpclient": []}
    with mount(options) as port:
        for run in range(options.runs):
            for name, how in (("ours", ours), ("smpclient", theirs)):
                image = make((2, run, 0, name == "ours"), random.randbytes(options.size - 512 - 40))
                took[name].append(how(port, image, options.baud) / len(image))
    rate = {name: 1 / statistics.median(seconds) for name, seconds in took.items()}
    loading = {name: import_s(code) for name, code in IMPORTS.items()}
    result = {
        "baud": options.baud,
        "buffer": options.buffer,
        "ours_bytes_per_s": round(rate["ours"]),
        "smpclient_bytes_per_s": round(rate["smpclient"]),
        "ratio": round(rate["ours"] / rate["smpclient"], 3),
        "line_bytes_per_s": options.baud / 10,
        "most_image_bytes_per_s": round(most_bytes_per_s(options.size, options.buffer, options.baud)),
        "import_s": {name: round(seconds, 3) for name, seconds in loading.items()},
    }
    goals = [
        Goal("times smpclient", rate["ours"] / rate["smpclient"], at_least=GOAL),
        Goal("import of the bridge", loading["bridge"], at_most=IMPORT_GOAL_S, unit="s"),
    ]
    if options.json:
        print(json.dumps({**result, "met": all(goal.reached for goal in goals)}))
    else:
        line = result["line_bytes_per_s"]
        print(f"upload of {options.size} bytes at {options.baud} baud, buffer of {options.buffer} bytes")
        for name in ("ours", "smpclient"):
            print(f"  {name:10} {rate[name] / 1000:6.2f} kB/s  {rate[name] / line:4.0%} of the line")
        most = result["most_image_bytes_per_s"]
        print(f"  the line   {line / 1000:6.2f} kB/s; of an image in such messages at most {most / 1000:.2f} kB/s")
        print(f"import of the bridge {loading['bridge']:.3f} s, of smpclient {loading['smpclient']:.3f} s")
    raise SystemExit(conclude(goals, sys.stderr if options.json else None))


if __name__ == "__main__":
    main()
