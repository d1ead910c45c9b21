"""The driver's HTTP API, asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.console.api import MAX_BODY_BYTES, app
from agent.console.console import ConsoleError
from agent.console.stream import MAX_STREAMS
from tests.console.served_console import TIMEOUT_S, FakeBackend, Served, serving
from tests.waiting import wait_until


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


class Stream:
    """A screen that follows ``/api/stream``."""

    def __init__(self, served: Served, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT_S)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect((served.host, served.port))
        self.socket.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {served.name}\r\n\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket)

    def begin(self) -> int:
        self.response.begin()
        return self.response.status

    def states(self) -> Iterator[Any]:
        for line in self.response:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))

    def close(self) -> None:
        self.response.close()
        self.socket.close()


def raw(served: Served, request: bytes) -> bytes:
    """Whatever comes back until the server closes."""
    with socket.create_connection((served.host, served.port), TIMEOUT_S) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


# --- the page and the state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/actions.js", "javascript"),
        ("/parts.js", "javascript"),
        ("/page.js", "javascript"),
    ],
)
def test_the_page_and_what_it_needs_come_from_the_unit_itself(served: Served, path: str, kind: str) -> None:
    status, headers, content = served.ask("GET", path)
    assert status == 200
    assert kind in headers["content-type"]
    assert len(content) > 500
    assert b"http://" not in content.replace(b"http://www.w3.org/", b"")
    assert b"https://" not in content


def test_the_state_is_all_that_the_desk_shows(served: Served) -> None:
    served.show({"block": {"block_id": "B7", "state": "LOADING"}, "messages": [{"text": "Poort 4, dépôt"}]})
    assert served.json("GET", "/api/state") == (200, served.backend.shown)


def test_health_is_fine_where_the_state_can_be_drawn(served: Served) -> None:
    assert served.json("GET", "/healthz") == (200, {"ok": True})


def test_health_says_no_where_the_state_cannot_be_drawn(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.backend, "view", lambda: 1 / 0)
    assert served.json("GET", "/healthz") == (503, {"ok": False, "faults": ["the state cannot be drawn"]})


@pytest.mark.parametrize("member", ["\ud800", object(), {"deep": b"\xff"}])
def test_health_says_no_where_a_member_of_the_state_cannot_be_written(served: Served, member: Any) -> None:
    served.show({"unit": {"id": "u1"}, "block": member})
    assert served.json("GET", "/healthz") == (503, {"ok": False, "faults": ["block cannot be written as JSON"]})
    assert served.json("GET", "/api/state") == (200, {"unit": {"id": "u1"}, "block": None})


def test_a_fault_that_comes_back_at_each_request_is_a_few_lines_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as served:
        monkeypatch.setattr(served.backend, "view", lambda: 1 / 0)
        monkeypatch.setattr(served.backend, "checkup", lambda: 1 / 0)
        for path in ("/api/state", "/api/checkup", "/healthz", "/api/state?\x1b") * 20:
            assert served.ask("GET", path.replace("\x1b", "%1b"))[0] in (500, 503)
    assert 0 < len(caplog.records) <= 5
    assert "ZeroDivisionError" in caplog.text


def test_health_says_what_is_wrong(served: Served) -> None:
    served.backend.faults = ["block cannot be shown or told"]
    wrong = {"ok": False, "faults": ["block cannot be shown or told"]}
    assert served.json("GET", "/healthz") == (503, wrong)


@pytest.mark.parametrize("path", ["/", "/api/state", "/api/actions", "/nothing"])
def test_every_answer_forbids_foreign_scripts_frames_and_caches(served: Served, path: str) -> None:
    _, headers, _ = served.ask("GET", path)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_the_answers_carry_no_permission_for_other_origins(served: Served) -> None:
    _, headers, _ = served.ask("GET", "/api/state")
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["/api", "/api/state/", "//api/state", "/../pages/page.html", "/backend.py", "/pages/page.js"]
)
def test_a_path_that_is_not_served_is_not_found(served: Served, path: str) -> None:
    status, problem = served.json("GET", path)
    assert (status, problem["reason"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/api/pair", "/api/photos"])
def test_what_this_unit_does_not_have_is_not_found(served: Served, path: str) -> None:
    status, _ = served.json("POST", path, "{}", {"x-kerbside-token": served.token()})
    assert status == 404


def test_reading_where_one_acts_is_answered_with_what_is_allowed(served: Served) -> None:
    status, headers, content = served.ask("GET", "/api/actions")
    assert (status, headers["allow"]) == (405, "POST")
    assert json.loads(content)["reason"] == "METHOD_NOT_ALLOWED"


# --- actions ------------------------------------------------------------------------------------------------------


def test_an_accepted_action_answers_with_the_ids_of_its_events(served: Served) -> None:
    answer = served.post('{"action": "scan", "code": "TBA1"}')
    assert answer == (200, {"accepted": True, "events": ["0190-1", "0190-2"]})
    assert served.backend.acted == [("scan", {"code": "TBA1"})]


def test_a_refused_action_answers_with_the_code_and_a_sentence(served: Served) -> None:
    answer = served.post('{"action": "refuse"}')
    assert answer == (409, {"accepted": False, "reason": "NO_STOP", "message": "No stop is under way."})


def test_an_action_may_say_its_charset(served: Served) -> None:
    status, _ = served.post('{"action": "scan", "code": "é"}'.encode(), content_type="Application/JSON; charset=utf-8")
    assert status == 200
    assert served.backend.acted == [("scan", {"code": "é"})]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'action': 'scan'}",
        b'{"action": "scan"} x',
        b"\xff\xfe",
        b'{"action": "scan", "n": NaN}',
        b'{"action": "scan", "n": -Infinity}',
        b'{"action": "scan", "n": 1e999}',
        b'{"action": "scan", "n": 9007199254740993}',
        b'{"action": "scan", "n": ' + b"9" * 5000 + b"}",
        b'{"action": "scan", "code": "\\ud800"}',
        b'{"action": ' + b"[" * 50_000,
    ],
)
def test_a_body_that_is_not_json_is_turned_away(served: Served, body: bytes) -> None:
    status, problem = served.post(body)
    assert (status, problem["reason"]) == (400, "INVALID_JSON")
    assert problem["message"].startswith("Expected one JSON object")
    assert served.backend.acted == []


@pytest.mark.parametrize("body", ["[]", "null", '"scan"', "{}", '{"action": null}', '{"action": ["scan"]}'])
def test_a_body_that_names_no_action_is_turned_away(served: Served, body: str) -> None:
    status, problem = served.post(body)
    assert (status, problem["reason"]) == (400, "INVALID")
    assert served.backend.acted == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json, text/plain",
        "application/jsonp",
    ],
)
def test_what_a_foreign_form_could_send_is_turned_away(served: Served, content_type: str) -> None:
    status, problem = served.post('{"action": "scan"}', content_type=content_type)
    assert (status, problem["reason"]) == (415, "NOT_JSON")
    assert served.backend.acted == []


def test_a_packed_body_is_turned_away_with_the_reason(served: Served) -> None:
    status, problem = served.post(gzip.compress(b'{"action": "scan"}'), content_encoding="gzip")
    assert (status, problem["reason"]) == (415, "NOT_JSON")
    assert "content-encoding" in problem["message"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"action": "scan"}'.encode("utf-16"), "expected UTF-8"),
        ('{"action": "scan"}'.encode("utf-16-le"), "expected UTF-8, not UTF-16"),
        ('{"action": "scan"}'.encode("utf-32-be"), "expected UTF-8, not UTF-16 or UTF-32"),
        ('{"action": "scan"}'.encode("utf-8-sig"), "expected UTF-8 without a byte order mark"),
        (b'{"action": "scan", "code": "\xe9"}', "expected UTF-8, which byte 28 is not"),
        (b'{"action": "scan", "action": "depart"}', "expected each member of an object once"),
        (b'{"action": "scan", "\\u0061ction": "scan"}', "expected each member of an object once"),
        (b'{"action": "scan", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "levels of nesting"),
    ],
)
def test_a_body_that_another_reader_could_understand_otherwise_is_turned_away_with_the_reason(
    served: Served, body: bytes, expected: str
) -> None:
    status, problem = served.post(body)
    assert (status, problem["reason"]) == (400, "INVALID_JSON")
    assert expected in problem["message"]
    assert served.backend.acted == []


def test_a_body_that_says_it_is_too_large_is_turned_away(served: Served) -> None:
    status, problem = served.post(b" " * (MAX_BODY_BYTES + 1))
    assert (status, problem["reason"]) == (413, "TOO_LARGE")


def test_a_body_that_turns_out_too_large_is_turned_away_before_it_ends(served: Served) -> None:
    head = f"POST /api/actions HTTP/1.1\r\nHost: {served.name}\r\nX-Kerbside-Token: {served.token()}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((served.host, served.port), TIMEOUT_S) as connection:
        connection.sendall(head.encode())
        for _ in range(MAX_BODY_BYTES // 8192 + 1):
            connection.sendall(b"2000\r\n" + b" " * 8192 + b"\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413


def test_a_body_of_the_largest_size_is_taken(served: Served) -> None:
    body = json.dumps({"action": "sign", "strokes": ""})
    status, _ = served.post(body.replace('""', '"' + "x" * (MAX_BODY_BYTES - len(body)) + '"'))
    assert status == 200


def test_a_fault_of_the_unit_is_said_and_the_next_action_works(served: Served) -> None:
    status, problem = served.post('{"action": "break"}')
    assert (status, problem["reason"]) == (500, "FAULT")
    assert "broken" not in problem["message"]
    assert served.post('{"action": "scan"}')[0] == 200


# --- who may act --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", "wrong", "é", "x" * 5000])
def test_an_action_without_the_token_is_forbidden(served: Served, token: str | None) -> None:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["x-kerbside-token"] = token
    status, problem = served.json("POST", "/api/actions", '{"action": "scan"}', headers)
    assert (status, problem["reason"]) == (403, "TOKEN")
    assert served.backend.acted == []


def test_the_token_is_long_and_another_one_in_each_process(served: Served) -> None:
    with serving() as other:
        assert len(served.token()) >= 32
        assert served.token() == served.token() != other.token()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_unit_answers_to_its_own_names(served: Served, name: str) -> None:
    assert served.json("GET", "/api/state", headers={"host": f"{name}:{served.port}"})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/state", "/api/session", "/api/stream", "/healthz"])
def test_a_name_that_was_rebound_to_the_unit_is_turned_away(served: Served, host: str, path: str) -> None:
    status, problem = served.json("GET", path, headers={"host": host.format(port=served.port)})
    assert (status, problem["reason"]) == (421, "HOST_NOT_SERVED")


def test_a_request_that_names_no_host_is_turned_away(served: Served) -> None:
    assert raw(served, b"GET /api/session HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:{port}"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/session", "/api/state", "/api/stream"])
def test_another_web_page_gets_neither_the_token_nor_the_state(
    served: Served, headers: dict[str, str], path: str
) -> None:
    given = {name: value.format(port=served.port) for name, value in headers.items()}
    status, problem = served.json("GET", path, headers=given)
    assert (status, problem["reason"]) == (403, "FOREIGN_ORIGIN")


def test_the_units_own_page_gets_the_token_and_acts(served: Served) -> None:
    own = {"origin": f"http://localhost:{served.port}", "host": f"localhost:{served.port}"}
    own["sec-fetch-site"] = "same-origin"
    assert served.json("GET", "/api/session", headers=own)[0] == 200
    assert served.post('{"action": "scan"}', **own)[0] == 200


def test_the_token_does_not_help_another_web_page(served: Served) -> None:
    assert served.post('{"action": "scan"}', origin="http://evil.example")[0] == 403
    assert served.backend.acted == []


def ask_from(client: str, path: str, token: str = "") -> int:
    """Status for a peer with this address: the addresses that a test machine has cannot be relied on."""
    sent: list[Any] = []

    async def run() -> None:
        headers = [(b"host", b"127.0.0.1:8321"), (b"x-kerbside-token", token.encode())]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": ""}
        scope |= {"headers": headers, "client": (client, 40000), "http_version": "1.1"}
        application = app(FakeBackend(), hosts=["127.0.0.1:8321"], token="right", closing=asyncio.Event())

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        await application(scope, receive, send)

    asyncio.run(run())
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/api/session", "/api/state"])
def test_only_a_program_on_the_unit_reads_without_the_token(path: str) -> None:
    assert ask_from("127.0.0.1", path) == 200
    assert ask_from("::1", path) == 200
    assert ask_from("192.0.2.7", path) == 403
    assert ask_from("192.0.2.7", path, "wrong") == 403
    assert ask_from("192.0.2.7", path, "right") == 200


def test_a_forwarded_for_header_makes_nobody_local(served: Served) -> None:
    assert served.json("GET", "/api/session", headers={"x-forwarded-for": "192.0.2.7"})[0] == 200


def test_neither_the_token_nor_a_pin_is_ever_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        served.post('{"action": "sign_in", "badge": "b-1", "pin": "993311"}')
        served.post('{"action": "break", "pin": "993311"}')
        served.json("POST", "/api/actions", '{"pin": "993311"}', {"x-kerbside-token": "wrong-7f3a"})
    assert "the backend is broken" in caplog.text
    assert "993311" not in caplog.text
    assert "wrong-7f3a" not in caplog.text
    assert served.token() not in caplog.text


# --- the stream ---------------------------------------------------------------------------------------------------


def test_a_screen_gets_the_state_at_once_and_after_each_change(served: Served) -> None:
    stream = Stream(served)
    assert stream.begin() == 200
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    states = stream.states()
    assert next(states)["n"] == 0
    for n in (1, 2, 3):
        served.show({"n": n, "text": "line one\nline two"})
        assert next(states) == {"n": n, "text": "line one\nline two"}
    stream.close()


def test_a_change_that_changes_nothing_sends_nothing(served: Served) -> None:
    stream = Stream(served)
    stream.begin()
    states = stream.states()
    next(states)
    served.show(dict(served.backend.shown))
    served.show({"n": "different"})
    assert next(states) == {"n": "different"}
    stream.close()


def test_a_quiet_stream_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.console.stream.KEEP_ALIVE_S", 0.05)
    with serving() as served:
        stream = Stream(served)
        stream.begin()
        lines = (line for line in stream.response if line.startswith(b":"))
        assert next(lines)
        assert next(lines)
        stream.close()


def test_a_slow_screen_gets_the_newest_state_and_does_not_hold_up_another(served: Served) -> None:
    slow, quick = Stream(served, receive_bytes=4096), Stream(served)
    slow.begin()
    quick.begin()
    slow_states, quick_states = slow.states(), quick.states()
    next(slow_states)
    next(quick_states)
    filling = "x" * 200_000
    views = served.backend.views
    for n in range(1, 101):
        served.show({"n": n, "filling": filling})
        assert next(quick_states)["n"] == n
    assert served.backend.views - views < 150  # the slow one was not even asked for most of them
    numbers = []
    for state in slow_states:
        numbers.append(state["n"])
        if state["n"] == 100:
            break
    assert len(numbers) < 20
    assert numbers == sorted(set(numbers))
    slow.close()
    quick.close()


def test_a_screen_that_disconnects_leaves_nothing_behind(served: Served) -> None:
    async def tasks() -> int:
        gc.collect()
        return len(asyncio.all_tasks())

    def count() -> int:
        return asyncio.run_coroutine_threadsafe(tasks(), served.loop).result(TIMEOUT_S)

    before = count()
    for _ in range(5 * MAX_STREAMS):
        stream = Stream(served)
        wait_until(lambda stream=stream: stream.begin() == 200, "the stream")  # type: ignore[misc]
        next(stream.states())
        stream.close()
        wait_until(lambda: not served.backend.watchers, "the stream to end")
    wait_until(lambda: count() == before, "its files to be closed")


def test_screens_are_counted_and_one_too_many_is_told_so(served: Served) -> None:
    streams = [Stream(served) for _ in range(MAX_STREAMS)]
    for stream in streams:
        assert stream.begin() == 200
        next(stream.states())
    status, problem = served.json("GET", "/api/stream")
    assert (status, problem["reason"]) == (503, "TOO_MANY_SCREENS")
    assert served.json("GET", "/api/state")[0] == 200
    streams[0].close()

    def comes_in() -> bool:
        streams[0] = Stream(served)
        if streams[0].begin() == 200:
            return True
        streams[0].close()
        return False

    wait_until(comes_in, "a free place")
    for stream in streams:
        stream.close()


def test_a_state_is_drawn_once_for_all_screens_and_one_that_comes_later_sees_it_at_once(served: Served) -> None:
    streams = [Stream(served) for _ in range(MAX_STREAMS)]
    states = []
    for stream in streams:
        assert stream.begin() == 200
        states.append(stream.states())
        assert next(states[-1])["n"] == 0
    before = served.backend.views
    served.show({"n": 1})
    assert [next(each)["n"] for each in states] == [1] * MAX_STREAMS
    assert served.backend.views == before + 1
    for stream in streams:
        stream.close()


def test_a_screen_that_takes_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.console.console.UNREAD_TIMEOUT_MS", 500)
    with serving() as served:
        deaf = Stream(served, receive_bytes=4096)
        deaf.begin()
        numbers = iter(range(10_000))

        def gone() -> bool:
            served.show({"n": next(numbers), "filling": "x" * 300_000})
            return not served.backend.watchers

        wait_until(lambda: served.backend.watchers, "the stream")
        wait_until(gone, "the stream to end")
        deaf.close()


def test_asking_only_for_the_head_of_the_stream_ends(served: Served) -> None:
    status, headers, content = served.ask("HEAD", "/api/stream")
    assert (status, content) == (200, b"")
    assert headers["content-type"].startswith("text/event-stream")


# --- bad clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x16\x03\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /api/actions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /api/actions HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_garbage_is_answered_with_400_and_the_next_request_works(served: Served, garbage: bytes) -> None:
    answer = raw(served, garbage)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert served.json("GET", "/healthz")[0] == 200


def test_garbage_behind_a_good_request_on_the_same_connection_harms_nobody(served: Served) -> None:
    good = f"GET /healthz HTTP/1.1\r\nHost: {served.name}\r\n\r\n".encode()
    answer = raw(served, good + good + b"\x01\x02 nonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"HTTP/1.1 400 ") == 1
    assert served.json("GET", "/healthz")[0] == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_acts_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /api/actions HTTP/1.1\r\nHost: {served.name}\r\nX-Kerbside-Token: {served.token()}\r\n"
    head += 'Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"action": "scan"'
    with socket.create_connection((served.host, served.port), TIMEOUT_S) as connection:
        connection.sendall(head.encode())
        time.sleep(0.1)
    assert served.json("GET", "/healthz")[0] == 200
    assert served.backend.acted == []
    assert "Traceback" not in caplog.text


def test_a_body_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.console.api.BODY_TIMEOUT_S", 0.1)
    with serving() as served:
        head = f"POST /api/actions HTTP/1.1\r\nHost: {served.name}\r\nX-Kerbside-Token: {served.token()}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        with socket.create_connection((served.host, served.port), TIMEOUT_S) as connection:
            connection.sendall(head.encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 408


# --- starting and stopping ----------------------------------------------------------------------------------------


def test_it_stops_whatever_its_screens_do() -> None:
    with serving() as served:
        reading, deaf = Stream(served), Stream(served, receive_bytes=4096)
        reading.begin()
        deaf.begin()
        served.show({"filling": "x" * 2_000_000})
        states = reading.states()
        next(states)
        next(states)
        idle = socket.create_connection((served.host, served.port), TIMEOUT_S)
        begun = socket.create_connection((served.host, served.port), TIMEOUT_S)
        begun.sendall(b"GET /api/st")
        name = served.name
    assert list(states) == []  # the reading one sees a proper end, so its page comes back when the unit does
    for client in (reading, deaf, idle, begun):
        client.close()
    with serving(name) as again:
        assert again.json("GET", "/healthz")[0] == 200


def test_stopping_leaves_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), serving() as served:
        stream = Stream(served)
        stream.begin()
        next(stream.states())
    stream.close()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_port_that_someone_else_has_is_named() -> None:
    expected = "in use.*another console.listen"
    with serving() as served, pytest.raises(ConsoleError, match=expected) as raised, serving(served.name):
        pass
    assert served.name in str(raised.value)


@pytest.mark.parametrize("listen", ["8321", "127.0.0.1", "127.0.0.1:99999", "no such host:80", "192.0.2.7:8321"])
def test_an_address_that_is_not_ours_is_named(listen: str) -> None:
    with pytest.raises(ConsoleError, match=listen), serving(listen):
        pass


def test_it_says_where_it_listens_only_while_it_does() -> None:
    with serving() as served:
        assert served.console.address == f"127.0.0.1:{served.port}"
        assert served.port > 0
    assert served.console.address is None


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_it_listens_on_ipv6_as_well() -> None:
    with serving("[::1]:0") as served:
        assert served.name.startswith("[::1]:")
        with socket.create_connection(("::1", served.port), TIMEOUT_S) as connection:
            connection.sendall(
                f"GET /api/session HTTP/1.1\r\nHost: {served.name}\r\nConnection: close\r\n\r\n".encode()
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_what_the_screen_does_not_need_is_not_imported() -> None:
    unwanted = ["websockets", "wsproto", "httptools", "uvloop", "python_multipart", "jinja2", "httpx", "trio"]
    program = f"import sys, agent.console.console; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
