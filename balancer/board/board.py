"""The board: the shared memory mapped into this process, with the few ways to read and write it."""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Callable
from typing import TypeVar

from balancer.board import layout

_T = TypeVar("_T")


def create() -> int:
    """Return the descriptor of a new, empty board (a sparse anonymous file)."""
    descriptor = os.memfd_create("balancer-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, layout.SIZE)
    board = Board(descriptor)
    board.cells[layout.MAGIC_AT] = layout.MAGIC
    board.cells[layout.VERSION_AT] = layout.VERSION
    board.cells[layout.SALT] = secrets.randbits(64)
    board.close()
    return descriptor


class Board:
    """The mapped memory. `cells` is one flat view of unsigned 64-bit numbers; offsets are those of `layout`."""

    def __init__(self, descriptor: int) -> None:
        """Map the board behind `descriptor` (which stays the caller's); ValueError if it is another layout's."""
        self._map = mmap.mmap(descriptor, layout.SIZE)
        self.cells = memoryview(self._map)[: layout.CELLS_SIZE].cast("Q")
        if self.cells[layout.VERSION_AT] not in (0, layout.VERSION):
            raise ValueError(f"board layout {self.cells[layout.VERSION_AT]} is not {layout.VERSION}")

    def close(self) -> None:
        """Unmap; views handed out must be gone."""
        self.cells.release()
        self._map.close()

    # Rows: one a worker place

    def row(self, place: int) -> memoryview[int]:
        """Return the counters and gauges of a place: `layout.CELLS` cells, indexed by the snapshot's slots."""
        start = layout.ROWS_AT + place * layout.ROW + layout.ROW_HEAD
        return self.cells[start : start + layout.CELLS]

    def row_head(self, place: int) -> memoryview[int]:
        """Return the cells about the worker itself (`layout.ROW_*`)."""
        start = layout.ROWS_AT + place * layout.ROW
        return self.cells[start : start + layout.ROW_HEAD]

    def column(self, slot: int, places: int) -> memoryview[int]:
        """Return the same cell of the first `places` rows: `sum(column)` is a value over all workers."""
        start = layout.ROWS_AT + layout.ROW_HEAD + slot
        return self.cells[start : start + (places - 1) * layout.ROW + 1 : layout.ROW]

    def total(self, slot: int, places: int) -> int:
        """Return the sum of a cell over the first `places` rows."""
        return sum(self.column(slot, places))

    def tables(self, kind: int, places: int) -> list[memoryview[int]]:
        """Return the tables of a kind (`layout.RATES`, …) of the first `places` rows; read by `keyed.Keyed`."""
        first = layout.TABLES_AT + kind * layout.TABLE
        apart = layout.TABLE_KINDS * layout.TABLE
        return [self.cells[first + place * apart :][: layout.TABLE] for place in range(places)]

    # Rings: one area a worker place

    def ring(self, place: int, ring: layout.Ring) -> memoryview[int]:
        """Return the bytes of one of a place's rings."""
        start = layout.RINGS_AT + place * layout.AREA + ring.at
        return memoryview(self._map)[start : start + ring.slots * ring.slot]

    def find(self, place: int, ring: layout.Ring, wanted: bytes, start: int, end: int) -> int:
        """Return where in a ring `wanted` stands, from `start` up to `end` (bytes, from the ring's begin), or -1."""
        base = layout.RINGS_AT + place * layout.AREA + ring.at
        found = self._map.find(wanted, base + start, base + end)
        return found if found < 0 else found - base

    def clear_table(self, kind: int, place: int) -> None:
        """Forget what the worker of a place wrote into a table."""
        self.tables(kind, place + 1)[place][:] = memoryview(bytes(layout.TABLE * 8)).cast("Q")

    # States and shares: written by control, read by everybody

    def publish(self, write: Callable[[memoryview[int]], None]) -> int:
        """Let `write` change states and shares (it gets all cells); return the new generation."""
        cells = self.cells
        generation = cells[layout.GENERATION] | 1  # a writer that died half-way left it odd
        cells[layout.GENERATION] = generation
        write(cells)
        cells[layout.GENERATION] = generation + 1
        return generation + 1

    def read(self, read: Callable[[memoryview[int]], _T]) -> tuple[int, _T] | None:
        """Return (generation, what `read` made of the cells), or None if control was writing: ask again later."""
        before = self.cells[layout.GENERATION]
        if before & 1:
            return None
        result = read(self.cells)
        return (before, result) if self.cells[layout.GENERATION] == before else None


def state_at(slot: int) -> int:
    """Return the first cell of a target's state block (`layout.STATE`, …)."""
    return layout.STATES_AT + slot * layout.STATE_BLOCK


def group_at(slot: int) -> int:
    """Return the first cell of a group's block (`layout.GROUP_PANIC`, …)."""
    return layout.GROUPS_AT + slot * layout.GROUP_BLOCK
