"""View: what a policy may know of the targets it picks from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """The targets in rotation, in list order: `slots[i]` has weight `weights[i]`.

    A slot is the index of a target in its group's list. Weights are positive integers; only their ratio counts (they
    are scaled by 100 while a slow start makes fractions of them).
    """

    slots: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
