"""Waiting: who waits for a target of a group, in their order: one queue over all configurations of that group.

An entry is (exchange, its serial, until when). Whoever leaves says so (`left`) and moves its serial on; its entry stays
until it comes to the front, or until those of the gone are too many.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from balancer.board import layout
from balancer.data.place import Place
from balancer.data.precedence import Precedence

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange

_ASKED = 32  # of those at the front, whether they are still there, where there is no room for one more
_SLACK = 64  # entries of the gone that are borne beside as many as twice the living


class Waiting:
    """The queue of a group in one worker. `entries` is read by the hot path: empty, there is nobody to wake."""

    __slots__ = ("_cell", "_living", "_place", "entries", "looking", "precedence")

    def __init__(self, place: Place, reasons: int) -> None:
        """`reasons`: where the group's reasons lie on the board, -1: nowhere."""
        self.entries: deque[tuple[Exchange, int, float]] = deque()
        self._living = 0
        self._place = place
        self.precedence = Precedence(place, reasons)
        self.looking = False  # for places that other workers leave
        self._cell = reasons + layout.REASONS_QUEUED if reasons >= 0 else -1

    def add(self, exchange: Exchange, until: float, size: int) -> bool:
        """Let `exchange` wait until then (monotonic seconds); False if `size` wait already, over all workers.

        One that was at a target before goes first, behind others of those: it came before those who never were.
        """
        if not self.has_room(size) and not self._give_up_one():
            return False
        if len(self.entries) > 2 * self._living + _SLACK:  # clients come and leave faster than places get free
            living = [entry for entry in self.entries if entry[0].serial == entry[1]]
            self.entries.clear()
            self.entries.extend(living)
        entry = exchange, exchange.serial, until
        if exchange.past:
            self.entries.insert(
                next((at for at, one in enumerate(self.entries) if not one[0].past), len(self.entries)), entry
            )
        else:
            self.entries.append(entry)
        exchange.in_queue = True
        self._show(self._living + 1)
        return True

    def has_room(self, size: int) -> bool:
        """Return whether one more may wait where `size` may, over all workers."""
        return self._living * self._place.places < size

    def left(self) -> None:
        """One who waited waits no more, for whatever reason."""
        self._show(self._living - 1)

    def first(self) -> Exchange | None:
        """Return who is next, None if nobody waits."""
        entries = self.entries
        while entries and entries[0][0].serial != entries[0][1]:
            entries.popleft()
        return entries[0][0] if entries else None

    def _give_up_one(self) -> bool:
        """If one of those who wait longest has sent its FIN, let it go for one who has not; return whether."""
        for exchange, serial, _ in islice(self.entries, _ASKED):
            if exchange.serial == serial and exchange.client.has_ended():
                exchange.client.leave_unanswered()
                return True
        return False

    def take_late(self, now: float) -> list[Exchange]:
        """Return those whose time is over; they have no place in the queue any more."""
        late = [entry for entry in self.entries if entry[2] <= now]
        if late:
            left = [entry for entry in self.entries if entry[2] > now]
            self.entries.clear()  # it is one deque for all who look at it
            self.entries.extend(left)
        return [exchange for exchange, serial, _ in late if exchange.serial == serial]

    def everybody(self) -> list[Exchange]:
        """Return all who wait."""
        return [exchange for exchange, serial, _ in self.entries if exchange.serial == serial]

    def claim(self, *, full: bool) -> None:
        """Say to other workers since when the first waits who would go anywhere; `full`: but all is full."""
        first = 0.0
        if full and self._living:
            for exchange, serial, _ in self.entries:
                if exchange.serial == serial and not exchange.tried:
                    first = exchange.queued_at - exchange.queued
                    break
        self.precedence.claim(first)

    def _show(self, living: int) -> None:
        self._living = living
        if not living:
            self.precedence.claim(0.0)
        if self._cell >= 0:
            self._place.row[self._cell] = living
