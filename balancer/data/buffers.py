"""Buffers: the bytes that wait in a worker, for clients that read slowly and targets that take slowly, and their bound.

One connection holds little (back-pressure stops the other side); ten thousand slow ones hold a lot. Once a second, and
at every turn of the clock while they are many, they are added up. Over `buffer_limit` those go that have kept their
bytes for longest: responses that their clients do not take are cut (`client_too_slow`), then requests that wait with
their bodies are refused (`overloaded`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from balancer.data.place import Place, log
from balancer.health.overload import excess, worst

if TYPE_CHECKING:
    from balancer.data.http.client import ClientProtocol

PERIOD = 1.0  # seconds between two looks while little waits


class Buffers:
    """What waits in one worker; `total`: bytes, as of the last look."""

    __slots__ = ("_next", "_place", "limit", "total")

    def __init__(self, place: Place) -> None:
        self._place = place
        self.limit = 0  # bytes; 0: none
        self.total = 0
        self._next = 0.0

    def look(self, clients: Iterable[ClientProtocol], now: float) -> None:
        """Add up what waits, if it is time to, and end who must."""
        if now < self._next and not 0 < self.limit <= 2 * self.total:
            return
        self._next = now + PERIOD
        holders = [(client, *client.waiting()) for client in clients if client.is_busy]
        self.total = sum(size for _, _, size in holders)
        too_much = excess(self.total, self.limit)
        if not too_much:
            return
        log.warning("buffers are full bytes=%d buffer_limit=%d", self.total, self.limit)
        chosen = worst(holders, too_much)
        for client in chosen:
            client.give_up()
        gone = set(chosen)
        self.total -= sum(size for client, _, size in holders if client in gone)
