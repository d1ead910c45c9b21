"""How the pieces of a view are drawn: whoever asks for the view says what becomes of a piece that cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
Instead = TypeVar("Instead")


class Attempts(Protocol):
    """Draws piece by piece."""

    def attempt(self, place: str, work: Callable[[], T], instead: Instead) -> T | Instead:
        """What the work gives, or something instead; `place` says where it failed."""

    def attempt_each(self, place: str, items: Iterable[Item], work: Callable[[Item], T]) -> list[T]:
        """What the work gives for each item; those for which it fails are left out."""


class Plain:
    """Lets a fault through."""

    def attempt(self, place: str, work: Callable[[], T], instead: Instead) -> T | Instead:
        """What the work gives."""
        return work()

    def attempt_each(self, place: str, items: Iterable[Item], work: Callable[[Item], T]) -> list[T]:
        """What the work gives for each item."""
        return [work(item) for item in items]
