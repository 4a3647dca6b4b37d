"""least_conn: the target with the least work in hand for its weight."""

from __future__ import annotations

from collections.abc import Callable, Collection

from balancer.picking.view import View


class LeastConn:
    """The lowest (work in hand + 1) / weight; of equals the next after the last pick.

    The + 1 is the request being placed, so an idle light target does not beat an idle heavy one.
    Source: nginx least_conn; Envoy least_request, full scan.
    """

    __slots__ = ("_active", "_heaviest", "_last", "_next", "_pairs", "_random", "_start", "_view")

    def __init__(self, active: Callable[[int], int], random: Callable[[], float]) -> None:
        self._active = active
        self._random = random
        self._view = View()
        self._pairs: tuple[tuple[int, int], ...] = ()  # twice around, so that a scan from anywhere is one slice
        self._next: dict[int, int] = {}  # slot → where the scan after a pick of it begins
        self._heaviest = 0
        self._start = 0
        self._last = -1

    def update(self, view: View) -> None:
        """Take another rotation; ties go on after the last pick if that is still there."""
        if view == self._view:
            return
        self._view = view
        self._pairs = tuple(zip(view.slots, view.weights)) * 2
        self._heaviest = max(view.weights, default=0)
        count = len(view.slots)
        self._next = {slot: (index + 1) % count for index, slot in enumerate(view.slots)}
        start = self._next.get(self._last)
        self._start = int(self._random() * count) if start is None else start

    def pick(self, tried: Collection[int]) -> int | None:
        """Return the slot with the least work for its weight, None if every slot is in `tried`. O(targets)."""
        active = self._active
        start = self._start
        count = len(self._view.slots)
        heaviest = self._heaviest
        best = -1
        best_work = 0
        best_weight = 1
        for slot, weight in self._pairs[start : start + count]:
            if tried and slot in tried:
                continue
            work = active(slot) + 1
            # work / weight < best_work / best_weight, without fractions
            if best < 0 or work * best_weight < best_work * weight:
                best, best_work, best_weight = slot, work, weight
                if work == 1 and weight == heaviest:
                    break  # nothing can be better
        if best < 0:
            return None
        self._last = best
        self._start = self._next[best]
        return best
