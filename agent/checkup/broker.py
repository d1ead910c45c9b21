"""Whether the broker takes connections of a client of another name, and what the agent says of its own."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any, Final, Literal

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import TIMEOUT_S, Finding
from agent.settings import BrokerSettings, Settings

_VERSION_REFUSED: Final = (0x84, 1)
_CLIENT_ID_REFUSED: Final = (0x85, 2)


def examine(settings: Settings, agent: RunningAgent) -> Iterator[Finding]:
    yield from _seen_from_outside(settings)
    known = agent.parts.get("broker")
    if known is not None and known["reason"]:
        state: Literal["warning", "fault"] = "warning" if known["state"] == "ready" else "fault"
        advice = "see the broker's log and its access list; docs/contract.md names the topics of a unit"
        yield Finding("broker", state, f"the agent says of its own connection: {known['reason']}", advice)


def _seen_from_outside(settings: Settings) -> Iterator[Finding]:
    from agent.uplink.connection import UplinkError

    broker = settings.broker
    where = f"{broker.host}:{broker.port}"
    protocols = ("5", "3.1.1") if broker.protocol == "auto" else (broker.protocol,)
    try:
        for protocol in protocols:
            answer = _connack(broker, protocol)
            if answer is not None and answer[0] in _VERSION_REFUSED and protocol != protocols[-1]:
                continue
            break
    except UplinkError as error:
        yield Finding("broker", "fault", str(error), "correct the setting, or the rights of the file")
    except ssl.SSLCertVerificationError as error:
        advice = "is the clock right? Did the right authority (broker.ca_file) sign for this very name?"
        yield Finding("broker", "fault", f"{where}: its certificate is refused: {error.verify_message}", advice)
    except ssl.SSLError as error:
        advice = "is it a port for TLS, and does it know the unit's certificate?"
        yield Finding("broker", "fault", f"{where}: no TLS: {error.reason}", advice)
    except TimeoutError:
        advice = "check the network, a firewall, and broker.url"
        yield Finding("broker", "fault", f"{where} does not answer within {TIMEOUT_S:.0f} s", advice)
    except OSError as error:
        yield Finding("broker", "fault", f"{where}: {error.strerror or error}", "check the network and broker.url")
    else:
        yield _answered(where, protocol, answer)


def _answered(where: str, protocol: str, answer: tuple[int, str] | None) -> Finding:
    if answer is None:
        advice = "is it an MQTT broker, with TLS where broker.url says mqtts?"
        return Finding("broker", "fault", f"{where} closes the connection without an answer", advice)
    code, name = answer
    if code == 0:
        return Finding("broker", "ok", f"{where} takes connections, MQTT {protocol}")
    if code in _CLIENT_ID_REFUSED:
        message = f"{where} answers, and takes only clients that it knows by their id"
        return Finding("broker", "warning", message, "the agent's own state says whether it knows this unit")
    return Finding("broker", "fault", f"{where} refuses: {name} (0x{code:02X})", "check user, certificate, the broker")


def _connack(broker: BrokerSettings, protocol: str) -> tuple[int, str] | None:
    """Reason code and name of the CONNACK that a client of a passing name gets; ``None`` when there is none.

    :raises OSError: there is no connection, or no TLS
    """
    from secrets import token_hex

    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    from agent.uplink.connection import password_of, tls_context

    five = protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        f"kerbside-doctor-{token_hex(4)}",
        clean_session=None if five else True,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = TIMEOUT_S
    if broker.username is not None:
        client.username_pw_set(broker.username, password_of(broker))
    if broker.tls:
        client.tls_set_context(tls_context(broker))
    answers: list[tuple[int, str]] = []
    ended: list[bool] = []

    def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.append((reason.value, reason.getName()))

    def on_disconnect(*_arguments: Any) -> None:
        ended.append(True)

    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    client.connect(broker.host, broker.port)
    deadline = time.monotonic() + TIMEOUT_S
    while not answers and not ended:
        if time.monotonic() > deadline:
            raise TimeoutError
        client.loop(0.1)
    client.disconnect()
    return answers[0] if answers else None
