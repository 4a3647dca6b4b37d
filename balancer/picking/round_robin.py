"""round_robin: smooth weighted round robin; each target has as many turns in a cycle as its weight says.

1. Each pick adds to every credit its weight, takes the highest credit (the earlier of equals) and takes the sum of
   the weights off it: 5, 1, 1 gives a a b a c a a, never five in a row and then none.
2. After sum(weights) picks all credits are 0 again, so the cycle is computed once and a pick is a step along it.
3. A pick beside the cycle (something was tried already) runs rule 1 over the untried, on credits of its own: the first
   picks of other requests keep their exact shares whatever is retried in between.

Source: nginx, ngx_http_upstream_round_robin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import gcd

from balancer.picking.view import View

LONGEST_CYCLE = 1024  # turns; beyond it rule 1 is computed at each pick


def cycle(weights: Sequence[int]) -> tuple[int, ...]:
    """Return the indexes of `weights` in the order of their turns; its length is sum(weights) / gcd(weights).

    Targets of equal weight take turns in list order, so only one of them, the next, is compared: O(turns × distinct
    weights). The credit of a target with weight w that had p turns is w × time - p × sum(weights).
    """
    unit = gcd(*weights)
    total = sum(weights) // unit
    members: dict[int, list[int]] = {}
    for index, weight in enumerate(weights):
        members.setdefault(weight // unit, []).append(index)
    turns = dict.fromkeys(members, 0)
    order: list[int] = []
    for time in range(1, total + 1):
        best = best_weight = -1
        best_credit = 0
        for weight, indexes in members.items():
            laps, place = divmod(turns[weight], len(indexes))
            credit = weight * time - laps * total
            index = indexes[place]
            if best < 0 or credit > best_credit or (credit == best_credit and index < best):
                best, best_weight, best_credit = index, weight, credit
        turns[best_weight] += 1
        order.append(best)
    return tuple(order)


class RoundRobin:
    """Smooth weighted round robin over a view."""

    __slots__ = ("_at", "_credits", "_cycle", "_random", "_view")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._view = View()
        self._cycle: tuple[int, ...] = ()  # slots; empty: too long, rule 1 at each pick
        self._at = 0
        self._credits: list[int] = []

    def update(self, view: View) -> None:
        """Take another rotation and go on at the same part of the cycle; the very first starts anywhere in it.

        A random start keeps several workers from all beginning with the first target.
        """
        if view == self._view:
            return
        before, length = self._view, len(self._cycle)
        self._view = view
        kept = dict(zip(before.slots, self._credits))
        self._credits = [kept.get(slot, 0) for slot in view.slots]
        self._cycle = ()
        if not view.slots:
            return
        if sum(view.weights) // gcd(*view.weights) <= LONGEST_CYCLE:
            self._cycle = tuple([view.slots[index] for index in cycle(view.weights)])
        turns = len(self._cycle)
        if length:
            # Rounded up: with less than one pick per update, rounding down would stay at one target for ever.
            self._at = -(-self._at * turns // length) % turns if turns else 0
        elif turns:
            self._at = int(self._random() * turns)
        elif not before.slots:
            for _ in range(int(self._random() * len(view.slots))):
                self._pick_beside(())

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
        credits = self._credits
        best = -1
        best_credit = total = 0
        for index, (slot, weight) in enumerate(zip(self._view.slots, self._view.weights)):
            if slot in tried:
                continue
            total += weight
            credit = credits[index] + weight
            credits[index] = credit
            if best < 0 or credit > best_credit:
                best, best_credit = index, credit
        if best < 0:
            return None
        credits[best] = best_credit - total
        return self._view.slots[best]
