"""Brokers that refuse, keep silent, lose things or speak an older version: nothing is lost, and the reason is shown."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.uplink.inbox import Incoming
from drivers.simulated.servers import Broker
from tests.uplink.support import (
    CONNECT,
    FLEET,
    PUBACK,
    PUBLISH,
    ROOT,
    SUBSCRIBE,
    UNIT,
    Gate,
    Packet,
    Side,
    Subscriber,
    Timing,
    Vehicle,
    until,
)

Make = Callable[..., Vehicle]


def refuse(code: int, part: str = "/events/") -> Callable[[Packet, Side], bool]:
    """Answers every publish on such topics with a reason code, and keeps it from the broker."""

    def hook(packet: Packet, side: Side) -> bool:
        if packet.type != PUBLISH or part not in packet.topic:
            return False
        side.tell_unit(b"\x40\x03" + packet.mid + bytes([code]))
        return True

    return hook


def test_the_gate_speaks_mqtt_5_as_a_broker_does(gate: Gate) -> None:
    gate.from_unit = refuse(0x97)
    client = Client(CallbackAPIVersion.VERSION2, "witness", protocol=MQTTProtocolVersion.MQTTv5)
    codes: list[int] = []
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda _client, _data, _mid, reason, _properties: codes.append(reason.value)
    client.connect("127.0.0.1", gate.port)
    client.loop_start()
    assert connected.wait(10)
    client.publish("x/events/y", b"1", qos=1)
    client.publish("x/other", b"1", qos=1)
    until(lambda: len(codes) == 2, "both answers")
    client.disconnect()
    client.loop_stop()
    assert sorted(codes) == [0x10, 0x97]


@pytest.mark.parametrize(("code", "words"), [(0x97, "quota exceeded (0x97)"), (0x87, "not authorized (0x87)")])
def test_events_that_the_broker_does_not_accept_are_kept_and_the_reason_is_shown(
    gate: Gate, subscriber: Subscriber, vehicle: Make, code: int, words: str
) -> None:
    unit = vehicle(gate.url).start()
    unit.write(5)
    unit.confirmed(5)
    gate.from_unit = refuse(code)
    events = unit.write(150)
    until(lambda: words in unit.uplink.state.reason, "the reason")
    time.sleep(1.0)
    refused = len(gate.published("/events/")) - 5
    assert unit.journal.confirmed == 5
    assert unit.uplink.state.online
    assert refused < 125, "one at a time while the broker refuses"
    gate.reopen()
    until(lambda: len(subscriber.on("/events/")) == 155, "every event")
    unit.confirmed(155)
    assert subscriber.payloads()[5:] == [event.payload for event in events]
    until(lambda: not unit.uplink.state.reason, "no reason any more")


def test_one_refused_event_holds_the_cursor_and_comes_again(gate: Gate, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(gate.url).start()
    refused: list[Packet] = []

    def once(packet: Packet, side: Side) -> bool:
        if packet.type == PUBLISH and b'"n":7}' in packet.raw and not refused:
            refused.append(packet)
            side.tell_unit(b"\x40\x03" + packet.mid + b"\x97")
            return True
        return False

    gate.from_unit = once
    unit.write(20)
    unit.confirmed(20)
    until(lambda: len(subscriber.on("/events/")) == 20, "20 events, each once")
    assert len({*subscriber.payloads()}) == 20


def test_no_subscriber_is_no_failure(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url).start()
    unit.write(10)
    unit.confirmed(10)
    assert unit.uplink.state.reason == ""


def test_no_more_is_under_way_than_the_broker_takes(tmp_path: Path, vehicle: Make) -> None:
    with Broker(tmp_path / "small", max_inflight=5) as broker, Gate(broker.port) as gate:
        under_way, most = 0, 0

        def count(packet: Packet, _side: Side) -> bool:
            nonlocal under_way, most
            if packet.type == PUBLISH:
                under_way += 1
                most = max(most, under_way)
            return False

        def answered(packet: Packet, _side: Side) -> bool:
            nonlocal under_way
            if packet.type == PUBACK:
                under_way -= 1
            return False

        gate.from_unit, gate.from_broker = count, answered
        unit = vehicle(gate.url, max_inflight=100).start()
        unit.write(300)
        unit.confirmed(300)
        unit.close()
        assert 1 < most <= 5


def test_a_broker_that_falls_silent_is_left_and_everything_arrives_after_all(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url).start()
    gate.from_broker = lambda packet, _side: packet.type == PUBACK
    unit.write(50)
    reason = unit.offline()
    assert "nothing was acknowledged" in reason
    gate.from_broker = lambda _packet, _side: False
    unit.confirmed(50)
    until(lambda: len({*subscriber.payloads()}) == 50, "every event")


def test_a_link_that_is_cut_again_and_again_loses_nothing(gate: Gate, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(gate.url).start()
    events = unit.write(3000)
    for _ in range(8):
        time.sleep(0.15)
        gate.cut()
    unit.confirmed(3000)
    until(lambda: len({*subscriber.payloads()}) == 3000, "every event", lambda: len(subscriber.payloads()))
    first: dict[bytes, int] = {}
    for place, payload in enumerate(subscriber.payloads()):
        first.setdefault(payload, place)
    assert [*first] == [event.payload for event in events], "each at least once, first arrivals in order"


def test_what_a_killed_broker_forgot_is_sent_again_when_the_cloud_has_to_confirm(tmp_path: Path, vehicle: Make) -> None:
    store = tmp_path / "cloud.sqlite"
    with Broker(tmp_path / "forgetful", persistence=False, max_inflight=20) as broker:
        unit = vehicle(broker.url, confirm="cloud")
        obey(unit)
        who = ["--broker", broker.url, "--fleet", FLEET, "--unit", UNIT, "--store", str(store), "--high-water"]
        consumer = subprocess.Popen(
            [sys.executable, "-m", "cloud.consumer", *who], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
        )
        try:
            unit.start()
            until(store.exists, "the consumer")
            unit.write(3000)
            for _ in range(3):
                time.sleep(0.3)
                broker.kill()
                broker.start()
            unit.confirmed(3000)
        finally:
            consumer.terminate()
        answer, _ = consumer.communicate(timeout=30)
        unit.close()
    report = json.loads(answer)
    assert report["events_received"] >= 3000
    assert (report["gaps"], report["chain_intact"]) == (0, True)


def obey(unit: Vehicle) -> None:
    """Do what the unit's loop does: commands are carried out, a lost session becomes an event."""

    def take(message: Incoming) -> None:
        command = json.loads(message.payload)["data"]
        if command["command"] == "high_water":
            unit.uplink.high_water(command["sequence"])
        else:
            unit.uplink.replay(command["from_sequence"], command["to_sequence"])
        unit.uplink.acknowledge(message.token)

    unit.listener.acknowledge = take
    unit.listener.on_session_lost = lambda: unit.write(1, "unit.session_reset")


