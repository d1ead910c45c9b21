"""What an action's arguments must look like; a handler gets only what has passed.

Events are hashed and kept for ever, so that no words of people may get into one. What goes into an event is a code
here already: of a reason in the driver's own words only that there is another one is left.

Arguments that an action does not know are ignored, so that a newer page can talk to an older unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agent.delivery.rules.transaction import Refused
from contract.vocabulary import (
    ABORT_REASONS,
    AWAY_REASONS,
    LATER_REASONS,
    MISSING_REASONS,
    MISTAKE_REASONS,
    NO_PHOTO_REASONS,
    OTHERWISE_REASONS,
    OWED_REASONS,
    REASONS,
    REJECT_REASONS,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One argument: how it is checked and how to say what is expected."""

    expected: str
    check: Callable[[Any], bool]
    needed: bool = True
    code_of: Callable[[Any], Any] | None = None
    """What the handler gets instead of the words."""


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


def word(names: Sequence[str]) -> Field:
    """One of a few codes that a newer page may have more of: another word counts as the last of them."""
    pattern = re.compile(r"[a-z][a-z_]{0,39}")
    return Field(
        f"a word such as {', '.join(names)}",
        lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None,
        code_of=lambda value: value if value in names else names[-1],
    )


_CODE = re.compile(r"[A-Z]{2,20}(?:_[A-Z]{2,20}){1,4}|[a-z]{2,20}(?:_[a-z]{2,20}){1,4}")
"""A code of a newer page: words joined by underscores, which nobody writes a name or a number with."""
_KNOWN: Final = frozenset(
    code.upper()
    for codes in (
        *(REASONS, ABORT_REASONS, REJECT_REASONS, AWAY_REASONS, MISSING_REASONS, LATER_REASONS, NO_PHOTO_REASONS),
        *(OTHERWISE_REASONS, MISTAKE_REASONS, OWED_REASONS),
    )
    for code in codes
)


def reason_code(words: str) -> str:
    """The code that a driver's reason is; ``OTHER`` for a reason in own words."""
    return words if words.upper() in _KNOWN or _CODE.fullmatch(words) else "OTHER"


def reason_code_of_cloud(words: str | None) -> str | None:
    """The same for a reason of the cloud, whose codes are its own: one word, or several with underscores."""
    return words if words is None or re.fullmatch(r"[A-Za-z_]{1,40}", words) else "OTHER"


def reason() -> Field:
    """Why: a code, or words, of which an event says only that there was another reason."""
    return replace(text(), code_of=reason_code)


_ID = re.compile(r"(?=[A-Za-z_.:-]*[0-9])(?=.*[A-Za-z]|(?:[^0-9]*[0-9]){1,8}[^0-9]*$)[A-Za-z0-9_.:-]{1,64}")
"""With a digit, which names have not; without a letter shorter than a telephone number."""


def named_id() -> Field:
    """The id of somebody or something that the block does not know, from the cloud's lists: no name, no telephone
    number."""
    return Field(
        "an id such as D12 (no name, no telephone number)",
        lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None,
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
        if field.code_of is not None:
            value = field.code_of(value)
        accepted[name] = list(dict.fromkeys(value)) if isinstance(value, list | tuple) else value
    return accepted
