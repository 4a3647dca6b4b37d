"""Numbers by key, for keys that clients bring: each worker writes into its own table, everybody reads all of them.

A key has its set by its hash, the same in every row, and takes one of the set's few places in each row that knows it.
A set that is full gives up the key with the least value. Keys are never stored, only 64 bits of a keyed hash of them.
"""

from __future__ import annotations

from hashlib import blake2b

from balancer.board import layout
from balancer.board.board import Board

_WAYS = layout.WAYS


class Keyed:
    """One kind of table, as the worker of a place uses it. A pair (at, tag) stands for a key: see `find`."""

    __slots__ = ("_forgotten", "_head", "_others", "_own", "_salt")

    def __init__(self, board: Board, kind: int, place: int, places: int) -> None:
        tables = board.tables(kind, places)
        self._own = tables[place]
        self._others = [table for number, table in enumerate(tables) if number != place]
        self._head = board.row_head(place)
        self._forgotten = layout.ROW_FORGOTTEN + kind
        self._salt = board.cells[layout.SALT].to_bytes(8, "big")

    def find(self, key: bytes) -> tuple[int, int]:
        """Return where a key belongs: the first cell of its set, and its tag there."""
        tag = int.from_bytes(blake2b(key, digest_size=8, key=self._salt).digest(), "big") or 1
        return tag % layout.SETS * 2 * _WAYS, tag

    def own(self, at: int, tag: int) -> int:
        """Return the value that this worker has written, 0 if none."""
        return _value(self._own, at, tag)

    def others(self, at: int, tag: int) -> list[int]:
        """Return the values that the other workers have written."""
        return [_value(table, at, tag) for table in self._others]

    def put(self, at: int, tag: int, value: int, worthless: int = 0) -> None:
        """Write this worker's value; 0 forgets the key. A value up to `worthless` is given up without being counted."""
        own = self._own
        tags: list[int] = own[at : at + _WAYS].tolist()
        if tag in tags:
            way = tags.index(tag)
        elif not value:
            return
        elif 0 in tags:
            way = tags.index(0)
        else:
            values: list[int] = own[at + _WAYS : at + 2 * _WAYS].tolist()
            way = values.index(min(values))
            if values[way] > worthless:
                self._head[self._forgotten] += 1
        own[at + way] = 0  # a reader between these three sees no key rather than another's value
        own[at + _WAYS + way] = value
        own[at + way] = tag if value else 0


def _value(table: memoryview[int], at: int, tag: int) -> int:
    tags: list[int] = table[at : at + _WAYS].tolist()
    return table[at + _WAYS + tags.index(tag)] if tag in tags else 0
