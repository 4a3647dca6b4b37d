"""Token buckets, kept as one number: the moment at which the bucket will be full again.

`tokens = min(burst, tokens + rate × Δt)` says the same as "full at F": `tokens = burst − (F − now) × rate`. One number
can be shared by several writers: the latest of what each of them wrote is what they took together, since each began at
the latest that it saw. Pure: times are told, in nanoseconds. Source: load balancing notes, 2.17; ITU-T I.371 (GCRA).
"""

from __future__ import annotations

from balancer.model.snapshot import RateLimit

SECOND = 1_000_000_000


class Bucket:
    """What all buckets of one limit have in common."""

    __slots__ = ("_allowed", "_token")

    def __init__(self, limit: RateLimit) -> None:
        self._token = max(1, round(SECOND / limit.rate))  # ns that bring one
        self._allowed = self._token * (limit.burst - 1)  # how far in the future "full" may lie for one more token

    def take(self, full: int, now: int) -> tuple[int, int]:
        """Return (when the bucket is full again, 0) if there is a token, else (`full`, ns until there is one).

        `full`: when it would be full again, 0 or a past moment if it is.
        """
        if full < now:
            full = now
        wait = full - now - self._allowed
        return (full, wait) if wait > 0 else (full + self._token, 0)
