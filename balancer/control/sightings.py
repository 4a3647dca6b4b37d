"""sightings: what workers saw fail, read from the board and added up: targets that none of them ejects for itself."""

from __future__ import annotations

from collections.abc import Iterator

from balancer.board import layout
from balancer.board.board import Board
from balancer.control.facts import Key
from balancer.health.together import Together
from balancer.model.snapshot import Passive, Snapshot

KINDS = ("connect", "gateway")


class Sightings:
    """The streaks of all workers. Nothing is read while no try has failed since the last look and no streak runs."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._failed = 0
        self._seen: dict[Key, tuple[Passive, int, tuple[Together, ...]]] = {}

    def look(self, running: Snapshot, now: float) -> Iterator[tuple[Key, str]]:
        """Yield the targets to eject, with the kind of their failures."""
        failed = sum(self._board.row_head(place)[layout.ROW_FAILED] for place in range(running.workers))
        if running.workers < 2 or (failed == self._failed and not self._seen):
            return
        self._failed = failed
        before, self._seen = self._seen, {}
        for group in running.target_groups:
            for target in group.targets if group.passive is not None else ():
                key = (group.name, target.name)
                slot = running.slots.get(f"target|{group.name}|{target.name}")
                if slot is None or group.passive is None:
                    continue
                streaks = list(self._board.column(slot + layout.TARGET_STREAKS, running.workers))
                known = before.get(key)
                if not any(streaks) and known is None:
                    continue
                if known is None or known[0] != group.passive or known[1] != running.workers:
                    known = group.passive, running.workers, _adders(group.passive, running.workers)
                yield from ((key, kind) for kind in self._judge(running, key, streaks, known[2], now))
                if not all(one.quiet for one in known[2]):
                    self._seen[key] = known

    def _judge(
        self, running: Snapshot, key: Key, streaks: list[int], adders: tuple[Together, ...], now: float
    ) -> Iterator[str]:
        answers = self._answers(running, key)
        apart = [streak & layout.STREAK for streak in streaks], [streak >> layout.STREAK_BITS for streak in streaks]
        for kind, adder, own, count in zip(KINDS, adders, apart, answers):
            if adder.look(own, count, now):
                yield kind

    def _answers(self, running: Snapshot, key: Key) -> tuple[int, int]:
        """Return how many answers of a target there were: any at all, and those that speak for it (below 400)."""
        whole = good = 0
        for listener in running.listeners:
            slot = running.slots.get(f"hits|{listener.name}|{key[0]}|{key[1]}")
            if slot is not None:
                classes = [self._board.total(slot + one, running.workers) for one in range(layout.HITS_BALANCER)]
                whole += sum(classes)
                good += sum(classes[:3])
        return whole, good


def _adders(passive: Passive, workers: int) -> tuple[Together, ...]:
    limits = passive.consecutive_connect_failures, passive.consecutive_gateway_failures
    return tuple(Together(limit, workers) for limit in limits)