def test_events_wait_for_a_subscriber_when_the_cloud_has_to_confirm(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url, confirm="cloud").start()
    events = unit.write(50)
    until(lambda: unit.uplink.state.reason == "nobody subscribes to the events", "the reason")
    listening = Subscriber(broker.port)
    until(lambda: len(listening.on("/events/")) == 50, "50 events")
    listening.close()
    assert listening.payloads() == [event.payload for event in events]


def test_a_mark_for_an_event_that_nobody_subscribed_to_shows_that_somebody_listens(
    broker: Broker, vehicle: Make
) -> None:
    unit = vehicle(broker.url, confirm="cloud").start()
    unit.write(50)
    until(lambda: unit.uplink.state.reason, "the reason")
    unit.uplink.high_water(1)
    until(lambda: unit.uplink.state.reason == "" and unit.uplink.state.inflight == 0, "no reason any more")


def test_without_the_clouds_word_nothing_is_freed(broker: Broker, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(broker.url, confirm="cloud").start()
    unit.write(10)
    until(lambda: len(subscriber.on("/events/")) == 10, "10 events")
    assert unit.journal.confirmed == 0
    unit.uplink.high_water(7)
    assert unit.journal.confirmed == 7


def test_events_that_the_cloud_never_confirms_are_sent_again_after_a_while(
    broker: Broker, subscriber: Subscriber, vehicle: Make
) -> None:
    timing = Timing(retry_min_s=0.05, resend_s=0.5)
    unit = vehicle(broker.url, confirm="cloud", timing=timing).start()
    unit.write(10)
    unit.uplink.high_water(4)
    until(lambda: len(subscriber.on("/events/")) >= 16, "the last six once more")
    assert subscriber.payloads()[10:16] == subscriber.payloads()[4:10]


# ------------------------------------------------------------------------------------------------ versions


def only_3_1_1(packet: Packet, side: Side) -> bool:
    if packet.type == CONNECT and packet.body[6] == 5:
        side.tell_unit(b"\x20\x02\x00\x01")
        time.sleep(0.05)
        side.close()
        return True
    return False


def closes_on_5(packet: Packet, side: Side) -> bool:
    if packet.type == CONNECT and packet.body[6] == 5:
        side.close()
        return True
    return False


@pytest.mark.parametrize("way", [only_3_1_1, closes_on_5])
def test_a_broker_that_speaks_only_3_1_1_is_spoken_to_in_3_1_1(
    gate: Gate, subscriber: Subscriber, vehicle: Make, way: Callable[[Packet, Side], bool]
) -> None:
    gate.from_unit = way
    unit = vehicle(gate.url).start()
    assert unit.uplink.state.protocol == "3.1.1"
    events = unit.write(20)
    until(lambda: len(subscriber.on("/events/")) == 20, "20 events")
    assert subscriber.payloads() == [event.payload for event in events]
    gate.reopen()
    unit.restart()
    assert unit.uplink.state.protocol == "5", "asked anew at each start"


def test_a_protocol_that_was_chosen_is_not_changed(gate: Gate, vehicle: Make) -> None:
    gate.from_unit = only_3_1_1
    unit = vehicle(gate.url, protocol="5").start(online=False)
    until(lambda: gate.connections >= 3, "three attempts")
    assert {packet.body[6] for packet in gate.seen if packet.type == CONNECT} == {5}
    assert "0x84" in unit.uplink.state.reason


def test_a_server_that_is_no_broker_is_named(gate: Gate, vehicle: Make) -> None:
    def http(packet: Packet, side: Side) -> bool:
        side.tell_unit(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        side.close()
        return True

    gate.from_unit = http
    unit = vehicle(gate.url).start(online=False)
    until(lambda: gate.connections >= 4, "four attempts")
    assert not unit.uplink.state.online
    assert unit.uplink.state.reason not in {"connecting", ""}


# ------------------------------------------------------------------------------------------------ faults that are shown


def test_a_copied_card_is_noticed_and_does_not_lead_to_a_storm(gate: Gate, vehicle: Make) -> None:
    def taken_over(packet: Packet, side: Side) -> bool:
        if packet.type == PUBLISH:
            side.tell_unit(b"\xe0\x01\x8e")
        return packet.type == PUBLISH

    gate.from_unit = taken_over
    unit = vehicle(gate.url).start(online=False)
    until(lambda: "copied" in unit.uplink.state.reason, "the reason", lambda: unit.uplink.state)
    assert f'another client uses our client id "{unit.uplink.client_id}"' in unit.uplink.state.reason
    before = gate.connections
    time.sleep(1.5)
    assert gate.connections == before, "slow back-off"


def test_a_twin_is_suspected_where_the_broker_closes_without_a_word(broker: Broker, vehicle: Make) -> None:
    unit = vehicle(broker.url).start()
    for _ in range(3):
        until(lambda: unit.uplink.state.online, "the connection")
        with socket.create_connection(("127.0.0.1", broker.port)) as twin:
            name = unit.uplink.client_id.encode()
            body = b"\x00\x04MQTT\x04\x02\x00\x1e\x00" + bytes([len(name)]) + name
            twin.sendall(b"\x10" + bytes([len(body)]) + body)
            unit.offline()
    assert f'does another client use our client id "{unit.uplink.client_id}"?' in unit.uplink.state.reason
    unit.online()


def test_an_event_that_is_too_large_for_the_broker_is_shown_and_holds_nobody_up(tmp_path: Path, vehicle: Make) -> None:
    with Broker(tmp_path / "narrow", settings=["max_packet_size 2000"]) as broker:
        listening = Subscriber(broker.port)
        unit = vehicle(broker.url).start()
        unit.write(2)
        large = unit.write(1, text="x" * 5000)[0]
        unit.write(2)
        until(lambda: len(listening.on("/events/")) == 4, "the other four")
        until(lambda: f"event {large.sequence} " in unit.uplink.state.reason, "the reason")
        assert unit.journal.confirmed == 2
        listening.close()
        unit.close()


def test_an_inbox_that_may_not_be_read_is_shown_and_events_go_out_all_the_same(gate: Gate, vehicle: Make) -> None:
    def refuse_subscriptions(packet: Packet, side: Side) -> bool:
        if packet.type == SUBSCRIBE:
            side.tell_unit(b"\x90\x05" + packet.body[:2] + b"\x00\x87\x87")
        return packet.type == SUBSCRIBE

    gate.from_unit = refuse_subscriptions
    unit = vehicle(gate.url).start(online=False)
    unit.write(3)
    unit.confirmed(3)
    until(lambda: "does not let us read our inbox" in unit.uplink.state.reason, "the reason")
    gate.reopen()
    until(lambda: unit.uplink.state.reason == "", "the inbox, asked for again")


def test_nobody_there_is_shown_and_tried_again(vehicle: Make, broker: Broker) -> None:
    broker.stop()
    unit = vehicle(broker.url).start(online=False)
    until(lambda: "refused" in unit.uplink.state.reason, "the reason")
    broker.start()
    unit.online()


# ------------------------------------------------------------------------------------------------ TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Broker, int, Path]]:
    """A broker with TLS: the broker, its port with TLS, and the authority's certificate."""
    from drivers.simulated.servers import free_port

    authority, certificate, key = certificates(tmp_path)
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true"]
    with Broker(tmp_path / "tls", settings=lines) as broker:
        yield broker, port, authority


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate for 127.0.0.1 with its key."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(
        name: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            # Python 3.13 insists on the names of both keys, and on what the authority's key is for.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(x509.KeyUsage(*[True] + [False] * 4, *[key is signer] * 2, False, False), critical=True)
        )
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate("authority", "authority", authority, authority))
    paths[1].write_bytes(certificate("broker", "authority", server, authority))
    paths[2].write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for path in paths:
        path.chmod(0o644)
    return paths


