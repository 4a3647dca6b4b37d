"""Latency buckets: edges shared by writer and reader, and the cell for a duration."""

from __future__ import annotations

from bisect import bisect_left

EDGES: tuple[float, ...] = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
CELLS = len(EDGES) + 2  # one a bucket, one above the last edge, one for the sum in microseconds
SUM = len(EDGES) + 1


def bucket(seconds: float) -> int:
    """Return the cell of a duration: the first edge that is not below it (`le`), or the one above all."""
    return bisect_left(EDGES, seconds)
