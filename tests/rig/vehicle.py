"""A vehicle whose unit is a virtual machine: the checkout installed on it as the documents say, and what is plugged in.

The devices are the kernel's own: USB serial adapters and a keyboard that qemu plugs in, USB gadgets (serial and
keyboard) that the guest's kernel makes, its virtual camera. The agent is `kerbside.service` as it is shipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agent.console.client import Client
from demo.stage import _toml, send, wait_until
from drivers.simulated import Broker, free_port
from tests.agent.running_agent import begin_loading
from tests.rig import image

BOOT_S = 300.0
"""An emulated unit on a busy machine; about 15 s on an idle one."""
SOON_S = 120.0
"""For whatever takes a second on a board."""
STATE_DIR = "/var/lib/kerbside"
KERBSIDE = "runuser -u kerbside -- /opt/kerbside/.venv/bin/kerbside"


class Vehicle:
    """One virtual unit, its broker, and the way in and out."""

    def __init__(self, name: str, folder: Path, stack: ExitStack, disk: str = "raw") -> None:
        rig = image.load()
        rig.RUN.mkdir(parents=True, exist_ok=True)
        self._lock = stack.enter_context((rig.RUN / f"{name}.lock").open("w"))
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # two runs would unplug each other's devices
        self.machine = rig.Unit(name, disk=disk)
        self.broker = stack.enter_context(Broker(folder / "broker"))
        self._port = free_port()
        self.screen = Client(f"127.0.0.1:{self._port}")
        if self.machine.pid:
            self.machine.power_cut()  # left over by a run that was killed
        stack.callback(self._put_away)
        self.machine.start(fresh=True)
        self._reach()
        self._install(folder / "checkout")

    def _put_away(self) -> None:
        if self.machine.pid:
            self.machine.power_cut()
        shutil.rmtree(self.machine.dir, ignore_errors=True)

    def _reach(self) -> None:
        self.machine.wait_ssh(BOOT_S)
        here, broker = f"127.0.0.1:{self._port}", f"127.0.0.1:{self.broker.port}"
        for way in (["-L", f"{here}:{here}"], ["-R", f"{broker}:{broker}"]):
            subprocess.run([*self.ssh(), "-O", "forward", *way, "root@127.0.0.1"], check=True)

    def ssh(self) -> list[str]:
        return ["ssh", "-p", str(self.machine.port), *self.machine._ssh_opts()]

    def _install(self, staging: Path) -> None:
        """Put the checkout into the guest, and carry out the steps of the documents on it."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=image.ROOT, capture_output=True, check=True).stdout
        copy = ["rsync", "-a", "--from0", "--files-from=-", "--ignore-missing-args", f"{image.ROOT}/", f"{staging}/"]
        subprocess.run(copy, input=files, check=True)
        self.machine.push(f"{staging}/", "/opt/kerbside/")
        text = (image.ROOT / "docs/fleet-tech.md").read_text()
        block = text[text.index("## Install") :].split("```")[1]
        steps = [line for line in block.splitlines() if line.startswith(("cd ", "install "))]
        self.sh(
            # What pip does for the locked wheels and the package itself is in the image, and in these three lines.
            "ln -sfn /opt/edge/venv /opt/kerbside/.venv",
            "echo /opt/kerbside > $(echo /opt/edge/venv/lib/python3*/site-packages)/kerbside.pth",
            r"printf '#!/opt/kerbside/.venv/bin/python\nfrom agent.cli import main\n\nmain()\n'"
            " > /opt/edge/venv/bin/kerbside && chmod +x /opt/edge/venv/bin/kerbside",
            "cd /opt/kerbside && .venv/bin/python -m compileall -q agent drivers firmware_bridge",
            *steps,
            "systemctl daemon-reload && systemctl enable --quiet kerbside && systemctl restart gpsd.socket",
        )

    def cut_power(self) -> None:
        """Pull the plug of the unit: what its disk has not got is gone."""
        self.machine.power_cut()

    def boot(self) -> None:
        """Switch it on again; nothing that qemu had plugged in is there any more."""
        self.machine.start()
        self._reach()

    # --- the guest ----------------------------------------------------------------------------------------------

    def sh(self, *lines: str, timeout_s: float = 300.0) -> str:
        """Run lines in the guest as root, each of which must succeed; what they print."""
        said: str = self.machine.ssh("set -e\n" + "\n".join(lines), timeout=timeout_s)
        return said.strip()

    def tried(self, line: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a line in the guest, whatever comes of it."""
        done: subprocess.CompletedProcess[str] = self.machine.ssh(line, check=False, timeout=timeout_s)
        return done

    def kerbside(self, command: str) -> Any:
        """The one JSON document that a command prints."""
        return json.loads(self.tried(f"{KERBSIDE} {command} --json").stdout)

    def log(self) -> str:
        """What the agent has said since it was configured."""
        return self.tried(f"journalctl -u kerbside -o cat --since @{self._since}").stdout

    def until_there(self, path: str) -> None:
        """Wait until udev has given a device this name."""
        self.sh(f"timeout {SOON_S} sh -c 'until [ -e {path} ]; do sleep 0.1; done'", "udevadm settle")

    # --- the agent ----------------------------------------------------------------------------------------------

    def configure(self, **sections: Mapping[str, Any] | list[Mapping[str, Any]]) -> None:
        """Start the agent on an empty state directory with these settings."""
        everything = {
            "unit": {"id": "u1", "fleet": "demo", "state_dir": STATE_DIR},
            "broker": {"url": self.broker.url},
            "console": {"listen": f"127.0.0.1:{self._port}"},
            "gps": {"gpsd": ""},
            **sections,
        }
        self._since = self.sh("date +%s")
        self.sh(
            "systemctl stop kerbside",
            f"rm -rf {STATE_DIR}/*",
            f"cat > /etc/kerbside/agent.toml <<'END'\n{_toml(everything)}END",
            "systemctl reset-failed",
            "systemctl start kerbside",
        )

    def start_loading(self, number: str = "TBA000000000001") -> None:
        """Give the driver a block with one parcel, and let the loading begin: from now on each scan is an event."""
        begin_loading(self, self, [number])  # type: ignore[arg-type]

    def send(self, kind: str, message: Mapping[str, Any]) -> None:
        """Put a message into the unit's inbox."""
        send(self.broker, kind, message)

    def look(self) -> dict[str, Any]:
        """All that the screen shows."""
        seen: dict[str, Any] = wait_until(self.screen.state, "the screen", SOON_S)
        return seen

    def part(self, name: str) -> dict[str, Any]:
        """The state of one part as the screen has it."""
        part: dict[str, Any] = self.look()["unit"]["parts"][name]
        return part

    def until(self, name: str, state: str, words: str = "") -> dict[str, Any]:
        """Wait until a part is in a state, with these words in its reason."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.part(name))
            return seen["state"] == state and words in (seen["reason"] or "")

        try:
            wait_until(reached, f"{name} to be {state}", SOON_S)
        except Exception as error:
            raise AssertionError(f"{name} did not become {state} {words!r}: {seen}\n{self.log()[-3000:]}") from error
        return seen

    def numbers_on_screen(self) -> set[str]:
        """The tracking numbers of all parcels that the unit knows."""
        return {parcel["tracking_number"] for parcel in self.look()["parcels"]}

    def until_scanned(self, numbers: Iterable[str]) -> None:
        """Wait until every number is on the screen."""
        wanted = set(numbers)
        try:
            wait_until(lambda: wanted <= self.numbers_on_screen(), "the scans", SOON_S)
        except Exception as error:
            lost = wanted - self.numbers_on_screen()
            raise AssertionError(f"not on the screen: {lost}\n{self.log()[-3000:]}") from error

    def events(self) -> list[dict[str, Any]]:
        """The journal's events, by the command that exports them."""
        lines = self.sh(f"{KERBSIDE} journal export --format jsonl").splitlines()
        return [json.loads(line) for line in lines]

    def scans(self) -> list[tuple[str, str]]:
        """Device and number of every scan that the journal holds, in order."""
        events = [event["data"] for event in self.events() if "entry" in event["data"]]
        return [(data["device"], data["tracking_number"]) for data in events]


class FarEnd:
    """The scanner's or receiver's own end of a serial line: what it sends, and what it is told."""

    def __init__(self, write: Callable[[bytes], object], reading: int) -> None:
        self.write = write
        self._reading = reading

    def scan(self, *numbers: str) -> None:
        """Send codes as a scanner in line mode does."""
        for number in numbers:
            self.write(f"{number}\r".encode())

    def read(self, timeout_s: float = SOON_S) -> bytes:
        """What has arrived, waiting for the first byte; empty when none came."""
        ready, _, _ = select.select([self._reading], [], [], timeout_s)
        return os.read(self._reading, 4096) if ready else b""


class Adapter:
    """An FTDI serial adapter that qemu plugs in."""

    def __init__(self, vehicle: Vehicle, name: str) -> None:
        self._machine = vehicle.machine
        self._name = name
        self._socket: socket.socket | None = None
        """Open while it is plugged in."""
        self.path = f"/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_RIG{name.upper()}-if00-port0"

    def plug(self) -> FarEnd:
        """Plug it in; what is behind it."""
        self._machine.plug_serial(self._name)
        self._socket = self._machine.sock(self._name)
        return FarEnd(self._socket.sendall, self._socket.fileno())

    def unplug(self) -> None:
        """Pull it out, if it is in."""
        if self._socket is None:
            return
        time.sleep(0.3)  # what was sent has arrived
        self._machine.unplug(self._name)
        self.forget()
        time.sleep(0.5)  # what follows at once would be one and the same change for the kernel

    def forget(self) -> None:
        """It went with the power of the unit."""
        if self._socket:
            self._socket.close()
        self._socket = None


class _Gadget:
    """A USB device that the guest's kernel makes; by default it has the numbers of a Honeywell scanner."""

    def __init__(self, vehicle: Vehicle, function: str, serial_number: str, numbers: str) -> None:
        self.numbers = numbers
        self.serial_number = serial_number
        self._vehicle = vehicle
        self._function = function
        self._far_path = ""
        """Where the device's own side is in the guest, once it was plugged in."""

    def _plug(self) -> None:
        if self._far_path:
            self._vehicle.sh(f"/opt/rig/gadget replug {self.serial_number}")
            return
        vendor, product = self.numbers.split(":")
        words = f"VID=0x{vendor} PID=0x{product} MFR=Rig PROD=Handheld"
        said = self._vehicle.sh(f"{words} /opt/rig/gadget up {self._function} {self.serial_number}")
        self._far_path = said.rpartition(" ")[2]

    def unplug(self) -> None:
        """Pull it out."""
        self._vehicle.sh(f"/opt/rig/gadget unplug {self.serial_number}")

    def remove(self) -> None:
        """Leave nothing of it in the guest's kernel."""
        if self._far_path:
            self._vehicle.sh(f"/opt/rig/gadget down {self.serial_number}")
            self._far_path = ""


class SerialGadget(_Gadget):
    """A scanner or receiver that is a serial line on USB (CDC-ACM)."""

    def __init__(self, vehicle: Vehicle, serial_number: str, numbers: str = "0c2e:0aaf") -> None:
        super().__init__(vehicle, "acm", serial_number, numbers)
        self.path = f"/dev/serial/by-id/usb-Rig_Handheld_{serial_number}-if00"
        self._bridge: subprocess.Popen[bytes] | None = None

    def plug(self) -> FarEnd:
        """Plug it in; what is behind it."""
        self._plug()
        # The kernel hangs up on the device's own side, too, when it is pulled out.
        bridge = f"exec 3<>{self._far_path}; stty raw -echo <&3; cat <&3 & echo; cat >&3; kill $!"
        self._bridge = subprocess.Popen(
            [*self._vehicle.ssh(), "root@127.0.0.1", bridge],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._bridge.stdin
        assert self._bridge.stdout
        assert self._bridge.stdout.readline() == b"\n", f"{self._far_path} could not be opened"
        return FarEnd(self._bridge.stdin.write, self._bridge.stdout.fileno())

    def unplug(self) -> None:
        """Pull it out."""
        super().unplug()
        self._hang_up()

    def remove(self) -> None:
        """Leave nothing of it in the guest's kernel."""
        self._hang_up()
        super().remove()

    def _hang_up(self) -> None:
        if self._bridge:
            self._bridge.kill()
            with self._bridge:
                self._bridge = None


class KeyboardGadget(_Gadget):
    """A scanner that types."""

    def __init__(self, vehicle: Vehicle, serial_number: str, numbers: str = "0c2e:0b81") -> None:
        super().__init__(vehicle, "hid", serial_number, numbers)
        self.path = f"/dev/input/by-id/usb-Rig_Handheld_{serial_number}-event-kbd"

    def plug(self) -> None:
        """Plug it in."""
        self._plug()

    def type(self, *texts: str) -> None:
        """Type each text and Enter."""
        words = " ".join(map(shlex.quote, texts))
        self._vehicle.sh(f"python3 /opt/rig/wedge.py {self._far_path} {words}")
