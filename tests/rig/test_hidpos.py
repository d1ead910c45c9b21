"""Scanners in HID POS mode: the kernel's own hidraw node, and a USB device that describes itself as such a scanner."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import Vehicle

pytestmark = pytest.mark.rig

NUMBERS = "0c2e:0b87"
SERIAL_NUMBER = "POS1"
# Report 2: length, symbology identifier, 56 bytes of data, 2 of the maker's own, "more follows".
# Report 4: eight bits to switch; the sixth sounds the error beep, the seventh the good read beep.
DESCRIPTOR = bytes.fromhex(
    "058c0902a101"
    "0912a102 8502 1500 26ff00 7508 9501 0501 093b 8102 9503 058c 09fb09fc09fd 8102 9538 09fe 820201"
    "0666ff 9502 0904 0900 8102 058c 2501 7501 9508 09ff 8102 c0"
    "0914a102 8504 1500 2501 7501 9508 0900 095f 0960 0900 0900 0985 0986 9186 c0"
    "c0"
)
GOOD, ERROR = b"\x04\x40", b"\x04\x20"


class PosGadget:
    """A USB device that the guest's kernel makes of this descriptor; its own side is ``/dev/hidg0``."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle = vehicle

    def plug(self) -> None:
        """Plug it in for the first time."""
        octal = "".join(f"\\{byte:03o}" for byte in DESCRIPTOR)
        vendor, product = NUMBERS.split(":")
        gadget = f"/sys/kernel/config/usb_gadget/{SERIAL_NUMBER}"
        self._vehicle.sh(
            "modprobe dummy_hcd num=4; modprobe libcomposite; modprobe usb_f_hid",
            "mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config",
            f"mkdir {gadget}; cd {gadget}; mkdir strings/0x409 configs/c.1 configs/c.1/strings/0x409 functions/hid.s",
            f"echo 0x{vendor} > idVendor; echo 0x{product} > idProduct",
            f"echo {SERIAL_NUMBER} > strings/0x409/serialnumber; echo Handheld > strings/0x409/product",
            f"echo 64 > functions/hid.s/report_length; printf '{octal}' > functions/hid.s/report_desc",
            "ln -s functions/hid.s configs/c.1/",
        )
        self.replug()

    def replug(self) -> None:
        """Plug it in again."""
        self._vehicle.sh(f"/opt/rig/gadget replug {SERIAL_NUMBER}")

    def unplug(self) -> None:
        """Pull it out."""
        self._vehicle.sh(f"/opt/rig/gadget unplug {SERIAL_NUMBER}")

    def remove(self) -> None:
        """Leave nothing of it in the guest's kernel."""
        self._vehicle.tried(f"/opt/rig/gadget down {SERIAL_NUMBER}")

    def scan(self, code: str, bytes_a_report: int = 56) -> bytes:
        """Send a code in as many reports as it takes; what the scanner was told within two seconds."""
        starts = range(0, len(code), bytes_a_report)
        parts = [code[at : at + bytes_a_report].encode() for at in starts]
        reports = [
            bytes((2, len(part))) + b"]C0" + part.ljust(58, b"\0") + bytes((part is not parts[-1],)) for part in parts
        ]
        program = (
            "import os, select, sys, time\n"
            "node = os.open('/dev/hidg0', os.O_RDWR)\n"
            f"for report in {[report.hex() for report in reports]!r}:\n"
            "    os.write(node, bytes.fromhex(report))\n"
            "end = time.monotonic() + 2\n"
            "while select.select([node], [], [], max(0, end - time.monotonic()))[0]:\n"
            "    print(os.read(node, 64).hex(), flush=True)\n"
        )
        said = self._vehicle.sh(f"python3 - <<'END'\n{program}END")
        return b"".join(map(bytes.fromhex, said.split()))


@pytest.fixture
def scanner(vehicle: Vehicle, stack: ExitStack) -> PosGadget:
    """A scanner in HID POS mode, not plugged in yet."""
    gadget = PosGadget(vehicle)
    stack.callback(gadget.remove)
    return gadget


def test_a_hid_pos_scanner_is_found_by_its_numbers_read_answered_and_plugged_in_again(
    vehicle: Vehicle, scanner: PosGadget
) -> None:
    expected, first, second, third = tracking_numbers(4)
    vehicle.configure(scanner=[{"name": "hand", "kind": "hidpos", "port": f"{NUMBERS}:{SERIAL_NUMBER}"}])
    vehicle.until("hand", "absent", "not plugged in")
    vehicle.start_loading(expected)
    scanner.plug()
    vehicle.until("hand", "ready")
    assert scanner.scan(expected) == GOOD
    assert ERROR in scanner.scan(first)
    scanner.scan(second, bytes_a_report=8)
    vehicle.until_scanned([first, second])
    scanner.unplug()
    vehicle.until("hand", "absent", "plug it in")
    scanner.replug()
    vehicle.until("hand", "ready")
    scanner.scan(third)
    vehicle.until_scanned([third])
    assert [number for _, number in vehicle.scans()] == [expected, first, second, third]
