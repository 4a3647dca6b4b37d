"""Slow start: the part of its weight that a target gets as it comes back."""

from __future__ import annotations

LOWEST = 0.1


def factor(age: float, window: float, aggression: float = 1.0) -> float:
    """Return the factor of the weight, 0.1 to 1, of a target that came back `age` seconds ago.

    max(0.1, (age / window) ^ (1 / aggression)); `window` in seconds, 0: off. Source: Envoy slow start.
    """
    if window <= 0 or age >= window:
        return 1.0
    if age <= 0:
        return LOWEST
    return max(LOWEST, float((age / window) ** (1.0 / aggression)))
