"""The page knows the same codes and actions as the core."""

from __future__ import annotations

import json
import re

import pytest

from agent.console.api import PAGES
from agent.delivery.decide import ACTIONS
from contract import vocabulary

SCRIPT = "".join((PAGES / name).read_text() for name in ("actions.js", "parts.js", "page.js"))


def listed(name: str) -> tuple[str, ...]:
    found = re.search(rf"^const {name} = (\[[^\]]*\]);", SCRIPT, re.MULTILINE)
    assert found, name
    return tuple(json.loads(found[1]))


@pytest.mark.parametrize(
    "name",
    [
        "HANDOVERS",
        *("FAIL_REASONS", "NOT_READY_REASONS", "REJECT_REASONS", "ABORT_REASONS", "AWAY_REASONS", "MISSING_REASONS"),
        *("LATER_REASONS", "NO_PHOTO_REASONS", "OTHERWISE_REASONS", "MISTAKE_REASONS", "OWED_REASONS"),
        *("TAGS", "ITEMS", "CONTACT_METHODS", "CONTACT_OUTCOMES"),
    ],
)
def test_the_driver_is_offered_every_choice_that_the_core_takes(name: str) -> None:
    assert listed(name) == getattr(vocabulary, name)


def offered() -> dict[str, str]:
    start = SCRIPT.index("const ACTIONS = {")
    table = SCRIPT[start : SCRIPT.index("\n};", start)]
    return dict(re.findall(r"^  (\w+): (\[.*?\]),$(?=\n  \w|\Z)", table, re.MULTILINE | re.DOTALL))


def test_the_driver_is_offered_every_action_that_this_unit_can_do() -> None:
    of_their_own = {"scan", "choose", "accept_offer", "decline_offer", "acknowledge"}
    assert set(offered()) == set(ACTIONS) - of_their_own


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"scan"}))
def test_the_driver_is_asked_for_every_argument_that_an_action_needs(action: str) -> None:
    asked = re.findall(r'\["(\w+)",', offered().get(action, ""))
    if action not in offered():
        asked = re.findall(rf'act\("{action}", {{ (\w+):', SCRIPT)
    needed = [name for name, argument in ACTIONS[action].arguments.items() if argument.needed]
    assert set(needed) <= set(asked)


def test_nothing_from_outside_can_become_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPT)
