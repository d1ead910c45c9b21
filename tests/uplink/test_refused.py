"""A broker that does not take some messages: those are kept and tried again, and everything else goes its way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from agent.journal.store import Journal
from agent.uplink import kept as kept_module
from drivers.simulated.servers import Broker
from tests.uplink.support import PUBLISH, QUICK, ROOT, SUBSCRIBE, Gate, Packet, Side, Subscriber, Vehicle, until

Make = Callable[..., Vehicle]
DENIED = f"{ROOT}/events/parcel/loaded"


class Guarded:
    """A broker with a list of topics that nobody may publish on."""

    def __init__(self, folder: Path) -> None:
        self._acl = folder / "acl"
        self._write([])
        self.broker = Broker(folder / "guarded", settings=[f"acl_file {self._acl}"])

    def _write(self, denied: list[str]) -> None:
        self._acl.write_text("".join(f"topic deny {topic}\n" for topic in denied) + "topic readwrite #\n")
        self._acl.chmod(0o644)

    def deny(self, *topics: str) -> None:
        self._write([*topics])
        before = self.broker.log.read_text().count("Reloading config")
        assert self.broker.pid
        os.kill(self.broker.pid, signal.SIGHUP)
        until(lambda: self.broker.log.read_text().count("Reloading config") > before, "the new list")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    with made.broker:
        yield made


def everything(unit: Vehicle, subscriber: Subscriber) -> set[bytes]:
    """What must pass whatever is refused: other events, samples, replies."""
    unit.journal.sample("position", {"latitude": 52.0})
    unit.journal.sample("health", {"cpu": 0.1})
    unit.uplink.reply({"command_id": "C", "ok": True, "result": {}})
    others = {event.payload for event in unit.write(5, "parcel.delivered")}
    until(lambda: others <= {*subscriber.payloads("/events/")}, "the other events", lambda: unit.uplink.state)
    for what in ("/telemetry/position", "/telemetry/health", "/replies"):
        until(lambda what=what: subscriber.on(what), what, lambda: unit.uplink.state)
    return others


@pytest.mark.parametrize("denied", [[DENIED], [DENIED, f"{ROOT}/events/stop/+"], [DENIED, f"{ROOT}/events/block/#"]])
def test_a_topic_that_the_broker_denies_holds_nothing_else_up_and_arrives_once_it_is_allowed(
    guarded: Guarded, vehicle: Make, denied: list[str]
) -> None:
    guarded.deny(*denied)
    subscriber = Subscriber(guarded.broker.port)
    unit = vehicle(guarded.broker.url).start()
    first = unit.write(2, "driver.signed_in")[0].sequence
    refused = unit.write(9)
    others = unit.write(7, "stop.arrived")
    everything(unit, subscriber)
    until(lambda: "not authorized (0x87) on " + DENIED in unit.uplink.state.reason, "the topic in the reason")
    assert unit.uplink.state.online
    assert unit.journal.confirmed == first + 1, "the cursor stays before the first that is refused"
    allowed = [event for event in others if denied[1:] != [f"{ROOT}/events/stop/+"]]
    until(lambda: {event.payload for event in allowed} <= {*subscriber.payloads()}, "the events of other topics")
    until(lambda: unit.journal.status()["set_aside"] >= 9, "the refused ones to be set aside")
    assert unit.journal.status()["backlog"]["events"] == unit.journal.status()["set_aside"]

    guarded.deny()
    last = unit.write(1)[0].sequence
    unit.confirmed(last)
    until(lambda: unit.uplink.state.reason == "", "no reason any more", lambda: unit.uplink.state)
    until(lambda: len({*subscriber.payloads()}) == last, "every event", lambda: len(subscriber.payloads()))
    assert {event.payload for event in refused} < {*subscriber.payloads()}
    assert len(subscriber.payloads()) == last, "each once"
    assert unit.journal.status()["set_aside"] == 0
    subscriber.close()


def test_what_is_set_aside_is_known_after_a_restart_and_nothing_else_is_sent_again(
    guarded: Guarded, vehicle: Make, tmp_path: Path
) -> None:
    guarded.deny(DENIED)
    subscriber = Subscriber(guarded.broker.port)
    unit = vehicle(guarded.broker.url).start()
    refused = unit.write(3)
    everything(unit, subscriber)
    until(lambda: unit.journal.arrived.through == 8, "the others", lambda: unit.journal.arrived)
    before = len(subscriber.on("/events/"))
    for _ in range(2):
        time.sleep(0.7)
        unit.restart()
        unit.confirmed(0)
        time.sleep(0.3)
    assert unit.uplink.stop()
    unit.journal.close()
    again = Journal.open(tmp_path / "state", max_bytes=1 << 28, retain_days=30)
    assert (again.confirmed, again.arrived) == (0, (8, (1, 2, 3)))
    again.close()
    assert len(subscriber.on("/events/")) == before

    guarded.deny()
    second = Vehicle(tmp_path / "state", guarded.broker.url).start()
    second.confirmed(8)
    until(lambda: len(subscriber.payloads()) == before + 3, "the three")
    assert [*subscriber.payloads()[before:]] == [event.payload for event in refused]
    second.close()
    subscriber.close()


def test_an_event_that_is_refused_for_itself_holds_no_other_of_its_topic_up(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    unit = vehicle(gate.url).start()

    def refuse(packet: Packet, side: Side) -> bool:
        if packet.type == PUBLISH and b'"n":7}' in packet.raw:
            side.tell_unit(b"\x40\x03" + packet.mid + b"\x87")
            return True
        return False

    gate.from_unit = refuse
    for _ in range(5):
        unit.write(20)
        time.sleep(0.1)
    until(lambda: len(subscriber.on("/events/")) == 95, "all but five", lambda: len(subscriber.on("/events/")))
    assert unit.journal.confirmed == 7
    assert unit.journal.status()["set_aside"] == 5
    gate.reopen()
    unit.confirmed(100)
    until(lambda: len(subscriber.on("/events/")) == 100, "100, each once")


def test_of_a_replay_the_refused_events_are_left_out_and_newer_ones_do_not_wait(
    guarded: Guarded, vehicle: Make
) -> None:
    subscriber = Subscriber(guarded.broker.port)
    unit = vehicle(guarded.broker.url).start()
    unit.write(4)
    unit.confirmed(unit.write(4, "parcel.delivered")[-1].sequence)
    guarded.deny(DENIED)
    assert unit.uplink.replay(1).accepted
    until(lambda: "left out of a replay" in unit.uplink.state.reason, "the finding")
    everything(unit, subscriber)
    assert len(subscriber.on("/events/parcel/loaded")) == 4
    assert len(subscriber.on("/events/parcel/delivered")) == 13
    subscriber.close()


def test_telemetry_status_and_replies_that_are_denied_hold_no_event_up(guarded: Guarded, vehicle: Make) -> None:
    guarded.deny(f"{ROOT}/status", f"{ROOT}/replies", f"{ROOT}/telemetry/position")
    subscriber = Subscriber(guarded.broker.port)
    unit = vehicle(guarded.broker.url).start()
    unit.journal.sample("position", {"latitude": 52.0})
    unit.journal.sample("health", {"cpu": 0.1})
    unit.uplink.reply({"command_id": "C", "ok": True, "result": {}})
    unit.confirmed(unit.write(20)[-1].sequence)
    until(lambda: subscriber.on("/telemetry/health"), "the other stream")
    reason = until(
        lambda: "/status" in (said := unit.uplink.state.reason) and "/position" in said and said, "the topics"
    )
    assert reason.count("not authorized (0x87)") == 2
    subscriber.close()


def test_only_so_many_are_set_aside_and_then_the_newer_ones_wait(
    guarded: Guarded, vehicle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_module, "MAX_KEPT", 10)
    guarded.deny(DENIED)
    subscriber = Subscriber(guarded.broker.port)
    unit = vehicle(guarded.broker.url, max_inflight=5).start()
    unit.write(40)
    last = unit.write(3, "parcel.delivered")[-1].sequence
    until(lambda: "no more may be set aside" in unit.uplink.state.reason, "the reason", lambda: unit.uplink.state)
    unit.journal.sample("health", {"cpu": 0.1})
    until(lambda: subscriber.on("/telemetry/health"), "samples go on")
    status = unit.journal.status()
    assert 10 <= status["set_aside"] <= 15
    assert status["backlog"]["events"] == 43
    guarded.deny()
    unit.confirmed(last)
    until(lambda: len(subscriber.on("/events/")) == 43, "every event, once")
    subscriber.close()


# ------------------------------------------------------------------------------------------------ brokers that cut


def cuts_on(*parts: str, of: int = PUBLISH) -> Callable[[Packet, Side], bool]:
    """What a broker of 3.1.1 may do with what it does not allow: it closes."""

    def hook(packet: Packet, side: Side) -> bool:
        if packet.type == of and (of != PUBLISH or any(part in packet.topic for part in parts)):
            side.close()
            return True
        return False

    return hook


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_topic_for_which_the_broker_cuts_the_connection_is_found_named_and_passed_by(
    gate: Gate, subscriber: Subscriber, vehicle: Make, protocol: str
) -> None:
    gate.from_unit = cuts_on("/parcel/loaded")
    unit = vehicle(gate.url, protocol=protocol)
    unit.start(online=False)
    unit.write(9)
    everything(unit, subscriber)
    until(lambda: DENIED in unit.uplink.state.reason, "the topic in the reason", lambda: unit.uplink.state)
    assert not any("another client" in reason for _, reason in unit.listener.states)
    assert any("when" in reason and DENIED in reason for online, reason in unit.listener.states if not online)
    assert unit.journal.confirmed == 0
    gate.reopen()
    unit.confirmed(14)
    until(lambda: unit.uplink.state.reason == "", "no reason any more", lambda: unit.uplink.state)
    until(lambda: len({*subscriber.payloads()}) == 14, "every event")


@pytest.mark.parametrize("part", ["/status", "/replies", "/telemetry/position", "/telemetry/health"])
def test_whatever_it_is_that_the_broker_cuts_for_the_events_arrive(
    gate: Gate, subscriber: Subscriber, vehicle: Make, part: str
) -> None:
    gate.from_unit = cuts_on(part)
    unit = vehicle(gate.url, protocol="3.1.1").start(online=False)
    unit.journal.sample("position", {"latitude": 52.0})
    unit.journal.sample("health", {"cpu": 0.1})
    unit.uplink.reply({"command_id": "C", "ok": True, "result": {}})
    last = unit.write(20)[-1].sequence
    unit.confirmed(last)
    until(lambda: part in unit.uplink.state.reason, "the topic in the reason", lambda: unit.uplink.state)


def test_a_subscription_that_the_broker_cuts_for_is_named_and_the_events_arrive(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    gate.from_unit = cuts_on(of=SUBSCRIBE)
    unit = vehicle(gate.url, protocol="3.1.1").start(online=False)
    unit.confirmed(unit.write(20)[-1].sequence)
    until(lambda: "when we subscribed" in unit.uplink.state.reason, "the reason", lambda: unit.uplink.state)
    gate.reopen()
    until(lambda: unit.uplink.state.online and unit.uplink.state.reason == "", "the inbox")
    subscriber.publish(f"{ROOT}/inbox/message", b"hello")
    until(lambda: unit.listener.messages, "a message")


def test_a_packet_that_is_too_large_for_a_broker_that_cannot_say_so_is_found_and_passed_by(
    tmp_path: Path, vehicle: Make
) -> None:
    with Broker(tmp_path / "narrow", settings=["max_packet_size 2000"]) as broker:
        subscriber = Subscriber(broker.port)
        unit = vehicle(broker.url, protocol="3.1.1").start()
        unit.write(3)
        large = unit.write(1, text="x" * 5000)[0]
        after = unit.write(5)
        until(lambda: {e.payload for e in after} <= {*subscriber.payloads()}, "the others", lambda: unit.uplink.state)
        size = len(large.payload) + len(DENIED) + 7
        until(lambda: f"{size} bytes" in unit.uplink.state.reason, "its size", lambda: unit.uplink.state)
        everything(unit, subscriber)
        assert unit.journal.confirmed == 3
        assert unit.journal.status()["set_aside"] == 1
        subscriber.close()
        unit.close()


def test_messages_that_a_broker_never_answers_hold_nothing_else_up(
    gate: Gate, subscriber: Subscriber, vehicle: Make
) -> None:
    gate.from_unit = lambda packet, _side: packet.type == PUBLISH and "/parcel/loaded" in packet.topic
    unit = vehicle(gate.url, protocol="3.1.1").start()
    unit.write(3)
    everything(unit, subscriber)
    until(lambda: DENIED in unit.uplink.state.reason, "the topic in the reason", lambda: unit.uplink.state)
    gate.reopen()
    unit.confirmed(8)


def test_a_link_that_is_cut_at_random_leaves_nothing_behind(gate: Gate, subscriber: Subscriber, vehicle: Make) -> None:
    unit = vehicle(gate.url).start()
    for round_ in range(6):
        unit.write(60, ("parcel.loaded", "parcel.delivered")[round_ % 2])
        time.sleep(0.05)
        gate.cut()
    unit.confirmed(360)
    until(lambda: len({*subscriber.payloads()}) == 360, "every event")
    until(lambda: unit.uplink.state.online and unit.uplink.state.reason == "", "no reason any more")
    assert unit.journal.status()["set_aside"] == 0


# ------------------------------------------------------------------------------------------------ two of one name


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_units_with_one_client_id_back_off_and_say_so(
    broker: Broker, tmp_path: Path, vehicle: Make, protocol: str
) -> None:
    with Gate(broker.port) as one, Gate(broker.port) as other:
        for each in (one, other):
            # A broker that does not say why, as those of 3.1.1.
            each.from_broker = lambda packet, side: packet.type == 14 and (side.close() or True)  # type: ignore[func-returns-value]
        unit = vehicle(one.url, protocol=protocol)
        twin = Vehicle(tmp_path / "twin", other.url, protocol=protocol)
        unit.start(online=False)
        twin.start(online=False)
        said = "does another client use our client id"
        until(lambda: said in unit.uplink.state.reason or said in twin.uplink.state.reason, "the reason")
        time.sleep(2)
        before = one.connections + other.connections
        time.sleep(5)
        assert one.connections + other.connections <= before + 2, "they leave each other alone"
        twin.close()
        unit.confirmed(unit.write(3)[-1].sequence)


def test_what_is_kept_waits_ever_longer(gate: Gate, vehicle: Make) -> None:
    seen: list[float] = []

    def refuse(packet: Packet, side: Side) -> bool:
        if packet.type == PUBLISH and "/events/" in packet.topic:
            seen.append(time.monotonic())
            side.tell_unit(b"\x40\x03" + packet.mid + b"\x87")
            return True
        return False

    gate.from_unit = refuse
    unit = vehicle(gate.url).start()
    unit.write(1)
    until(lambda: len(seen) >= 7, "seven tries")
    waits = [later - earlier for earlier, later in pairwise(seen)]
    assert waits[0] < QUICK.retry_max_s / 2 < min(waits[4:])
