"""What is found out about an action reaches the decision, from the screen's own API on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.actions import FACTS, Actions
from agent.delivery.model.decision import Answer
from agent.delivery.model.inputs import Acted, Facts, Scanned
from tests.console.served_console import FakeBackend, serving


class Decisions(FakeBackend):
    """A backend whose actions go through a table of facts; keeps what comes to the decision."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[Acted] = []
        self._actions = Actions(self._decide, {"look": looked_at})

    async def act(self, action: str, arguments: Mapping[str, Any]) -> Answer:
        return await self._actions.act(action, arguments)

    async def _decide(self, acted: Acted) -> Answer:
        self.decided.append(acted)
        return Answer(("0190-1",))


def looked_at(arguments: Mapping[str, Any]) -> Facts:
    return Facts(scanned=Scanned(arguments["at"], (arguments["at"],), "eye"))


def test_what_the_table_finds_about_an_action_comes_to_the_decision_with_it() -> None:
    decisions = Decisions()
    with serving(backend=decisions) as served:
        accepted = served.post(json.dumps({"action": "look", "at": "TBA1"}))
        assert accepted == (200, {"accepted": True, "events": ["0190-1"]})
        served.post(json.dumps({"action": "wait", "at": "TBA1"}))
    looked, waited = decisions.decided
    assert looked == Acted("look", {"at": "TBA1"}, Facts(Scanned("TBA1", ("TBA1",), "eye")))
    assert waited == Acted("wait", {"at": "TBA1"}, Facts())


def test_a_number_that_is_typed_in_is_known_by_its_form_before_the_decision() -> None:
    scanned = FACTS["scan"]({"code": "1Z5R89390357567127"}).scanned
    assert scanned
    assert (scanned.entry, scanned.carrier, scanned.fault) == ("manual", "ups", None)
    assert FACTS["scan"]({"code": 7}) == FACTS["scan"]({}) == Facts()
