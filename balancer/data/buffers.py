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
from balancer.data.turns import Turns
from balancer.health.overload import excess, worst

if TYPE_CHECKING:
    from balancer.data.http.client import ClientProtocol

PERIOD = 1.0  # seconds between two looks while little waits
_SLICE = 256  # connections asked before others have their turn


class Buffers:
    """What waits in one worker; `total`: bytes, as of the last look."""

    __slots__ = ("_holders", "_next", "_place", "_round", "limit", "total")

    def __init__(self, place: Place) -> None:
        self._place = place
        self.limit = 0  # bytes; 0: none
        self.total = 0
        self._next = 0.0
        self._round: Turns[ClientProtocol] = Turns()  # of this look
        self._holders: list[tuple[ClientProtocol, float, int]] = []

    def look(self, clients: Iterable[ClientProtocol], now: float) -> bool:
        """Add up what waits, if it is time to, and end who must; return True if more are to be asked: `go_on`."""
        if self._round:  # of the look before
            return True
        if now < self._next and not 0 < self.limit <= 2 * self.total:
            return False
        self._next = now + PERIOD
        self._round.begin(clients)
        self._holders = []
        return self._ask()

    def go_on(self) -> bool:
        """Ask some more, if a look is not over; return True if others are left for a later turn."""
        return bool(self._round) and self._ask()

    def _ask(self) -> bool:
        for one in self._round.take(_SLICE):
            if one.is_busy and one in one.listener.connections:  # who has left since the look began holds nothing
                self._holders.append((one, *one.waiting()))
        if self._round:
            return True
        holders, self._holders = self._holders, []
        self.total = sum(size for _, _, size in holders)
        too_much = excess(self.total, self.limit)
        if too_much:
            log.warning("buffers are full bytes=%d buffer_limit=%d", self.total, self.limit)
            chosen = {one for one in worst(holders, too_much) if one in one.listener.connections}
            for client in chosen:
                client.give_up()
            self.total -= sum(size for client, _, size in holders if client in chosen)
        return False
