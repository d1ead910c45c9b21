"""Real gpsd and real Mosquitto on free ports of this machine, to be stopped, killed, paused and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from drivers.readings import DriverError

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ReservedPort:
    """A port of the loopback interface that the kernel gives to nobody else while this object lives.

    A server that asks for it by its number may listen on it (with SO_REUSEADDR, as servers do), again and again: while
    it is down, no other program that asks for any port, or connects from one, is given this one.
    """

    def __init__(self) -> None:
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound.bind(("127.0.0.1", 0))
        self.number: int = self._bound.getsockname()[1]

    def __del__(self) -> None:
        self._bound.close()


class _Server:
    """A child process that serves a loopback port; started anew it serves the same one."""

    def __init__(self, binary: str, package: str, port: int | None) -> None:
        self._reserved = ReservedPort()
        self.port = port or self._reserved.number
        self._binary = binary
        self._package = package
        self._process: subprocess.Popen[bytes] | None = None
        # A file and not a pipe: nobody reads while it runs.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until connections are taken.

        :raises DriverError: when the program is not installed or does not come up.
        """
        if self.pid is not None:
            return
        # Debian keeps both in sbin, which is not on the path of an ordinary user.
        path = shutil.which(self._binary, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        if path is None:
            raise DriverError(
                f"{self._binary} is not installed: expected it on the PATH; `apt-get install {self._package}`"
            )
        self._process = subprocess.Popen(  # noqa: S603 - a program of the system with our own arguments
            [path, *self._arguments()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._words
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
                return
            time.sleep(0.02)
        words = self.stop()
        raise DriverError(f"{self._binary} does not take connections on {self.address}: {words or 'it said nothing'}")

    def stop(self) -> str:
        """End it in good order; returns the last of what it wrote to its error output."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: the port stays open and nothing answers."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """`stop` and `start` on the same port."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> str:
        process, self._process = self._process, None
        if process is None:
            return ""
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._words.seek(0)
        words = self._words.read()
        self._words.seek(0)
        self._words.truncate()
        return words.decode(errors="replace").strip()[-500:]


class Gpsd(_Server):
    """gpsd on `devices`, read from the start on (`-n`), without speed hunting being written to them (`-b`).

    With `control`, a path, receivers can be added and removed while it runs.
    """

    def __init__(self, *devices: str, port: int | None = None, control: Path | None = None) -> None:
        super().__init__("gpsd", "gpsd", port)
        self._devices = devices
        self._control = control

    def _arguments(self) -> list[str]:
        control = ["-F", str(self._control)] if self._control else []
        return ["-N", "-n", "-b", "-S", str(self.port), *control, *self._devices]


class Broker(_Server):
    """Mosquitto for this machine only, without passwords, its configuration and log in `directory`.

    `max_queued` bounds what is kept for a subscriber that is away; `settings` are further lines of its configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistence: bool = True,
        max_inflight: int = 20,
        max_queued: int = 1_000_000,
        settings: Sequence[str] = (),
    ) -> None:
        super().__init__("mosquitto", "mosquitto", port)
        self._directory = directory
        self._persistence = persistence
        self._settings = (
            f"max_inflight_messages {max_inflight}",
            f"max_queued_messages {max_queued}",
            *settings,
        )

    @property
    def url(self) -> str:
        """As the settings want it."""
        return f"mqtt://{self.address}"

    @property
    def log(self) -> Path:
        """What the broker wrote down."""
        return self._directory / "mosquitto.log"

    def forget(self) -> None:
        """Drop its sessions and queues; only while it is stopped."""
        (self._directory / "mosquitto.db").unlink(missing_ok=True)

    def _arguments(self) -> list[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            f"persistence {'true' if self._persistence else 'false'}",
            f"persistence_location {self._directory}/",
            f"log_dest file {self.log}",
            # Started by root it would become a user who may not write into the directory.
            *(["user root"] if os.geteuid() == 0 else []),
            *self._settings,
        ]
        configuration.write_text("\n".join(lines) + "\n")
        return ["-c", str(configuration)]
