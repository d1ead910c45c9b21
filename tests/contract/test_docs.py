"""The page of the contract says what the code holds: nothing is forgotten there, and nothing is promised too early."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.decide import ACTIONS
from contract import vocabulary
from contract.models import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "contract.md").read_text()


def paragraph(beginning: str) -> str:
    """From its beginning to the next empty line."""
    start = PAGE.index(beginning) + len(beginning)
    return PAGE[start : PAGE.index("\n\n", start)]


@pytest.mark.parametrize(
    ("kind", "transitions"),
    [
        ("block", vocabulary.BLOCK_TRANSITIONS),
        ("stop", vocabulary.STOP_TRANSITIONS),
        ("parcel", vocabulary.PARCEL_TRANSITIONS),
    ],
)
def test_every_transition_is_on_the_page_and_no_other(kind: str, transitions: Mapping[tuple[Any, str], Any]) -> None:
    rows = re.findall(rf"^\| ([A-Z_]+) \| `({kind}\.[a-z_]+)` \| ([A-Z_]+) \|$", PAGE, re.MULTILINE)
    assert rows == [(start, event, end) for (start, event), end in transitions.items()]


@pytest.mark.parametrize(
    "words",
    [
        vocabulary.EVENTS,
        vocabulary.REASONS,
        vocabulary.REJECT_REASONS,
        vocabulary.ABORT_REASONS,
        vocabulary.HANDOVERS,
        vocabulary.TAGS,
        vocabulary.SCAN_RESULTS,
        vocabulary.INBOX,
        MODELS,
        vocabulary.MESSAGE_REJECTIONS,
        vocabulary.COMMAND_ARGUMENTS,
        {f"{section}.*" for section in vocabulary.CHANGEABLE_SECTIONS},
    ],
)
def test_every_word_of_the_contract_is_on_the_page(words: Any) -> None:
    assert {word for word in words if f"`{word}`" not in PAGE} == set()


def test_the_actions_that_are_promised_are_those_that_this_unit_can_do() -> None:
    reserved = set(re.findall(r"`(\w+)`", paragraph("refused with `NOT_AVAILABLE`:")))
    assert reserved == set(vocabulary.ACTIONS) - set(ACTIONS)
    told = re.findall(r"`(\w+)(?:\{([^}]*)\})?`", paragraph('Actions, each `{"action": NAME, …}`:'))
    needs = {name: set(re.findall(r"[\w?]+", arguments)) for name, arguments in told}
    assert needs == {
        name: {each if argument.needed else f"{each}?" for each, argument in action.arguments.items()}
        for name, action in ACTIONS.items()
    }


def test_an_event_is_reserved_as_long_as_nothing_writes_it() -> None:
    reserved = set(re.findall(r"`([a-z_.]+)`", paragraph("Reserved are")))
    written = {
        node.value
        for path in (ROOT / "agent").rglob("*.py")
        if "fold" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert reserved == vocabulary.EVENTS - written
