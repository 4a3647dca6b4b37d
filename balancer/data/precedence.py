"""Precedence: which worker's queue goes first where several have one before the same full targets.

A place that becomes free is seen at once by the worker whose request left it, and by the others when they look: left
alone, one worker would serve its own clients for ever, and those who wait in another would wait in vain. So each worker
says on the board since when the first in its queue waits, and leaves a free place alone that is another's turn. Turns
are kept to within `GRACE`: to hand a place on costs the time until the other one looks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from balancer.board import layout

if TYPE_CHECKING:
    from balancer.data.place import Place

GRACE = 50  # ms that one may be served before another who has waited longer
STANDS = (
    300  # ms that a claim holds: it is renewed with every look, and who looks no more (frozen, dead) claims nothing
)
LEFT_ALONE = 100  # ms after which a place that was left to others, and that nobody took, is taken all the same
LOOK = 0.005  # seconds between two looks of a worker whose queue is not empty


class Precedence:
    """What one worker claims for its queue of a group, and what the others claim for theirs."""

    __slots__ = ("_at", "_left_at", "_number", "_row", "_seen", "_since", "shared")

    def __init__(self, place: Place, reasons: int) -> None:
        """`reasons`: where the group's reasons lie on the board, -1: nowhere."""
        self.shared = reasons >= 0 and place.places > 1
        self._number = place.number
        self._row = place.row
        self._at = reasons
        cell = max(reasons, 0)
        self._since = place.board.column(cell + layout.REASONS_CLAIM, place.places)
        self._seen = place.board.column(cell + layout.REASONS_CLAIMED_AT, place.places)
        self._left_at = 0

    def claim(self, since: float) -> None:
        """Say since when (monotonic seconds) the first waits who would take any place; 0.0: nobody does."""
        if self.shared:
            self._row[self._at + layout.REASONS_CLAIMED_AT] = _now()
            self._row[self._at + layout.REASONS_CLAIM] = int(since * 1000)

    def is_mine(self, since: float) -> bool:
        """Return whether a place that is free may be taken by one who waits since then; 0.0: who has just come."""
        if not self.shared or not max(self._since):
            return True
        now = _now()
        before = (int(since * 1000) or now) - GRACE
        for number, (claimed, seen) in enumerate(zip(self._since, self._seen)):
            if 0 < claimed < before and number != self._number and now - seen < STANDS:
                break
        else:
            return True
        if not self._left_at:
            self._left_at = now
        return now - self._left_at > LEFT_ALONE

    def none_is_free(self) -> None:
        """What was left to others is taken."""
        self._left_at = 0


def _now() -> int:
    return int(time.monotonic() * 1000)
