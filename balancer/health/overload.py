"""Overload: whether a worker itself is well: how late its loop runs, what share of requests it turns away.

The coarse clock says how late each of its turns was. Once a second the median is judged: over the limit, idle
connections are given up first, then a tenth more of the requests each second; under it, a tenth less. Nine tenths at
most, so that it is seen when the storm is over. Pure. Source: load balancing notes, 2.17.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from statistics import median
from typing import TypeVar

LATE = 0.1  # seconds that half of the turns may be late
STEP = 10  # percent
MOST = 90
SECOND = 1.0
_T = TypeVar("_T")
_FEWEST = 3  # turns that a judgement needs: one alone may be a machine that slept


class Overload:
    """The judgement of one worker about itself; `share`: of requests to turn away, in percent."""

    __slots__ = ("_credit", "_hot", "_lags", "_until", "lag", "share")

    def __init__(self, now: float) -> None:
        self.share = 0
        self.lag = 0.0  # seconds, median of the last second
        self._hot = False  # the step before the first tenth was made
        self._lags: list[float] = []
        self._until = now + SECOND
        self._credit = 0

    def turned(self, late: float, now: float) -> bool:
        """Take a turn of the clock that came `late` seconds late; return True if idle connections should go."""
        self._lags.append(late)
        if now < self._until or len(self._lags) < _FEWEST:
            return False
        self.lag = median(self._lags)
        self._lags.clear()
        self._until = now + SECOND
        if self.lag <= LATE:
            self.share = max(0, self.share - STEP)
            self._hot = self._hot and self.share > 0
            return False
        if self._hot:
            self.share = min(MOST, self.share + STEP)
        self._hot = True
        return True

    def turns_away(self) -> bool:
        """Return whether the next request is one of the share: 3 of 10 at 30 percent, spread evenly."""
        self._credit += self.share
        if self._credit < 100:
            return False
        self._credit -= 100
        return True


def excess(total: int, limit: int) -> int:
    """Return how many of `total` buffered bytes must go: down to nine tenths of the limit, once it is crossed."""
    return total - limit * 9 // 10 if limit and total > limit else 0


def worst(holders: Iterable[tuple[_T, float, int]], too_much: int) -> list[_T]:
    """Return whom to end of those who hold bytes (who, since when, how many): the longest first, until it is enough."""
    chosen: list[_T] = []
    for who, _, size in sorted(holders, key=itemgetter(1)):
        if too_much <= 0:
            break
        chosen.append(who)
        too_much -= size
    return chosen
