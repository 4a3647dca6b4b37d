"""stats: the board's numbers with their names; the read side of metrics and status. Costs no worker anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from balancer.board import histogram, layout
from balancer.board.board import Board
from balancer.model.names import ProbeResult
from balancer.model.reason import REASONS

CODES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_FULL = 0xFFFF_FFFF_FFFF_FFFF
RESULTS: tuple[ProbeResult, ...] = tuple(ProbeResult)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations: how many fell into each bucket (one more than edges), and their sum in seconds."""

    counts: tuple[int, ...]
    seconds: float

    @property
    def total(self) -> int:
        return sum(self.counts)


class Stats:
    """Sums over the first `places` rows, by series. `slots` are those of the snapshot."""

    def __init__(self, board: Board, slots: dict[str, int], places: int) -> None:
        self._board = board
        self._slots = slots
        self._places = places
        self._rows = [board.row(place) for place in range(max(1, places))]
        self._own = board.row(layout.CONTROL_PLACE)

    def series(self, kind: str) -> Iterator[tuple[list[str], int]]:
        """Yield the names of every series of a kind there ever was, with the place of its block."""
        yield from _by_kind(self._slots).get(kind, ())

    def block(self, slot: int, size: int) -> list[int]:
        """Return the sums of `size` cells."""
        first, *others = self._rows
        total: list[int] = first[slot : slot + size].tolist()
        for row in others:
            total = [one + other for one, other in zip(total, row[slot : slot + size].tolist())]
        return total

    def head(self, cell: int) -> int:
        """Return the sum of a cell about workers (`layout.ROW_*`)."""
        return sum(self._board.row_head(place)[cell] for place in range(self._places))

    def of_worker(self, place: int, cell: int) -> int:
        """Return a cell about the worker of a place (`layout.ROW_*`)."""
        return self._board.row_head(place)[cell]

    def own(self, slot: int, size: int) -> list[int]:
        """Return cells that control counts itself."""
        cells: list[int] = self._own[slot : slot + size].tolist()
        return cells

    # What they mean

    def hits(self) -> Iterator[tuple[str, str, str, list[int]]]:
        """Yield (listener, target group, target, counts by code: of the upstream's answers, then of ours)."""
        for (listener, group, target), slot in self.series("hits"):
            yield listener, group, target, self.block(slot, layout.HITS_BLOCK)

    def flows(self) -> Iterator[tuple[str, str, Histogram, Histogram, int, int]]:
        """Yield (listener, target group, durations, first bytes, bytes in, bytes out)."""
        for (listener, group), slot in self.series("flow"):
            cells = self.block(slot, layout.FLOW_BLOCK)
            whole = cells[layout.FLOW_WHOLE :][: histogram.CELLS]
            durations = _histogram([a + b for a, b in zip(cells[layout.FLOW_DURATION :], whole)])
            first_bytes = _histogram([a + b for a, b in zip(cells[layout.FLOW_FIRST_BYTE :], whole)])
            yield listener, group, durations, first_bytes, cells[layout.FLOW_BYTES_IN], cells[layout.FLOW_BYTES_OUT]

    def listeners(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield (listener, requests inside, connections, connections ever accepted)."""
        for (listener,), slot in self.series("listener"):
            cells = self.block(slot, layout.LISTENER_BLOCK)
            yield (
                listener,
                level(cells[layout.LISTENER_ACTIVE]),
                level(cells[layout.LISTENER_CONNECTIONS]),
                cells[layout.LISTENER_ACCEPTED],
            )

    def targets(self) -> Iterator[tuple[str, str, int, int, int]]:
        """Yield (target group, target, requests at it, connections to it, idle ones of these)."""
        for (group, target), slot in self.series("target"):
            cells = self.block(slot, layout.TARGET_BLOCK)
            yield (
                group,
                target,
                level(cells[layout.TARGET_ACTIVE]),
                level(cells[layout.TARGET_CONNECTIONS]),
                level(cells[layout.TARGET_IDLE]),
            )

    def active(self, group: str, target: str) -> int:
        """Return the requests that are at a target now."""
        slot = self._slots.get(f"target|{group}|{target}")
        return 0 if slot is None else level(self._board.total(slot + layout.TARGET_ACTIVE, self._places))

    def reasons(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield (target group, reason, failures, retries) for all reasons."""
        for (group,), slot in self.series("reasons"):
            cells = self.block(slot, layout.REASONS_BLOCK)
            for code, reason in enumerate(REASONS):
                yield group, reason.word, cells[code], cells[layout.REASONS_RETRIES + code]

    def queued(self) -> Iterator[tuple[str, int]]:
        """Yield (target group, requests that wait in its queue)."""
        for (group,), slot in self.series("reasons"):
            yield group, level(self._board.total(slot + layout.REASONS_QUEUED, self._places))

    def checks(self) -> Iterator[tuple[str, str, list[int]]]:
        """Yield (target group, target, probes by result in the order of `RESULTS`)."""
        for (group, target), slot in self.series("checks"):
            yield group, target, self.own(slot, len(RESULTS))

    def failovers(self) -> Iterator[tuple[str, int]]:
        """Yield (target group, how often a tier of it lost its traffic)."""
        for (group,), slot in self.series("failovers"):
            yield group, self.own(slot, layout.FAILOVERS_BLOCK)[0]


_Series = dict[str, list[tuple[list[str], int]]]
_last: tuple[dict[str, int], _Series] = {}, {}


def _by_kind(slots: dict[str, int]) -> _Series:
    """Return the series of a snapshot's slots by their kind; those of the snapshot that was asked for last are kept."""
    global _last
    known, found = _last
    if known is not slots:
        found = {}
        for key, slot in slots.items():
            kind, *names = key.split("|")
            found.setdefault(kind, []).append((names, slot))
        _last = slots, found
    return found


def level(gauge: int) -> int:
    """Return what a gauge, or a sum of them, shows: what fell below zero, in some row, is nothing.

    Cells are unsigned: -1 stands there as 2^64 - 1, and a sum over rows is right modulo 2^64.
    """
    gauge &= _FULL
    return gauge if gauge <= _FULL >> 1 else 0


def _histogram(cells: list[int]) -> Histogram:
    return Histogram(tuple(cells[: histogram.SUM]), cells[histogram.SUM] / 1_000_000)
