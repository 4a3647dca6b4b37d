"""Numbers by key: each worker's own beside the others', bounded, and forgotten from the least."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from balancer.board import board as shared
from balancer.board import layout
from balancer.board.board import Board
from balancer.board.keyed import Keyed


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = shared.create()
    yield Board(descriptor)
    os.close(descriptor)


def crowd(table: Keyed, count: int) -> list[tuple[int, int]]:
    """Return the pairs of so many keys that share a set."""
    wanted = table.find(b"0")[0]
    found: list[tuple[int, int]] = []
    number = 0
    while len(found) < count:
        at, tag = table.find(b"%d" % number)
        number += 1
        if at == wanted:
            found.append((at, tag))
    return found


def test_each_worker_writes_its_own_and_reads_the_others(board: Board) -> None:
    one, two, three = (Keyed(board, layout.RATES, place, 3) for place in range(3))
    at, tag = one.find(b"key")
    assert two.find(b"key") == (at, tag)
    one.put(at, tag, 7)
    two.put(at, tag, 9)
    assert (one.own(at, tag), sorted(one.others(at, tag))) == (7, [0, 9])
    assert (three.own(at, tag), sorted(three.others(at, tag))) == (0, [7, 9])


def test_kinds_are_apart(board: Board) -> None:
    rates, clients = Keyed(board, layout.RATES, 0, 1), Keyed(board, layout.CLIENTS, 0, 1)
    at, tag = rates.find(b"key")
    rates.put(at, tag, 7)
    assert clients.own(at, tag) == 0


def test_a_set_that_is_full_gives_up_the_least(board: Board) -> None:
    table = Keyed(board, layout.RATES, 0, 1)
    keys = crowd(table, layout.WAYS + 1)
    for value, (at, tag) in enumerate(keys[:-1], 10):
        table.put(at, tag, value)
    table.put(*keys[-1], 5)
    assert [table.own(*key) for key in keys] == [0, *range(11, 10 + layout.WAYS), 5]
    forgotten = board.row_head(0)
    assert forgotten[layout.ROW_FORGOTTEN + layout.RATES] == 1
    table.put(*keys[0], 40, 5)  # what is given up now was worth nothing
    assert forgotten[layout.ROW_FORGOTTEN + layout.RATES] == 1
    assert forgotten[layout.ROW_FORGOTTEN + layout.CLIENTS] == 0


def test_what_is_forgotten_makes_room(board: Board) -> None:
    table = Keyed(board, layout.CLIENTS, 0, 1)
    keys = crowd(table, layout.WAYS + 1)
    for at, tag in keys[:-1]:
        table.put(at, tag, 1)
    table.put(*keys[3], 0)
    table.put(*keys[-1], 1)
    assert [table.own(*key) for key in keys] == [1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_ten_thousand_keys_have_room_and_only_what_is_touched_costs(board: Board) -> None:
    table = Keyed(board, layout.RATES, 0, 1)
    keys = [table.find(b"192.0.2.%d" % number) for number in range(10_000)]
    for value, key in enumerate(keys, 1):
        table.put(*key, value)
    kept = sum(table.own(*key) == value for value, key in enumerate(keys, 1))
    assert kept > 9_950


def test_two_boards_put_a_key_in_different_places(board: Board) -> None:
    descriptor = shared.create()
    other = Board(descriptor)
    os.close(descriptor)
    assert Keyed(board, 0, 0, 1).find(b"key") != Keyed(other, 0, 0, 1).find(b"key")
