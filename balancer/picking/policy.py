"""The protocol of policies, and the word of each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from balancer.model.names import PolicyName
from balancer.picking.least_conn import LeastConn
from balancer.picking.round_robin import RoundRobin
from balancer.picking.view import View


class Policy(Protocol):
    """How a target is picked among those in rotation. One object per group, tier and worker."""

    def update(self, view: View) -> None:
        """Take another rotation; what is known of slots that stay is kept. An equal view changes nothing."""

    def pick(self, tried: Collection[int]) -> int | None:
        """Return the slot to use that is not in `tried`, None if every slot is. `pick(())` is the fast path."""


def make(name: PolicyName, active: Callable[[int], int], random: Callable[[], float]) -> Policy:
    """Return the policy of that name with an empty view.

    `active(slot)` is the work in hand of a target over all workers; `random()` is uniform in [0, 1).
    """
    if name is PolicyName.LEAST_CONN:
        return LeastConn(active, random)
    return RoundRobin(random)
