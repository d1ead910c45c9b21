"""The scanners of the settings: each answers its own scans with a tone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from agent.delivery.model import inputs
from agent.labels.identity import to_input
from agent.parts import Fitted
from agent.settings import ScannerSettings
from drivers.readings import NotRead, Scan
from drivers.scanner.framing import Counters

if TYPE_CHECKING:
    from agent.unit import Unit
    from drivers.scanner.input_device import HidPosScanner, KeyboardScanner
    from drivers.scanner.serial_port import SerialScanner


def scanners(settings: Iterable[ScannerSettings], unit: Unit) -> Iterator[Fitted[Scan | NotRead]]:
    """A part for each."""

    def take(reading: Scan | NotRead) -> None:
        unit.take(to_input(reading) if isinstance(reading, Scan) else inputs.NotRead(), device=reading.device)

    for each in settings:
        driver = _driver(each)
        yield Fitted(driver, take, signal=driver.signal, counts=partial(_counts, driver.counters), device=each.port)


def _counts(counters: Counters) -> dict[str, int]:
    return {"read": counters.codes, "not_read": counters.lost}


def _driver(scanner: ScannerSettings) -> SerialScanner | KeyboardScanner | HidPosScanner:
    match scanner.kind:
        case "hid":
            from drivers.scanner.input_device import KeyboardScanner

            end, silence_ms = scanner.terminator, scanner.idle_flush_ms
            return KeyboardScanner(scanner.name, scanner.port, scanner.layout, end, silence_ms)
        case "hidpos":
            from drivers.scanner.input_device import HidPosScanner

            return HidPosScanner(scanner.name, scanner.port)
        case kind:
            from drivers.scanner.serial_port import SerialScanner, framer

            protocol = framer(kind, scanner.terminator, scanner.idle_flush_ms, host_ack=scanner.host_ack)
            return SerialScanner(scanner.name, scanner.port, protocol, scanner.baud)
