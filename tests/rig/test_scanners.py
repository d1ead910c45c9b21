"""Serial scanners on real USB: plugged in, pulled out, told apart, and read to the last scan."""

from __future__ import annotations

import pytest

from demo.stage import wait_until
from tests.agent.running_agent import tracking_numbers
from tests.rig.vehicle import SOON_S, Adapter, FarEnd, SerialGadget, Vehicle

pytestmark = pytest.mark.rig


def test_every_scan_between_plugging_in_and_pulling_out_arrives_once(vehicle: Vehicle, scanner: SerialGadget) -> None:
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}])
    vehicle.until("hand", "absent", "not plugged in")
    vehicle.start_loading()
    far = scanner.plug()
    scanned = []
    for _ in range(11):
        vehicle.until("hand", "ready")
        numbers = tracking_numbers(3)
        far.scan(*numbers)
        vehicle.until_scanned(numbers)
        scanned += numbers
        scanner.unplug()
        vehicle.until("hand", "absent", scanner.path)
        far = scanner.plug()
    vehicle.until("hand", "ready")
    assert vehicle.scans() == [("hand", number) for number in scanned]


def test_a_scanner_that_was_there_before_the_agent_is_found_by_its_numbers(
    vehicle: Vehicle, scanner: SerialGadget
) -> None:
    far = scanner.plug()
    port = f"{scanner.numbers}:{scanner.serial_number}"
    vehicle.configure(scanner=[{"name": "hand", "port": port}])
    vehicle.until("hand", "ready")
    vehicle.start_loading()
    numbers = tracking_numbers(5)
    far.scan(*numbers[:3])
    vehicle.until_scanned(numbers[:3])
    scanner.unplug()
    vehicle.until("hand", "absent", port)
    far = scanner.plug()
    vehicle.until("hand", "ready")
    far.scan(*numbers[3:])
    vehicle.until_scanned(numbers[3:])
    assert vehicle.scans() == [("hand", number) for number in numbers]


def test_two_scanners_of_one_model_are_told_apart_by_their_serial_numbers(
    vehicle: Vehicle, scanner: SerialGadget, second_scanner: SerialGadget
) -> None:
    both = {"left": scanner, "right": second_scanner}
    assert scanner.numbers == second_scanner.numbers
    vehicle.configure(
        scanner=[{"name": name, "port": f"{one.numbers}:{one.serial_number}"} for name, one in both.items()]
    )
    vehicle.start_loading()
    # The other way round: the order of plugging in must not matter.
    right = second_scanner.plug()
    vehicle.until("right", "ready")
    vehicle.until("left", "absent")
    left = scanner.plug()
    vehicle.until("left", "ready")
    scanned = []
    for name, far in (("left", left), ("right", right)):
        (number,) = tracking_numbers(1)
        far.scan(number)
        vehicle.until_scanned([number])
        scanned.append((name, number))
    assert vehicle.scans() == scanned


def test_numbers_that_fit_two_scanners_are_a_fault_that_names_both(
    vehicle: Vehicle, scanner: SerialGadget, second_scanner: SerialGadget
) -> None:
    scanner.plug()
    second_scanner.plug()
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.numbers}])
    reason = vehicle.until("hand", "faulty")["reason"]
    assert scanner.serial_number in reason
    assert second_scanner.serial_number in reason
    second_scanner.unplug()
    vehicle.until("hand", "ready")


def test_a_line_that_breaks_off_with_the_plug_is_not_joined_to_the_next(vehicle: Vehicle, adapter: Adapter) -> None:
    vehicle.configure(scanner=[{"name": "hand", "port": adapter.path}])
    far = adapter.plug()
    vehicle.until("hand", "ready")
    vehicle.start_loading()
    numbers = tracking_numbers(3)
    for number in numbers:
        far.scan(number)
        vehicle.until_scanned([number])
        far.write(b"TBA99999")
        adapter.unplug()
        vehicle.until("hand", "absent")
        far = adapter.plug()
        vehicle.until("hand", "ready")
    assert vehicle.scans() == [("hand", number) for number in numbers]


def test_an_ssi_scanner_is_acknowledged_and_hears_the_verdict(vehicle: Vehicle, adapter: Adapter) -> None:
    vehicle.configure(scanner=[{"name": "hand", "kind": "ssi", "port": adapter.path}])
    decoder = Decoder(adapter.plug())
    vehicle.until("hand", "ready")
    vehicle.start_loading()
    numbers = tracking_numbers(3)
    for number in numbers:
        decoder.scan(number)
        vehicle.until_scanned([number])
        decoder.until_beep()
        # A packet that ends with the plug.
        decoder.far.write(packet(DECODE_DATA, b"\x03" + number.encode())[:9])
        adapter.unplug()
        vehicle.until("hand", "absent")
        decoder = Decoder(adapter.plug())
        vehicle.until("hand", "ready")
    assert vehicle.scans() == [("hand", number) for number in numbers]