def test_events_and_large_messages_pass_through_tls(tls: tuple[Broker, int, Path], vehicle: Make) -> None:
    broker, port, authority = tls
    listening = Subscriber(broker.port)
    unit = vehicle(f"mqtts://127.0.0.1:{port}", ca_file=authority).start()
    unit.write(500)
    listening.publish(f"{ROOT}/inbox/block", b"[" * 300_000)
    unit.confirmed(500)
    until(lambda: unit.listener.messages and len(unit.listener.messages[0].payload) == 300_000, "the message")
    listening.close()


def test_a_broker_with_an_unknown_certificate_gets_nothing(tls: tuple[Broker, int, Path], vehicle: Make) -> None:
    _, port, _ = tls
    unit = vehicle(f"mqtts://127.0.0.1:{port}").start(online=False)
    until(lambda: "certificate is not accepted" in unit.uplink.state.reason, "the reason")


def test_an_authority_that_is_no_certificate_is_named(tls: tuple[Broker, int, Path], vehicle: Make) -> None:
    _, port, authority = tls
    authority.write_text("not a certificate")
    unit = vehicle(f"mqtts://127.0.0.1:{port}", ca_file=authority).start(online=False)
    until(lambda: "broker.ca_file" in unit.uplink.state.reason, "the reason")
