"""Clients: how many connections one client holds on a listener, over all workers, where that is limited.

Each worker writes its own counts into its table on the board and adds up those of the others when one more comes. Two
that accept at the same instant may both take the last place.
"""

from __future__ import annotations

from collections import Counter

from balancer.board import layout
from balancer.board.board import Board
from balancer.board.keyed import Keyed
from balancer.data.peers import network_of


class Clients:
    """The counts of one worker, for all of its listeners."""

    __slots__ = ("_held", "_table")

    def __init__(self, board: Board, place: int, places: int) -> None:
        self._table = Keyed(board, layout.CLIENTS, place, places)
        self._held: Counter[str] = Counter()

    def joined(self, listener: str, peer: str) -> int:
        """Count one more connection of `peer`; return how many it has now."""
        key = f"{listener}|{network_of(peer)}"
        self._held[key] += 1
        at, tag = self._table.find(key.encode("utf-8", "surrogateescape"))
        self._table.put(at, tag, self._held[key])
        return self._held[key] + sum(self._table.others(at, tag))

    def left(self, listener: str, peer: str) -> None:
        """Count one less."""
        key = f"{listener}|{network_of(peer)}"
        self._held[key] -= 1
        at, tag = self._table.find(key.encode("utf-8", "surrogateescape"))
        self._table.put(at, tag, self._held[key])
        if not self._held[key]:
            del self._held[key]
