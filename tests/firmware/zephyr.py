"""Real firmware for the tests: Zephyr's SMP servers that the source archive of smpclient brings with it.

They are not ours to ship: `./scripts/test --zephyr` fetches the archive, whose hash is locked, and lets the environment
variable KERBSIDE_SMP_SERVERS name its folder of servers. Those for the host are 32-bit programs; the others run in
`qemu-system-arm`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("KERBSIDE_SMP_SERVERS", ""))
READY_S = 20.0


@dataclass(frozen=True)
class Server:
    """One build of a server."""

    name: str
    entry: dict[str, Any]

    @property
    def told_bytes(self) -> int:
        return int(self.entry["buf_size"])

    @property
    def image(self) -> Path:
        """What the one that runs was made from."""
        return FOLDER / self.entry["artifact"].replace(".hex", ".signed.bin")

    @property
    def why_not(self) -> str | None:
        """Why it cannot be run here."""
        if self.entry["run"] is not None:
            found = any(Path(folder, "ld-linux.so.2").exists() for folder in ("/lib", "/lib32"))
            return None if found else "needs 32-bit libraries (apt-get install libc6-i386 lib32gcc-s1)"
        found = shutil.which("qemu-system-arm") is not None
        return None if found else "needs qemu-system-arm (apt-get install qemu-system-arm)"

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[str]:
        """Run it; gives the port."""
        for file in FOLDER.glob("*"):
            (folder / file.name).symlink_to(file)
        if self.entry["run"] is not None:
            program = folder / "server"
            shutil.copy(FOLDER / self.entry["artifact"], program)
            program.chmod(0o755)
            command, pattern = [str(program)], r"connected to pseudotty: (\S+)"
        else:
            socket = "socket,id=con,host=127.0.0.1,port=<PORT>,server=on,wait=off"
            command = self.entry["qemu_cmd"].replace(socket, "pty,id=con").split()
            pattern = r"redirected to (\S+)"
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ) as process:
            try:
                yield _port(process, pattern)
            finally:
                process.kill()


def _port(process: subprocess.Popen[bytes], pattern: str) -> str:
    assert process.stdout
    said = b""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        said += line
        if found := re.search(pattern, line.decode(errors="replace")):
            time.sleep(0.5)  # its boot loader, and its UART
            return found[1]
    raise AssertionError(f"the server has no port: {said.decode(errors='replace')}")


def servers(target: str, transport: str, *, mcuboot: bool = False) -> list[Server]:
    """The builds that are at hand."""
    if not (FOLDER / "manifest.json").is_file():
        return []
    entries = json.loads((FOLDER / "manifest.json").read_text())
    return [
        Server(entry["config"], entry)
        for entry in entries
        if entry["target"] == target
        and entry["transport"] == transport
        and entry["mcuboot"] == mcuboot
        and (FOLDER / entry["artifact"]).is_file()
    ]
