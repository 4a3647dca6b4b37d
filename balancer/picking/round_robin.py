"""round_robin: smooth weighted round robin; each target has as many turns in a cycle as its weight says.

1. Each pick adds to every credit its weight, takes the highest credit (the earlier of equals) and takes the sum of
   the weights off it: 5, 1, 1 gives a a b a c a a, never five in a row and then none.
2. After sum(weights) picks all credits are 0 again, so the cycle is computed once and a pick is a step along it. Where
   it would be too long to keep, `Turns` computes each pick.
3. A pick beside the cycle (something was tried already) runs rule 1 over the untried, on credits of its own: the first
   picks of other requests keep their exact shares whatever is retried in between. Around a zone of a large group it is
   drawn.

Source: nginx, ngx_http_upstream_round_robin.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate
from math import gcd, inf
from operator import add

from balancer.picking.view import View

LONGEST_CYCLE = 1024  # turns; beyond it rule 1 is computed at each pick, unless all weights are equal
FEW = 64  # targets among which a pick beside the cycle looks at each
FEW_TRIED = 8  # beyond it, a pick among more than that is drawn by weight: a whole zone was tried
DRAWS = 8  # from all; then from the untried
MOST_AHEAD = 64  # picks that the very first view without a cycle may be ahead when it begins


class Turns:
    """Rule 1 at a cost that grows with the distinct weights, not with the targets.

    Credits of targets of equal weight grow alike, so their order changes only by picks: each weight has a heap, and
    only the first of each are compared. Credits are kept `count` times as large, less the place in the list: no two
    are equal, and the highest is the earlier of equals. What lies on a heap is weight × count × time less that.
    """

    __slots__ = ("_count", "_first", "_heads", "_heaps", "_late", "_slots", "_steps", "_time", "_total", "_weight_of")

    def __init__(self, view: View, credits: Mapping[int, int], first: int = 0) -> None:
        """Begin with `credits`, by slot, 0 for others; of equals the earlier counted from place `first` goes first."""
        self._slots = view.slots[first:] + view.slots[:first]
        self._count = count = len(self._slots)
        heaps: dict[int, list[int]] = {}
        for place, (slot, weight) in enumerate(zip(self._slots, view.weights[first:] + view.weights[:first])):
            heaps.setdefault(weight, []).append(place - credits.get(slot, 0) * count)
        for heap in heaps.values():
            heapify(heap)
        self._heaps = list(heaps.values())
        self._steps = [weight * count for weight in heaps]
        self._heads: list[float] = [-heap[0] for heap in self._heaps]  # the highest of each weight
        self._total = sum(view.weights)
        self._time = 0
        self._weight_of = dict(zip(view.slots, view.weights))
        self._late: dict[int, int] = {}  # credit that a slot has too much: taken off when it comes first

    def pick(self) -> int:
        """Return the next slot. Only where `pick_beside` is never asked."""
        heads = self._pass_time()
        best = heads.index(max(heads))
        entry = self._heaps[best][0]
        self._pay(best, self._total)
        return self._slots[entry % self._count]

    def pick_beside(self, tried: Collection[int]) -> int | None:
        """Return the next slot among the untried, None if there is none; the tried get no credit meanwhile."""
        weight_of, late = self._weight_of, self._late
        out = {slot for slot in tried if slot in weight_of}
        rest = self._total
        for slot in out:
            rest -= weight_of[slot]
        if rest == 0:
            return None
        for slot in out:
            late[slot] = late.get(slot, 0) + weight_of[slot]
        heads = self._pass_time()
        aside: list[tuple[int, int]] = []
        while True:
            best = heads.index(max(heads))
            entry = self._heaps[best][0]
            slot = self._slots[entry % self._count]
            if slot in late:
                self._pay(best, late.pop(slot))
            elif slot in out:
                aside.append((best, heappop(self._heaps[best])))
                self._look(best)
            else:
                break
        self._pay(best, rest)
        for one, entry in aside:
            heappush(self._heaps[one], entry)
            self._look(one)
        return slot

    def credits(self) -> dict[int, int]:
        """Return the credit of each slot."""
        found = {}
        for step, heap in zip(self._steps, self._heaps):
            for entry in heap:
                slot = self._slots[entry % self._count]
                found[slot] = -((entry - step * self._time) // self._count) - self._late.get(slot, 0)
        return found

    def _pass_time(self) -> list[float]:
        self._time += 1
        self._heads = list(map(add, self._heads, self._steps))
        return self._heads

    def _pay(self, index: int, credit: int) -> None:
        """Take credit off the first of a heap."""
        heap = self._heaps[index]
        heapreplace(heap, heap[0] + credit * self._count)
        self._look(index)

    def _look(self, index: int) -> None:
        heap = self._heaps[index]
        self._heads[index] = self._steps[index] * self._time - heap[0] if heap else -inf


def cycle(weights: Sequence[int]) -> tuple[int, ...]:
    """Return the indexes of `weights` in the order of their turns; its length is sum(weights) / gcd(weights)."""
    turns = Turns(View(tuple(range(len(weights))), tuple(weights)), {})
    return tuple([turns.pick() for _ in range(sum(weights) // gcd(*weights))])


class RoundRobin:
    """Smooth weighted round robin over a view."""

    __slots__ = ("_at", "_beside", "_credits", "_cycle", "_ends", "_random", "_turns", "_view")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._view = View()
        self._cycle: tuple[int, ...] = ()  # slots
        self._at = 0
        self._turns: Turns | None = None  # in place of the cycle
        self._ends: list[int] = []  # sums of the weights, to draw by
        self._credits: dict[int, int] = {}  # beside the cycle, by slot
        self._beside: Turns | None = None  # goes on from there in a large view, once it is asked

    def update(self, view: View) -> None:
        """Take another rotation and go on at the same part of the cycle; the very first starts anywhere in it.

        A random start keeps several workers from all beginning with the first target.
        """
        if view == self._view:
            return
        earlier, at, turns = self._cycle, self._at, self._turns
        if self._beside is not None:
            self._credits, self._beside = self._beside.credits(), None
        self._view, self._cycle, self._turns, self._at = view, (), None, 0
        self._credits = {slot: self._credits.get(slot, 0) for slot in view.slots}
        self._ends = []
        if not view.slots:
            return
        self._cycle = _kept_cycle(view)
        length = len(self._cycle)
        if length and earlier:
            # Rounded up: with less than one pick per update, rounding down would stay at one target for ever.
            self._at = -(-at * length // len(earlier)) % length
        elif length:
            self._at = int(self._random() * length)
        elif turns is not None:
            self._turns = Turns(view, turns.credits())
        elif earlier:
            self._turns = Turns(view, {}, view.slots.index(earlier[at]) if earlier[at] in view.slots else 0)
        else:
            phase, count = self._random(), len(view.slots)
            self._turns = Turns(view, {}, int(phase * count))
            for _ in range(int(phase * min(count, MOST_AHEAD))):
                self._turns.pick()

    def pick(self, tried: Collection[int]) -> int | None:
        """Return the next slot of the cycle, or the next among the untried; None if there is none."""
        if tried or not self._cycle:
            return self._pick_beside(tried)
        at = self._at
        slot = self._cycle[at]
        at += 1
        self._at = at if at < len(self._cycle) else 0
        return slot

    def _pick_beside(self, tried: Collection[int]) -> int | None:
        if not tried:
            return self._turns.pick() if self._turns is not None else None
        if len(self._view.slots) <= FEW:
            return self._pick_among_few(tried)
        if len(tried) > FEW_TRIED:
            return self._draw(tried)
        if self._beside is None:
            self._beside = Turns(self._view, self._credits)
        return self._beside.pick_beside(tried)

    def _pick_among_few(self, tried: Collection[int]) -> int | None:
        credits = self._credits
        best = -1
        best_credit = total = 0
        for slot, weight in zip(self._view.slots, self._view.weights):
            if slot in tried:
                continue
            total += weight
            credit = credits[slot] + weight
            credits[slot] = credit
            if best < 0 or credit > best_credit:
                best, best_credit = slot, credit
        if best < 0:
            return None
        credits[best] = best_credit - total
        return best

    def _draw(self, tried: Collection[int]) -> int | None:
        slots, weights = self._view.slots, self._view.weights
        if not self._ends:
            self._ends = list(accumulate(weights))
        for _ in range(DRAWS):
            slot = slots[self._drawn(self._ends)]
            if slot not in tried:
                return slot
        out = set(tried)
        rest = [index for index, slot in enumerate(slots) if slot not in out]
        return slots[rest[self._drawn(list(accumulate([weights[index] for index in rest])))]] if rest else None

    def _drawn(self, ends: Sequence[int]) -> int:
        return min(bisect(ends, self._random() * ends[-1]), len(ends) - 1)


def _kept_cycle(view: View) -> tuple[int, ...]:
    """Return the slots in the order of their turns, empty if they are too many to keep."""
    unit = gcd(*view.weights)
    turns = sum(view.weights) // unit
    if turns == len(view.slots):  # equal weights: the list itself
        return view.slots
    if turns > LONGEST_CYCLE:
        return ()
    return tuple([view.slots[index] for index in cycle(view.weights)])