def test_a_packet_that_is_sent_again_is_one_scan(vehicle: Vehicle, adapter: Adapter) -> None:
    vehicle.configure(scanner=[{"name": "hand", "kind": "ssi", "port": adapter.path}])
    decoder = Decoder(adapter.plug())
    vehicle.until("hand", "ready")
    vehicle.start_loading()
    number, last = tracking_numbers(2)
    decoder.scan(number)
    decoder.scan(number, status=1)  # the scanner did not hear the acknowledgement
    decoder.scan(last)
    vehicle.until_scanned([number, last])
    assert vehicle.scans() == [("hand", number), ("hand", last)]


def test_a_scanner_that_the_agent_may_not_open_says_so_until_it_may(vehicle: Vehicle, scanner: SerialGadget) -> None:
    scanner.plug()
    vehicle.until_there(scanner.path)
    vehicle.sh(f"chmod 600 $(readlink -f {scanner.path})")
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}])
    vehicle.until("hand", "faulty", "may not be opened by this user")
    (finding,) = [check for check in vehicle.kerbside("doctor")["checks"] if check["name"] == "scanners"]
    assert finding["state"] == "fault"
    assert finding["advice"]
    vehicle.sh(f"chmod 660 $(readlink -f {scanner.path})")
    vehicle.until("hand", "ready")
    (finding,) = [check for check in vehicle.kerbside("doctor")["checks"] if check["name"] == "scanners"]
    assert finding["state"] == "ok", finding


HOLD = """
import fcntl, os, sys, termios, time
line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(line, termios.TIOCEXCL)
time.sleep(600)
"""


def test_a_scanner_that_another_program_holds_says_so_until_it_lets_go(vehicle: Vehicle, scanner: SerialGadget) -> None:
    vehicle.sh("systemctl stop kerbside")
    scanner.plug()
    holder = "systemd-run --quiet --uid kerbside --unit holder python3 /run/hold.py"
    vehicle.until_there(scanner.path)
    vehicle.sh(f"cat > /run/hold.py <<'END'\n{HOLD}END", f"{holder} {scanner.path}")
    vehicle.configure(scanner=[{"name": "hand", "port": scanner.path}])
    vehicle.until("hand", "faulty", "in use")
    (listed,) = [device for device in vehicle.kerbside("devices")["devices"] if device["used_by"]]
    assert listed["used_by"] == ['scanner[0] "hand"']
    assert listed["node"] == vehicle.sh(f"readlink -f {scanner.path}")
    assert [held["command"] for held in listed["held_by"]] == ["python3"]
    vehicle.sh("systemctl stop holder")
    vehicle.until("hand", "ready")


def test_of_two_settings_for_one_scanner_one_is_a_fault_that_names_the_other(
    vehicle: Vehicle, scanner: SerialGadget
) -> None:
    scanner.plug()
    ports = {"left": scanner.path, "right": scanner.numbers}
    vehicle.configure(scanner=[{"name": name, "port": port} for name, port in ports.items()])

    def states() -> dict[str, str]:
        return {name: vehicle.part(name)["state"] for name in ports}

    wait_until(lambda: sorted(states().values()) == ["faulty", "ready"], "one to be ready", SOON_S)
    faulty, ready = sorted(ports, key=states().__getitem__)
    reason = vehicle.part(faulty)["reason"]
    assert f"scanner {ready}" in reason
    assert "two settings match one device" in reason
    (listed,) = [device for device in vehicle.kerbside("devices")["devices"] if device["used_by"]]
    assert listed["used_by"] == ['scanner[0] "left"', 'scanner[1] "right"']


CMD_ACK, CMD_NAK, DECODE_DATA, BEEP = 0xD0, 0xD1, 0xF3, 0xE6


def packet(opcode: int, data: bytes = b"", status: int = 0) -> bytes:
    """A packet of the Simple Serial Interface as a decoder sends it."""
    body = bytes((4 + len(data), opcode, 0, status)) + data
    return body + (-sum(body) & 0xFFFF).to_bytes(2, "big")


class Decoder:
    """The scanner's side of the Simple Serial Interface: sends, waits for CMD_ACK, acknowledges what it is told."""

    def __init__(self, far: FarEnd) -> None:
        self.far = far
        self._heard = b""
        self._beeps = 0

    def scan(self, number: str, status: int = 0) -> None:
        """Send a Code 128; it must be acknowledged."""
        self.far.write(packet(DECODE_DATA, b"\x03" + number.encode(), status))
        while self._next() != CMD_ACK:
            pass

    def until_beep(self) -> None:
        """Wait for the command to beep."""
        while not self._beeps:
            self._next()
        self._beeps = 0

    def _next(self) -> int:
        """The operation code of the host's next packet."""
        while not self._heard or len(self._heard) < self._heard[0] + 2:
            if self._heard[:1] == b"\0":  # a byte that wakes the scanner up
                self._heard = self._heard[1:]
                continue
            more = self.far.read()
            assert more, f"the host says nothing more after {self._heard.hex()}"
            self._heard += more
        size = self._heard[0] + 2
        one, self._heard = self._heard[:size], self._heard[size:]
        assert -sum(one[:-2]) & 0xFFFF == int.from_bytes(one[-2:], "big"), one.hex()
        assert one[1] != CMD_NAK, one.hex()
        if one[1] == BEEP:
            self._beeps += 1
        if one[1] != CMD_ACK:
            self.far.write(packet(CMD_ACK))
        return one[1]
