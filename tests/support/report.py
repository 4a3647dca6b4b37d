"""What came of a run under load: every request by itself, and the sums that a test asserts on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """One request: instants in seconds from the start of the run; `cause` is empty when an answer is whole."""

    index: int
    method: str
    due: float
    sent: float = -1.0
    done: float = -1.0
    status: int = 0
    cause: str = ""
    reason: str = ""
    tag: str = ""
    reused: bool = False
    request_id: str = ""  # of the response head, if one came

    @property
    def failed(self) -> bool:
        """Everything that is not a complete, valid 2xx that belongs to its request."""
        return bool(self.cause) or not 200 <= self.status < 300

    @property
    def latency(self) -> float:
        """Seconds from due to done."""
        return self.done - self.due


def _percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


@dataclass(slots=True)
class Report:
    """What came of a run; latencies in seconds, counted from due time."""

    samples: list[Sample]
    rate: float
    extra_answers: int = 0
    idle_closed: int = 0
    opened: int = 0
    began_wall: float = 0.0
    statuses: Counter[int] = field(init=False)
    lost: Counter[str] = field(init=False)
    tags: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.statuses = Counter(one.status for one in self.samples if one.status and not one.cause)
        self.lost = Counter(one.cause for one in self.samples if one.cause)
        self.tags = Counter(one.tag for one in self.samples if one.tag)

    @property
    def sent(self) -> int:
        """Requests that were begun."""
        return len(self.samples)

    @property
    def answered(self) -> int:
        """Requests with a whole answer of any status."""
        return sum(self.statuses.values())

    @property
    def duplicates(self) -> int:
        """Answers beyond one for a request."""
        return self.extra_answers

    @property
    def mismatched(self) -> int:
        """Answers that carry the mark of another request."""
        return self.lost["mismatched"]

    @property
    def failures(self) -> list[Sample]:
        """Every request that did not end in a complete, valid 2xx of its own, in order."""
        return [one for one in self.samples if one.failed]

    @property
    def failed(self) -> int:
        """The number of `failures`, plus answers that nobody asked for."""
        return len(self.failures) + self.extra_answers

    def latency(self, percent: float, method: str | None = None) -> float:
        """Return a percentile (0 to 100) of the latencies of whole answers."""
        chosen = (one for one in self.samples if not one.cause and method in (None, one.method))
        return _percentile(sorted(one.latency for one in chosen), percent)

    @property
    def p50(self) -> float:
        """Median latency."""
        return self.latency(50)

    @property
    def p90(self) -> float:
        """90th percentile."""
        return self.latency(90)

    @property
    def p99(self) -> float:
        """99th percentile."""
        return self.latency(99)

    @property
    def worst(self) -> float:
        """The longest latency of a whole answer."""
        return self.latency(100)

    @property
    def lateness_p99(self) -> float:
        """The generator's own lateness: above 5 ms the run says little about the balancer."""
        return _percentile(sorted(one.sent - one.due for one in self.samples if one.sent >= 0), 99)

    def between(self, start: float, end: float) -> Report:
        """Return the part of the run whose requests were due in [start, end) seconds."""
        return Report([one for one in self.samples if start <= one.due < end], self.rate)

    def __str__(self) -> str:
        lines = [
            f"sent {self.sent} answered {self.answered} failed {self.failed} statuses {dict(self.statuses)} "
            f"lost {dict(self.lost)} extra {self.extra_answers}",
            f"connections {self.opened} ({self.idle_closed} closed while idle)",
            f"p50 {self.p50 * 1e3:.1f} p90 {self.p90 * 1e3:.1f} p99 {self.p99 * 1e3:.1f} max {self.worst * 1e3:.1f} ms",
            f"generator late by {self.lateness_p99 * 1e3:.1f} ms (p99)",
        ]
        lines += [
            f"  #{one.index} {one.method} due {one.due:.3f} sent {one.sent:.3f} done {one.done:.3f} "
            f"status {one.status} cause {one.cause or '-'} reason {one.reason or '-'} reused {one.reused}"
            for one in self.failures[:20]
        ]
        return "\n".join(lines)
