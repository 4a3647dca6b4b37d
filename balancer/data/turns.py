"""Turns: work on many things, a part of them in each turn of the loop, so that whoever else is served has its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Turns(Generic[_T]):
    """What is still to be looked at in a round; false once all of it was."""

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[_T] = []
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._items)

    def begin(self, items: Iterable[_T]) -> int:
        """Begin a round with `items` as they are now; return how many they are."""
        self._items = list(items)
        self._at = 0
        return len(self._items)

    def take(self, count: int) -> list[_T]:
        """Return the next of them, `count` at most: they are no longer to be looked at."""
        part = self._items[self._at : self._at + count]
        self._at += len(part)
        return part

    def give_back(self, count: int) -> None:
        """Take back the last `count` of those that were taken: the turn was over before them."""
        self._at -= count
