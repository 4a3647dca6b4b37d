"""The board: rows apart, sums over them, and states that are read whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from balancer.board import board as shared
from balancer.board import layout
from balancer.board.board import Board


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = shared.create()
    made = Board(descriptor)
    os.close(descriptor)
    yield made


def test_a_new_board_is_empty_and_costs_only_what_is_touched(board: Board) -> None:
    assert board.cells[layout.MAGIC_AT] == layout.MAGIC and board.cells[layout.VERSION_AT] == layout.VERSION
    assert board.cells[layout.GENERATION] == 0
    descriptor = shared.create()
    try:
        assert os.fstat(descriptor).st_size == layout.SIZE
        assert os.fstat(descriptor).st_blocks * 512 < 1 << 20
    finally:
        os.close(descriptor)


def test_a_board_of_another_layout_is_refused() -> None:
    descriptor = shared.create()
    try:
        os.pwrite(descriptor, (layout.VERSION + 1).to_bytes(8, "little"), layout.VERSION_AT * 8)
        with pytest.raises(ValueError, match=f"board layout {layout.VERSION + 1} is not {layout.VERSION}"):
            Board(descriptor)
    finally:
        os.close(descriptor)


def test_two_processes_see_the_same_memory() -> None:
    descriptor = shared.create()
    one, other = Board(descriptor), Board(descriptor)
    os.close(descriptor)
    one.row(3)[7] = 42
    assert other.row(3)[7] == 42


def test_a_column_is_one_cell_of_each_row_and_nothing_else(board: Board) -> None:
    for place in range(4):
        row = board.row(place)
        row[8], row[9], row[10] = 1000, place + 1, 1000
        board.row_head(place)[layout.ROW_PID] = 7
    assert list(board.column(9, 3)) == [1, 2, 3]
    assert board.total(9, 1) == 1 and board.total(9, 4) == 10


def test_the_last_place_has_room_to_its_last_cell(board: Board) -> None:
    board.row(layout.MAX_WORKERS - 1)[layout.CELLS - 1] = 5
    assert board.cells[layout.TABLES_AT - 1] == 5
    board.tables(layout.TABLE_KINDS - 1, layout.MAX_WORKERS)[-1][layout.TABLE - 1] = 6
    assert board.cells[len(board.cells) - 1] == 6
    assert len(board.row(0)) == layout.CELLS and len(board.row_head(0)) == layout.ROW_HEAD


def test_areas_do_not_overlap(board: Board) -> None:
    assert layout.ROWS_AT + layout.MAX_WORKERS * layout.ROW == layout.TABLES_AT
    assert shared.group_at(layout.MAX_GROUPS) == shared.state_at(0)
    assert shared.state_at(layout.MAX_TARGETS) == layout.DRILLS_AT
    assert layout.DRILLS_AT + layout.DRILLS * layout.DRILL_ROOM == layout.ROWS_AT
    assert layout.GROUP_SHARES + layout.MAX_TIERS <= layout.GROUP_BLOCK


def test_what_is_published_is_read_with_its_generation(board: Board) -> None:
    def write(cells: memoryview[int]) -> None:
        cells[shared.state_at(2)] = 4

    assert board.publish(write) == 2
    assert board.publish(write) == 4
    assert board.read(lambda cells: cells[shared.state_at(2)]) == (4, 4)


def test_nothing_is_read_while_control_writes(board: Board) -> None:
    seen: list[object] = []
    board.publish(lambda cells: seen.append(board.read(lambda cells: 1)))
    assert seen == [None]


def test_what_changes_under_a_reader_is_not_taken(board: Board) -> None:
    def read(cells: memoryview[int]) -> int:
        board.publish(lambda cells: None)
        return cells[shared.state_at(0)]

    assert board.read(read) is None


def test_a_writer_that_was_lost_half_way_is_followed_by_one_that_ends(board: Board) -> None:
    board.cells[layout.GENERATION] = 7  # odd: it died while it wrote
    assert board.read(lambda cells: 1) is None
    assert board.publish(lambda cells: None) == 8
    assert board.read(lambda cells: 1) == (8, 1)
