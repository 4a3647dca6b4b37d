"""The figures of a run, and what is made of them: medians, spreads, and ratios within a round.

In a round each proxy had its slice a few seconds from the others', so what the machine does to all of them falls out of
the ratio; the median of the rounds is shown, with their extremes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from idle import Memory
from load import Slice

REFERENCE = "nginx"
BUSY = 0.95  # below, requests/s says more about the load generator
WAITED = 0.05  # above, somebody else was on the proxy's core


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median and extremes over the rounds."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f}–{self.most:.2f})"


@dataclass(slots=True)
class Run:
    """Everything that was measured; `cases` by case and proxy, in the order of the rounds."""

    about: dict[str, str]
    titles: dict[str, str]  # by proxy, with version
    memory: dict[str, Memory] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # of the open loops, by case
    cases: dict[str, dict[str, list[Slice]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # "case, proxy" or a proxy: why

    def of(self, case: str, key: str) -> list[Slice]:
        return self.cases.get(case, {}).get(key, [])

    def cpu(self, case: str, key: str) -> Ratio | None:
        """Return CPU time per request of the whole tree against the reference's in the same round."""
        return _ratio(
            [one.everything for one in self.of(case, key)], [one.everything for one in self.of(case, REFERENCE)]
        )

    def rate(self, case: str, key: str) -> Ratio | None:
        """Return requests per second against the reference's in the same round."""
        return _ratio(
            [one.requests_per_second for one in self.of(case, key)],
            [one.requests_per_second for one in self.of(case, REFERENCE)],
        )

    def beside(self, case: str, other: str, key: str) -> Ratio | None:
        """Return CPU time per request against the same proxy's in another case: medians, no rounds."""
        base = [one.everything for one in self.of(other, key)]
        times = [one.everything for one in self.of(case, key)]
        return _ratio(times, [median(base)] * len(times)) if base else None

    def write(self, path: Path) -> None:
        """Keep everything at `path`."""
        kept = asdict(self)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")


def _ratio(values: list[float], base: list[float]) -> Ratio | None:
    ratios = [value / other for value, other in zip(values, base) if other]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


def spread(values: list[float]) -> float:
    """Return (most - least) / median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def busy(slices: list[Slice]) -> float:
    """Return the share of its core that the proxy used."""
    return median([one.busy for one in slices])


def disturbed(one: Slice) -> bool:
    """Return whether somebody else was on the cores."""
    return one.disturbed or one.waited > WAITED


def latency(slices: list[Slice]) -> list[float] | None:
    """Return medians of the percentiles in µs (50, 99, 99.9, 100); None where the rate could not be carried."""
    if not slices or any(one.overloaded for one in slices):
        return None
    return [median([one.latency[n] for one in slices]) for n in range(4)]
