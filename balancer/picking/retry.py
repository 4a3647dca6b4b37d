"""Retries: may a failed try be made again, does it count against the budget, and where to go next.

Pure rules of the load balancing notes, 2.10. The caller counts the tries (`max_retries`) and knows that no byte of a
final response went to the client and that the client is still there; without these nothing may be tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from balancer.model.reason import Reason
from balancer.model.snapshot import Retry

# Which word of `retry.on` covers which reason. Statuses of the upstream are words of their own.
_CONNECT = frozenset(
    {
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_UNREACHABLE,
        Reason.CONNECT_TIMEOUT,
        Reason.UPSTREAM_TLS_FAILED,
        Reason.UPSTREAM_TLS_UNTRUSTED,
        Reason.NO_LOCAL_RESOURCES,
    }
)
_RESET = frozenset({Reason.UPSTREAM_CLOSED, Reason.UPSTREAM_RESET})
MOVED = frozenset({Reason.RESCUE, Reason.REUSE_RACE})  # work is moved, not multiplied: no word needed
_STATUSES = frozenset({429, 502, 503, 504})

BACKOFF = 0.05  # seconds


def word_for(reason: Reason | None, *, written: bool, upstream_status: int = 0) -> str:
    """Return the word of `retry.on` that covers the failure, "" if none does.

    A connection that was lost with no request byte written is as good as one that was never made: `connect`.
    """
    if upstream_status:
        return str(upstream_status) if upstream_status in _STATUSES else ""
    if reason in _CONNECT:
        return "" if written else "connect"
    if reason in _RESET:
        return "reset" if written else "connect"
    return "timeout" if reason is Reason.RESPONSE_TIMEOUT else ""


def may_retry(
    retry: Retry,
    reason: Reason | None,
    *,
    idempotent: bool,
    written: bool,
    replayable: bool,
    upstream_status: int = 0,
    retry_after: bool = False,
) -> bool:
    """Return whether the failed try may be made again somewhere, by the table of 2.10.

    `reason` is that of the try (None for a response that came, then `upstream_status` is its status, and `retry_after`
    says that it carried Retry-After); `written`: a byte of the request was written; `replayable`: the whole body read
    so far is still in the replay buffer.
    """
    if reason in MOVED:
        return not written or (idempotent and replayable)
    word = word_for(reason, written=written, upstream_status=upstream_status)
    if word not in retry.on or (upstream_status and retry_after):
        return False
    if word == "connect":
        return True
    return replayable and (idempotent or "non_idempotent" in retry.on)


def needs_budget(reason: Reason | None, retries: int, *, upstream_status: int = 0) -> bool:
    """Return whether the next retry counts against the budget; `retries`: how many this request has had.

    One move per request cannot multiply load: the first retry after `connect` or `reset`, a rescue and a pooled
    connection that closed as it was taken are free.
    """
    if reason in MOVED:
        return False
    return bool(upstream_status) or retries > 0 or reason not in _CONNECT | _RESET


class Budget:
    """How many retries a group may have in flight: a percentage of its active requests, but at least `minimum`."""

    __slots__ = ("_minimum", "_percent")

    def __init__(self, percent: int, minimum: int) -> None:
        self._percent = percent
        self._minimum = minimum

    def allows(self, in_flight_retries: int, active: int) -> bool:
        """Return whether one more retry fits."""
        return in_flight_retries < self._minimum or (in_flight_retries + 1) * 100 <= self._percent * active


def exclusions(tried: Collection[int], zone_of: Sequence[str], tier_slots: Sequence[int]) -> tuple[set[int], ...]:
    """Return what to exclude from the next pick in a tier: the first set that leaves a target is the one to use.

    First everything in a zone in which this request failed already, then only what it tried. `tried`: the slots where
    it failed, of any tier; `zone_of[slot]`: their zones; `tier_slots`: the rotation of this tier. A set that would
    leave nothing is not returned, so an empty answer means: go to the next tier. The sets are the caller's to add to
    (targets that are full).
    """
    if not tried:
        return (set(),) if tier_slots else ()
    untried = [slot for slot in tier_slots if slot not in tried]
    if not untried:
        return ()
    failed = {zone_of[slot] for slot in tried}
    apart = set(tried).union([slot for slot in tier_slots if zone_of[slot] in failed])
    if len(apart) == len(tried) or all(slot in apart for slot in untried):
        return (set(tried),)
    return (apart, set(tried))


def backoff(attempt: int, random: float) -> float:
    """Return the seconds to wait before the same target again: 50 ms × 2^attempt, up to half as much more.

    Only for `connect`, only once every target was tried. `attempt` counts from 0; `random` in [0, 1).
    """
    return float(BACKOFF * 2**attempt * (1.0 + random / 2))
