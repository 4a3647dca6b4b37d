"""A worker's row: what its predecessor had in hand is counted as lost, gauges start at zero, counters stay."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from balancer.board import board, layout
from balancer.board.board import Board
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import Snapshot
from balancer.process.worker import claim

SLOTS = {
    "reasons|": 0,
    "reasons|demo": 1000,
    "target|demo|a1": 2000,
    "target|demo|a2": 2010,
    "listener|web": 3000,
    "state|demo|a1": 4000,
}


@pytest.fixture
def mapped() -> Iterator[Board]:
    descriptor = board.create()
    one = Board(descriptor)
    os.close(descriptor)
    yield one


def test_a_successor_accounts_for_what_was_lost(mapped: Board) -> None:
    row, head = mapped.row(1), mapped.row_head(1)
    row[2000 + layout.TARGET_ACTIVE], row[2010 + layout.TARGET_ACTIVE], row[2010 + layout.TARGET_IDLE] = 3, 4, 9
    row[3000 + layout.LISTENER_CONNECTIONS], row[3000 + layout.LISTENER_ACCEPTED] = 12, 50
    row[3000 + layout.LISTENER_ACTIVE] = 8
    row[4000] = 77  # a state's slot is not in this row: whatever lies there stays
    head[layout.ROW_ACTIVE], head[layout.ROW_CONNECTIONS], head[layout.ROW_STARTS] = 8, 12, 1

    claim(mapped, 1, Snapshot(slots=SLOTS))

    lost = REASON_CODES[Reason.WORKER_LOST]
    assert row[1000 + lost] == 7
    assert row[lost] == 1  # it had no target yet
    assert head[layout.ROW_LOST] == 8
    assert (head[layout.ROW_ACTIVE], head[layout.ROW_CONNECTIONS]) == (0, 0)
    assert (row[2000 + layout.TARGET_ACTIVE], row[2010 + layout.TARGET_ACTIVE], row[2010 + layout.TARGET_IDLE]) == (
        0,
        0,
        0,
    )
    assert (row[3000 + layout.LISTENER_CONNECTIONS], row[3000 + layout.LISTENER_ACCEPTED]) == (0, 50)
    assert row[4000] == 77
    assert head[layout.ROW_STARTS] == 2
    assert head[layout.ROW_PID] == os.getpid()

    claim(mapped, 1, Snapshot(slots=SLOTS))
    assert row[1000 + lost] == 7
    assert head[layout.ROW_LOST] == 8
