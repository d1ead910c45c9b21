"""Whatever is sent to the screen's API, each request is answered with what is right, and the unit goes on."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.settings import split_address
from contract import vocabulary
from tests.agent.running_agent import World, begin_loading, tracking_numbers
from tests.contract.strategies import JSON, ODD, plainly, unreadable

ROUTES = ["/", "/page.js", "/api/state", "/api/session", "/api/actions", "/healthz", "/api/pair", "/%61pi/state", "/x"]
NAMES = [
    *(
        "badge",
        "block_id",
        "code",
        "driver_id",
        "handover",
        "message_id",
        "method",
        "name",
        "note",
        "offer_id",
        "outcome",
    ),
    *("parcel_id", "parcel_ids", "passed", "point_id", "reason", "site_id", "stop_id", "strokes", "pin", "document"),
]
KNOWN = ["P1", "P2", "T0", "T1", "S1", ["P1"], ["P1", "P1"], ["P1", None], "OTHER", "B7", True]


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    values = st.sampled_from(KNOWN) | ODD | JSON
    return st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), values, max_size=5)


def bodies() -> st.SearchStrategy[bytes]:
    actions = st.sampled_from([*vocabulary.ACTIONS]) | ODD | st.text(max_size=12)
    asked = st.builds(lambda action, more: {**more, "action": action}, actions, arguments())
    return asked.map(plainly) | unreadable(asked) | JSON.map(plainly)


@pytest.mark.timeout(3600)
def test_whatever_is_asked_of_the_screen_is_answered_and_the_unit_stays_well(
    world: World, pytestconfig: pytest.Config
) -> None:
    rounds = 5000 if pytestconfig.getoption("--soak") else 300
    agent = world.agent()
    agent.start_ready()
    begin_loading(world, agent, tracking_numbers(3))
    connection = http.client.HTTPConnection(*split_address(agent.screen.url.removeprefix("http://").rstrip("/")))

    def ask(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (http.client.HTTPException, ConnectionError):
            connection.close()  # the server has left in the middle of a body that it did not want
            return 0, b""

    token = json.loads(ask("GET", "/api/session", None, {})[1])["token"]

    @settings(
        max_examples=rounds,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(
        st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "X"]),
        st.sampled_from(["/api/actions"] * 6 + ROUTES),
        bodies(),
        st.sampled_from([token] * 6 + ["", "wrong", token[:-1], "é"]),
        st.sampled_from(["application/json"] * 6 + ["", "text/plain", "application/json; charset=utf-16"]),
    )
    def flood(method: str, path: str, body: bytes, given_token: str, media_type: str) -> None:
        status, answer = ask(method, path, body, {"X-Kerbside-Token": given_token, "Content-Type": media_type})
        assert status in {0, 200, 400, 403, 404, 405, 409, 413, 415}, (status, answer)
        if status >= 400 and method != "HEAD":
            problem = json.loads(answer)
            assert {*problem} >= {"reason", "message"}
            assert len(answer) < 2000
            assert token not in problem["message"]

    flood()
    assert ask("GET", "/healthz", None, {}) == (200, b'{"ok":true}')
    seen = agent.screen.state()
    assert seen is not None
    assert len(json.dumps(seen)) < 1_000_000
    assert "Traceback" not in agent.log()
    assert all(line.isprintable() and len(line) < 1000 for line in agent.log().splitlines())
    agent.stop()
    agent.start_ready()
    assert agent.screen.state() is not None
