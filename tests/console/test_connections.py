"""Whoever opens connections and asks nothing, or asks slowly, or in two ways, keeps nobody from the driver's screen."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.console.connections import MAX_CONNECTIONS
from tests.console.served_console import TIMEOUT_S, Served, serving
from tests.waiting import wait_until


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def connect(served: Served, begun: bytes = b"") -> socket.socket:
    connection = socket.create_connection((served.host, served.port), TIMEOUT_S)
    connection.sendall(begun)
    return connection


def ask(connection: socket.socket, request: bytes) -> tuple[int, Any]:
    """Send a request as it is; status and JSON of the answer."""
    connection.sendall(request)
    return answer(connection)


def answer(connection: socket.socket) -> tuple[int, Any]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def is_cut(connection: socket.socket) -> bool:
    """Whether the other side has left; reads what is there."""
    connection.settimeout(0.01)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def get(served: Served, *headers: str, path: str = "/api/state", host: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", *([f"Host: {served.name}"] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


HALF_OPEN = [b"", b"GET /api/state HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST /api/actions HTTP/1.1\r\nContent-Le"]


@pytest.mark.parametrize("begun", HALF_OPEN)
def test_idle_connections_lock_nobody_out_and_are_bounded(served: Served, begun: bytes) -> None:
    idle = [connect(served, begun) for _ in range(3 * MAX_CONNECTIONS)]
    assert served.json("GET", "/api/state")[0] == 200
    assert served.post('{"action": "scan"}')[0] == 200
    wait_until(lambda: len([each for each in idle if not is_cut(each)]) < MAX_CONNECTIONS, "the oldest to be cut")
    assert not is_cut(idle[-1]), "the oldest goes first"
    for each in idle:
        each.close()


def test_bodies_that_do_not_come_lock_nobody_out(served: Served) -> None:
    head = f"POST /api/actions HTTP/1.1\r\nHost: {served.name}\r\nX-Kerbside-Token: {served.token()}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    idle = [connect(served, head.encode()) for _ in range(3 * MAX_CONNECTIONS)]
    assert served.post('{"action": "scan"}')[0] == 200
    assert served.backend.acted == [("scan", {})]
    for each in idle:
        each.close()


def test_readers_that_take_nothing_lock_nobody_out(served: Served) -> None:
    served.show({"filling": "x" * 3_000_000})
    deaf = []
    for _ in range(2 * MAX_CONNECTIONS):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((served.host, served.port))
        connection.sendall(get(served))
        deaf.append(connection)
    assert served.json("GET", "/healthz")[0] == 200
    assert served.json("GET", "/api/session")[0] == 200
    for each in deaf:
        each.close()


def test_a_screen_that_follows_stays_while_idle_connections_come(served: Served) -> None:
    stream = http.client.HTTPConnection(served.host, served.port, timeout=TIMEOUT_S)
    stream.request("GET", "/api/stream")
    response = stream.getresponse()
    assert response.readline().startswith(b"retry")
    idle = [connect(served) for _ in range(3 * MAX_CONNECTIONS)]
    served.show({"n": 42})
    while b'"n":42' not in response.readline():
        pass
    stream.close()
    for each in idle:
        each.close()


def test_questions_that_take_their_time_lock_nobody_out_and_cut_no_screen(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = http.client.HTTPConnection(served.host, served.port, timeout=TIMEOUT_S)
    stream.request("GET", "/api/stream")
    response = stream.getresponse()
    assert response.readline().startswith(b"retry")
    asked: list[None] = []

    async def slow_checkup() -> dict[str, Any]:
        asked.append(None)
        await asyncio.sleep(3600)
        return {}

    monkeypatch.setattr(served.backend, "checkup", slow_checkup)
    waiting = [connect(served, get(served, path="/api/checkup")) for _ in range(MAX_CONNECTIONS - 1)]
    wait_until(lambda: len(asked) == len(waiting), "all places to be at work")
    assert served.json("GET", "/api/state")[0] == 200
    assert served.post('{"action": "scan"}')[0] == 200
    served.show({"n": 42})
    while b'"n":42' not in response.readline():
        pass
    stream.close()
    for each in waiting:
        each.close()


def waiting_action(served: Served) -> bytes:
    """The request of an action that is under way until the server ends."""
    body = '{"action": "wait"}'
    head = f"POST /api/actions HTTP/1.1\r\nHost: {served.name}\r\nX-Kerbside-Token: {served.token()}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_an_action_under_way_is_not_cut_for_a_newcomer(served: Served) -> None:
    acting = connect(served, waiting_action(served))
    wait_until(lambda: served.backend.acted, "the action")
    idle = [connect(served) for _ in range(3 * MAX_CONNECTIONS)]
    assert served.json("GET", "/healthz")[0] == 200
    assert not is_cut(acting)
    for each in (acting, *idle):
        each.close()


def test_one_too_many_is_told_so_when_every_place_is_at_work(served: Served) -> None:
    request = waiting_action(served)
    acting = [connect(served, request) for _ in range(MAX_CONNECTIONS)]
    wait_until(lambda: len(served.backend.acted) == MAX_CONNECTIONS, "the actions")
    status, problem = served.json("GET", "/healthz")
    assert (status, problem["reason"]) == (503, "BUSY")
    for each in acting:
        each.close()
    wait_until(lambda: served.ask("GET", "/healthz")[0] == 200, "a free place")


# --- a request in time --------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr("agent.console.connections.HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr("agent.console.connections.BODY_TIMEOUT_S", 0.3)
    with serving() as running:
        yield running


def test_a_connection_that_asks_nothing_is_closed_without_a_word(impatient: Served) -> None:
    assert connect(impatient).recv(100) == b""


@pytest.mark.parametrize("begun", HALF_OPEN[1:])
def test_a_request_whose_headers_do_not_end_is_given_up_with_the_reason(impatient: Served, begun: bytes) -> None:
    status, problem = ask(connect(impatient), begun)
    assert (status, problem["reason"]) == (408, "TIMEOUT")


def test_headers_that_come_a_letter_at_a_time_are_given_up(impatient: Served) -> None:
    connection = connect(impatient, b"GET /api/state HTTP/1.1\r\nX: ")

    def answered() -> bool:
        try:
            connection.sendall(b"y")
        except ConnectionError:
            return True
        return is_cut(connection)

    wait_until(answered, "the connection to be cut")


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/state"])
def test_a_body_that_nobody_reads_does_not_hold_its_connection(impatient: Served, path: str) -> None:
    connection = connect(impatient)
    connection.sendall(get(impatient, "Content-Length: 500", path=path))
    assert connection.recv(12) == b"HTTP/1.1 200"

    def cut() -> bool:
        try:
            connection.sendall(b"z")
        except ConnectionError:
            return True
        return is_cut(connection)

    wait_until(cut, "the connection to be cut")


def test_the_next_request_of_a_connection_has_its_own_time(impatient: Served) -> None:
    connection = connect(impatient)
    for _ in range(5):
        assert ask(connection, get(impatient))[0] == 200
        time.sleep(0.1)
    assert connection.recv(100) == b""


def test_a_stream_has_no_deadline(impatient: Served) -> None:
    connection = connect(impatient, get(impatient, path="/api/stream"))
    response = http.client.HTTPResponse(connection)
    response.begin()
    for n in range(8):
        time.sleep(0.1)
        impatient.show({"n": n})
        while f'"n":{n}'.encode() not in response.readline():
            pass
    connection.close()


# --- a request with one reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Origin", "http://{name}", "http://evil.example"),
        ("Origin", "http://evil.example", "http://{name}"),
        ("Origin", "http://{name}", "http://{name}"),
        ("ORIGIN", "http://{name}", "null"),
        ("Host", "{name}", "evil.example"),
        ("Host", "evil.example", "{name}"),
        ("Host", "{name}", "{name}"),
        ("Content-Length", "18", "18"),
        ("Content-Length", "18", "5"),
        ("X-Kerbside-Token", "{token}", "wrong"),
        ("X-Kerbside-Token", "wrong", "{token}"),
        ("x-kerbside-token", "{token}", "{token}"),
        ("Content-Type", "text/plain", "application/json"),
        ("Content-Type", "application/json", "application/json"),
        ("Sec-Fetch-Site", "cross-site", "same-origin"),
        ("Transfer-Encoding", "chunked", "chunked"),
        ("Transfer-Encoding", "chunked", "identity"),
    ],
)
def test_a_header_that_is_there_twice_is_refused_and_named(served: Served, name: str, first: str, second: str) -> None:
    known = {"name": served.name, "token": served.token()}
    twice = {name.lower(): [first.format(**known), second.format(**known)]}
    usual = {"host": [served.name], "x-kerbside-token": [known["token"]], "content-type": ["application/json"]}
    body = '{"action": "scan"}'
    length = {} if name == "Transfer-Encoding" else {"content-length": [str(len(body))]}
    lines = [f"{each}: {value}" for each, values in {**usual, **length, **twice}.items() for value in values]
    request = "\r\n".join(["POST /api/actions HTTP/1.1", *lines, "", body])
    status, problem = ask(connect(served), request.encode())
    assert (status, problem["reason"]) == (400, "BAD_REQUEST")
    assert problem["message"] == f"Expected one header {name.lower()}, got 2."
    assert served.backend.acted == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Content-Length: 5", "Transfer-Encoding: chunked"], "content-length or transfer-encoding, got both"),
        (["Content-Length: 5, 5"], "one whole number as content-length"),
        (["Content-Length: +5"], "one whole number as content-length"),
        (["Content-Length: 0x5"], "one whole number as content-length"),
        (["Content-Length:"], "one whole number as content-length"),
        (["X: a", " Host: evil.example"], "one header host, got 2"),
        (["Host : evil.example"], "one header host, got 2"),
    ],
)
def test_a_length_or_a_host_with_two_readings_is_refused_with_the_reason(
    served: Served, headers: list[str], expected: str
) -> None:
    status, problem = ask(connect(served), get(served, *headers))
    assert (status, problem["reason"]) == (400, "BAD_REQUEST")
    assert expected in problem["message"]


def test_the_second_request_of_a_connection_is_looked_at_as_well(served: Served) -> None:
    connection = connect(served, get(served) + get(served, "Origin: a", "Origin: b"))
    answers = b""
    while chunk := connection.recv(65536):
        answers += chunk
    assert answers.count(b"HTTP/1.1 200 ") == answers.count(b"HTTP/1.1 400 ") == 1
    assert b"Expected one header origin, got 2." in answers


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /api/state\r\n\r\n",
    b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"HELO evil.example\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_no_request_is_refused_in_the_form_of_every_refusal(
    served: Served, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, problem = ask(connect(served), garbage)
    assert (status, problem["reason"]) == (400, "BAD_REQUEST")
    assert served.json("GET", "/healthz")[0] == 200
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/api/stream", "/api/state", "/nothing", "/api/checkup"])
def test_a_broken_body_beside_an_answer_leaves_nothing_in_the_log(
    served: Served, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        connection = connect(served, get(served, "Transfer-Encoding: chunked", path=path) + b"zz\r\nnonsense\r\n")
        wait_until(lambda connection=connection: is_cut(connection), "the connection to be cut")  # type: ignore[misc]
    assert served.json("GET", "/healthz")[0] == 200
    assert caplog.records == []
