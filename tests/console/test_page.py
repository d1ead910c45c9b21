"""The page knows the same codes and actions as the core."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent.console import server
from agent.delivery import codes

SCRIPT = Path(server.__file__).with_name("page.js").read_text()


def listed(name: str) -> tuple[str, ...]:
    found = re.search(rf"^const {name} = (\[[^\]]*\]);", SCRIPT, re.MULTILINE)
    assert found, name
    return tuple(json.loads(found[1]))


@pytest.mark.parametrize(
    "name", ["HANDOVERS", "FAIL_REASONS", "NOT_READY_REASONS", "REJECT_REASONS", "ABORT_REASONS", "TAGS"]
)
def test_the_driver_is_offered_every_choice_that_the_core_takes(name: str) -> None:
    assert listed(name) == getattr(codes, name)


def test_the_driver_is_offered_no_action_that_this_unit_can_not_do() -> None:
    table = SCRIPT[SCRIPT.index("const ACTIONS = {") : SCRIPT.index("};", SCRIPT.index("const ACTIONS = {"))]
    offered = re.findall(r"^  (\w+): \[", table, re.MULTILINE)
    assert len(offered) > 20
    assert not set(offered) & set(codes.LATER_ACTIONS)


def test_nothing_from_outside_can_become_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPT)
