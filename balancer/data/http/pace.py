"""Pace: whether a request's body comes fast enough: a floor that ends an attack by trickle and spares a slow upload.

The average over the last 30 s (all of it, while the body is younger) is held against a rate, from 10 s on. Time in
which we ourselves held the client back does not count. Source: load balancing notes, 2.12 (`min_body_rate`).
"""

from __future__ import annotations

from collections import deque

GRACE = 10.0  # seconds before a body is judged for the first time
WINDOW = 30.0  # seconds that the average is taken over
STEP = 5.0  # seconds between two judgements


class Pace:
    """One body, from its first second on. Seconds are those in which bytes were wanted."""

    __slots__ = ("_marks", "_rate")

    def __init__(self, rate: int) -> None:
        """`rate`: bytes a second."""
        self._rate = rate
        self._marks: deque[tuple[float, int]] = deque(((0.0, 0),))

    def is_too_slow(self, seconds: float, received: int) -> bool:
        """Return whether the body is under the rate, `seconds` after its begin with `received` bytes of it here.

        To be asked every `STEP` from `GRACE` on: what was seen then is what later averages begin with.
        """
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= seconds - WINDOW:
            marks.popleft()
        began, before = marks[0]
        marks.append((seconds, received))
        return received - before < self._rate * min(seconds - began, WINDOW)
