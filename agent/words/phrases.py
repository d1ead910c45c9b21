"""What a sentence of the driver is made of, and the functions that mark it for the catalogues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

CHOOSING: Final = ("act", "action", "stop_state", "kind", "instruction", "why")
"""Params whose value may have sentences of its own."""


class Sentence(NamedTuple):
    """A sentence that can be translated; it has two forms where it counts something."""

    text: str
    many: str = ""
    counts: str = ""
    """The param that is counted: a number, or a list."""

    @property
    def params(self) -> frozenset[str]:
        """The params without which the sentence is not whole."""
        names = fields(self.text) | fields(self.many)
        return (names - {"n"}) | {self.counts} if self.counts else names


class Phrase(NamedTuple):
    """What is read, and what is said where that is not the same: an empty speech leaves it at the tone."""

    text: tuple[Sentence, ...]
    speech: tuple[Sentence, ...] | None


@cache
def fields(template: str) -> frozenset[str]:
    """The names in a template's braces."""
    return frozenset(re.findall(r"\{(\w+)\}", template))


def say(text: str) -> Sentence:
    """Mark a sentence for the catalogues: a literal text, since `./scripts/words` reads the code without running it."""
    return Sentence(text)


def count(param: str, one: str, many: str) -> Sentence:
    """Mark a sentence that counts a param; other languages may have more than two forms."""
    return Sentence(one, many, param)


def phrase(*text: Sentence, speech: tuple[Sentence, ...] | None = None) -> Phrase:
    """The sentences of a code, the fullest first."""
    return Phrase(text, speech)


def silent(*text: Sentence) -> Phrase:
    """The sentences of a code that is read and not said: the tone is enough."""
    return Phrase(text, ())


_FIELD = re.compile(r"\{(\w+)\}")


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its values, which are never taken for templates themselves; what is unknown is a ``?``."""
    return _FIELD.sub(lambda field: values.get(field[1], "?"), template)
