"""Reading: what control has written on the board about one group, read as of one moment."""

from __future__ import annotations

from typing import NamedTuple

from balancer.board import board, layout
from balancer.board.board import Board
from balancer.model.names import EVIDENCES, STATES, Evidence, State

_PATIENCE = 1000  # readings of a board that is being written, before it is taken as it is


class Word(NamedTuple):
    """What control says of one target. `weight`: the operator's + 1, 0: none; `factor` in ‰."""

    state: State
    evidence: Evidence
    factor: int
    orders: int
    weight: int


class Said(NamedTuple):
    """What control says of a group: its targets in order, its tiers, and until when a drill runs (monotonic ms)."""

    targets: list[Word]
    shares: tuple[int, ...]
    panic: tuple[bool, ...]
    drill: int


_UNSAID = Word(State.UNKNOWN, Evidence.NONE, 1000, 0, 0)


class Reading:
    """The cells of a group and its targets."""

    __slots__ = ("_board", "_places", "_seen", "_slot", "_spans")

    def __init__(self, there: Board, slot: int, places: list[int]) -> None:
        """`slot`, `places`: where the group and each of its targets lie, -1: nowhere."""
        self._board = there
        self._slot = slot
        self._places = places
        self._spans = _spans(places)
        self._seen: tuple[bytes, ...] = ()

    def outdated(self) -> bool:
        """Return whether the board says anything else than when it was last read, as far as this group goes."""
        seen = self._board.read(self._cells)
        return seen is None or seen[1] != self._seen

    def read(self) -> Said:
        """Return what is there. Control writes for some microseconds at most, unless it was lost while it did."""
        for _ in range(_PATIENCE):
            seen = self._board.read(self._read)
            if seen is not None:
                return seen[1]
        return self._read(self._board.cells)  # each cell is sound, if not of one moment

    def _cells(self, cells: memoryview[int]) -> tuple[bytes, ...]:
        told = [cells[start:end].tobytes() for start, end in self._spans]
        if self._slot >= 0:
            at = board.group_at(self._slot)
            told.append(cells[at : at + layout.GROUP_BLOCK].tobytes())
        return (*told, cells[layout.DRILL_UNTIL : layout.DRILL_UNTIL + 1].tobytes())

    def _read(self, cells: memoryview[int]) -> Said:
        self._seen = self._cells(cells)
        drill = cells[layout.DRILL_UNTIL]
        told = [cell for start, end in self._spans for cell in cells[start:end].tolist()]
        at, words = 0, []
        for place in self._places:
            if place < 0:
                words.append(_UNSAID)
                continue
            state, evidence = STATES[told[at + layout.STATE]], EVIDENCES[told[at + layout.EVIDENCE]]
            factor = told[at + layout.FACTOR] or 1000  # 0: control has not spoken yet
            words.append(Word(state, evidence, factor, told[at + layout.ORDERS], told[at + layout.WEIGHT]))
            at += layout.STATE_BLOCK
        if self._slot < 0:
            return Said(words, (), (), drill)
        at = board.group_at(self._slot)
        count = min(cells[at + layout.GROUP_TIERS], layout.MAX_TIERS)
        shares = tuple([cells[at + layout.GROUP_SHARES + tier] for tier in range(count)])
        panic = tuple([bool(cells[at + layout.GROUP_PANIC] >> tier & 1) for tier in range(count)])
        return Said(words, shares, panic, drill)


def _spans(slots: list[int]) -> list[tuple[int, int]]:
    """Return the cells of these places as few spans: those of a group lie side by side unless some came later."""
    spans: list[tuple[int, int]] = []
    for slot in slots:
        if slot < 0:
            continue
        start = board.state_at(slot)
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], start + layout.STATE_BLOCK)
        else:
            spans.append((start, start + layout.STATE_BLOCK))
    return spans
