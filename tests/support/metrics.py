"""A scrape of /metrics as values: sums by name and label."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

Labels = frozenset[tuple[str, str]]
PREFIX = "balancer_"
_SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')


@functools.lru_cache(maxsize=20_000)
def _series(text: str) -> tuple[str, Labels]:
    match = _SERIES.fullmatch(text)
    if match is None:
        raise ValueError(f"not a series: {text!r}")
    labels = match[2] or ""
    if _LABEL.sub("", labels):
        raise ValueError(f"not a list of labels: {labels!r}")
    return match[1], frozenset(_LABEL.findall(labels))


@dataclass(frozen=True, slots=True)
class Metrics:
    """Samples by (name, labels); names may be written without the `balancer_` prefix."""

    samples: dict[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Metrics:
        """Return the samples of an exposition in the Prometheus text format; raises ValueError on any other line."""
        samples = {}
        for line in text.splitlines():
            if line and line[0] != "#":
                series, _, value = line.rpartition(" ")
                samples[_series(series)] = float(value)
        return cls(samples)

    def select(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the samples of a name whose labels include the given ones."""
        full = name if name.startswith(PREFIX) else PREFIX + name
        wanted = set(labels.items())
        return {key[1]: value for key, value in self.samples.items() if key[0] == full and wanted <= key[1]}

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum over all samples of a name whose labels include the given ones; 0 when there is none."""
        return sum(self.select(name, **labels).values())

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return the sums of a name for each value of one label."""
        sums: dict[str, float] = {}
        for key, value in self.select(name, **labels).items():
            word = dict(key).get(label, "")
            sums[word] = sums.get(word, 0.0) + value
        return sums

    def has(self, name: str) -> bool:
        """Return whether the family has a sample at all."""
        return bool(self.select(name))
