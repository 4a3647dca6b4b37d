"""schedule: when each job is due. Pure: told the time."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 64  # so many first checks start together
SPREAD = 1.0  # seconds over which more of them are spread


class Schedule(Generic[T]):
    """Due times of jobs (any hashable value with a stable `repr`)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._due: dict[T, tuple[float, int]] = {}
        self._count = 0
        self._spread: set[T] = set()

    def begin(self, jobs: Iterable[T], now: float) -> None:
        """Make jobs due for the first time: at once, or spread over a second when they are many."""
        new = list(jobs)
        step = SPREAD / len(new) if len(new) > AT_ONCE else 0.0
        for index, job in enumerate(new):
            self._put(job, now + index * step)

    def again(self, job: T, now: float, delay: float, *, regular: bool) -> None:
        """Make a job due after a delay (seconds).

        The first `regular` one of a job is shortened by a fraction that depends on the job alone: jobs that began
        together are spread over the interval from then on, the same way after every start.
        """
        if regular and job not in self._spread:
            self._spread.add(job)
            delay *= 1 - (zlib.crc32(repr(job).encode()) % 1000) / 1000 * 0.8
        self._put(job, now + delay)

    def forget(self, job: T) -> None:
        """Drop a job."""
        self._due.pop(job, None)
        self._spread.discard(job)

    def take(self, now: float, most: int = 1 << 30) -> list[T]:
        """Return jobs that are due, in order, at most so many; each is out of the schedule until it is put in again."""
        ready: list[T] = []
        while len(ready) < most and self._heap and self._heap[0][0] <= now:
            _, count, job = heapq.heappop(self._heap)
            entry = self._due.get(job)
            if entry is not None and entry[1] == count:
                del self._due[job]
                ready.append(job)
        return ready

    def next_at(self) -> float | None:
        """Return when the next job is due, or None."""
        while self._heap:
            at, count, job = self._heap[0]
            entry = self._due.get(job)
            if entry is not None and entry[1] == count:
                return at
            heapq.heappop(self._heap)
        return None

    def _put(self, job: T, at: float) -> None:
        self._count += 1
        self._due[job] = (at, self._count)
        heapq.heappush(self._heap, (at, self._count, job))
