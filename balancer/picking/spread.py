"""Spread: which group of a weighted forward gets the next request, by smooth weighted round robin."""

from __future__ import annotations

from collections.abc import Callable, Collection

from balancer.picking.round_robin import RoundRobin
from balancer.picking.view import View


class Spread:
    """Groups with weights, as a rule forwards to them: 9:1 over 1,000 requests is exactly 900 and 100.

    Indexes are places in `groups`; a group of weight 0 gets nothing.
    """

    __slots__ = ("_only", "_policy")

    def __init__(self, groups: tuple[tuple[str, int], ...], random: Callable[[], float]) -> None:
        chosen = [(index, weight) for index, (_, weight) in enumerate(groups) if weight > 0]
        self._only = chosen[0][0] if len(chosen) == 1 else -1
        self._policy = RoundRobin(random)
        self._policy.update(View(tuple(index for index, _ in chosen), tuple(weight for _, weight in chosen)))

    def pick(self, unavailable: Collection[int] = ()) -> int | None:
        """Return the index of the next group that is not in `unavailable`, None if there is none."""
        if self._only >= 0 and not unavailable:
            return self._only
        return self._policy.pick(unavailable)
