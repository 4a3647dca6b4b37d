"""Descriptors: how many a worker has open, by its own count, and where it stops taking more clients.

A tenth is kept free for what must not fail: connections to targets, a log that is opened anew, a reload. Source: load
balancing notes, 2.17.

    high (90 %)  clients that rest are let go, the longest rest first, then what rests to targets; still: accept no more
    low (85 %)   accept again
"""

from __future__ import annotations

import logging
import os
import resource

log = logging.getLogger("balancer.worker")
SAY_EVERY = 10.0  # seconds between two lines in the log about the same want
COUNT_EVERY = 1.0  # seconds between two looks at the kernel's table, when it fills
_BACKLOG = 4096


class Descriptors:
    """The limit, and what is known to be open."""

    __slots__ = (
        "_counted",
        "_others",
        "_said",
        "_upstreams",
        "backlog",
        "high",
        "limit",
        "low",
        "narrow_at",
        "room",
        "short",
    )

    def __init__(self, limit: int = 0) -> None:
        """`limit`: descriptors that the process may have; 0: as the system says."""
        self.limit = limit or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if self.limit <= 0:  # RLIM_INFINITY
            self.limit = 1 << 30
        self.high = self.limit * 90 // 100
        self.low = self.limit * 85 // 100
        self.short = False  # from `high` until `low`
        self._others = _open(self.limit)  # neither clients nor targets, as of the last count
        self._upstreams = 0
        self._counted = self._said = -SAY_EVERY
        self.room = 0  # clients that may be connected; goes down with each connect to a target between looks
        # Connections that the kernel may keep for us: all that wait are accepted in one go, and must find a descriptor.
        self.backlog = 0
        self.narrow_at = 0  # clients with whom `backlog` has become too long
        self.measure(0)

    def look(self, clients: int, upstreams: int, now: float) -> int:
        """Return how many are open; called by the coarse clock with what the data path has."""
        self._upstreams = upstreams
        if self._others + clients + upstreams >= self.low * 9 // 10 and now - self._counted >= COUNT_EVERY:
            self._counted = now
            self._others = max(0, _open(self.limit) - clients - upstreams)
        used = self.measure(clients)
        self.short = used >= self.high or (self.short and used > self.low)
        return used

    def measure(self, clients: int) -> int:
        """Say anew how many clients there is room for; return how many descriptors are open."""
        used = self._others + self._upstreams + clients
        free = self.limit - used
        self.room = self.high - self._others - self._upstreams
        self.backlog = max(4, min(_BACKLOG, free // 2))
        self.narrow_at = clients + max(1, free - self.backlog)
        return used

    def complain(self, now: float, what: str) -> None:
        """Say in the log what is wanting, once in a while."""
        if now - self._said >= SAY_EVERY:
            self._said = now
            log.warning("descriptors or ports run out limit=%d detail=%r", self.limit, what)


def _open(limit: int) -> int:
    try:
        with os.scandir("/proc/self/fd") as entries:
            return sum(1 for _ in entries) - 1
    except OSError:  # the look itself takes one
        return limit
