"""Ejection: a target whose traffic fails is left out for a while, longer each time, and never too many at once.

`Streaks` is what a worker keeps per target, `Ejector` what control keeps per group; both ask `may_eject`.
Source: load balancing notes 2.8; Envoy outlier detection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from balancer.model.snapshot import Passive

GATEWAY_STATUSES = frozenset({502, 503, 504})
FORGIVEN_AFTER = 30.0  # seconds without a new ejection that take one off the multiplier
JITTER = 0.1


class Streaks:
    """Failures in a row of one target. Each method returns whether the target should be ejected now.

    A failure in the keep-alive race on a reused connection is not one of the target: do not tell it.
    """

    __slots__ = ("_connect", "_connect_limit", "_five", "_five_limit", "_gateway", "_gateway_limit")

    def __init__(self, passive: Passive) -> None:
        self._connect_limit = passive.consecutive_connect_failures
        self._gateway_limit = passive.consecutive_gateway_failures
        self._five_limit = passive.consecutive_5xx
        self._connect = self._gateway = self._five = 0

    @property
    def connect(self) -> int:
        """Connects that failed in a row."""
        return self._connect

    @property
    def gateway(self) -> int:
        """Gateway failures in a row."""
        return self._gateway

    def reset(self) -> None:
        """Begin anew: the target was ejected or came back."""
        self._connect = self._gateway = self._five = 0

    def connect_failed(self) -> bool:
        """Take a connect that was refused, had no route, took too long or failed in TLS."""
        self._connect += 1
        return 0 < self._connect_limit <= self._connect

    def gateway_failed(self) -> bool:
        """Take a request that was reset before its head, got no answer in time or a bad one."""
        self._gateway += 1
        self._five += 1
        return self._is_too_many()

    def responded(self, status: int) -> bool:
        """Take a complete response.

        It ends every streak that it is not part of, with one exception: a 4xx says nothing about the target but that it
        can be reached.
        """
        if status < 400:
            if self._connect or self._five or self._gateway:
                self.reset()
            return False
        self._connect = 0
        if status < 500:
            return False
        self._five += 1
        self._gateway = self._gateway + 1 if status in GATEWAY_STATUSES else 0
        return self._is_too_many()

    def _is_too_many(self) -> bool:
        return 0 < self._gateway_limit <= self._gateway or 0 < self._five_limit <= self._five


@dataclass(frozen=True, slots=True)
class Ejection:
    """The ejections of one target. `until`: when the present one ends, or when the last one ended (monotonic).

    `times` counts as of `until`; `by_connect`: for connect failures, so good probes may end it early.
    """

    until: float
    times: int
    by_connect: bool
    over: bool = False


def may_eject(passive: Passive, ejected: int, total: int, others: int, panic: bool) -> bool:
    """Return whether one more of `total` targets may be ejected, of which `ejected` are; `others` go on serving.

    Within `max_ejected_percent` but at least one; never the last available one, never in panic. `total` is without
    those that left on purpose (draining, disabled).
    """
    if panic or not others:
        return False
    return ejected < max(1, total * passive.max_ejected_percent // 100)


class Ejector:
    """Which targets of a group are ejected and for how long. Targets are keys of the owner's choice (names)."""

    __slots__ = ("_ejections", "_passive", "_random")

    def __init__(self, passive: Passive, random: Callable[[], float]) -> None:
        self._passive = passive
        self._random = random
        self._ejections: dict[str, Ejection] = {}

    def eject(self, target: str, now: float, *, by_connect: bool) -> float:
        """Eject the target; return when it is over (monotonic). One that is ejected already keeps its time.

        The time is base_ejection × times ejected, at most max_ejection, and up to a tenth more.
        """
        past = self._ejections.get(target)
        if past is not None and not past.over:
            return past.until
        times = self.times(target, now) + 1
        seconds = min(self._passive.base_ejection * times, self._passive.max_ejection)
        until = now + seconds * (1.0 + JITTER * self._random())
        self._ejections[target] = Ejection(until, times, by_connect)
        return until

    def times(self, target: str, now: float) -> int:
        """Return how often the target was ejected, one less for each 30 s that it has been back."""
        past = self._ejections.get(target)
        if past is None:
            return 0
        forgiven = int((now - past.until) / FORGIVEN_AFTER) if past.over and now > past.until else 0
        return max(0, past.times - forgiven)

    def due(self, now: float) -> list[str]:
        """Return the targets whose time is over; each should be readmitted, and `ended` told."""
        return [target for target, ejection in self._ejections.items() if not ejection.over and ejection.until <= now]

    def ends_early(self, target: str, passes: int, healthy_threshold: int) -> bool:
        """Return whether `passes` good probes in a row end the ejection: only one for connect failures."""
        ejection = self._ejections.get(target)
        return ejection is not None and not ejection.over and ejection.by_connect and passes >= healthy_threshold

    def ended(self, target: str, now: float) -> None:
        """Take that the target is no longer ejected: readmitted, unhealthy by probe, drained or disabled."""
        ejection = self._ejections.get(target)
        if ejection is not None and not ejection.over:
            self._ejections[target] = replace(ejection, until=now, over=True)

    def forget(self, target: str) -> None:
        """Drop what is known of a target that is gone."""
        self._ejections.pop(target, None)
