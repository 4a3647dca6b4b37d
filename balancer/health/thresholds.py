"""Thresholds: runs of probes → a verdict, and when to probe next.

1. unknown → healthy on the first success, → unhealthy after `unhealthy_threshold` failures in a row.
2. healthy ⇄ unhealthy by the thresholds; the opposite result starts the count anew.
3. An ejected target fails by probes like a healthy one.
4. The fast interval is for all that is undecided: unknown, healthy with a failure, unhealthy or ejected with a success.

Source: load balancing notes 2.7.
"""

from __future__ import annotations

from balancer.health.machine import Event
from balancer.model.names import State
from balancer.model.snapshot import HealthCheck

JITTER = 0.1


class Thresholds:
    """The run of probes of one target under one check. `passes` and `fails`: in a row, one of them 0."""

    __slots__ = ("_check", "_state", "fails", "passes")

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._state: State | None = None  # at the last result; None: no result yet
        self.passes = 0
        self.fails = 0

    def reset(self) -> None:
        """Begin a new run: the target was enabled, or was ejected."""
        self.passes = self.fails = 0

    def count(self, passed: bool, state: State) -> Event | None:
        """Take one result for a target that is in `state`; return PASSED or FAILED if it changes that."""
        if state is State.EJECTED and self._state is not State.EJECTED:
            self.passes = 0  # only those since the ejection may end it
        self._state = state
        if passed:
            self.passes += 1
            self.fails = 0
            needed = 1 if state is State.UNKNOWN else self._check.healthy_threshold
            decided = state in (State.UNKNOWN, State.UNHEALTHY) and self.passes >= needed
            return Event.PASSED if decided else None
        self.fails += 1
        self.passes = 0
        fallible = state in (State.UNKNOWN, State.HEALTHY, State.EJECTED)
        return Event.FAILED if fallible and self.fails >= self._check.unhealthy_threshold else None

    def next_delay(self, state: State, random: float) -> float:
        """Return the seconds from the end of a probe to the next, for the state after it; `random` in [0, 1).

        Up to a tenth early and never late, so that the time to notice a failure stays within its bound. Before the
        first result under this check the fast interval applies, whatever the state.
        """
        check = self._check
        undecided = (
            self._state is None
            or state is State.UNKNOWN
            or (state in (State.HEALTHY, State.EJECTED) and self.fails > 0)
            or (state in (State.UNHEALTHY, State.EJECTED) and 0 < self.passes < check.healthy_threshold)
        )
        if undecided:
            interval = min(check.fast_interval, check.interval)
        else:
            interval = check.unhealthy_interval if state is State.UNHEALTHY else check.interval
        return interval * (1.0 - JITTER * random)
