"""Together: failures of one target that several workers saw, each too few to judge, added up.

Each worker counts its own streak and ejects by it. With many workers and little traffic every streak stays short, so
control adds up what rose within the last seconds. An answer that any worker got breaks them all. Pure: time is told.
Source: load balancing notes, 2.8.
"""

from __future__ import annotations

from collections.abc import Sequence

WITHIN = 10.0  # seconds in which the failures must have been seen


class Together:
    """The failures of one kind of one target."""

    __slots__ = ("_answers", "_before", "_limit", "_rose", "_streaks")

    def __init__(self, limit: int, workers: int) -> None:
        """`limit`: failures in a row that eject; 0 never does."""
        self._limit = limit
        self._streaks = [0] * workers  # as of the last look
        self._before = [0] * workers  # the part of each that an answer elsewhere has broken
        self._rose = [0.0] * workers  # when each last grew
        self._answers = -1

    @property
    def quiet(self) -> bool:
        """Whether no worker has a streak."""
        return not any(self._streaks)

    def look(self, streaks: Sequence[int], answers: int, now: float) -> bool:
        """Take the present streak of each worker, and how many answers all have got ever; return whether to eject."""
        if answers != self._answers:
            if self._answers >= 0:
                self._before = list(self._streaks)
            self._answers = answers
        counted = []
        for worker, streak in enumerate(streaks):
            if streak > self._streaks[worker]:
                self._rose[worker] = now
            self._before[worker] = min(self._before[worker], streak)
            self._streaks[worker] = streak
            if now - self._rose[worker] < WITHIN and streak > self._before[worker]:
                counted.append(streak - self._before[worker])
        if len(counted) < 2 or not 0 < self._limit <= sum(counted):
            return False
        self._before = list(self._streaks)
        return True
