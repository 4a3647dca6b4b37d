"""One coarse clock for every connection's deadline: a number on the connection, looked at a few times a second.

No timer per request: setting a deadline is storing a float. Late by at most `PERIOD` plus one turn of the loop.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

from balancer.data.turns import Turns

PERIOD = 0.1  # seconds between two looks
NEVER = math.inf
log = logging.getLogger("balancer.worker")
_SLICE = 1024  # connections looked at before others have their turn
_ENDED = 4  # connections told that they are over before others have their turn: each may cost an answer and a close


class Watched(Protocol):
    """Something with a deadline (monotonic seconds, or NEVER)."""

    deadline: float

    def expired(self, now: float) -> None:
        """The deadline is over; sets another or ends."""


class Deadlines:
    """The connections of one worker, by their next deadline."""

    __slots__ = ("_round", "watched")

    def __init__(self) -> None:
        self.watched: set[Watched] = set()
        self._round: Turns[Watched] = Turns()

    def __bool__(self) -> bool:
        """Whether a round is under way."""
        return bool(self._round)

    def look(self, now: float) -> bool:
        """Tell some of the connections that are over; return True if more wait to be looked at in this round."""
        if not self._round:
            self._round.begin(self.watched)
        part = self._round.take(_SLICE)
        left = _ENDED
        for number, item in enumerate(part, 1):
            if item.deadline <= now and item in self.watched:  # one may have ended another of the same round
                try:
                    item.expired(now)
                except Exception:  # one fault of ours must not take every other deadline with it
                    log.exception("internal error in a deadline of %s", type(item).__name__)
                    item.deadline = NEVER
                left -= 1
                if not left:
                    self._round.give_back(len(part) - number)
                    break
        return bool(self._round)
