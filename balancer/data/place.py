"""A worker's place: what everything on its data path shares (its row on the board, clock, ids, log)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from balancer.board import layout
from balancer.board.board import Board
from balancer.data.access_log import AccessLog, Clock
from balancer.data.clients import Clients
from balancer.data.deadlines import Deadlines
from balancer.data.descriptors import Descriptors
from balancer.data.rates import Rates
from balancer.data.recent import Recent
from balancer.health.overload import Overload

if TYPE_CHECKING:
    from balancer.data.target import LiveTarget

_ASKED = 256  # questions to control of which is remembered when they were asked; more only within one second
ID_ENDS = tuple(b"%03x\r\n\r\n" % number for number in range(4096))

log = logging.getLogger("balancer.worker")


class Place:
    """One worker's share of the board, and its small tools."""

    __slots__ = (
        "_asked",
        "_dropped_before",
        "access_log",
        "board",
        "clients",
        "clock",
        "connections",
        "count",
        "deadlines",
        "descriptors",
        "draining",
        "head",
        "id_start",
        "leaving",
        "loop",
        "number",
        "overload",
        "places",
        "prefix",
        "rates",
        "recent",
        "remember",
        "revision",
        "row",
        "send",
        "version",
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
        self.overload = Overload(loop.time())
        self.rates = Rates(board, number, places)
        self.recent = Recent(board, number)
        self.version = self.revision = 0  # of the snapshot that runs
        self.descriptors = Descriptors()
        self.clients = Clients(board, number, places)
        self.access_log = AccessLog()
        self.clock = Clock()
        # Request ids: 64 random bits of this worker and a counter; no randomness per request.
        self.prefix = secrets.token_hex(8).encode()
        self.count = 0
        self.id_start = b""  # of the lines with the next 4096 ids
        self.connections = 0
        self.leaving: set[LiveTarget] = set()  # targets that are gone from the configuration and have work in hand
        self.draining = False
        self.remember = remember
        self._asked: dict[str, float] = {}
        self._dropped_before = self.head[layout.ROW_LOG_DROPPED]

    def add(self, cell: int, amount: int = 1) -> None:
        """Add to a counter of this worker's row; a negative slot (no place on the board) is ignored."""
        if cell >= 0:
            self.row[cell] += amount

    def next_id_line(self) -> bytes:
        """Return the line of the next request's id, with the empty line after it. hot: 0.1 µs; formatted 0.25."""
        self.count = count = self.count + 1
        low = count & 0xFFF
        if not low or not self.id_start:
            self.id_start = b"X-Request-ID: %b%05x" % (self.prefix, count >> 12)
        return self.id_start + ID_ENDS[low]

    def unreachable(self, group: str, target: str) -> None:
        """Ask control to resolve a target's name again: at most once a second and target."""
        if self._may_ask(f"{group}|{target}"):
            self.send({"is": "unreachable", "group": group, "target": target})

    def asks(self, group: str, target: str) -> None:
        """Tell control that a target asks to be drained: at most once a second and target."""
        if self._may_ask(f"asks|{group}|{target}"):
            self.send({"is": "asks", "group": group, "target": target})

    def _may_ask(self, key: str) -> bool:
        now = self.loop.time()
        if now - self._asked.get(key, -1.0) < 1.0:
            return False
        if len(self._asked) >= _ASKED:  # targets come and go by name
            self._asked = {known: at for known, at in self._asked.items() if now - at < 1.0}
        self._asked[key] = now
        return True

    def show(self, active: int) -> None:
        """Put on the board what is only worth showing now and then; `active`: the requests inside."""
        self.head[layout.ROW_ACTIVE] = active
        self.head[layout.ROW_CONNECTIONS] = self.connections
        self.head[layout.ROW_LAG] = int(self.overload.lag * 1e6)
        self.head[layout.ROW_SHED] = self.overload.share
        self.head[layout.ROW_LOG_DROPPED] = self._dropped_before + self.access_log.dropped
