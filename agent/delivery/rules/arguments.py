"""What an action's arguments must look like; a handler gets only what has passed.

Arguments that an action does not know are ignored, so that a newer page can talk to an older unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.delivery.rules.transaction import Refused


@dataclass(frozen=True, slots=True)
class Field:
    """One argument: how it is checked and how to say what is expected."""

    expected: str
    check: Callable[[Any], bool]
    needed: bool = True


def text(longest: int = 200) -> Field:
    """Some words."""
    return Field(
        f"text of 1 to {longest} characters",
        lambda value: isinstance(value, str) and len(value.strip()) > 0 and len(value) <= longest,
    )


def one_of(names: Sequence[str]) -> Field:
    """One of a few codes."""
    known = frozenset(names)
    return Field(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in known)


def word(example: str) -> Field:
    """A short code in lower case: no room for a name or a number."""
    pattern = re.compile(r"[a-z][a-z_]{0,39}")
    return Field(
        f"a word such as {example}", lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None
    )


def ids() -> Field:
    """A list of ids."""
    return Field(
        "a list of 1 to 1000 ids",
        lambda value: (
            isinstance(value, list | tuple)
            and 0 < len(value) <= 1000
            and all(isinstance(item, str) and item for item in value)
        ),
    )


def maybe(field: Field) -> Field:
    """The same, but it may be absent or null."""
    return replace(field, needed=False)


Arguments = Mapping[str, Field]


def check(fields: Arguments, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments an action knows, those that are absent left out.

    :raises Refused: one is missing or not as expected
    """
    accepted = {}
    for name, field in fields.items():
        value = given.get(name)
        if value is None and not field.needed:
            continue
        if value is None or not field.check(value):
            raise Refused("BAD_ARGUMENT", path=name, expected=field.expected)
        accepted[name] = list(dict.fromkeys(value)) if isinstance(value, list | tuple) else value
    return accepted
