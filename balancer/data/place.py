"""A worker's place: what everything on its data path shares (its row on the board, clock, ids, log)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from balancer.board import layout
from balancer.board.board import Board
from balancer.data.access_log import AccessLog, Clock
from balancer.data.deadlines import Deadlines
from balancer.data.rates import Rates

log = logging.getLogger("balancer.worker")


class Place:
    """One worker's share of the board, and its small tools."""

    __slots__ = (
        "_asked",
        "_dropped_before",
        "access_log",
        "board",
        "clock",
        "connections",
        "count",
        "deadlines",
        "draining",
        "head",
        "loop",
        "number",
        "places",
        "prefix",
        "rates",
        "remember",
        "row",
        "send",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Board,
        number: int,
        places: int,
        send: Callable[[dict[str, object]], object],
        *,
        remember: bool = True,
    ) -> None:
        self.loop = loop
        self.board = board
        self.number = number
        self.places = places
        self.row = board.row(number)
        self.head = board.row_head(number)
        self.send = send
        self.deadlines = Deadlines()
        self.rates = Rates(board, number, places)
        self.access_log = AccessLog()
        self.clock = Clock()
        # Request ids: 64 random bits of this worker and a counter; no randomness per request.
        self.prefix = secrets.token_hex(8).encode()
        self.count = 0
        self.connections = 0
        self.draining = False
        self.remember = remember
        self._asked: dict[str, float] = {}
        self._dropped_before = self.head[layout.ROW_LOG_DROPPED]

    def add(self, cell: int, amount: int = 1) -> None:
        """Add to a counter of this worker's row; a negative slot (no place on the board) is ignored."""
        if cell >= 0:
            self.row[cell] += amount

    def unreachable(self, group: str, target: str) -> None:
        """Ask control to resolve a target's name again: at most once a second and target."""
        now = self.loop.time()
        key = f"{group}|{target}"
        if now - self._asked.get(key, -1.0) >= 1.0:
            self._asked[key] = now
            self.send({"is": "unreachable", "group": group, "target": target})

    def show(self, active: int) -> None:
        """Put on the board what is only worth showing now and then; `active`: the requests inside."""
        self.head[layout.ROW_ACTIVE] = active
        self.head[layout.ROW_CONNECTIONS] = self.connections
        self.head[layout.ROW_LOG_DROPPED] = self._dropped_before + self.access_log.dropped
