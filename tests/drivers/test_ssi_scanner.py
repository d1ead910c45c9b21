"""A scanner that speaks SSI, on a pseudo-terminal: from the trigger to the scan, and back to its beep."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest
from watched_part import watching

from drivers.readings import Condition, DriverError, NotRead, Scan
from drivers.scanner.serial_port import SerialScanner, framer
from drivers.scanner.ssi import Opcode, Packet, Source
from drivers.simulated import SimulatedScanner, SimulatedSsiScanner

ACK = bytes.fromhex("04D00400FF28")
DECODE = bytes.fromhex("09F300000354424131FDF9")


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def scanner_at(port: str) -> SerialScanner:
    return SerialScanner("hand", port, framer("ssi"))


def test_a_scan_arrives_with_its_symbology_and_is_acknowledged_and_answered_by_a_beep() -> None:
    async def test() -> None:
        with SimulatedSsiScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                device.scan("00340434161094042557", symbology=0x0F)
                (scan,) = await watched.until_readings(1)
                scanner.signal("good")
                beep = await device.wait_signal()
                await watched.until(lambda: device.decoder.idle)
        assert isinstance(scan, Scan)
        assert (scan.device, scan.text, scan.repeat) == ("hand", "00340434161094042557", False)
        assert (scan.identifier, scan.symbology) == ("]C1", "Code 128")
        assert beep is not None
        assert beep.data == b"\x00"
        assert device.decoder.transmit_errors == 0

    run(test)


def test_the_bytes_of_the_guide_are_acknowledged_at_once() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                assert await device.wait_signal(0.1) is None, "nothing is written before the scanner has said something"
                device.write(DECODE)
                signal = await device.wait_signal()
                assert signal is not None
                assert signal.data == ACK
        assert [scan.text for scan in watched.readings] == ["TBA1"]

    run(test)


def test_a_scan_that_waited_in_the_port_before_it_was_opened_counts() -> None:
    async def test() -> None:
        with SimulatedSsiScanner() as device:
            device.scan("TBA1")
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_readings(1)
                await watched.until(lambda: device.decoder.idle)
        assert [scan.text for scan in watched.readings] == ["TBA1"]
        assert device.decoder.transmit_errors == 0

    run(test)


def test_the_acknowledgement_comes_before_an_answer_that_is_given_while_the_scan_is_handed_over() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                take = watched.out

                def answer(scan: Scan | NotRead) -> None:
                    take(scan)
                    scanner.signal("bad")

                session = scanner._session
                assert session is not None
                session._hand_over._out = answer
                device.write(DECODE)
                signal = await device.wait_signal()
        assert signal is not None
        assert signal.data.startswith(ACK + bytes([5, Opcode.BEEP]))

    run(test)


def test_a_scan_that_could_not_be_handed_over_is_not_acknowledged_and_comes_again() -> None:
    async def test() -> None:
        with SimulatedSsiScanner(response_ns=500_000_000) as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                session = scanner._session
                assert session is not None

                def fail(_: Scan) -> None:
                    raise DriverError("nobody there")

                session._hand_over._out = fail
                device.scan("TBA1")
                await watched.until_readings(1)
                await watched.until(lambda: device.decoder.idle)
        assert [scan.text for scan in watched.readings] == ["TBA1"]
        assert device.decoder.transmit_errors == 0

    run(test)


def test_over_a_line_that_loses_and_damages_every_scan_arrives_once_in_order() -> None:
    chance = random.Random(2)

    def line(data: bytes) -> Iterable[bytes]:
        fault = chance.random()
        if fault < 0.07:
            return []
        if fault < 0.14:
            at = chance.randrange(len(data))
            return [data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]]
        return [data]

    async def test() -> None:
        sent, heard = [], []
        with SimulatedSsiScanner(response_ns=500_000_000, line=line) as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                for number in range(15):
                    before = device.decoder.transmit_errors
                    text = f"TBA{number:06}"
                    device.scan(text)
                    await watched.until(lambda: device.decoder.idle)
                    arrived = [scan.text for scan in watched.readings[len(sent) :]]
                    if device.decoder.transmit_errors == before:
                        assert arrived == [text]
                    sent += arrived
                    scanner.signal("bad" if number % 2 else "attention")
                    beep = await device.wait_signal()
                    heard.append(beep.data if beep else None)
        assert [scan.text for scan in watched.readings] == sent
        assert len(sent) >= 12
        assert heard.count(b"\x07") + heard.count(b"\x03") >= 12

    run(test)


def test_a_code_of_several_packets_arrives_whole() -> None:
    async def test() -> None:
        with SimulatedSsiScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.scan("0123456789" * 100, symbology=0x11)
                (scan,) = await watched.until_readings(1)
                await watched.until(lambda: device.decoder.idle)
        assert (scan.text, scan.symbology) == ("0123456789" * 100, "PDF417")
        assert device.decoder.transmit_errors == 0

    run(test)


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_plug_pulled_in_the_middle_of_a_packet_costs_nothing_of_the_next_scan(cut: int) -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.write(DECODE[:cut])
                device.unplug()
                await watched.until_state(Condition.ABSENT)
                device.plug()
                await watched.until_state(Condition.READY)
                device.write(DECODE)
                await watched.until_readings(1)
        assert [scan.text for scan in watched.readings] == ["TBA1"]

    run(test)


def test_a_scanner_that_sends_plain_lines_is_told_with_the_kind_to_set_and_wedges_nothing() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                device.scan("TBA1")
                state = await watched.until_state(Condition.FAULTY)
                assert f"scanner hand at {device.port} sends plain text" in state.reason
                assert 'set kind = "line"' in state.reason
                asked = await device.wait_signal()
                assert asked is not None
                assert asked.data == Packet(Opcode.PARAM_SEND, b"\xff\xee\x01").encode()
                device.write(DECODE)
                await watched.until_state(Condition.READY)
        assert [scan.text for scan in watched.readings] == ["TBA1"]

    run(test)


def test_a_wrong_baud_is_told_in_the_state() -> None:
    async def test() -> None:
        with SimulatedScanner() as device:
            scanner = scanner_at(device.port)
            async with watching(scanner) as watched:
                await watched.until_state(Condition.READY)
                for burst in range(1, 4):
                    device.write(b"\x80\xf8\x00\xfe\x00\x80\xf8")
                    await watched.until(lambda burst=burst: scanner.counters.broken == burst)  # type: ignore[misc]
                state = await watched.until_state(Condition.FAULTY)
                assert "set baud as the scanner is set" in state.reason
                assert await device.wait_signal(0.1) is None

    run(test)


def test_a_scanner_that_says_more_than_codes_is_heard_out() -> None:
    async def test() -> None:
        with SimulatedSsiScanner() as device:
            async with watching(scanner_at(device.port)) as watched:
                await watched.until_state(Condition.READY)
                for opcode, data in ((Opcode.EVENT, b"\x0a"), (Opcode.CAPABILITIES_REPLY, bytes(14))):
                    device.say(Packet(opcode, data, source=Source.DECODER))
                device.scan("TBA1")
                await watched.until_readings(1)
                await watched.until(lambda: device.decoder.idle)
        assert [scan.text for scan in watched.readings] == ["TBA1"]
        assert device.decoder.transmit_errors == 0

    run(test)
