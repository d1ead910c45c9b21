"""Who may read a member of a message: each text says so itself, as an annotation of its model.

A unit seals what is not `PLAIN` before anything is stored, shown or logged; `plan` tells it where that stands. So a new
member cannot be forgotten: one that does not say what it is fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from typing_extensions import TypedDict, is_typeddict


class Secrecy(Enum):
    """What becomes of a member on the unit."""

    PLAIN = "plain"
    """Stored as it came: an id, a code, a time, what a station or a shop is called."""
    PERSONAL = "personal"
    """About people and their doors: sealed under the key of the block, which is wiped when the block closes."""
    SEALED = "sealed"
    """A key, a password or words of somebody: sealed under the key of what it belongs to."""


PLAIN: Final = Secrecy.PLAIN
PERSONAL: Final = Secrecy.PERSONAL
SEALED: Final = Secrecy.SEALED

Plan = Secrecy | Mapping[str, "Plan"] | list["Plan"]
"""Where a value has to be sealed: itself (`PERSONAL` or `SEALED`), by the names of its members, or in each item."""

EVERY: Final = "*"
"""The name that stands for each member of a map."""


class Member(TypedDict):
    """One text of a model, as `texts` finds it."""

    path: str
    secrecy: Secrecy | None


def plan(annotation: Any) -> Plan | None:
    """Where a value of this type has to be sealed; ``None`` where nothing in it has."""
    said, inner = _said(annotation)
    if said is PERSONAL or said is SEALED:
        return said
    for each in inner:
        if is_typeddict(each):
            members = {name: plan(hint) for name, hint in get_type_hints(each, include_extras=True).items()}
            if found := {name: part for name, part in members.items() if part is not None}:
                return found
        elif get_origin(each) is list and (item := plan(get_args(each)[0])) is not None:
            return [item]
        elif get_origin(each) is dict and (value := plan(get_args(each)[1])) is not None:
            return {EVERY: value}
    return None


def texts(annotation: Any, path: str = "", outer: Secrecy | None = None) -> Iterator[Member]:
    """Every member that may hold a text that is not one of a closed list, and what it says of itself."""
    said, inner = _said(annotation)
    said = said or outer
    for each in inner:
        if is_typeddict(each):
            for name, hint in get_type_hints(each, include_extras=True).items():
                yield from texts(hint, f"{path}.{name}" if path else name, said if said is not PLAIN else None)
        elif get_origin(each) is list:
            yield from texts(get_args(each)[0], f"{path}[]", said)
        elif get_origin(each) is dict:
            yield from texts(get_args(each)[1], f"{path}.{EVERY}", said)
        elif each in (str, Any):
            yield Member(path=path, secrecy=said)


def _said(annotation: Any) -> tuple[Secrecy | None, list[Any]]:
    """What an annotation says of itself, the outermost last word, and the bare types that it allows."""
    origin = get_origin(annotation)
    if origin in (NotRequired, Required):
        return _said(get_args(annotation)[0])
    if origin is Annotated:
        bare, *metadata = get_args(annotation)
        said, inner = _said(bare)
        return next((each for each in reversed(metadata) if isinstance(each, Secrecy)), said), inner
    if origin in (Union, UnionType):
        parts = [_said(each) for each in get_args(annotation)]
        inner = [each for _, bare in parts for each in bare]
        return next((said for said, _ in parts if said is not None), None), inner
    if origin is Literal or annotation is type(None):
        return None, []
    return None, [annotation]
