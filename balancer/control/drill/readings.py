"""readings: what the board's counters said at one moment, and what lies between two moments. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from balancer.board.histogram import EDGES
from balancer.model.reason import Reason

# Each of these is said once of a request that failed here, whether it was answered 5xx or its answer was cut. What the
# client did, and what is only noted of a request that went on, is none of them.
_CUT = (Reason.RESPONSE_TRUNCATED, Reason.RESPONSE_IDLE_TIMEOUT, Reason.WORKER_LOST)
FAILED = tuple(reason.word for reason in Reason if reason.status >= 500 or reason in _CUT)


@dataclass(frozen=True, slots=True)
class Reading:
    """One target group at one moment: counters since ever, by zone what has finished and what runs.

    `at` in seconds, monotonic; `errors`: answers of targets with a 5xx; `reasons`: failures by reason; `buckets`: the
    histogram of durations.
    """

    at: float
    errors: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    buckets: tuple[int, ...] = (0,) * (len(EDGES) + 1)
    finished: Counter[str] = field(default_factory=Counter)
    active: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        """Finished requests."""
        return sum(self.buckets)

    @property
    def failed(self) -> int:
        """Requests that failed: a 5xx of a target, or a failure here, which may be a 5xx or a cut answer.

        Our own 5xx are counted by their reason alone, as the reason is the same when it cuts an answer. A target's 5xx
        that is cut is both, and counts twice: the board does not say how many answers are.
        """
        return self.errors + sum(self.reasons[word] for word in FAILED)

    def started(self, zone: str) -> int:
        """Return how many requests the zone has been given."""
        return self.finished[zone] + self.active[zone]


def together(readings: Iterable[Reading]) -> Reading:
    """Return the sum of several groups' readings of one moment."""
    every = list(readings)
    if not every:
        return Reading(0.0)
    return Reading(
        max(one.at for one in every),
        sum(one.errors for one in every),
        sum((one.reasons for one in every), Counter()),
        tuple(sum(cells) for cells in zip(*(one.buckets for one in every))),
        sum((one.finished for one in every), Counter()),
        sum((one.active for one in every), Counter()),
    )


@dataclass(frozen=True, slots=True)
class Phase:
    """What happened between two readings. Latencies in ms, None where nothing finished; `zones` in percent."""

    seconds: float
    requests: int
    failures: int
    reasons: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    zones: dict[str, float]


def between(before: Reading, after: Reading) -> Phase:
    """Return what happened between two readings of the same group."""
    buckets = tuple(max(0, new - old) for old, new in zip(before.buckets, after.buckets))
    finished = {zone: count - before.finished[zone] for zone, count in after.finished.items()}
    whole = sum(finished.values())
    return Phase(
        seconds=round(after.at - before.at, 3),
        requests=sum(buckets),
        failures=after.failed - before.failed,
        reasons={word: count for word, count in sorted((after.reasons - before.reasons).items()) if count},
        p50_ms=percentile(buckets, 50),
        p99_ms=percentile(buckets, 99),
        zones={zone: round(100 * count / whole, 1) if whole else 0.0 for zone, count in sorted(finished.items())},
    )


def percentile(buckets: tuple[int, ...], percent: float) -> float | None:
    """Return the duration in ms that `percent` of the requests stayed below, None if there are none.

    Inside a bucket durations are taken for even; above the last edge it is that edge. Source: Prometheus,
    histogram_quantile.
    """
    whole = sum(buckets)
    if not whole:
        return None
    rank = whole * percent / 100
    edges = (0.0, *EDGES)
    for index, reached in enumerate(accumulate(buckets)):
        if reached >= rank and buckets[index]:
            if index >= len(EDGES):
                break
            part = (rank - (reached - buckets[index])) / buckets[index]
            return round((edges[index] + (edges[index + 1] - edges[index]) * part) * 1000, 3)
    return EDGES[-1] * 1000
