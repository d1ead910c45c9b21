"""The simulated devices and the real servers beside them keep what they promise to the demo and the tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from watched_part import needs, watching

from drivers.readings import Condition, DriverError, Panel
from drivers.simulated import Broker, Gpsd, ReservedPort, SimulatedMount, SimulatedReceiver, SimulatedScanner, servers

needs_mosquitto = needs("mosquitto", "mosquitto")


def test_a_scanner_keeps_its_path_and_cleans_up_behind_itself() -> None:
    with SimulatedScanner() as device:
        before = device.port
        device.unplug()
        assert not Path(before).exists()
        device.plug()
        assert device.port == before
        assert Path(before).is_char_device()
        with pytest.raises(TimeoutError, match="nobody reads"):
            device.write(b"x" * 1_000_000, 0.1)
    assert not Path(before).parent.exists()
    assert "simulated scanner" not in [thread.name for thread in threading.enumerate()]


def test_sending_with_the_plug_pulled_says_so() -> None:
    with SimulatedScanner() as device:
        device.unplug()
        with pytest.raises(OSError, match="is not plugged in"):
            device.scan("TBA1")


def test_every_sentence_of_the_receiver_has_the_right_checksum() -> None:
    with SimulatedReceiver(-33.856784, -151.215297) as receiver:
        for mode in (1, 2, 3):
            receiver.mode = mode
            for line in receiver.epoch(datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)).splitlines():
                body, check = line.removeprefix(b"$").split(b"*")
                value = 0
                for byte in body:
                    value ^= byte
                assert f"{value:02X}" == check.decode()
                assert len(line) <= 82


def test_the_mount_reports_what_it_is_set_to() -> None:
    async def test() -> None:
        mount = SimulatedMount(rate_hz=50)
        async with watching(mount) as watched:
            await watched.until_readings(2)
            mount.ignition, mount.supply_mv, mount.buttons = False, 11_900, 0b10
            await watched.until(lambda: not watched.readings[-1].ignition)
            mount.plugged = False
            await watched.until_state(Condition.ABSENT)
            mount.plugged = True
            await watched.until_state(Condition.READY)
        first, last = watched.readings[0], watched.readings[-1]
        assert isinstance(last, Panel)
        assert (first.ignition, first.supply_mv, first.buttons) == (True, 13_800, 0)
        assert (last.supply_mv, last.buttons) == (11_900, 2)
        assert last.uptime_ms > first.uptime_ms
        mount.signal("bad")
        assert [signal.tone for signal in mount.signals] == ["bad"]

    asyncio.run(test())


def connected(broker: Broker) -> bool:
    """Whether the broker takes a client."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    try:
        client.connect("127.0.0.1", broker.port)
    except OSError:
        return False
    for _ in range(50):
        client.loop(0.1)
        if client.is_connected():
            break
    found = client.is_connected()
    client.disconnect()
    return found


@needs_mosquitto
def test_the_broker_comes_back_on_its_port(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        port, first = broker.port, broker.pid
        assert connected(broker)
        broker.kill()
        assert broker.pid is None
        assert not connected(broker)
        broker.start()
        assert (broker.port, broker.url) == (port, f"mqtt://127.0.0.1:{port}")
        assert broker.pid != first
        assert connected(broker)
        broker.stop()
        assert (tmp_path / "broker" / "mosquitto.db").exists()
        broker.forget()
        assert not (tmp_path / "broker" / "mosquitto.db").exists()
    assert broker.pid is None


@pytest.mark.parametrize("reuses", [False, True])
def test_a_server_that_is_down_for_a_while_is_the_only_one_that_gets_its_port(reuses: bool) -> None:
    port = ReservedPort()
    given = set()
    for _ in range(50_000):
        with socket.socket() as asks:
            asks.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuses)
            asks.bind(("127.0.0.1", 0))
            given.add(asks.getsockname()[1])
    assert port.number not in given
    with socket.create_server(("127.0.0.1", port.number)):
        pass


@needs_mosquitto
def test_a_port_that_is_taken_is_told_with_the_words_of_the_broker(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        broker = Broker(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(DriverError, match=f"mosquitto does not take connections on {broker.address}"):
            broker.start()
        assert broker.pid is None


def test_a_program_that_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda *_, **__: None)
    with pytest.raises(DriverError, match=r"mosquitto is not installed.*apt-get install mosquitto"):
        Broker(tmp_path).start()
    with pytest.raises(DriverError, match=r"gpsd is not installed.*apt-get install gpsd"):
        Gpsd("/dev/null").start()
